#include "core/model/sampled-visits.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/array.h"

/* What belongs to one (op, tensor): bytes of a visit, or a sample. */
static int by_place(uint32_t op, uint32_t tensor, uint32_t other_op, uint32_t other_tensor)
{
    if (op != other_op)
        return op < other_op ? -1 : 1;
    return (tensor > other_tensor) - (tensor < other_tensor);
}

static int compare_samples(const void *a, const void *b)
{
    const struct nf_sample *x = a, *y = b;

    return by_place(x->op, x->tensor, y->op, y->tensor);
}

static int compare_visits(const void *a, const void *b)
{
    const struct nf_sampled_visit *x = a, *y = b;

    return by_place(x->op, x->tensor, y->op, y->tensor);
}

struct gathered {
    NF_ARRAY(struct nf_sampled_visit) rows;
    NF_ARRAY(struct nf_sample) samples;
};

static int gather(const struct nf_step_class *c, const struct nf_sample *samples, size_t n, struct gathered *g)
{
    size_t kept = 0;

    for (uint32_t i = 0; i < c->n_visits; i++)
        if (nf_array_push(&g->rows, (struct nf_sampled_visit){.op = c->visits[i].op, .tensor = c->visits[i].tensor,
                                                              .bytes = c->visits[i].bytes}))
            return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (samples[i].op >= c->n_ops || samples[i].tensor >= c->n_tensors)
            continue;
        if (nf_array_push(&g->samples, samples[i]) ||
            nf_array_push(&g->rows, (struct nf_sampled_visit){.op = samples[i].op, .tensor = samples[i].tensor, .samples = 1}))
            return -ENOMEM;
    }
    if (g->samples.n)
        qsort(g->samples.v, g->samples.n, sizeof *g->samples.v, compare_samples);
    if (g->rows.n)
        qsort(g->rows.v, g->rows.n, sizeof *g->rows.v, compare_visits);
    for (size_t i = 0; i < g->rows.n; i++) {
        struct nf_sampled_visit *last = kept ? &g->rows.v[kept - 1] : NULL;

        if (last && !compare_visits(last, &g->rows.v[i])) {
            last->bytes += g->rows.v[i].bytes;
            last->samples += g->rows.v[i].samples;
        } else {
            g->rows.v[kept++] = g->rows.v[i];
        }
    }
    g->rows.n = kept;
    return 0;
}

int nf_sampled_visits(const struct nf_visit_sampling *how, const struct nf_step_class *c, const struct nf_sample *samples,
                      size_t n, uint32_t steps, struct nf_sampled_visit **out, size_t *n_out)
{
    struct gathered g = {0};
    int rc = gather(c, samples, n, &g);
    size_t at = 0;

    for (size_t i = 0; !rc && i < g.rows.n; i++) {
        struct nf_sampled_visit *r = &g.rows.v[i];
        struct nf_visit_facts facts = {.bytes = r->bytes, .dur_ns = c->ops[r->op].dur_ns, .occurrences = steps};

        rc = nf_visit_estimate(how, &facts, g.samples.v + at, r->samples, &r->estimate);
        at += r->samples;
    }
    nf_array_free(&g.samples);
    if (rc) {
        nf_array_free(&g.rows);
        return rc;
    }
    *out = g.rows.v;
    *n_out = g.rows.n;
    return 0;
}
