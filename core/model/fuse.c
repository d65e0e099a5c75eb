#include "core/model/fuse.h"

#include <stdbool.h>

static bool belongs(const struct nf_sample *s, const struct nf_visit *v)
{
    if (s->tensor != v->tensor || s->offset < v->offset || s->offset - v->offset >= nf_visit_span(v))
        return false;
    return s->rw == NF_SAMPLE_RW_UNKNOWN || s->rw == NF_RW_UPDATE || v->rw == NF_RW_UPDATE || s->rw == v->rw;
}

size_t nf_fuse(const struct nf_step_class *c, const struct nf_sample *samples, size_t n,
               struct nf_visit_samples *visits)
{
    size_t strays = 0;

    for (size_t i = 0; i < n; i++) {
        const struct nf_sample *s = &samples[i];
        bool found = false;

        if (s->op == NF_SAMPLE_NONE || s->tensor == NF_SAMPLE_NONE)
            continue;
        for (uint32_t k = 0; s->op < c->n_ops && k < c->ops[s->op].n_visits; k++) {
            uint32_t visit = c->ops[s->op].first_visit + k;

            if (!belongs(s, &c->visits[visit]))
                continue;
            found = true;
            nf_count_add(&visits[visit].count, s->period);
            visits[visit].latency_cycles += (double)s->period * s->weight;
        }
        strays += !found;
    }
    return strays;
}

void nf_fuse_seen(const struct nf_step_class *c, const struct nf_visit_samples *visits, uint8_t *seen)
{
    for (uint32_t i = 0; i < c->n_visits; i++)
        seen[i] = visits[i].count.samples > 0;
}
