#include "core/store/visit-codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "core/base/error.h"
#include "core/store/crc32c.h"

/* Flags of a visit. Bits 0-1 rw, 2-3 pattern; the rest ask for columns. */
enum {
    FLAG_PART = 1 << 4,     /* not the whole tensor: offset and bytes follow */
    FLAG_RUNS = 1 << 5,     /* not contiguous: run and stride follow */
    FLAG_DETAIL = 1 << 6,   /* touches, parallelism follow */
    FLAG_EVIDENCE = 1 << 7, /* evidence is not that of the framework: it follows */
};
enum { TOUCHES_ONCE = 256 };
/* zstd's fastest regular level: the columns are already small, and reading must outrun the replay. */
enum { LEVEL = 1 };
/* Raw bytes a visit can take at most: flags 1, op 5, tensor 5, four extents of 10, touches 3, k 2, evidence 2. */
enum { VISIT_RAW_MAX = 1 + 5 + 5 + 4 * 10 + 3 + 2 + 2 };

struct nf_visit_codec {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    uint8_t *raw, *out;
    size_t raw_cap, out_cap;
};

struct nf_visit_codec *nf_visit_codec_new(void)
{
    struct nf_visit_codec *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->compressor = ZSTD_createCCtx();
    c->decompressor = ZSTD_createDCtx();
    if (!c->compressor || !c->decompressor)
        return nf_visit_codec_free(c);
    return c;
}

struct nf_visit_codec *nf_visit_codec_free(struct nf_visit_codec *c)
{
    if (!c)
        return NULL;
    ZSTD_freeCCtx(c->compressor);
    ZSTD_freeDCtx(c->decompressor);
    free(c->raw);
    free(c->out);
    free(c);
    return NULL;
}

static int room(uint8_t **p, size_t *cap, size_t need)
{
    uint8_t *q;

    if (need <= *cap)
        return 0;
    q = realloc(*p, need);
    if (!q)
        return nf_fail(-ENOMEM, "out of memory");
    *p = q;
    *cap = need;
    return 0;
}

static inline uint8_t *put(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

/* NULL when the column ends early or a number is longer than 64 bits. */
static inline const uint8_t *get(const uint8_t *p, const uint8_t *end, uint64_t *v)
{
    uint64_t x = 0;

    if (p < end && *p < 0x80) {
        *v = *p;
        return p + 1;
    }
    for (unsigned shift = 0; p < end && shift < 64; shift += 7) {
        uint8_t b = *p++;

        x |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            if (shift == 63 && b > 1)
                return NULL;
            *v = x;
            return p;
        }
    }
    return NULL;
}

static inline uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static inline int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static inline uint8_t flags_of(const struct nf_visit *v, uint64_t tensor_bytes)
{
    uint8_t f = (uint8_t)(v->rw | v->pattern << 2);

    if (v->offset || v->bytes != tensor_bytes)
        f |= FLAG_PART;
    if (v->run != v->bytes || v->stride != v->run)
        f |= FLAG_RUNS;
    if (v->touches_q8 != TOUCHES_ONCE || v->parallelism)
        f |= FLAG_DETAIL;
    if (v->evidence != NF_ACCESS_FRAMEWORK)
        f |= FLAG_EVIDENCE;
    return f;
}

int nf_visit_encode(struct nf_visit_codec *c, const struct nf_visit *v, size_t n, const uint64_t *tensor_bytes,
                    size_t n_tensors, const void **data, size_t *size, size_t *raw_size, uint32_t *crc)
{
    uint32_t op = 0, tensor = 0;
    uint8_t *p;
    size_t got;
    int rc;

    rc = room(&c->raw, &c->raw_cap, n * VISIT_RAW_MAX);
    if (rc)
        return rc;
    p = c->raw;
    for (size_t i = 0; i < n; i++) {
        if (v[i].tensor >= n_tensors || v[i].op < op || v[i].rw > 3 || v[i].pattern > 3)
            return nf_fail(-EINVAL, "visit %zu does not fit its class", i);
        op = v[i].op;
        *p++ = flags_of(&v[i], tensor_bytes[v[i].tensor]);
    }
    op = 0;
    for (size_t i = 0; i < n; i++) {
        p = put(p, v[i].op - op);
        op = v[i].op;
    }
    for (size_t i = 0; i < n; i++) {
        p = put(p, zigzag((int64_t)v[i].tensor - tensor));
        tensor = v[i].tensor;
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t f = c->raw[i];

        if (f & FLAG_PART) {
            p = put(p, v[i].offset);
            p = put(p, v[i].bytes);
        }
        if (f & FLAG_RUNS) {
            p = put(p, v[i].run);
            p = put(p, v[i].stride);
        }
        if (f & FLAG_DETAIL) {
            p = put(p, v[i].touches_q8);
            p = put(p, v[i].parallelism);
        }
        if (f & FLAG_EVIDENCE)
            p = put(p, v[i].evidence);
    }
    *raw_size = (size_t)(p - c->raw);
    rc = room(&c->out, &c->out_cap, ZSTD_compressBound(*raw_size));
    if (rc)
        return rc;
    got = ZSTD_compressCCtx(c->compressor, c->out, c->out_cap, c->raw, *raw_size, LEVEL);
    if (ZSTD_isError(got))
        return nf_fail(-EIO, "compressing visits: %s", ZSTD_getErrorName(got));
    *crc = nf_crc32c(c->raw, *raw_size);
    *data = c->out;
    *size = got;
    return 0;
}

int nf_visit_decode(struct nf_visit_codec *c, const void *data, size_t size, size_t raw_size, uint32_t crc,
                    const uint64_t *tensor_bytes, size_t n_tensors, struct nf_visit *out, size_t n)
{
    const uint8_t *flags, *p, *end;
    uint64_t op = 0, x;
    int64_t tensor = 0;
    size_t got;
    int rc;

    /* The row's own numbers bound the memory, so a hostile size cannot ask for more than n visits can take. */
    if (n > NF_VISIT_CHUNK || raw_size < 3 * n || raw_size > n * VISIT_RAW_MAX)
        return nf_fail(-EBADMSG, "a chunk of %zu visits cannot have %zu bytes", n, raw_size);
    rc = room(&c->raw, &c->raw_cap, raw_size);
    if (rc)
        return rc;
    got = ZSTD_decompressDCtx(c->decompressor, c->raw, raw_size, data, size);
    if (ZSTD_isError(got) || got != raw_size)
        return nf_fail(-EBADMSG, "a chunk of visits does not decompress");
    if (nf_crc32c(c->raw, raw_size) != crc)
        return nf_fail(-EBADMSG, "a chunk of visits fails its checksum");
    flags = c->raw;
    p = flags + n;
    end = c->raw + raw_size;
    for (size_t i = 0; i < n; i++) {
        p = get(p, end, &x);
        if (!p || x > UINT32_MAX || (op += x) > UINT32_MAX)
            goto bad;
        out[i].op = (uint32_t)op;
    }
    for (size_t i = 0; i < n; i++) {
        p = get(p, end, &x);
        if (!p || x > 2ull * UINT32_MAX + 1)
            goto bad;
        tensor += unzigzag(x);
        if (tensor < 0 || (uint64_t)tensor >= n_tensors)
            goto bad;
        out[i].tensor = (uint32_t)tensor;
    }
    for (size_t i = 0; i < n; i++) {
        struct nf_visit *v = &out[i];
        uint8_t f = flags[i];

        v->rw = f & 3;
        v->pattern = f >> 2 & 3;
        v->offset = 0;
        v->bytes = tensor_bytes[v->tensor];
        v->touches_q8 = TOUCHES_ONCE;
        v->parallelism = 0;
        v->evidence = NF_ACCESS_FRAMEWORK;
        v->reserved[0] = v->reserved[1] = 0;
        if (f & FLAG_PART) {
            p = get(p, end, &v->offset);
            p = p ? get(p, end, &v->bytes) : NULL;
            if (!p)
                goto bad;
        }
        v->run = v->stride = v->bytes;
        if (f & FLAG_RUNS) {
            p = get(p, end, &v->run);
            p = p ? get(p, end, &v->stride) : NULL;
            if (!p)
                goto bad;
        }
        if (f & FLAG_DETAIL) {
            p = get(p, end, &x);
            if (!p || x > UINT16_MAX)
                goto bad;
            v->touches_q8 = (uint16_t)x;
            p = get(p, end, &x);
            if (!p || x > UINT8_MAX)
                goto bad;
            v->parallelism = (uint8_t)x;
        }
        if (f & FLAG_EVIDENCE) {
            p = get(p, end, &x);
            if (!p || x >= NF_ACCESS_COUNT)
                goto bad;
            v->evidence = (uint8_t)x;
        }
    }
    if (p == end)
        return 0;
bad:
    return nf_fail(-EBADMSG, "a chunk of visits contradicts itself");
}
