#include "replay/scale.h"

#include <math.h>

/* Whole lines, so that what was aligned stays so; never more than before. */
static uint64_t scaled(uint64_t bytes, double factor)
{
    uint64_t lines = (uint64_t)((double)bytes * factor) / NF_LINE_BYTES;
    uint64_t out = (lines ? lines : 1) * NF_LINE_BYTES;

    return out < bytes ? out : bytes;
}

static void scale_visit(struct nf_visit *v, uint64_t tensor_bytes, double factor)
{
    uint64_t runs = v->run ? (v->bytes + v->run - 1) / v->run : 0, room;

    v->offset = v->offset ? scaled(v->offset, factor) : 0;
    if (v->offset >= tensor_bytes)
        v->offset = 0;
    room = tensor_bytes - v->offset;
    if (runs <= 1) {
        v->bytes = scaled(v->bytes, factor);
        v->bytes = v->bytes < room ? v->bytes : room;
        v->run = v->stride = v->bytes;
        return;
    }
    runs = (uint64_t)llround((double)runs * factor); /* rounded down, short gathers would lose most of their bytes */
    v->run = v->run < room ? v->run : room;
    while (runs > 1 && (runs - 1) * v->stride + v->run > room)
        runs = (room - v->run) / v->stride + 1;
    v->bytes = (runs ? runs : 1) * v->run;
}

uint64_t nf_scale_cache(uint64_t llc_bytes, double factor)
{
    uint64_t bytes = (uint64_t)llround((double)llc_bytes * factor);

    return bytes || !llc_bytes ? bytes : 1;
}

int nf_stream_scale(struct nf_stream *s, double factor)
{
    for (uint32_t i = 0; i < s->n_classes && factor < 1; i++) {
        struct nf_step_class *c = &s->classes[i];
        int rc;

        for (uint32_t t = 0; t < c->n_tensors; t++) {
            c->tensors[t].bytes = scaled(c->tensors[t].bytes, factor);
            /* Addresses only tell which lifetimes shared a place: distinct ones must stay distinct. */
            c->tensors[t].address = (uint64_t)((double)c->tensors[t].address * factor);
        }
        for (uint32_t v = 0; v < c->n_visits; v++) {
            if (c->visits[v].bytes)
                scale_visit(&c->visits[v], c->tensors[c->visits[v].tensor].bytes, factor);
        }
        for (uint32_t o = 0; o < c->n_ops; o++) {
            c->ops[o].dur_ns *= factor;
            c->ops[o].gap_ns *= factor;
        }
        c->bare_step_ns *= factor;
        rc = nf_step_class_peak(c, &c->peak_live_bytes);
        if (rc)
            return rc;
    }
    return 0;
}
