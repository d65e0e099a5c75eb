#include "pool/bound.h"

#include <math.h>
#include <stdlib.h>

struct ranked {
    double density, cost; /* bytes per page and op; pages times ops */
    uint64_t bytes;
};

static int denser(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    return x->density > y->density ? -1 : x->density < y->density;
}

double nf_bound_pfoo(const struct nf_stays *s, uint64_t capacity_pages)
{
    struct ranked *v = malloc((s->n + (size_t)1) * sizeof *v);
    double left = (double)capacity_pages * s->n_ops, saved = 0;

    if (!v)
        return NAN;
    for (uint32_t i = 0; i < s->n; i++) {
        v[i].cost = (double)s->v[i].pages * nf_stay_length(&s->v[i], s->n_ops);
        v[i].bytes = s->v[i].bytes;
        v[i].density = (double)v[i].bytes / v[i].cost;
    }
    qsort(v, s->n, sizeof *v, denser);
    for (uint32_t i = 0; i < s->n && left > 0; i++) {
        double share = v[i].cost <= left ? 1 : left / v[i].cost;

        saved += share * (double)v[i].bytes;
        left -= v[i].cost;
    }
    free(v);
    return saved;
}
