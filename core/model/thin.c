#include "core/model/thin.h"

#include <errno.h>

#include "core/base/array.h"
#include "core/base/rng.h"
#include "core/model/walk.h"

struct thinning {
    const struct nf_step_class *c;
    const struct nf_thin_options *o;
    struct nf_rng rng;
    uint64_t until;    /* accesses before the next sample */
    uint64_t interval; /* its period */
    uint32_t step, op;
    double op_ns, begun_ns; /* start of the op in its step, of the step */
    NF_ARRAY(struct nf_sample) samples;
};

static uint64_t draw(struct thinning *t)
{
    return t->o->period - t->o->jitter + nf_rng_below(&t->rng, 2 * t->o->jitter + 1);
}

static int thin_extent(void *context, const struct nf_walk_extent *e)
{
    struct thinning *t = context;
    const struct nf_visit *v = &t->c->visits[e->visit];
    const struct nf_tensor *tensor = &t->c->tensors[v->tensor];

    for (; t->op < v->op; t->op++)
        t->op_ns += t->c->ops[t->op].dur_ns + t->c->ops[t->op + 1].gap_ns;
    for (; t->until < e->n; t->until += t->interval) {
        uint64_t address = (e->first + t->until) * NF_LINE_BYTES;
        struct nf_sample s = {
            .time_ns = (uint64_t)(t->begun_ns + t->op_ns),
            .address = address > tensor->address + v->offset ? address : tensor->address + v->offset,
            .period = t->interval,
            .pid = UINT32_MAX,
            .tid = UINT32_MAX,
            .cpu = UINT32_MAX,
            .step = t->step,
            .op = v->op,
            .tensor = v->tensor,
            .rw = v->rw,
        };

        s.offset = s.address - tensor->address;
        if (nf_array_push(&t->samples, s))
            return -ENOMEM;
        t->interval = draw(t);
    }
    t->until -= e->n;
    return 0;
}

int nf_thin(const struct nf_step_class *c, const struct nf_thin_options *o, struct nf_sample **out, size_t *n)
{
    struct thinning t = {.c = c, .o = o, .rng = {.state = o->seed}};
    double step_ns = 0;
    int rc = 0;

    for (uint32_t i = 0; i < c->n_ops; i++)
        step_ns += c->ops[i].gap_ns + c->ops[i].dur_ns;
    t.interval = draw(&t);
    t.until = nf_rng_below(&t.rng, t.interval);
    for (; t.step < o->steps && !rc; t.step++) {
        t.op = 0;
        t.op_ns = c->n_ops ? c->ops[0].gap_ns : 0;
        t.begun_ns = t.step * step_ns;
        rc = nf_walk(c, NF_LINE_BYTES, NULL, thin_extent, &t);
    }
    if (rc)
        nf_array_free(&t.samples);
    *out = t.samples.v;
    *n = t.samples.n;
    return rc;
}
