#include "core/model/profile.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/spill.h"
#include "core/model/reuse.h"
#include "core/model/walk.h"

enum { HINT_PAGES_MAX = 1 << 20 };
#define VISIT_NONE UINT32_MAX

struct cache {
    struct nf_reuse *reuse;
    uint64_t llc_pages; /* a block with this many others in between is gone; rounded up */
    uint64_t *visit_miss_bytes;
    uint32_t distances[NF_WALK_BLOCKS];
};

static int extent_misses(void *context, const struct nf_walk_extent *e)
{
    struct cache *cache = context;
    double miss = 0;
    int rc = nf_reuse_extent(cache->reuse, e->first, e->n, cache->distances);

    for (uint32_t i = 0; i < e->n && !rc; i++) {
        if (cache->distances[i] >= cache->llc_pages) /* cold counts: NF_REUSE_COLD is the largest */
            miss += nf_walk_bytes(e, i, NF_PAGE_BYTES);
    }
    cache->visit_miss_bytes[e->visit] += (uint64_t)llround(miss);
    return rc;
}

static int count_misses(struct nf_profile *p)
{
    const struct nf_step_class *c = p->of;
    struct cache *cache;
    uint64_t pages;
    int rc = 0;

    if (!p->llc_bytes) {
        for (uint32_t i = 0; i < c->n_visits; i++)
            p->visit_miss_bytes[i] = c->visits[i].bytes;
        return 0;
    }
    cache = malloc(sizeof *cache);
    if (!cache)
        return -ENOMEM;
    cache->llc_pages = (p->llc_bytes + NF_PAGE_BYTES - 1) / NF_PAGE_BYTES;
    pages = c->peak_live_bytes / NF_PAGE_BYTES;
    cache->reuse = nf_reuse_new(pages < HINT_PAGES_MAX ? (uint32_t)pages : HINT_PAGES_MAX);
    if (!cache->reuse)
        rc = -ENOMEM;
    cache->visit_miss_bytes = p->visit_miss_bytes;
    for (int pass = 0; pass < 2 && !rc; pass++) {
        memset(p->visit_miss_bytes, 0, c->n_visits * sizeof *p->visit_miss_bytes);
        rc = nf_walk(c, NF_PAGE_BYTES, NULL, extent_misses, cache);
    }
    nf_reuse_free(cache->reuse);
    free(cache);
    return rc;
}

/* Where a visit or op lies in the step: in bytes of traffic and in time. */
struct clock {
    uint64_t *bytes_before;    /* per visit */
    double *start_ns, *end_ns; /* per op */
    uint64_t step_bytes;
    double step_ns;
};

static int clock_init(struct clock *k, const struct nf_step_class *c)
{
    double ns = 0;

    *k = (struct clock){
        .bytes_before = nf_spill_alloc(c->n_visits, sizeof *k->bytes_before),
        .start_ns = malloc((c->n_ops + (size_t)1) * sizeof *k->start_ns),
        .end_ns = malloc((c->n_ops + (size_t)1) * sizeof *k->end_ns),
    };
    if (!k->bytes_before || !k->start_ns || !k->end_ns)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->n_visits; i++) {
        k->bytes_before[i] = k->step_bytes;
        k->step_bytes += c->visits[i].bytes;
    }
    for (uint32_t i = 0; i < c->n_ops; i++) {
        k->start_ns[i] = ns += c->ops[i].gap_ns;
        k->end_ns[i] = ns += c->ops[i].dur_ns;
    }
    k->step_ns = ns;
    return 0;
}

static void clock_deinit(struct clock *k)
{
    nf_spill_free(k->bytes_before);
    free(k->start_ns);
    free(k->end_ns);
}

typedef NF_ARRAY(struct nf_gap) gap_array;

static int add_gap(struct nf_profile *p, gap_array *gaps, const struct nf_gap *gap)
{
    struct nf_tensor_profile *t = &p->tensors[gap->tensor];

    if (gap->bytes > t->longest_gap_bytes)
        t->longest_gap_bytes = gap->bytes;
    if (gap->ns > t->longest_gap_ns)
        t->longest_gap_ns = gap->ns;
    if (gaps->n == UINT32_MAX)
        return -ENOMEM;
    return nf_array_push(gaps, *gap);
}

/* Gaps inside the step. The operands of one op are touched together, so they never part a burst.
 * first, last: visits of each tensor, filled here. */
static int find_gaps(struct nf_profile *p, const struct clock *k, uint64_t burst_bytes, gap_array *gaps,
                     uint32_t *first, uint32_t *last)
{
    const struct nf_step_class *c = p->of;

    for (uint32_t i = 0; i < c->n_tensors; i++)
        first[i] = last[i] = VISIT_NONE;
    for (uint32_t i = 0; i < c->n_visits; i++) {
        const struct nf_visit *v = &c->visits[i], *before;
        struct nf_gap gap;

        if (last[v->tensor] == VISIT_NONE) {
            first[v->tensor] = i;
            p->tensors[v->tensor].n_bursts = 1;
        } else {
            before = &c->visits[last[v->tensor]];
            gap = (struct nf_gap){
                .tensor = v->tensor,
                .from_op = before->op,
                .to_op = v->op,
                .bytes = k->bytes_before[i] - k->bytes_before[last[v->tensor]] - before->bytes,
                .ns = k->start_ns[v->op] - k->end_ns[before->op],
            };
            if (before->op != v->op && gap.bytes > burst_bytes) {
                p->tensors[v->tensor].n_bursts++;
                if (add_gap(p, gaps, &gap))
                    return -ENOMEM;
            }
        }
        last[v->tensor] = i;
    }
    return 0;
}

/* Gaps over the end of the step: from a carried tensor's last visit to the first one of whoever enters the next step
 * with its slot (usually itself). */
static int find_wraps(struct nf_profile *p, const struct clock *k, uint64_t burst_bytes, gap_array *gaps,
                      const uint32_t *first, const uint32_t *last)
{
    const struct nf_step_class *c = p->of;
    uint32_t *enters, n_slots = 0;
    int rc = 0;

    for (uint32_t i = 0; i < c->n_tensors; i++) {
        if (c->tensors[i].carry_in >= (int64_t)n_slots)
            n_slots = (uint32_t)c->tensors[i].carry_in + 1;
    }
    enters = malloc((n_slots + (size_t)1) * sizeof *enters);
    if (!enters)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_slots; i++)
        enters[i] = VISIT_NONE;
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        if (c->tensors[i].carry_in != NF_CARRY_NONE)
            enters[c->tensors[i].carry_in] = first[i];
    }
    for (uint32_t i = 0; i < c->n_tensors && !rc; i++) {
        int32_t slot = c->tensors[i].carry_out;
        uint32_t from = last[i], to = slot >= 0 && slot < (int64_t)n_slots ? enters[slot] : VISIT_NONE;
        struct nf_gap gap;

        if (from == VISIT_NONE || to == VISIT_NONE)
            continue;
        gap = (struct nf_gap){
            .tensor = i,
            .from_op = c->visits[from].op,
            .to_op = c->visits[to].op,
            .bytes = k->step_bytes - k->bytes_before[from] - c->visits[from].bytes + k->bytes_before[to],
            .ns = k->step_ns - k->end_ns[c->visits[from].op] + k->start_ns[c->visits[to].op],
            .wraps = true,
        };
        if (gap.bytes > burst_bytes)
            rc = add_gap(p, gaps, &gap);
    }
    free(enters);
    return rc;
}

static int fill_gaps(struct nf_profile *p, uint64_t burst_bytes)
{
    const struct nf_step_class *c = p->of;
    uint32_t *first = malloc((c->n_tensors + (size_t)1) * sizeof *first);
    uint32_t *last = malloc((c->n_tensors + (size_t)1) * sizeof *last);
    gap_array gaps = {0};
    struct clock k;
    int rc = clock_init(&k, c);

    if (!rc && (!first || !last))
        rc = -ENOMEM;
    if (!rc)
        rc = find_gaps(p, &k, burst_bytes, &gaps, first, last);
    if (!rc)
        rc = find_wraps(p, &k, burst_bytes, &gaps, first, last);
    p->gaps = gaps.v;
    p->n_gaps = (uint32_t)gaps.n;
    clock_deinit(&k);
    free(first);
    free(last);
    return rc;
}

static void sum_visits(struct nf_profile *p)
{
    const struct nf_step_class *c = p->of;

    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const struct nf_tensor *t = &c->tensors[i];
        int64_t from = t->birth == NF_OP_BEFORE ? 0 : t->birth;
        int64_t to = t->death == NF_OP_AFTER ? (int64_t)c->n_ops - 1 : t->death;

        p->tensors[i].first_op = UINT32_MAX;
        p->tensors[i].live_share = c->n_ops ? (double)(to - from + 1) / c->n_ops : 0;
    }
    for (uint32_t i = 0; i < c->n_visits; i++) {
        const struct nf_visit *v = &c->visits[i];
        struct nf_tensor_profile *t = &p->tensors[v->tensor];

        if (t->first_op == UINT32_MAX)
            t->first_op = v->op;
        t->last_op = v->op;
        if (v->rw != NF_RW_WRITE) {
            t->reads++;
            t->read_bytes += v->bytes;
            t->miss_read_bytes += p->visit_miss_bytes[i];
        }
        if (v->rw != NF_RW_READ) {
            t->writes++;
            t->write_bytes += v->bytes;
            t->miss_write_bytes += p->visit_miss_bytes[i];
        }
    }
}

int nf_profile_init(struct nf_profile *p, const struct nf_step_class *c, uint64_t llc_bytes, uint64_t burst_bytes)
{
    int rc;

    *p = (struct nf_profile){
        .of = c,
        .tensors = calloc(c->n_tensors + (size_t)1, sizeof *p->tensors),
        .visit_miss_bytes = nf_spill_alloc(c->n_visits, sizeof *p->visit_miss_bytes),
        .llc_bytes = llc_bytes,
    };
    rc = p->tensors && p->visit_miss_bytes ? 0 : -ENOMEM;
    if (!rc)
        rc = count_misses(p);
    if (!rc)
        rc = fill_gaps(p, burst_bytes ? burst_bytes : llc_bytes);
    if (rc) {
        nf_profile_deinit(p);
        return nf_fail(rc, "out of memory for the profile of %u visits", c->n_visits);
    }
    sum_visits(p);
    return 0;
}

void nf_profile_deinit(struct nf_profile *p)
{
    free(p->tensors);
    nf_spill_free(p->visit_miss_bytes);
    free(p->gaps);
    *p = (struct nf_profile){0};
}

int nf_profiles_new(const struct nf_stream *s, uint64_t llc_bytes, uint64_t burst_bytes, struct nf_profile **out)
{
    struct nf_profile *profiles = calloc(s->n_classes + (size_t)1, sizeof *profiles);
    int rc = profiles ? 0 : nf_fail(-ENOMEM, "out of memory for the profiles of %u step classes", s->n_classes);

    for (uint32_t i = 0; i < s->n_classes && !rc; i++)
        rc = nf_profile_init(&profiles[i], &s->classes[i], llc_bytes, burst_bytes);
    *out = rc ? nf_profiles_free(profiles, s->n_classes) : profiles;
    return rc;
}

struct nf_profile *nf_profiles_free(struct nf_profile *profiles, uint32_t n)
{
    for (uint32_t i = 0; profiles && i < n; i++)
        nf_profile_deinit(&profiles[i]);
    free(profiles);
    return NULL;
}
