#include "core/model/shards-filter.h"

/* Vectors of the compiler's own: one source for every width. The compiler splits them where registers are narrower. */
typedef uint64_t u64x8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef uint64_t u64x4 __attribute__((vector_size(32)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));

enum { STEP = 16 };

/* nf_shards_hash of eight blocks; lane by lane 1 where it is below the threshold (both are below 2^33, so a difference
 * below 0 shows in the top bit), else 0. */
#define KEEP(out, v)                                                                                                   \
    do {                                                                                                               \
        u64x8 x = (v);                                                                                                 \
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;                                                                   \
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;                                                                   \
        x = (x ^ (x >> 31)) >> 32;                                                                                     \
        (out) = (x - threshold) >> 63;                                                                                 \
    } while (0)

static inline __attribute__((always_inline)) size_t filter(const uint64_t *blocks, size_t n, uint64_t threshold,
                                                           uint32_t *kept)
{
    size_t n_kept = 0, i = 0;

    for (; i + STEP <= n; i += STEP) {
        union {
            u64x8 v[2];
            u64x4 half[4];
            uint64_t lane[STEP];
        } keep;
        u64x4 any;
        union {
            u64x4 v;
            u64x2 half[2];
        } fold;
        u64x2 last;

        KEEP(keep.v[0], *(const u64x8 *)(blocks + i));
        KEEP(keep.v[1], *(const u64x8 *)(blocks + i + 8));
        any = (keep.half[0] | keep.half[1]) | (keep.half[2] | keep.half[3]);
        fold.v = any;
        last = fold.half[0] | fold.half[1];
        if (!(last[0] | last[1]))
            continue;
        /* Appended without a branch: which lanes are kept is as random as it can be. */
        for (unsigned k = 0; k < STEP; k++) {
            kept[n_kept] = (uint32_t)(i + k);
            n_kept += keep.lane[k];
        }
    }
    for (; i < n; i++) {
        kept[n_kept] = (uint32_t)i;
        n_kept += nf_shards_hash(blocks[i]) < threshold;
    }
    return n_kept;
}

static size_t filter_portable(const uint64_t *blocks, size_t n, uint64_t threshold, uint32_t *kept)
{
    return filter(blocks, n, threshold, kept);
}

static bool anywhere(void)
{
    return true;
}

#if defined(__x86_64__)
static __attribute__((target("avx2"))) size_t filter_avx2(const uint64_t *blocks, size_t n, uint64_t threshold,
                                                          uint32_t *kept)
{
    return filter(blocks, n, threshold, kept);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

/* DQ has the 64-bit multiplication. Not validated on hardware. */
static __attribute__((target("avx512f,avx512dq"))) size_t filter_avx512(const uint64_t *blocks, size_t n,
                                                                        uint64_t threshold, uint32_t *kept)
{
    return filter(blocks, n, threshold, kept);
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}
#endif

const struct nf_shards_filter nf_shards_filters[] = {
#if defined(__x86_64__)
    {"AVX-512", has_avx512, filter_avx512},
    {"AVX2", has_avx2, filter_avx2},
#endif
    {"portable", anywhere, filter_portable},
    {0},
};

const struct nf_shards_filter *nf_shards_filter_best(void)
{
    const struct nf_shards_filter *f = nf_shards_filters;

    while (!f->supported())
        f++;
    return f;
}
