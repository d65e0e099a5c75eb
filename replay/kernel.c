#include "replay/kernel.h"

#include <stdbool.h>
#include <string.h>

#include "core/base/rng.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

enum { WIDE = 64 /* one cache line: the unit in which memory is fetched */ };

typedef uint64_t line __attribute__((vector_size(WIDE), may_alias));
typedef uint64_t word __attribute__((aligned(1), may_alias));

/* Keeps a value, and the loads it came from, from being optimised away. */
#define SINK(x) __asm__ volatile("" : : "r"(x) : "memory")
/* Keeps a loop of stores from becoming a memset, which may choose non-temporal stores. */
#define KEEP() __asm__ volatile("" : : : "memory")

/* Bytes from p to the next line, at most n. */
static size_t head_bytes(const char *p, size_t n)
{
    size_t head = -(uintptr_t)p & (WIDE - 1);

    return head < n ? head : n;
}

/* What does not fill a line: the ends of a run. */
static void touch_read_ends(char *p, size_t n)
{
    uint64_t sum = 0;

    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word))
        sum += *(word *)p;
    for (; n; p++, n--)
        sum += *(unsigned char *)p;
    SINK(sum);
}

static void touch_write_ends(char *p, size_t n)
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

static void touch_update_ends(char *p, size_t n)
{
    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word))
        *(word *)p += 1;
    for (; n; p++, n--)
        *p = (char)(*p + 1);
}

/* The same three loops for each instruction set. They are macros because a target attribute decides how a vector type
 * is lowered before anything is inlined. Four lines an iteration keep the load ports busy; one accumulator each
 * breaks the chain of additions. */
#define DEFINE_KERNELS(isa, label, attribute)                                                                          \
    attribute static void read_##isa(char *at, size_t run, size_t stride, size_t runs)                                 \
    {                                                                                                                  \
        line a = {0}, b = {0}, c = {0}, d = {0};                                                                       \
                                                                                                                       \
        for (; runs; runs--, at += stride) {                                                                           \
            size_t head = head_bytes(at, run), n = run - head;                                                         \
            char *p = at + head;                                                                                       \
                                                                                                                       \
            if (head)                                                                                                  \
                touch_read_ends(at, head);                                                                             \
            for (; n >= 4 * WIDE; p += 4 * WIDE, n -= 4 * WIDE) {                                                      \
                a += ((line *)p)[0];                                                                                   \
                b += ((line *)p)[1];                                                                                   \
                c += ((line *)p)[2];                                                                                   \
                d += ((line *)p)[3];                                                                                   \
            }                                                                                                          \
            for (; n >= WIDE; p += WIDE, n -= WIDE)                                                                    \
                a += *(line *)p;                                                                                       \
            if (n)                                                                                                     \
                touch_read_ends(p, n);                                                                                 \
        }                                                                                                              \
        a += b + c + d;                                                                                                \
        for (size_t i = 0; i < WIDE / sizeof(uint64_t); i++)                                                           \
            SINK(a[i]);                                                                                                \
    }                                                                                                                  \
    attribute static void write_##isa(char *at, size_t run, size_t stride, size_t runs)                                \
    {                                                                                                                  \
        const line value = {1, 1, 1, 1, 1, 1, 1, 1};                                                                   \
                                                                                                                       \
        for (; runs; runs--, at += stride) {                                                                           \
            size_t head = head_bytes(at, run), n = run - head;                                                         \
            char *p = at + head;                                                                                       \
                                                                                                                       \
            if (head)                                                                                                  \
                touch_write_ends(at, head);                                                                            \
            for (; n >= WIDE; p += WIDE, n -= WIDE) {                                                                  \
                *(line *)p = value;                                                                                    \
                KEEP();                                                                                                \
            }                                                                                                          \
            if (n)                                                                                                     \
                touch_write_ends(p, n);                                                                                \
        }                                                                                                              \
    }                                                                                                                  \
    attribute static void update_##isa(char *at, size_t run, size_t stride, size_t runs)                               \
    {                                                                                                                  \
        const line one = {1, 1, 1, 1, 1, 1, 1, 1};                                                                     \
                                                                                                                       \
        for (; runs; runs--, at += stride) {                                                                           \
            size_t head = head_bytes(at, run), n = run - head;                                                         \
            char *p = at + head;                                                                                       \
                                                                                                                       \
            if (head)                                                                                                  \
                touch_update_ends(at, head);                                                                           \
            for (; n >= WIDE; p += WIDE, n -= WIDE)                                                                    \
                *(line *)p += one;                                                                                     \
            if (n)                                                                                                     \
                touch_update_ends(p, n);                                                                               \
        }                                                                                                              \
        KEEP();                                                                                                        \
    }                                                                                                                  \
    attribute static void stream_out_##isa(char *at, size_t run, size_t stride, size_t runs)                           \
    {                                                                                                                  \
        for (; runs; runs--, at += stride) {                                                                           \
            size_t head = head_bytes(at, run), n = run - head;                                                         \
            char *p = at + head;                                                                                       \
                                                                                                                       \
            if (head)                                                                                                  \
                touch_write_ends(at, head);                                                                            \
            for (; n >= WIDE; p += WIDE, n -= WIDE)                                                                    \
                stream_line(p);                                                                                        \
            if (n)                                                                                                     \
                touch_write_ends(p, n);                                                                                \
        }                                                                                                              \
        /* They are ordered with nothing: what comes after must find them done, as it would after plain stores. */     \
        FENCE();                                                                                                       \
    }                                                                                                                  \
    static const struct nf_kernels kernels_##isa = {                                                                   \
        label, {read_##isa, write_##isa, update_##isa}, stream_out_##isa};

#if defined(__x86_64__)
/* Every x86-64 has the 16-byte form; four of them fill a line's buffer as well as one of 64 bytes does. */
static inline void stream_line(char *p)
{
    const __m128i one = _mm_set1_epi64x(1);

    _mm_stream_si128((__m128i *)p, one);
    _mm_stream_si128((__m128i *)p + 1, one);
    _mm_stream_si128((__m128i *)p + 2, one);
    _mm_stream_si128((__m128i *)p + 3, one);
}
#define FENCE() _mm_sfence()
#else
/* No such store here: a plain one, which fetches. */
static inline void stream_line(char *p)
{
    const line value = {1, 1, 1, 1, 1, 1, 1, 1};

    *(line *)p = value;
    KEEP();
}
#define FENCE() ((void)0)
#endif

DEFINE_KERNELS(portable, "portable", )
#if defined(__x86_64__)
DEFINE_KERNELS(avx2, "avx2", __attribute__((target("avx2"))))
DEFINE_KERNELS(avx512, "avx512", __attribute__((target("avx512f"))))
#endif

const struct nf_kernels *nf_kernels_of(enum nf_kernel_isa isa)
{
#if defined(__x86_64__)
    if (isa == NF_KERNEL_AVX2)
        return __builtin_cpu_supports("avx2") ? &kernels_avx2 : NULL;
    if (isa == NF_KERNEL_AVX512)
        return __builtin_cpu_supports("avx512f") ? &kernels_avx512 : NULL;
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
        out.touch[NF_RW_WRITE] = k->stream_out;
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
