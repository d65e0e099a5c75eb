#include "analyze/sweep.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"

static bool has_ratio(const struct nf_policy_line *line)
{
    return (!strcmp(line->name, "interleave") || !strcmp(line->name, "weighted")) && strstr(line->options, "ratio=");
}

static bool same_place(const struct nf_point *a, const struct nf_point *b)
{
    return a->near_share == b->near_share && a->overlap == b->overlap && a->hog == b->hog &&
           a->parallelism_scale == b->parallelism_scale;
}

/* A slowdown where there is one; the step time of a curve that has none (asap without all-near). */
static double merit(const struct nf_point *p)
{
    return p->slowdown.n ? p->slowdown.median : p->wall_ns;
}

/* The best of those at the place of points[first], which is the first one there. */
static int add_best(struct nf_curve *c, size_t first, size_t n, uint32_t policy)
{
    struct nf_sweep_winner w = {.near_share = c->points.v[first].near_share, .overlap = c->points.v[first].overlap};
    size_t best = first;
    struct nf_point copy;

    for (size_t i = first; i < n; i++) {
        const struct nf_point *p = &c->points.v[i];

        if (!c->policies.v[p->policy].swept || !same_place(p, &c->points.v[first]))
            continue;
        w.tried++;
        if (isnan(merit(&c->points.v[best])) || merit(p) < merit(&c->points.v[best]))
            best = i;
    }
    w.policy = c->points.v[best].policy;
    copy = c->points.v[best];
    copy.policy = policy;
    copy.step_ns = malloc((c->n_blocks + 1) * sizeof *copy.step_ns);
    if (!copy.step_ns)
        return -ENOMEM;
    memcpy(copy.step_ns, c->points.v[best].step_ns, c->n_blocks * sizeof *copy.step_ns);
    if (nf_array_push(&c->points, copy)) {
        free(copy.step_ns);
        return -ENOMEM;
    }
    return nf_point_is_headline(&copy) ? nf_array_push(&c->winners, w) : 0;
}

static bool comes_first(const struct nf_curve *c, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (c->policies.v[c->points.v[i].policy].swept && same_place(&c->points.v[i], &c->points.v[at]))
            return false;
    return true;
}

int nf_sweep_add(struct nf_curve *c)
{
    size_t n = c->points.n, ratios = 0;
    const char *semantics = NULL, *pages_by = NULL;
    struct nf_buf label = {0};
    uint32_t policy = (uint32_t)c->policies.n;
    int rc;

    for (size_t i = 0; i < c->policies.n; i++)
        if (has_ratio(&c->policies.v[i])) {
            ratios++;
            semantics = c->policies.v[i].semantics;
            pages_by = c->policies.v[i].pages_by;
        }
    if (ratios < 2)
        return 0;
    for (size_t i = 0; i < c->policies.n; i++)
        c->policies.v[i].swept = has_ratio(&c->policies.v[i]);
    nf_buf_printf(&label, "best interleave (oracle over %zu ratios)", ratios);
    rc = label.failed ? -ENOMEM
                      : nf_array_push(&c->policies, (struct nf_policy_line){.name = "best-interleave", .options = "",
                                                                            .semantics = semantics, .pages_by = pages_by, .label = label.data,
                                                                            .oracle = true});
    if (rc)
        nf_buf_deinit(&label);
    for (size_t i = 0; i < n && !rc; i++)
        if (c->policies.v[c->points.v[i].policy].swept && comes_first(c, i))
            rc = add_best(c, i, n, policy);
    return rc;
}
