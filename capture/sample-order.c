#include "capture/sample-order.h"

#include <stdlib.h>

#include "capture/key-sort.h"

struct nf_sample_order {
    nf_sample_order_emit *emit;
    void *context;
    size_t most, n;
    uint64_t newest, flushable, emitted, late;
    struct nf_sample *held, *kept;
    struct nf_key *keys; /* and as many for sorting them */
};

struct nf_sample_order *nf_sample_order_new(size_t most, nf_sample_order_emit *emit, void *context)
{
    struct nf_sample_order *o = calloc(1, sizeof *o);

    if (!o)
        return NULL;
    *o = (struct nf_sample_order){.emit = emit, .context = context, .most = most};
    o->held = calloc(most, sizeof *o->held);
    o->kept = calloc(most, sizeof *o->kept);
    o->keys = calloc(most, 2 * sizeof *o->keys);
    return o->held && o->kept && o->keys ? o : nf_sample_order_free(o);
}

struct nf_sample_order *nf_sample_order_free(struct nf_sample_order *o)
{
    if (!o)
        return NULL;
    free(o->held);
    free(o->kept);
    free(o->keys);
    free(o);
    return NULL;
}

/* Hands on what is not newer than `until`, and the `least` oldest in any case. */
static int flush(struct nf_sample_order *o, uint64_t until, size_t least)
{
    struct nf_sample *swap;
    size_t i = 0, left = 0;

    for (size_t k = 0; k < o->n; k++)
        o->keys[k] = (struct nf_key){o->held[k].time_ns, (uint32_t)k};
    nf_keys_sort(o->keys, o->n, o->keys + o->most);
    for (; i < o->n && (i < least || o->keys[i].key <= until); i++) {
        int rc = o->emit(o->context, &o->held[o->keys[i].at]);

        if (rc)
            return rc;
        o->late += o->keys[i].key < o->emitted;
        o->emitted = o->keys[i].key > o->emitted ? o->keys[i].key : o->emitted;
    }
    for (; i < o->n; i++)
        o->kept[left++] = o->held[o->keys[i].at];
    swap = o->held;
    o->held = o->kept;
    o->kept = swap;
    o->n = left;
    return 0;
}

int nf_sample_order_add(struct nf_sample_order *o, const struct nf_sample *s)
{
    if (o->n == o->most) {
        int rc = flush(o, 0, o->n / 2);

        if (rc)
            return rc;
    }
    o->held[o->n++] = *s;
    o->newest = s->time_ns > o->newest ? s->time_ns : o->newest;
    return 0;
}

int nf_sample_order_round(struct nf_sample_order *o)
{
    int rc = flush(o, o->flushable, 0);

    o->flushable = o->newest;
    return rc;
}

int nf_sample_order_end(struct nf_sample_order *o)
{
    return flush(o, UINT64_MAX, 0);
}

uint64_t nf_sample_order_late(const struct nf_sample_order *o)
{
    return o->late;
}
