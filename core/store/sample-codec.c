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
    X(tensor, uint32_t, 1, DICTIONARY)                                                               \
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

/* What is left to compress repeats, or does not at all: level 1 takes as long for 3 % less, and is slower to read. */
enum { LEVEL = -1 };
enum { WORD = 8, HEAD = 5 + WORD, LENGTH = 4, BYTE_BITS = 8, SPARSE = 8 };
enum { STARTS = 1024, SLOT_BITS = 11, SLOTS = 1 << SLOT_BITS, LITERALS_MAX = SLOTS / 2 };
/* Samples transposed at once: what is read stays in the nearest cache. */
enum { BLOCK = 32 };
/* Columns begin in different sets of that cache: were they a power of two apart, they would push each other out. */
enum { ROW = NF_SAMPLE_CHUNK + 72 };
/* Eight planes of literals and eight of indices; or a bitmap and eight planes. */
enum { COLUMN_RAW_MAX = 2 * WORD };
/* A plane is looked at in so many places. Were all its bytes as frequent, two of them would be equal with probability
 * 1/256; up to 1/128 compressing saves less than it costs. Smaller planes are compressed anyway. */
enum { LOOKS = 256, EQUAL_PAIRS_MAX = LOOKS * LOOKS / 2 / 128 };

struct nf_sample_codec {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    uint8_t *dense, *out; /* columns to compress; the chunk */
    size_t raw_cap, out_cap;
    uint64_t starts[STARTS];
    struct slot {
        uint64_t key, number; /* its literal's number + 1, 0 free */
    } slots[SLOTS];           /* of the dictionary */
    uint64_t literals[NF_SAMPLE_CHUNK];
    uint64_t numbers[NF_SAMPLE_CHUNK], kept[NF_SAMPLE_CHUNK + 1];
    uint8_t plane[NF_SAMPLE_CHUNK]; /* the highest bits, which are no whole byte */
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
    c->dense = malloc(c->raw_cap);
    c->out_cap = LENGTH + c->raw_cap + ZSTD_compressBound(c->raw_cap);
    c->out = malloc(c->out_cap);
    if (!c->compressor || !c->decompressor || !c->dense || !c->out)
        return nf_sample_codec_free(c);
    return c;
}

struct nf_sample_codec *nf_sample_codec_free(struct nf_sample_codec *c)
{
    if (!c)
        return NULL;
    ZSTD_freeCCtx(c->compressor);
    ZSTD_freeDCtx(c->decompressor);
    free(c->dense);
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

static unsigned bits_of(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

/* --- numbers as planes --- */

/* A chunk being written: a plane goes to the dense part, which is compressed, or to the loose one. */
struct put {
    uint8_t *dense, *loose;
};

/* Do the bytes differ so much that there is nothing to gain? */
static bool is_loose(const uint8_t *p, size_t n)
{
    uint8_t seen[256] = {0}; /* all the same wraps around to 0 once, which makes no difference */
    size_t stride = n / LOOKS;
    uint32_t pairs = 0;

    if (!stride)
        return false;
    for (size_t i = 0; i < LOOKS; i++)
        pairs += seen[p[i * stride]]++;
    return pairs <= EQUAL_PAIRS_MAX;
}

/* A plane of n bytes that was written behind the dense part stays there, or moves. */
static bool settle(struct put *to, size_t n)
{
    if (!is_loose(to->dense, n)) {
        to->dense += n;
        return false;
    }
    memcpy(to->loose, to->dense, n);
    to->loose += n;
    return true;
}

static void put_plane(uint8_t *restrict p, const uint64_t *restrict v, size_t n, unsigned shift)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v[i] >> shift);
}

/* One bit of each byte, eight to a byte, the first lowest. p: n rounded up to a multiple of eight. */
static void put_bit(uint8_t *restrict out, const uint8_t *restrict p, size_t n, unsigned bit)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight;

        memcpy(&eight, p + i, sizeof eight);
        out[i / 8] = (uint8_t)((eight >> bit & 0x0101010101010101ull) * 0x0102040810204080ull >> 56);
    }
}

static void put_head(uint8_t *p, unsigned coding, unsigned bits, unsigned shift, unsigned loose, uint64_t base)
{
    p[0] = (uint8_t)coding;
    p[1] = (uint8_t)bits;
    p[2] = (uint8_t)shift;
    p[3] = (uint8_t)loose;
    p[4] = (uint8_t)(loose >> 8);
    for (int i = 0; i < WORD; i++)
        p[5 + i] = (uint8_t)(base >> 8 * i);
}

/* Where most numbers are 0, a bitmap and the others. */
static size_t put_bitmap(struct put *to, const uint64_t *v, size_t n, uint64_t *kept)
{
    size_t m = 0;

    memset(to->dense, 0, (n + 7) / 8);
    for (size_t i = 0; i < n; i++) {
        to->dense[i / 8] |= (uint8_t)((v[i] != 0) << i % 8);
        kept[m] = v[i];
        m += v[i] != 0;
    }
    to->dense += (n + 7) / 8;
    return m;
}

/* all: their bitwise or. Their lowest `shift` bits are left out. */
static void put_numbers(struct nf_sample_codec *c, struct put *to, unsigned coding, uint64_t base, const uint64_t *v,
                        size_t n, uint64_t all, unsigned shift)
{
    unsigned bits = bits_of(all >> shift), loose = 0, bytes = bits / BYTE_BITS, rest = bits % BYTE_BITS;
    uint8_t *head = to->dense;
    size_t zeros = 0;

    to->dense += HEAD;
    for (size_t i = 0; i < n && bytes; i++)
        zeros += !v[i];
    if (zeros > n / 2) {
        coding |= SPARSE;
        n = put_bitmap(to, v, n, c->kept);
        v = c->kept;
    }
    for (unsigned b = 0; b < bytes; b++) {
        put_plane(to->dense, v, n, shift + BYTE_BITS * b);
        loose |= (unsigned)settle(to, n) << b;
    }
    if (rest) {
        put_plane(c->plane, v, n, shift + BYTE_BITS * bytes);
        memset(c->plane + n, 0, -n % 8);
    }
    for (unsigned b = 0; b < rest; b++) {
        put_bit(to->dense, c->plane, n, b);
        loose |= (unsigned)settle(to, (n + 7) / 8) << (BYTE_BITS + b);
    }
    put_head(head, coding, bits, shift, loose, base);
}

/* --- one column, encoded --- */

static uint64_t differ(const uint64_t *v, size_t n)
{
    uint64_t bits = 0;

    for (size_t i = 1; i < n; i++)
        bits |= v[i] ^ v[0];
    return bits;
}

/* The bits above the highest that differs are the base's; so are those below the lowest. */
static void put_plain(struct nf_sample_codec *c, struct put *to, const uint64_t *v, size_t n, uint64_t bits)
{
    uint64_t mask = (UINT64_MAX >> __builtin_clzll(bits)) & -(bits & -bits);

    for (size_t i = 0; i < n; i++)
        c->numbers[i] = v[i] & mask;
    put_numbers(c, to, PLAIN, v[0] & ~mask, c->numbers, n, mask, (unsigned)__builtin_ctzll(mask));
}

/* A multiple's zigzag without its lowest bits is the zigzag of what it is a multiple of. */
static void put_delta(struct nf_sample_codec *c, struct put *to, enum coding coding, const uint64_t *v, size_t n)
{
    uint64_t all = 0, zigzags = 0;

    c->numbers[0] = 0;
    for (size_t i = 1; i < n; i++) {
        uint64_t difference = v[i] - v[i - 1];

        all |= difference;
        zigzags |= c->numbers[i] = zigzag(difference);
    }
    put_numbers(c, to, coding, v[0], c->numbers, n, zigzags, all ? (unsigned)__builtin_ctzll(all) : 0);
}

/* Few different values. A column whose values differ in one byte has no use for it. */
static void put_dictionary(struct nf_sample_codec *c, struct put *to, const uint64_t *v, size_t n)
{
    uint64_t bits = differ(v, n), used = bits >> __builtin_ctzll(bits);
    /* More than a byte of indices is worth it only instead of three and more. */
    size_t count = 0, count_max = used > UINT16_MAX ? LITERALS_MAX : 256;

    count_max = count_max < n / 4 + 1 ? count_max : n / 4 + 1;
    if (used <= UINT8_MAX) {
        put_plain(c, to, v, n, bits);
        return;
    }
    memset(c->slots, 0, sizeof c->slots);
    for (size_t i = 0; i < n; i++) {
        size_t slot = v[i] * 0x9e3779b97f4a7c15ull >> (64 - SLOT_BITS);

        while (c->slots[slot].key != v[i] || !c->slots[slot].number) {
            if (c->slots[slot].number) {
                slot = (slot + 1) % SLOTS;
                continue;
            }
            if (count == count_max) {
                put_plain(c, to, v, n, bits);
                return;
            }
            c->literals[count++] = v[i];
            c->slots[slot] = (struct slot){v[i], count};
        }
        c->numbers[i] = c->slots[slot].number - 1;
    }
    put_numbers(c, to, DICTIONARY, count, c->numbers, n, count - 1, 0);
    for (unsigned b = 0; b < WORD; b++, to->dense += count)
        put_plane(to->dense, c->literals, count, BYTE_BITS * b);
}

static void put_starts(struct nf_sample_codec *c, struct put *to, size_t n)
{
    const uint64_t *tensor = c->v[COLUMN_tensor], *offset = c->v[COLUMN_offset], *address = c->v[COLUMN_address];
    uint64_t all = 0, zigzags = 0, first = address[0] - offset[0];

    for (unsigned i = 0; i < STARTS; i++)
        c->starts[i] = first;
    for (size_t i = 0; i < n; i++) {
        uint64_t *start = &c->starts[tensor[i] % STARTS], now = address[i] - offset[i];

        all |= now - *start;
        zigzags |= c->numbers[i] = zigzag(now - *start);
        *start = now;
    }
    put_numbers(c, to, START, first, c->numbers, n, zigzags, all ? (unsigned)__builtin_ctzll(all) : 0);
}

static void put_frames(struct nf_sample_codec *c, struct put *to, size_t n)
{
    uint64_t *physical = c->v[COLUMN_physical];

    for (size_t i = 0; i < n; i++)
        physical[i] -= c->v[COLUMN_address][i];
    put_delta(c, to, FRAME, physical, n);
}

static void put_column(struct nf_sample_codec *c, struct put *to, unsigned column, size_t n)
{
    const uint64_t *v = c->v[column];

    switch ((enum coding)coding_of[column]) {
    case PLAIN: put_plain(c, to, v, n, differ(v, n)); break;
    case DELTA: put_delta(c, to, DELTA, v, n); break;
    case DICTIONARY: put_dictionary(c, to, v, n); break;
    case START: put_starts(c, to, n); break;
    case FRAME: put_frames(c, to, n); break;
    }
}

/* --- one column, decoded --- */

/* A chunk being read. */
struct get {
    const uint8_t *dense, *dense_end, *loose, *loose_end;
};

static bool take(const uint8_t **p, const uint8_t *end, size_t n, const uint8_t **out)
{
    if ((size_t)(end - *p) < n)
        return false;
    *out = *p;
    *p += n;
    return true;
}

static inline __attribute__((always_inline)) void join(const uint8_t *const *planes, uint64_t *restrict v, size_t n,
                                                       unsigned width)
{
    const uint8_t *p[WORD];

    memcpy(p, planes, width * sizeof *p);
    for (size_t i = 0; i < n; i++) {
        uint64_t x = 0;

        for (unsigned b = 0; b < width; b++)
            x |= (uint64_t)p[b][i] << BYTE_BITS * b;
        v[i] = x;
    }
}

static void join_planes(const uint8_t *const *planes, uint64_t *v, size_t n, unsigned width)
{
    switch (width) {
    case 0: memset(v, 0, n * sizeof *v); break;
    case 1: join(planes, v, n, 1); break;
    case 2: join(planes, v, n, 2); break;
    case 3: join(planes, v, n, 3); break;
    case 4: join(planes, v, n, 4); break;
    case 5: join(planes, v, n, 5); break;
    case 6: join(planes, v, n, 6); break;
    case 7: join(planes, v, n, 7); break;
    default: join(planes, v, n, WORD); break;
    }
}

/* out |= each bit, at its place. out: n rounded up to a multiple of eight. */
static void get_bit(uint8_t *restrict out, const uint8_t *restrict p, size_t n, unsigned bit)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t spread = p[i / 8] * 0x0101010101010101ull & 0x8040201008040201ull, eight;

        memcpy(&eight, out + i, sizeof eight);
        eight |= ((spread + 0x7f7f7f7f7f7f7f7full) >> 7 & 0x0101010101010101ull) << bit;
        memcpy(out + i, &eight, sizeof eight);
    }
}

/* What the head of a column says. */
struct head {
    unsigned coding, bits, shift, loose;
    bool sparse;
    uint64_t base;
};

static bool get_head(struct get *from, struct head *h)
{
    const uint8_t *p;

    if (!take(&from->dense, from->dense_end, HEAD, &p))
        return false;
    *h = (struct head){.coding = p[0] & ~(unsigned)SPARSE, .sparse = p[0] & SPARSE, .bits = p[1], .shift = p[2],
                       .loose = p[3] | (unsigned)p[4] << 8};
    for (int i = 0; i < WORD; i++)
        h->base |= (uint64_t)p[5 + i] << 8 * i;
    return h->bits <= 64 && h->shift < 64;
}

static bool get_planes(struct nf_sample_codec *c, struct get *from, const struct head *h, uint64_t *v, size_t n)
{
    unsigned bytes = h->bits / BYTE_BITS, rest = h->bits % BYTE_BITS;
    const uint8_t *planes[WORD], *bits;

    for (unsigned b = 0; b < bytes; b++) {
        bool loose = h->loose >> b & 1;

        if (!take(loose ? &from->loose : &from->dense, loose ? from->loose_end : from->dense_end, n, &planes[b]))
            return false;
    }
    if (rest) {
        memset(c->plane, 0, (n + 7) / 8 * 8);
        planes[bytes] = c->plane;
    }
    for (unsigned b = 0; b < rest; b++) {
        bool loose = h->loose >> (BYTE_BITS + b) & 1;

        if (!take(loose ? &from->loose : &from->dense, loose ? from->loose_end : from->dense_end, (n + 7) / 8, &bits))
            return false;
        get_bit(c->plane, bits, n, b);
    }
    join_planes(planes, v, n, bytes + !!rest);
    return true;
}

static bool get_sparse(struct nf_sample_codec *c, struct get *from, const struct head *h, uint64_t *v, size_t n)
{
    const uint8_t *bitmap;
    size_t m = 0;

    if (!take(&from->dense, from->dense_end, (n + 7) / 8, &bitmap) || (n % 8 && bitmap[n / 8] >> n % 8))
        return false;
    for (size_t i = 0; i < (n + 7) / 8; i++)
        m += (size_t)__builtin_popcount(bitmap[i]);
    if (!get_planes(c, from, h, c->kept, m))
        return false;
    c->kept[m] = 0; /* looked at where none follows */
    m = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned there = bitmap[i / 8] >> i % 8 & 1;

        v[i] = c->kept[m] & -(uint64_t)there;
        m += there;
    }
    return true;
}

static bool get_literals(struct nf_sample_codec *c, struct get *from, uint64_t n)
{
    const uint8_t *planes[WORD];

    if (n > NF_SAMPLE_CHUNK)
        return false;
    for (unsigned b = 0; b < WORD; b++)
        if (!take(&from->dense, from->dense_end, n, &planes[b]))
            return false;
    join_planes(planes, c->literals, n, WORD);
    return true;
}

/* From numbers to values. */
static bool restore(struct nf_sample_codec *c, struct get *from, unsigned column, const struct head *h, size_t n)
{
    uint64_t *v = c->v[column], last = h->base;

    switch (h->coding) {
    case PLAIN:
        for (size_t i = 0; i < n; i++)
            v[i] = h->base + (v[i] << h->shift);
        return true;
    case DELTA:
        for (size_t i = 0; i < n; i++)
            v[i] = last += unzigzag(v[i]) << h->shift;
        return true;
    case DICTIONARY:
        if (!get_literals(c, from, h->base))
            return false;
        for (size_t i = 0; i < n; i++) {
            if (v[i] >= h->base)
                return false;
            v[i] = c->literals[v[i]];
        }
        return true;
    /* Only where the columns they refer to are known already. */
    case FRAME:
        for (size_t i = 0; i < n && column == COLUMN_physical; i++)
            v[i] = (last += unzigzag(v[i]) << h->shift) + c->v[COLUMN_address][i];
        return column == COLUMN_physical;
    case START:
        for (unsigned i = 0; i < STARTS; i++)
            c->starts[i] = h->base;
        for (size_t i = 0; i < n && column == COLUMN_address; i++) {
            uint64_t *start = &c->starts[c->v[COLUMN_tensor][i] % STARTS];

            *start += unzigzag(v[i]) << h->shift;
            v[i] = *start + c->v[COLUMN_offset][i];
        }
        return column == COLUMN_address;
    default: return false;
    }
}

static bool get_column(struct nf_sample_codec *c, struct get *from, unsigned column, size_t n, bool *same)
{
    uint64_t *v = c->v[column], most = 0;
    struct head h;

    if (!get_head(from, &h))
        return false;
    /* Other columns may refer to the first, which takes all their values. */
    *same = h.coding == PLAIN && !h.sparse && !h.bits && column > COLUMN_physical;
    if (*same) {
        v[0] = h.base;
        return h.base <= max_of[column];
    }
    if (!(h.sparse ? get_sparse(c, from, &h, v, n) : get_planes(c, from, &h, v, n)) || !restore(c, from, column, &h, n))
        return false;
    for (size_t i = 0; i < n; i++)
        most |= v[i];
    return most <= max_of[column];
}

/* --- chunks --- */

/* Which columns have more than one value: a bit each. */
static uint32_t find_varying(const struct nf_sample *s, size_t n)
{
    enum { WORDS = sizeof *s / WORD };
    uint64_t first[WORDS], now[WORDS], differ[WORDS] = {0};
    struct nf_sample all;
    uint32_t varying = 0;

    memcpy(first, s, sizeof first);
    for (size_t i = 1; i < n; i++) {
        memcpy(now, s + i, sizeof now);
        for (unsigned w = 0; w < WORDS; w++)
            differ[w] |= now[w] ^ first[w];
    }
    memcpy(&all, differ, sizeof all);
#define IS_VARYING(field, type, add, coding) varying |= (uint32_t)(all.field != 0) << COLUMN_##field;
    FIELDS(IS_VARYING)
    return varying;
}

#define GATHER(field, type, add, coding)                                                             \
    for (size_t i = 0; i < m && varying >> COLUMN_##field & 1; i++)                                  \
        c->v[COLUMN_##field][at + i] = (type)(s[at + i].field + add);
#define GATHER_SAME(field, type, add, coding)                                                        \
    if (!(varying >> COLUMN_##field & 1))                                                            \
        c->v[COLUMN_##field][0] = (type)(s->field + add);
#define SCATTER(field, type, add, coding)                                                            \
    for (size_t i = 0; i < m && varying >> COLUMN_##field & 1; i++)                                  \
        out[at + i].field = (type)(c->v[COLUMN_##field][at + i] - add);
#define SCATTER_SAME(field, type, add, coding)                                                       \
    if (!(varying >> COLUMN_##field & 1))                                                            \
        same.field = (type)(c->v[COLUMN_##field][0] - add);

static void gather(struct nf_sample_codec *c, const struct nf_sample *s, size_t n, uint32_t varying)
{
    for (size_t at = 0, m; at < n; at += m) {
        m = n - at < BLOCK ? n - at : BLOCK;
        FIELDS(GATHER)
    }
    FIELDS(GATHER_SAME)
}

/* These three are referred to: by address, and by physical. */
static uint32_t with_referred(uint32_t varying)
{
    if (varying >> COLUMN_address & 1)
        varying |= 1u << COLUMN_tensor | 1u << COLUMN_offset;
    return varying >> COLUMN_physical & 1 ? varying | 1u << COLUMN_address : varying;
}

int nf_sample_encode(struct nf_sample_codec *c, const struct nf_sample *s, size_t n, const void **data, size_t *size,
                     size_t *raw_size, uint32_t *crc)
{
    struct put to = {c->dense, c->out + LENGTH};
    uint32_t varying;
    size_t loose, got;

    if (!n || n > NF_SAMPLE_CHUNK)
        return nf_fail(-EINVAL, "a chunk cannot have %zu samples", n);
    varying = find_varying(s, n);
    gather(c, s, n, with_referred(varying));
    for (unsigned column = 0; column < COLUMNS; column++) {
        if (varying >> column & 1) {
            put_column(c, &to, column, n);
        } else {
            put_head(to.dense, PLAIN, 0, 0, 0, c->v[column][0]);
            to.dense += HEAD;
        }
    }
    loose = (size_t)(to.loose - c->out) - LENGTH;
    for (int i = 0; i < LENGTH; i++)
        c->out[i] = (uint8_t)(loose >> 8 * i);
    *raw_size = loose + (size_t)(to.dense - c->dense);
    got = ZSTD_compressCCtx(c->compressor, to.loose, c->out_cap - LENGTH - loose, c->dense, *raw_size - loose, LEVEL);
    if (ZSTD_isError(got))
        return nf_fail(-EIO, "compressing samples: %s", ZSTD_getErrorName(got));
    *crc = nf_crc32c_more(nf_crc32c(c->out + LENGTH, loose), c->dense, *raw_size - loose);
    *data = c->out;
    *size = LENGTH + loose + got;
    return 0;
}

static int contradicts(void)
{
    return nf_fail(-EBADMSG, "a chunk of samples contradicts itself");
}

int nf_sample_decode(struct nf_sample_codec *c, const void *data, size_t size, size_t raw_size, uint32_t crc,
                     struct nf_sample *out, size_t n)
{
    const uint8_t *blob = data;
    struct nf_sample same;
    uint32_t varying = 0;
    size_t loose = 0, dense, got;
    struct get from;

    if (!n || n > NF_SAMPLE_CHUNK || raw_size < COLUMNS * HEAD || raw_size > COLUMNS * (HEAD + n * COLUMN_RAW_MAX))
        return nf_fail(-EBADMSG, "a chunk of %zu samples cannot have %zu bytes", n, raw_size);
    for (size_t i = 0; i < LENGTH && size >= LENGTH; i++)
        loose |= (size_t)blob[i] << 8 * i;
    if (size < LENGTH || loose > size - LENGTH || loose > raw_size)
        return nf_fail(-EBADMSG, "a chunk of samples does not decompress: it is cut off");
    blob += LENGTH;
    dense = raw_size - loose;
    got = ZSTD_decompressDCtx(c->decompressor, c->dense, dense, blob + loose, size - LENGTH - loose);
    if (ZSTD_isError(got) || got != dense)
        return nf_fail(-EBADMSG, "a chunk of samples does not decompress");
    if (nf_crc32c_more(nf_crc32c(blob, loose), c->dense, dense) != crc)
        return nf_fail(-EBADMSG, "a chunk of samples fails its checksum");
    from = (struct get){c->dense, c->dense + dense, blob, blob + loose};
    for (unsigned column = 0; column < COLUMNS; column++) {
        bool is_same;

        if (!get_column(c, &from, column, n, &is_same))
            return contradicts();
        varying |= (uint32_t)!is_same << column;
    }
    if (from.dense != from.dense_end || from.loose != from.loose_end)
        return contradicts();
    memset(&same, 0, sizeof same);
    FIELDS(SCATTER_SAME)
    for (size_t at = 0, m; at < n; at += m) {
        m = n - at < BLOCK ? n - at : BLOCK;
        for (size_t i = 0; i < m; i++)
            memcpy(&out[at + i], &same, sizeof same);
        FIELDS(SCATTER)
    }
    return 0;
}
