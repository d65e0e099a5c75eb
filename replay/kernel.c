#include "replay/kernel.h"

#include <stdbool.h>
#include <string.h>

#include "core/base/rng.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    WIDE = 64,  /* one cache line: the unit in which memory is fetched */
    BATCH = 64, /* rows looked up together */
    /* Bytes that reads are prefetched ahead, as the hardware's prefetcher stops at a page's end: about what a core reads while one
     * line comes from memory. ./bench peers has sequential reads beside multiload's. */
    AHEAD = 24 * WIDE,
};

typedef uint64_t line __attribute__((vector_size(WIDE), may_alias));
typedef uint32_t eight __attribute__((vector_size(32)));
typedef uint64_t word __attribute__((aligned(1), may_alias));

/* Keeps a value, and the loads it came from, from being optimised away. */
#define SINK(x) __asm__ volatile("" : : "r"(x))
#define SINK_LINE(x) __asm__ volatile("" : : "m"(x))
/* Keeps a loop of stores from becoming a memset, which may choose non-temporal stores. */
#define KEEP() __asm__ volatile("" : : : "memory")

/* Bytes from p to the next line, at most n. */
static size_t head_bytes(const char *p, size_t n)
{
    size_t head = -(uintptr_t)p & (WIDE - 1);

    return head < n ? head : n;
}

/* What does not fill a line: the ends of a run. Word by word: a compiler that makes vectors of so few spends more on their
 * preparation than the whole run takes. */
static inline void touch_read_ends(char *p, size_t n)
{
    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word))
        SINK(*(word *)p);
    for (; n; p++, n--)
        SINK(*(unsigned char *)p);
}

static inline void touch_write_ends(char *p, size_t n)
{
    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word)) {
        *(word *)p = 1;
        KEEP();
    }
    for (; n; p++, n--) {
        *p = 1;
        KEEP();
    }
}

static inline void touch_update_ends(char *p, size_t n)
{
    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word)) {
        *(word *)p += 1;
        KEEP();
    }
    for (; n; p++, n--) {
        *p = (char)(*p + 1);
        KEEP();
    }
}

/* A run of one word, as an element of a gathered vector is. */
static inline void touch_read_word(char *p)
{
    SINK(*(word *)p);
}

static inline void touch_write_word(char *p)
{
    *(word *)p = 1;
    KEEP();
}

static inline void touch_update_word(char *p)
{
    *(word *)p += 1;
    KEEP();
}

static inline void touch_stream_word(char *p)
{
    touch_write_word(p); /* not a whole line */
}

/* The same loops for each instruction set. They are macros because a target attribute decides how a vector type is lowered
 * before anything is inlined. Four lines an iteration keep the load ports busy; one accumulator each breaks the chain of
 * additions. Sums are kept by a store to the stack: taking them apart word by word costs more than a short run does. */
#define INLINE(attribute) attribute __attribute__((always_inline)) static inline

/* The next BATCH rows' numbers, apart from the accesses, so that many of these are under way at once, as with the index that
 * a job has in memory. In 32 bits: a vector of words is multiplied in a third of the time. The second loop is for rows whose
 * first place is none. */
#define DEFINE_PLACES(isa, attribute)                                                                                  \
    attribute __attribute__((noinline)) static void places_##isa(uint32_t *restrict place,                             \
                                                                 const struct nf_rows *rows, uint32_t from)            \
    {                                                                                                                  \
        const uint32_t n = (uint32_t)(rows->n - 1), mask = (uint32_t)rows->mask, seed = (uint32_t)rows->seed;          \
        const unsigned shift = rows->shift;                                                                            \
        uint32_t over = 0;                                                                                             \
                                                                                                                       \
        for (uint32_t i = 0; i < BATCH; i++) {                                                                         \
            uint32_t x = ((from + i) * (uint32_t)NF_ROWS_FIRST + seed) & mask;                                         \
                                                                                                                       \
            x = ((x ^ x >> shift) * (uint32_t)NF_ROWS_SECOND) & mask;                                                  \
            place[i] = x ^ x >> shift;                                                                                 \
            over |= place[i] > n;                                                                                      \
        }                                                                                                              \
        for (uint32_t i = 0; over && i < BATCH; i++) {                                                                 \
            while (place[i] > n)                                                                                       \
                place[i] = (uint32_t)nf_rows_next(rows, place[i]);                                                     \
        }                                                                                                              \
    }

#define DEFINE_RUNS(isa, attribute)                                                                                    \
    INLINE(attribute) void read_run_##isa(char *at, size_t run, line sum[4])                                           \
    {                                                                                                                  \
        size_t head = head_bytes(at, run), n = run - head;                                                             \
        char *p = at + head;                                                                                           \
                                                                                                                       \
        if (run < WIDE) {                                                                                              \
            touch_read_ends(at, run);                                                                                  \
            return;                                                                                                    \
        }                                                                                                              \
        if (head)                                                                                                      \
            touch_read_ends(at, head);                                                                                 \
        for (; n >= 4 * WIDE + AHEAD; p += 4 * WIDE, n -= 4 * WIDE) {                                                  \
            __builtin_prefetch(p + AHEAD);                                                                             \
            __builtin_prefetch(p + AHEAD + WIDE);                                                                      \
            __builtin_prefetch(p + AHEAD + 2 * WIDE);                                                                  \
            __builtin_prefetch(p + AHEAD + 3 * WIDE);                                                                  \
            sum[0] += ((line *)p)[0];                                                                                  \
            sum[1] += ((line *)p)[1];                                                                                  \
            sum[2] += ((line *)p)[2];                                                                                  \
            sum[3] += ((line *)p)[3];                                                                                  \
        }                                                                                                              \
        for (; n >= 4 * WIDE; p += 4 * WIDE, n -= 4 * WIDE) {                                                          \
            sum[0] += ((line *)p)[0];                                                                                  \
            sum[1] += ((line *)p)[1];                                                                                  \
            sum[2] += ((line *)p)[2];                                                                                  \
            sum[3] += ((line *)p)[3];                                                                                  \
        }                                                                                                              \
        for (; n >= WIDE; p += WIDE, n -= WIDE)                                                                        \
            sum[0] += *(line *)p;                                                                                      \
        if (n)                                                                                                         \
            touch_read_ends(p, n);                                                                                     \
    }                                                                                                                  \
    INLINE(attribute) void write_run_##isa(char *at, size_t run, line sum[4])                                          \
    {                                                                                                                  \
        const line value = {1, 1, 1, 1, 1, 1, 1, 1};                                                                   \
        size_t head = head_bytes(at, run), n = run - head;                                                             \
        char *p = at + head;                                                                                           \
                                                                                                                       \
        if (run < WIDE) {                                                                                              \
            touch_write_ends(at, run);                                                                                 \
            return;                                                                                                    \
        }                                                                                                              \
        if (head)                                                                                                      \
            touch_write_ends(at, head);                                                                                \
        for (; n >= WIDE; p += WIDE, n -= WIDE) {                                                                      \
            *(line *)p = value;                                                                                        \
            KEEP();                                                                                                    \
        }                                                                                                              \
        if (n)                                                                                                         \
            touch_write_ends(p, n);                                                                                    \
    }                                                                                                                  \
    INLINE(attribute) void update_run_##isa(char *at, size_t run, line sum[4])                                         \
    {                                                                                                                  \
        const line one = {1, 1, 1, 1, 1, 1, 1, 1};                                                                     \
        size_t head = head_bytes(at, run), n = run - head;                                                             \
        char *p = at + head;                                                                                           \
                                                                                                                       \
        if (run < WIDE) {                                                                                              \
            touch_update_ends(at, run);                                                                                \
            return;                                                                                                    \
        }                                                                                                              \
        if (head)                                                                                                      \
            touch_update_ends(at, head);                                                                               \
        for (; n >= WIDE; p += WIDE, n -= WIDE)                                                                        \
            *(line *)p += one;                                                                                         \
        if (n)                                                                                                         \
            touch_update_ends(p, n);                                                                                   \
    }                                                                                                                  \
    INLINE(attribute) void stream_run_##isa(char *at, size_t run, line sum[4])                                         \
    {                                                                                                                  \
        size_t head = head_bytes(at, run), n = run - head;                                                             \
        char *p = at + head;                                                                                           \
                                                                                                                       \
        if (run < WIDE) {                                                                                              \
            touch_write_ends(at, run);                                                                                 \
            return;                                                                                                    \
        }                                                                                                              \
        if (head)                                                                                                      \
            touch_write_ends(at, head);                                                                                \
        for (; n >= WIDE; p += WIDE, n -= WIDE)                                                                        \
            stream_line_##isa(p);                                                                                      \
        if (n)                                                                                                         \
            touch_write_ends(p, n);                                                                                    \
    }

/* Stores leave their buffer in order: places that were stored would queue there behind rows that miss. So rows are written
 * by places that stay in registers, where a register's parts can be had (else they are stored after all), if all rows have
 * one. Reads wait for nothing: theirs are stored, which takes fewer instructions. */
enum { STORES_read = false, STORES_write = true, STORES_update = true, STORES_stream = true };
enum { PARTS_portable = false, PARTS_avx2 = true, PARTS_avx512 = true };

/* end: what follows the last run. */
#define DEFINE_WALKS(name, isa, attribute, end)                                                                        \
    attribute static void name##_##isa(char *at, size_t run, size_t stride, size_t runs)                               \
    {                                                                                                                  \
        line sum[4] = {{0}, {0}, {0}, {0}};                                                                            \
                                                                                                                       \
        if (run == sizeof(word)) {                                                                                     \
            for (; runs; runs--, at += stride)                                                                         \
                touch_##name##_word(at);                                                                               \
        }                                                                                                              \
        for (; runs; runs--, at += stride)                                                                             \
            name##_run_##isa(at, run, sum);                                                                            \
        end;                                                                                                           \
    }                                                                                                                  \
    attribute static void name##_rows_##isa(char *at, size_t run, size_t stride, const struct nf_rows *rows,           \
                                            uint64_t from, size_t runs)                                                \
    {                                                                                                                  \
        line sum[4] = {{0}, {0}, {0}, {0}};                                                                            \
        const struct nf_rows r = *rows;                                                                                \
        const bool inside = STORES_##name && PARTS_##isa && run == sizeof(word) && r.mask + 1 == r.n &&                \
                            r.mask <= UINT32_MAX;                                                                      \
        uint32_t place[BATCH] __attribute__((aligned(WIDE)));                                                          \
                                                                                                                       \
        for (; inside && runs >= 8; from += 8, runs -= 8) {                                                            \
            eight x = (eight){0, 1, 2, 3, 4, 5, 6, 7} + (uint32_t)from;                                                \
                                                                                                                       \
            x = (x * (uint32_t)NF_ROWS_FIRST + (uint32_t)r.seed) & (uint32_t)r.mask;                                   \
            x = ((x ^ x >> r.shift) * (uint32_t)NF_ROWS_SECOND) & (uint32_t)r.mask;                                    \
            x ^= x >> r.shift;                                                                                         \
            touch_##name##_word(at + x[0] * stride);                                                                   \
            touch_##name##_word(at + x[1] * stride);                                                                   \
            touch_##name##_word(at + x[2] * stride);                                                                   \
            touch_##name##_word(at + x[3] * stride);                                                                   \
            touch_##name##_word(at + x[4] * stride);                                                                   \
            touch_##name##_word(at + x[5] * stride);                                                                   \
            touch_##name##_word(at + x[6] * stride);                                                                   \
            touch_##name##_word(at + x[7] * stride);                                                                   \
        }                                                                                                              \
        for (; r.mask <= UINT32_MAX && runs >= BATCH; from += BATCH, runs -= BATCH) {                                  \
            places_##isa(place, &r, (uint32_t)from);                                                                   \
            if (run == sizeof(word)) {                                                                                 \
                _Pragma("GCC unroll 16")                                                                               \
                for (size_t i = 0; i < BATCH; i++)                                                                     \
                    touch_##name##_word(at + place[i] * stride);                                                       \
            } else {                                                                                                   \
                for (size_t i = 0; i < BATCH; i++)                                                                     \
                    name##_run_##isa(at + place[i] * stride, run, sum);                                                \
            }                                                                                                          \
        }                                                                                                              \
        for (; runs; from++, runs--)                                                                                   \
            name##_run_##isa(at + nf_rows_at(&r, from) * stride, run, sum);                                            \
        end;                                                                                                           \
    }

/* Streamed stores are ordered with nothing: what comes after must find them done, as it would after plain stores. */
#define DEFINE_KERNELS(isa, label, attribute)                                                                          \
    DEFINE_RUNS(isa, attribute)                                                                                        \
    DEFINE_WALKS(read, isa, attribute, const line all = sum[0] + sum[1] + sum[2] + sum[3]; SINK_LINE(all))             \
    DEFINE_WALKS(write, isa, attribute, (void)sum)                                                                     \
    DEFINE_WALKS(update, isa, attribute, (void)sum; KEEP())                                                            \
    DEFINE_WALKS(stream, isa, attribute, (void)sum; FENCE())                                                           \
    static const struct nf_kernels kernels_##isa = {label,                                                             \
                                                    {read_##isa, write_##isa, update_##isa},                           \
                                                    stream_##isa,                                                      \
                                                    {read_rows_##isa, write_rows_##isa, update_rows_##isa},            \
                                                    stream_rows_##isa};

#if defined(__x86_64__)
/* Every x86-64 has the 16-byte form; one store of a whole line, where there is one, leaves its buffer sooner than four (./bench kernel). */
INLINE() void stream_line_portable(char *p)
{
    const __m128i one = _mm_set1_epi64x(1);

    _mm_stream_si128((__m128i *)p, one);
    _mm_stream_si128((__m128i *)p + 1, one);
    _mm_stream_si128((__m128i *)p + 2, one);
    _mm_stream_si128((__m128i *)p + 3, one);
}
INLINE(__attribute__((target("avx2")))) void stream_line_avx2(char *p)
{
    const __m256i one = _mm256_set1_epi64x(1);

    _mm256_stream_si256((__m256i *)p, one);
    _mm256_stream_si256((__m256i *)p + 1, one);
}
INLINE(__attribute__((target("avx512f,avx512dq")))) void stream_line_avx512(char *p)
{
    _mm512_stream_si512((void *)p, _mm512_set1_epi64(1));
}
#define FENCE() _mm_sfence()
#else
/* No such store here: a plain one, which fetches. */
INLINE() void stream_line_portable(char *p)
{
    const line value = {1, 1, 1, 1, 1, 1, 1, 1};

    *(line *)p = value;
    KEEP();
}
#define FENCE() ((void)0)
#endif

DEFINE_PLACES(portable, )
DEFINE_KERNELS(portable, "portable", )
#if defined(__x86_64__)
DEFINE_PLACES(avx2, __attribute__((target("avx2"))))
/* Of 32 bytes as well: words are not read back early from a store of 64. ./bench peers has gathers beside Spatter's. */
#define places_avx512 places_avx2
DEFINE_KERNELS(avx2, "avx2", __attribute__((target("avx2"))))
DEFINE_KERNELS(avx512, "avx512", __attribute__((target("avx512f,avx512dq"))))
#endif

const struct nf_kernels *nf_kernels_of(enum nf_kernel_isa isa)
{
#if defined(__x86_64__)
    if (isa == NF_KERNEL_AVX2)
        return __builtin_cpu_supports("avx2") ? &kernels_avx2 : NULL;
    if (isa == NF_KERNEL_AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? &kernels_avx512 : NULL;
#endif
    return isa == NF_KERNEL_PORTABLE ? &kernels_portable : NULL;
}

const struct nf_kernels *nf_kernels_best(void)
{
    const struct nf_kernels *best = &kernels_portable;

    for (unsigned isa = 0; isa < NF_KERNEL_ISA_COUNT; isa++)
        best = nf_kernels_of(isa) ? nf_kernels_of(isa) : best;
    return best;
}

struct nf_kernels nf_kernels_storing(const struct nf_kernels *k, enum nf_store store)
{
    struct nf_kernels out = *k;

    if (store == NF_STORE_NON_TEMPORAL)
        out.touch[NF_RW_WRITE] = k->stream_out, out.touch_rows[NF_RW_WRITE] = k->stream_out_rows;
    return out;
}

const char *nf_store_name(enum nf_store store)
{
    return store == NF_STORE_NON_TEMPORAL ? "non-temporal" : "regular";
}

void nf_rows_init(struct nf_rows *r, uint64_t n, uint64_t seed)
{
    unsigned bits = n > 1 ? 64 - (unsigned)__builtin_clzll(n - 1) : 0;

    *r = (struct nf_rows){.n = n, .seed = nf_mix64(seed)};
    r->mask = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    r->shift = bits > 1 ? (bits + 1) / 2 : 1;
}
