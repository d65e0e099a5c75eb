#include "core/store/sample-codec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "core/base/error.h"
#include "core/store/crc32c.h"

enum coding { PLAIN = 0, DELTA = 1, DICTIONARY = 2, START = 3, FRAME = 4 };

/* Field, its type, what is added so that "none" becomes 0, and the coding to try. tensor and offset stand before address,
 * address before physical: they are needed to decode it. */
#define FIELDS(X)                                                                                    \
    X(tensor, uint32_t, 0, DICTIONARY)                                                               \
    X(offset, uint64_t, 0, PLAIN)                                                                    \
    X(address, uint64_t, 0, START)                                                                   \
    X(physical, uint64_t, 0, FRAME)                                                                  \
    X(time_ns, uint64_t, 0, DELTA)                                                                   \
    X(ip, uint64_t, 0, DICTIONARY)                                                                   \
    X(data_src, uint64_t, 0, DICTIONARY)                                                             \
    X(period, uint64_t, 0, PLAIN)                                                                    \
    X(weight, uint32_t, 0, PLAIN)                                                                    \
    X(weight2, uint16_t, 0, PLAIN)                                                                   \
    X(weight3, uint16_t, 0, PLAIN)                                                                   \
    X(pid, uint32_t, 0, DICTIONARY)                                                                  \
    X(tid, uint32_t, 0, DICTIONARY)                                                                  \
    X(cpu, uint32_t, 1, PLAIN)                                                                       \
    X(step, uint32_t, 1, DELTA)                                                                      \
    X(op, uint32_t, 1, DELTA)                                                                        \
    X(event, uint16_t, 0, PLAIN)                                                                     \
    X(rw, uint8_t, 0, PLAIN)                                                                         \
    X(kernel, uint8_t, 0, PLAIN)

#define COLUMN_OF(field, type, add, coding) COLUMN_##field,
enum { FIELDS(COLUMN_OF) COLUMNS };

#define CODING_OF(field, type, add, coding) coding,
static const uint8_t coding_of[COLUMNS] = {FIELDS(CODING_OF)};
#define MAX_OF(field, type, add, coding) (type)-1,
static const uint64_t max_of[COLUMNS] = {FIELDS(MAX_OF)};

/* Byte planes either repeat or do not compress at all: level 1 is a third slower for 3 % less, and slower to read. */
enum { LEVEL = -1 };
enum { WORD = 8, HEAD = 2 + WORD, STARTS = 1024, SLOTS = 4096, LITERALS_MAX = SLOTS / 4 };
/* Samples transposed at once: 6 ns a sample at 16 or 32, 28 from 64 on. */
enum { BLOCK = 32 };
/* Columns begin in different sets of that cache: were they a power of two apart, they would push each other out. */
enum { ROW = NF_SAMPLE_CHUNK + 72 };
/* Eight planes, or as many literals and two planes of indices. */
enum { COLUMN_RAW_MAX = WORD + 2 };

struct nf_sample_codec {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    uint8_t *raw, *out;
    size_t raw_cap, out_cap;
    uint64_t starts[STARTS];
    uint16_t slots[SLOTS]; /* of the dictionary: a literal's number + 1, 0 free */
    uint64_t keys[SLOTS], literals[NF_SAMPLE_CHUNK];
    uint64_t scratch[NF_SAMPLE_CHUNK];
    uint64_t v[COLUMNS][ROW];
};

struct nf_sample_codec *nf_sample_codec_new(void)
{
    struct nf_sample_codec *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->compressor = ZSTD_createCCtx();
    c->decompressor = ZSTD_createDCtx();
    c->raw_cap = (size_t)COLUMNS * (HEAD + NF_SAMPLE_CHUNK * COLUMN_RAW_MAX);
    c->raw = malloc(c->raw_cap);
    c->out_cap = ZSTD_compressBound(c->raw_cap);
    c->out = malloc(c->out_cap);
    if (!c->compressor || !c->decompressor || !c->raw || !c->out)
        return nf_sample_codec_free(c);
    return c;
}

struct nf_sample_codec *nf_sample_codec_free(struct nf_sample_codec *c)
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

static inline uint64_t zigzag(uint64_t difference)
{
    return difference << 1 ^ (uint64_t)((int64_t)difference >> 63);
}

static inline uint64_t unzigzag(uint64_t v)
{
    return v >> 1 ^ -(v & 1);
}

static unsigned width_of(uint64_t v)
{
    unsigned w = 0;

    for (; v; v >>= 8)
        w++;
    return w;
}

/* --- one column --- */

static uint8_t *put_head(uint8_t *p, enum coding coding, unsigned width, uint64_t base)
{
    p[0] = (uint8_t)coding;
    p[1] = (uint8_t)width;
    for (int i = 0; i < WORD; i++)
        p[2 + i] = (uint8_t)(base >> 8 * i);
    return p + HEAD;
}

static uint8_t *put_planes(uint8_t *restrict p, const uint64_t *restrict v, size_t n, unsigned width)
{
    for (unsigned b = 0; b < width; b++, p += n)
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)(v[i] >> 8 * b);
    return p;
}

static void get_planes(const uint8_t *restrict p, uint64_t *restrict v, size_t n, unsigned width)
{
    memset(v, 0, n * sizeof *v);
    for (unsigned b = 0; b < width; b++, p += n)
        for (size_t i = 0; i < n; i++)
            v[i] |= (uint64_t)p[i] << 8 * b;
}

static uint8_t *put_plain(struct nf_sample_codec *c, uint8_t *p, const uint64_t *v, size_t n)
{
    uint64_t least = v[0], most = v[0];

    for (size_t i = 1; i < n; i++) {
        least = v[i] < least ? v[i] : least;
        most = v[i] > most ? v[i] : most;
    }
    for (size_t i = 0; i < n; i++)
        c->scratch[i] = v[i] - least;
    p = put_head(p, PLAIN, width_of(most - least), least);
    return put_planes(p, c->scratch, n, width_of(most - least));
}

static uint8_t *put_delta(struct nf_sample_codec *c, uint8_t *p, enum coding coding, const uint64_t *v, size_t n)
{
    uint64_t all = 0;

    c->scratch[0] = 0;
    for (size_t i = 1; i < n; i++)
        all |= c->scratch[i] = zigzag(v[i] - v[i - 1]);
    p = put_head(p, coding, width_of(all), v[0]);
    return put_planes(p, c->scratch, n, width_of(all));
}

/* Few different values, or delta. */
static uint8_t *put_dictionary(struct nf_sample_codec *c, uint8_t *p, const uint64_t *v, size_t n)
{
    size_t count = 0;

    memset(c->slots, 0, sizeof c->slots);
    for (size_t i = 0; i < n; i++) {
        size_t slot = (size_t)(v[i] * 0x9e3779b97f4a7c15ull >> 32) % SLOTS;

        while (c->keys[slot] != v[i] || !c->slots[slot]) {
            if (c->slots[slot]) {
                slot = (slot + 1) % SLOTS;
                continue;
            }
            if (count == LITERALS_MAX || count > n / 4 + 1)
                return put_delta(c, p, DELTA, v, n);
            c->literals[count++] = c->keys[slot] = v[i];
            c->slots[slot] = (uint16_t)count;
        }
        c->scratch[i] = c->slots[slot] - 1u;
    }
    p = put_head(p, DICTIONARY, count > 256 ? 2 : 1, count);
    p = put_planes(p, c->literals, count, WORD);
    return put_planes(p, c->scratch, n, count > 256 ? 2 : 1);
}

static uint8_t *put_starts(struct nf_sample_codec *c, uint8_t *p, size_t n)
{
    const uint64_t *tensor = c->v[COLUMN_tensor], *offset = c->v[COLUMN_offset], *address = c->v[COLUMN_address];
    uint64_t all = 0;

    memset(c->starts, 0, sizeof c->starts);
    for (size_t i = 0; i < n; i++) {
        uint64_t *start = &c->starts[tensor[i] % STARTS], now = address[i] - offset[i];

        all |= c->scratch[i] = zigzag(now - *start);
        *start = now;
    }
    p = put_head(p, START, width_of(all), 0);
    return put_planes(p, c->scratch, n, width_of(all));
}

static uint8_t *put_frames(struct nf_sample_codec *c, uint8_t *p, size_t n)
{
    uint64_t *physical = c->v[COLUMN_physical];

    for (size_t i = 0; i < n; i++)
        physical[i] -= c->v[COLUMN_address][i];
    return put_delta(c, p, FRAME, physical, n);
}

static uint8_t *put_column(struct nf_sample_codec *c, uint8_t *p, unsigned column, size_t n)
{
    const uint64_t *v = c->v[column];
    uint64_t differ = 0;

    for (size_t i = 1; i < n; i++)
        differ |= v[i] ^ v[0];
    if (!differ)
        return put_head(p, PLAIN, 0, v[0]);
    switch ((enum coding)coding_of[column]) {
    case PLAIN: return put_plain(c, p, v, n);
    case DELTA: return put_delta(c, p, DELTA, v, n);
    case DICTIONARY: return put_dictionary(c, p, v, n);
    case START: return put_starts(c, p, n);
    case FRAME: return put_frames(c, p, n);
    }
    return p;
}

static bool get_column(struct nf_sample_codec *c, const uint8_t **at, const uint8_t *end, unsigned column, size_t n)
{
    const uint8_t *p = *at;
    uint64_t *v = c->v[column], base = 0, last, most = 0;
    unsigned width, coding;

    if (end - p < HEAD)
        return false;
    coding = p[0];
    width = p[1];
    for (int i = 0; i < WORD; i++)
        base |= (uint64_t)p[2 + i] << 8 * i;
    p += HEAD;
    if (width > WORD)
        return false;
    if (coding == DICTIONARY) {
        if (base > n || (size_t)(end - p) < base * WORD)
            return false;
        get_planes(p, c->literals, base, WORD);
        p += base * WORD;
    }
    if ((size_t)(end - p) < n * width)
        return false;
    get_planes(p, v, n, width);
    *at = p + n * width;

    last = base;
    switch (coding) {
    case PLAIN:
        for (size_t i = 0; i < n; i++)
            v[i] += base;
        break;
    case DELTA:
    case FRAME:
        for (size_t i = 0; i < n; i++)
            v[i] = last += unzigzag(v[i]);
        for (size_t i = 0; i < n && coding == FRAME; i++)
            v[i] += c->v[COLUMN_address][i];
        break;
    case DICTIONARY:
        for (size_t i = 0; i < n; i++) {
            if (v[i] >= base)
                return false;
            v[i] = c->literals[v[i]];
        }
        break;
    case START:
        memset(c->starts, 0, sizeof c->starts);
        for (size_t i = 0; i < n; i++) {
            uint64_t *start = &c->starts[c->v[COLUMN_tensor][i] % STARTS];

            *start += unzigzag(v[i]);
            v[i] = *start + c->v[COLUMN_offset][i];
        }
        break;
    default: return false;
    }
    /* Only where the columns they refer to are known already. */
    if ((coding == START && column != COLUMN_address) || (coding == FRAME && column != COLUMN_physical))
        return false;
    for (size_t i = 0; i < n; i++)
        most |= v[i];
    return most <= max_of[column];
}

/* --- chunks --- */

#define GATHER(field, type, add, coding)                                                             \
    for (size_t i = 0; i < m; i++)                                                                   \
        c->v[COLUMN_##field][at + i] = (type)(s[at + i].field + add);
#define SCATTER(field, type, add, coding)                                                            \
    for (size_t i = 0; i < m; i++)                                                                   \
        out[at + i].field = (type)(c->v[COLUMN_##field][at + i] - add);

int nf_sample_encode(struct nf_sample_codec *c, const struct nf_sample *s, size_t n, const void **data, size_t *size,
                     size_t *raw_size, uint32_t *crc)
{
    uint8_t *p = c->raw;
    size_t got;

    if (!n || n > NF_SAMPLE_CHUNK)
        return nf_fail(-EINVAL, "a chunk cannot have %zu samples", n);
    for (size_t at = 0, m; at < n; at += m) {
        m = n - at < BLOCK ? n - at : BLOCK;
        FIELDS(GATHER)
    }
    for (unsigned column = 0; column < COLUMNS; column++)
        p = put_column(c, p, column, n);
    *raw_size = (size_t)(p - c->raw);
    got = ZSTD_compressCCtx(c->compressor, c->out, c->out_cap, c->raw, *raw_size, LEVEL);
    if (ZSTD_isError(got))
        return nf_fail(-EIO, "compressing samples: %s", ZSTD_getErrorName(got));
    *crc = nf_crc32c(c->raw, *raw_size);
    *data = c->out;
    *size = got;
    return 0;
}

int nf_sample_decode(struct nf_sample_codec *c, const void *data, size_t size, size_t raw_size, uint32_t crc,
                     struct nf_sample *out, size_t n)
{
    const uint8_t *p = c->raw, *end = p + raw_size;
    size_t got;

    if (!n || n > NF_SAMPLE_CHUNK || raw_size < COLUMNS * HEAD || raw_size > COLUMNS * (HEAD + n * COLUMN_RAW_MAX))
        return nf_fail(-EBADMSG, "a chunk of %zu samples cannot have %zu bytes", n, raw_size);
    got = ZSTD_decompressDCtx(c->decompressor, c->raw, raw_size, data, size);
    if (ZSTD_isError(got) || got != raw_size)
        return nf_fail(-EBADMSG, "a chunk of samples does not decompress");
    if (nf_crc32c(c->raw, raw_size) != crc)
        return nf_fail(-EBADMSG, "a chunk of samples fails its checksum");
    for (unsigned column = 0; column < COLUMNS; column++)
        if (!get_column(c, &p, end, column, n))
            return nf_fail(-EBADMSG, "a chunk of samples contradicts itself");
    if (p != end)
        return nf_fail(-EBADMSG, "a chunk of samples contradicts itself");
    memset(out, 0, n * sizeof *out);
    for (size_t at = 0, m; at < n; at += m) {
        m = n - at < BLOCK ? n - at : BLOCK;
        FIELDS(SCATTER)
    }
    return 0;
}
