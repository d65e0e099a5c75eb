#include "core/model/shards.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/array.h"
#include "core/model/reuse.h"
#include "core/model/shards-filter.h"

enum { HINT_BLOCKS = 1 << 16 };

/* A block of the sample, in a heap with the largest hash on top: the next to leave. */
struct sampled {
    uint64_t block;
    uint32_t hash;
};

struct nf_shards {
    struct nf_reuse *reuse;
    nf_shards_filter_fn *filter;
    uint64_t threshold; /* blocks with a hash below it are kept */
    uint32_t blocks_max;
    NF_ARRAY(struct sampled) heap; /* fixed size only */

    /* Of one batch: */
    NF_ARRAY(uint32_t) kept;
    NF_ARRAY(uint64_t) blocks;
    NF_ARRAY(uint32_t) distances;
    NF_ARRAY(struct nf_shards_hit) hits;
};

struct nf_shards *nf_shards_new(double rate, uint32_t blocks_max)
{
    struct nf_shards *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->filter = nf_shards_filter_best()->run;
    s->threshold = (uint64_t)fmax(rate * 0x1p32, 1);
    s->blocks_max = blocks_max;
    s->reuse = nf_reuse_new(blocks_max ? blocks_max : HINT_BLOCKS);
    return s->reuse ? s : nf_shards_free(s);
}

struct nf_shards *nf_shards_free(struct nf_shards *s)
{
    if (!s)
        return NULL;
    nf_reuse_free(s->reuse);
    nf_array_free(&s->heap);
    nf_array_free(&s->kept);
    nf_array_free(&s->blocks);
    nf_array_free(&s->distances);
    nf_array_free(&s->hits);
    free(s);
    return NULL;
}

double nf_shards_rate(const struct nf_shards *s)
{
    return (double)s->threshold / 0x1p32;
}

static void sift_down(struct nf_shards *s)
{
    struct sampled *v = s->heap.v, moved = v[0];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < s->heap.n) {
        child += child + 1 < s->heap.n && v[child + 1].hash > v[child].hash;
        if (v[child].hash <= moved.hash)
            break;
        v[at] = v[child];
        at = child;
    }
    v[at] = moved;
}

/* Adds a block and, when that is one too many, lowers the threshold to the largest hash and drops what has it. */
static int sample(struct nf_shards *s, uint64_t block)
{
    struct sampled added = {block, nf_shards_hash(block)};
    size_t at;

    if (nf_array_push(&s->heap, added))
        return -ENOMEM;
    for (at = s->heap.n - 1; at && s->heap.v[(at - 1) / 2].hash < added.hash; at = (at - 1) / 2)
        s->heap.v[at] = s->heap.v[(at - 1) / 2];
    s->heap.v[at] = added;
    if (s->heap.n <= s->blocks_max)
        return 0;
    s->threshold = s->heap.v[0].hash;
    while (s->heap.n && s->heap.v[0].hash >= s->threshold) {
        nf_reuse_forget(s->reuse, s->heap.v[0].block);
        s->heap.v[0] = s->heap.v[--s->heap.n];
        sift_down(s);
    }
    return 0;
}

static struct nf_shards_hit hit(const struct nf_shards *s, uint32_t index, uint32_t distance)
{
    double scale = 0x1p32 / (double)s->threshold;

    return (struct nf_shards_hit){
        .index = index,
        .weight = scale,
        .distance = distance == NF_REUSE_COLD ? NF_SHARDS_COLD : (uint64_t)((double)distance * scale),
    };
}

/* One by one: an access may lower the threshold under the next. */
static int run_fixed_size(struct nf_shards *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t block = s->blocks.v[i];
        uint32_t distance;

        if (nf_shards_hash(block) >= s->threshold)
            continue;
        if (nf_reuse_run(s->reuse, &block, 1, &distance))
            return -ENOMEM;
        s->hits.v[s->hits.n++] = hit(s, s->kept.v[i], distance);
        if (distance == NF_REUSE_COLD && sample(s, block))
            return -ENOMEM;
    }
    return 0;
}

int nf_shards_run(struct nf_shards *s, const uint64_t *blocks, uint32_t n, const struct nf_shards_hit **hits,
                  uint32_t *n_hits)
{
    size_t kept;

    if (nf_array_reserve(&s->kept, n))
        return -ENOMEM;
    kept = s->filter(blocks, n, s->threshold, s->kept.v);
    if (nf_array_reserve(&s->blocks, kept) || nf_array_reserve(&s->distances, kept) || nf_array_reserve(&s->hits, kept))
        return -ENOMEM;
    for (size_t i = 0; i < kept; i++)
        s->blocks.v[i] = blocks[s->kept.v[i]];
    s->hits.n = 0;
    if (s->blocks_max) {
        if (run_fixed_size(s, kept))
            return -ENOMEM;
    } else {
        if (nf_reuse_run(s->reuse, s->blocks.v, kept, s->distances.v))
            return -ENOMEM;
        for (; s->hits.n < kept; s->hits.n++)
            s->hits.v[s->hits.n] = hit(s, s->kept.v[s->hits.n], s->distances.v[s->hits.n]);
    }
    *hits = s->hits.v;
    *n_hits = (uint32_t)s->hits.n;
    return 0;
}
