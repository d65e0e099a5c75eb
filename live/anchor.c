#include "live/anchor.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/stats.h"

uint32_t nf_live_gone(const struct nf_tensor *t)
{
    if (t->death == NF_OP_AFTER)
        return NF_PLAN_NONE;
    /* What a step finds and frees at its first op, it may have freed before that. */
    return (uint32_t)t->death + (t->tracked && !(t->birth < 0 && t->death == 0));
}

/* Frees before it tell nothing (nf_follower_gone). 0: there is none. */
static uint32_t first_birth(const struct nf_step_class *c)
{
    uint32_t first = c->n_ops;

    for (uint32_t i = 0; i < c->n_tensors; i++) {
        if (c->tensors[i].bytes >= NF_PLAN_MIN_BYTES && c->tensors[i].birth >= 0 && (uint32_t)c->tensors[i].birth < first)
            first = (uint32_t)c->tensors[i].birth;
    }
    return first < c->n_ops ? first : 0;
}

/* Each op's own number where it has an event, then the last one before. */
static void find_anchors(const struct nf_step_class *c, struct nf_plan_op *ops)
{
    uint32_t first = first_birth(c);

    for (uint32_t i = 0; i < c->n_ops; i++)
        ops[i].anchor = 0;
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const struct nf_tensor *t = &c->tensors[i];
        uint32_t gone = nf_live_gone(t);

        if (t->bytes < NF_PLAN_MIN_BYTES)
            continue;
        if (t->birth >= 0)
            ops[t->birth].anchor = (uint32_t)t->birth;
        if (gone < c->n_ops && gone >= first)
            ops[gone].anchor = gone;
    }
    for (uint32_t i = 1; i < c->n_ops; i++)
        ops[i].anchor = ops[i].anchor ? i : ops[i - 1].anchor;
    ops[c->n_ops].anchor = c->n_ops; /* the step's end is told */
}

int nf_live_anchor(const struct nf_step_class *c, struct nf_plan_op *ops, struct nf_live_early *early)
{
    uint32_t n_moves = ops[c->n_ops].first_move + ops[c->n_ops].n_moves, n = 0;
    double *start_ns = malloc((c->n_ops + (size_t)1) * sizeof *start_ns), at_ns = 0;
    double *by_ops = malloc((n_moves + (size_t)1) * sizeof *by_ops), *by_ns = malloc((n_moves + (size_t)1) * sizeof *by_ns);
    int rc = start_ns && by_ops && by_ns ? 0 : nf_fail(-ENOMEM, "out of memory for %u moves", n_moves);

    *early = (struct nf_live_early){0};
    find_anchors(c, ops);
    for (uint32_t i = 0; i < c->n_ops && !rc; i++) {
        const struct nf_plan_op *o = &ops[i];

        start_ns[i] = at_ns + c->ops[i].gap_ns;
        at_ns = start_ns[i] + c->ops[i].dur_ns;
        for (uint32_t k = 0; k < o->n_moves; k++) {
            by_ops[n] = i - o->anchor;
            by_ns[n++] = start_ns[i] - start_ns[o->anchor];
        }
        early->moves += o->anchor < i ? o->n_moves : 0;
    }
    while (n < n_moves && !rc) {
        by_ops[n] = 0;
        by_ns[n++] = 0;
    }
    if (n && !rc) {
        early->ops_median = nf_median(by_ops, n);
        early->ns_median = nf_median(by_ns, n);
        early->ops_max = (uint32_t)nf_quantile(by_ops, n, 1);
        early->ns_max = nf_quantile(by_ns, n, 1);
    }
    free(start_ns);
    free(by_ops);
    free(by_ns);
    return rc;
}
