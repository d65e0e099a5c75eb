/* Exact stack distances against a plain Fenwick tree, and against the floor under every exact method: looking up a
 * block's last access and noting the new one. All three see the same accesses of 4 KiB blocks. */
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/model/reuse.h"
#include "tests/bench/bench.h"

enum { EXTENT_MAX = 1024 };

struct extent {
    uint32_t first, n;
};

struct state {
    struct extent *extents;
    uint32_t n_extents, n_accesses, n_blocks;
    uint32_t *last; /* block -> its last access + 1 */
    uint32_t *tree;
    uint64_t check[3]; /* sum of distances by contender; the first two must agree */
};

static uint64_t ours(struct state *s)
{
    struct nf_reuse *r = nf_reuse_new(s->n_blocks);
    uint32_t distances[EXTENT_MAX];
    uint64_t sum = 0;

    if (!r)
        return UINT64_MAX;
    for (uint32_t i = 0; i < s->n_extents; i++) {
        if (nf_reuse_extent(r, s->extents[i].first, s->extents[i].n, distances))
            return UINT64_MAX;
        for (uint32_t j = 0; j < s->extents[i].n; j++)
            sum += distances[j] == NF_REUSE_COLD ? 0 : distances[j];
    }
    nf_reuse_free(r);
    return sum;
}

/* The textbook: one tree position per access, a 1 where a block was accessed last. */
static uint64_t fenwick(struct state *s)
{
    uint32_t n = s->n_accesses, now = 0, live = 0;
    uint64_t sum = 0;

    memset(s->last, 0, s->n_blocks * sizeof *s->last);
    memset(s->tree, 0, (n + 1) * sizeof *s->tree);
    for (uint32_t i = 0; i < s->n_extents; i++) {
        for (uint32_t j = 0; j < s->extents[i].n; j++) {
            uint32_t *last = &s->last[s->extents[i].first + j], before = 0;

            now++;
            if (*last) {
                for (uint32_t k = *last; k; k &= k - 1)
                    before += s->tree[k];
                sum += live - before;
                for (uint32_t k = *last; k <= n; k += k & -k)
                    s->tree[k]--;
            } else {
                live++;
            }
            for (uint32_t k = now; k <= n; k += k & -k)
                s->tree[k]++;
            *last = now;
        }
    }
    return sum;
}

static uint64_t lookup(struct state *s)
{
    uint32_t now = 0;
    uint64_t sum = 0;

    memset(s->last, 0, s->n_blocks * sizeof *s->last);
    for (uint32_t i = 0; i < s->n_extents; i++) {
        for (uint32_t j = 0; j < s->extents[i].n; j++) {
            uint32_t *last = &s->last[s->extents[i].first + j];

            sum += *last;
            *last = ++now;
        }
    }
    return sum;
}

static double run(void *state, unsigned contender)
{
    static uint64_t (*const run_one[])(struct state *) = {ours, fenwick, lookup};
    struct state *s = state;
    uint64_t begun = nf_now_ns();

    s->check[contender] = run_one[contender](s);
    bench_keep(s->check[contender]);
    return (double)s->n_accesses * 1e3 / (double)(nf_now_ns() - begun); /* millions a second */
}

/* extent_blocks blocks at once; two thirds of the extents return to one of the recent ones. */
static int measure(struct bench *b, const char *name, uint32_t n_blocks, uint32_t n_accesses, uint32_t extent_blocks)
{
    struct nf_rng rng = {.state = 7};
    struct state s = {.n_blocks = n_blocks, .n_extents = n_accesses / extent_blocks, .n_accesses = n_accesses};
    const struct bench_row row = {
        .name = name, .unit = "M/s", .contender = {"ours", "Fenwick tree", "last-access lookup (limit)"}, .run = run,
    };
    int rc = -1;

    s.n_accesses = s.n_extents * extent_blocks;
    s.extents = malloc(s.n_extents * sizeof *s.extents);
    s.last = malloc(n_blocks * sizeof *s.last);
    s.tree = malloc((s.n_accesses + 1) * sizeof *s.tree);
    if (s.extents && s.last && s.tree) {
        for (uint32_t i = 0; i < s.n_extents; i++) {
            uint64_t window = i < 256 ? i : 256;
            uint32_t first = (uint32_t)nf_rng_below(&rng, n_blocks / extent_blocks) * extent_blocks;

            if (window && nf_rng_below(&rng, 3))
                first = s.extents[i - 1 - nf_rng_below(&rng, window)].first;
            s.extents[i] = (struct extent){first, extent_blocks};
        }
        rc = bench_row(b, &row, &s);
        if (!rc && s.check[0] != s.check[1]) {
            printf("%s: ours and the Fenwick tree disagree: %llu, %llu\n", name, (unsigned long long)s.check[0],
                   (unsigned long long)s.check[1]);
            rc = -1;
        }
    }
    free(s.extents);
    free(s.last);
    free(s.tree);
    return rc;
}

int bench_reuse(struct bench *b)
{
    uint32_t blocks = b->smoke ? 1 << 12 : 1 << 20, accesses = b->smoke ? 1 << 14 : 1 << 22;

    if (measure(b, "reuse distance, single blocks", blocks, accesses, 1))
        return -1;
    return measure(b, "reuse distance, 256 KiB extents", blocks, accesses, 64);
}
