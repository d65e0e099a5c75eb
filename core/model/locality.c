#include "core/model/locality.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/aet.h"
#include "core/model/last.h"
#include "core/model/reuse.h"
#include "core/model/shards.h"
#include "core/model/walk.h"

enum { HINT_BLOCKS_MAX = 1 << 20 };

static void name_curves(const struct nf_locality *l, const char *estimator)
{
    for (uint32_t g = 0; g <= l->groups.n; g++)
        nf_mrc_init(&l->curves[g], estimator, l->block_bytes);
}

/* The curve of the group that an extent belongs to, NULL without groups. */
static struct nf_mrc *curve_of(const struct nf_locality *l, uint32_t visit)
{
    return l->groups.of ? &l->curves[1 + l->groups.of[l->of->visits[visit].tensor]] : NULL;
}

static int out_of_memory(const struct nf_locality *l)
{
    return nf_fail(-ENOMEM, "out of memory for the reuse of %u visits", l->of->n_visits);
}

/* --- exact --- */

struct exact {
    const struct nf_locality *l;
    struct nf_reuse *reuse;
    bool counts; /* the second pass */
    uint32_t distances[NF_WALK_BLOCKS];
};

static void add_distance(struct nf_mrc *m, uint32_t distance, double bytes)
{
    if (distance == NF_REUSE_COLD)
        nf_histogram_add_cold(&m->distances, bytes);
    else
        nf_histogram_add(&m->distances, distance, bytes);
}

static int exact_extent(void *context, const struct nf_walk_extent *e)
{
    struct exact *x = context;
    struct nf_mrc *group = x->counts ? curve_of(x->l, e->visit) : NULL;

    if (nf_reuse_extent(x->reuse, e->first, e->n, x->distances))
        return -ENOMEM;
    for (uint32_t i = 0, end; x->counts && i < e->n; i = end) {
        double bytes = 0;

        /* Neighbours mostly share their distance. */
        for (end = i; end < e->n && x->distances[end] == x->distances[i]; end++)
            bytes += nf_walk_bytes(e, end, x->l->block_bytes);
        add_distance(&x->l->curves[0], x->distances[i], bytes);
        if (group)
            add_distance(group, x->distances[i], bytes);
    }
    return 0;
}

static int exact(const struct nf_locality *l, const uint8_t *seen, const char *name)
{
    struct exact *x = malloc(sizeof *x);
    uint64_t blocks = l->of->peak_live_bytes / l->block_bytes;
    int rc = x ? 0 : -ENOMEM;

    name_curves(l, name);
    if (x) {
        *x = (struct exact){.l = l};
        x->reuse = nf_reuse_new(blocks < HINT_BLOCKS_MAX ? (uint32_t)blocks : HINT_BLOCKS_MAX);
        rc = x->reuse ? 0 : -ENOMEM;
        for (int pass = 0; pass < 2 && !rc; pass++) {
            x->counts = pass == 1;
            rc = nf_walk(l->of, l->block_bytes, seen, exact_extent, x);
        }
        nf_reuse_free(x->reuse);
        free(x);
    }
    return rc ? out_of_memory(l) : 0;
}

int nf_locality_exact(const struct nf_locality *l)
{
    return exact(l, NULL, "exact");
}

int nf_locality_fused(const struct nf_locality *l, const uint8_t *seen, uint64_t period)
{
    char name[NF_MRC_ESTIMATOR];

    snprintf(name, sizeof name, "visit-fused P=%llu", (unsigned long long)period);
    return exact(l, seen, name);
}

/* --- SHARDS --- */

struct sampling {
    const struct nf_locality *l;
    struct nf_shards *shards;
    bool counts;
    uint64_t blocks[NF_WALK_BLOCKS];
};

static void add_hit(struct nf_mrc *m, const struct nf_shards_hit *h, double bytes)
{
    if (h->distance == NF_SHARDS_COLD)
        nf_histogram_add_cold(&m->distances, bytes * h->weight);
    else
        nf_histogram_add(&m->distances, h->distance, bytes * h->weight);
}

static int shards_extent(void *context, const struct nf_walk_extent *e)
{
    struct sampling *s = context;
    struct nf_mrc *whole = &s->l->curves[0], *group = curve_of(s->l, e->visit);
    const struct nf_shards_hit *hits;
    double bytes = 0;
    uint32_t n;

    for (uint32_t i = 0; i < e->n; i++)
        s->blocks[i] = e->first + i;
    if (nf_shards_run(s->shards, s->blocks, e->n, &hits, &n))
        return -ENOMEM;
    if (!s->counts)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        double at = nf_walk_bytes(e, hits[i].index, s->l->block_bytes);

        add_hit(whole, &hits[i], at);
        if (group)
            add_hit(group, &hits[i], at);
        bytes -= at * hits[i].weight;
    }
    /* SHARDS-adj: what was accessed and what the sample stands for differ; bucket 0 makes up for it. */
    bytes += e->density * ((double)(e->n > 2 ? e->n - 2 : 0) * s->l->block_bytes + e->head + (e->n > 1 ? e->tail : 0));
    nf_histogram_add(&whole->distances, 0, bytes);
    if (group)
        nf_histogram_add(&group->distances, 0, bytes);
    return 0;
}

int nf_locality_shards(const struct nf_locality *l, double rate, uint32_t blocks_max)
{
    struct sampling *s = malloc(sizeof *s);
    char name[NF_MRC_ESTIMATOR];
    int rc = s ? 0 : -ENOMEM;

    if (blocks_max)
        snprintf(name, sizeof name, "SHARDS s_max=%u", blocks_max);
    else
        snprintf(name, sizeof name, "SHARDS %g", rate);
    name_curves(l, name);
    if (s) {
        *s = (struct sampling){.l = l, .shards = nf_shards_new(rate, blocks_max)};
        rc = s->shards ? 0 : -ENOMEM;
        for (int pass = 0; pass < 2 && !rc; pass++) {
            s->counts = pass == 1;
            rc = nf_walk(l->of, l->block_bytes, NULL, shards_extent, s);
        }
        nf_shards_free(s->shards);
        free(s);
    }
    return rc ? out_of_memory(l) : 0;
}

/* --- reuse times --- */

struct timing {
    const struct nf_locality *l;
    struct nf_last *last;
    struct nf_histogram *in_blocks, *in_bytes, *in_ns; /* those wanted */
    double *start_ns, *end_ns;                         /* of each op, when in_ns is wanted */
    double step_ns;
    uint64_t *first; /* clock at the start of each visit, in blocks since the start of its pass */
    uint64_t now;    /* blocks accessed so far */
    uint64_t begun;  /* ... when this pass began */
    uint32_t visit;  /* the last one begun */
    bool counts;
    uint64_t before[NF_WALK_BLOCKS];
};

static void add_to(struct nf_histogram *h, const struct timing *t, uint32_t visit, bool cold, uint64_t value,
                   double bytes)
{
    struct nf_histogram *group = t->l->groups.of ? &h[1 + t->l->groups.of[t->l->of->visits[visit].tensor]] : NULL;

    if (cold) {
        nf_histogram_add_cold(h, bytes);
        if (group)
            nf_histogram_add_cold(group, bytes);
    } else {
        nf_histogram_add(h, value, bytes);
        if (group)
            nf_histogram_add(group, value, bytes);
    }
}

/* The visit of a pass that was under way at a time of the clock. */
static uint32_t visit_at(const struct timing *t, uint64_t clock)
{
    uint32_t low = 0, high = t->l->of->n_visits;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (t->first[middle] <= clock)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* From the end of the op that made the access before to the start of this one. */
static uint64_t time_since(const struct timing *t, uint32_t visit, uint64_t before)
{
    const struct nf_visit *v = t->l->of->visits;
    bool this_pass = before >= t->begun;
    uint32_t op = v[visit].op, from = v[visit_at(t, this_pass ? before - t->begun : before)].op;
    double ns = t->start_ns[op] - t->end_ns[from] + (this_pass ? 0 : t->step_ns);

    return ns > 0 ? (uint64_t)ns : 0;
}

static int time_extent(void *context, const struct nf_walk_extent *e)
{
    struct timing *t = context;

    for (; t->visit < e->visit; t->first[++t->visit] = t->now - t->begun)
        ;
    if (nf_last_extent(t->last, e->first, e->n, t->now, t->before))
        return -ENOMEM;
    for (uint32_t i = 0, end; t->counts && i < e->n; i = end) {
        bool cold = t->before[i] == NF_LAST_NEVER;
        uint64_t between = cold ? 0 : t->now + i - t->before[i] - 1, ns = 0;
        double bytes = 0;

        if (!cold && t->in_ns)
            ns = time_since(t, e->visit, t->before[i]);
        /* Neighbours of one visit before; the last of them may lie in the next visit, a block's time away. */
        for (end = i;
             end < e->n && (cold ? t->before[end] == NF_LAST_NEVER : t->before[end] == t->before[i] + (end - i)); end++)
            bytes += nf_walk_bytes(e, end, t->l->block_bytes);
        if (t->in_blocks)
            add_to(t->in_blocks, t, e->visit, cold, between, bytes);
        if (t->in_bytes)
            add_to(t->in_bytes, t, e->visit, cold, between * t->l->block_bytes, bytes);
        if (t->in_ns)
            add_to(t->in_ns, t, e->visit, cold, ns, bytes);
    }
    t->now += e->n;
    return 0;
}

static int time_blocks(struct timing *t)
{
    const struct nf_step_class *c = t->l->of;
    double ns = 0;
    int rc = 0;

    t->last = nf_last_new();
    t->first = calloc((size_t)c->n_visits + 1, sizeof *t->first);
    t->start_ns = malloc(((size_t)c->n_ops + 1) * sizeof *t->start_ns);
    t->end_ns = malloc(((size_t)c->n_ops + 1) * sizeof *t->end_ns);
    if (!t->last || !t->first || !t->start_ns || !t->end_ns)
        rc = -ENOMEM;
    for (uint32_t i = 0; i < c->n_ops && !rc; i++) {
        t->start_ns[i] = ns += c->ops[i].gap_ns;
        t->end_ns[i] = ns += c->ops[i].dur_ns;
    }
    t->step_ns = ns;
    for (int pass = 0; pass < 2 && !rc; pass++) {
        t->counts = pass == 1;
        t->begun = t->now;
        t->visit = 0;
        rc = nf_walk(c, t->l->block_bytes, NULL, time_extent, t);
        for (; t->visit < c->n_visits; t->first[++t->visit] = t->now - t->begun)
            ;
    }
    nf_last_free(t->last);
    free(t->first);
    free(t->start_ns);
    free(t->end_ns);
    return rc;
}

int nf_locality_times(const struct nf_locality *l, struct nf_histogram *in_bytes, struct nf_histogram *in_ns)
{
    struct timing *t = malloc(sizeof *t);
    int rc = t ? 0 : -ENOMEM;

    for (uint32_t g = 0; g <= l->groups.n; g++) {
        in_bytes[g] = (struct nf_histogram){0};
        if (in_ns)
            in_ns[g] = (struct nf_histogram){0};
    }
    if (t) {
        *t = (struct timing){.l = l, .in_bytes = in_bytes, .in_ns = in_ns};
        rc = time_blocks(t);
        free(t);
    }
    return rc ? out_of_memory(l) : 0;
}

int nf_locality_aet(const struct nf_locality *l)
{
    struct timing *t = malloc(sizeof *t);
    struct nf_histogram *times = calloc((size_t)l->groups.n + 1, sizeof *times);
    struct nf_aet aet;
    int rc = t && times ? 0 : -ENOMEM;

    name_curves(l, "AET");
    if (!rc) {
        *t = (struct timing){.l = l, .in_blocks = times};
        rc = time_blocks(t);
    }
    if (!rc && times[0].total > 0) {
        nf_aet_init(&aet, &times[0]);
        for (uint32_t g = 0; g <= l->groups.n; g++)
            nf_aet_distances(&aet, &times[g], &l->curves[g].distances);
    }
    free(t);
    free(times);
    return rc ? out_of_memory(l) : 0;
}
