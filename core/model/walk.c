#include "core/model/walk.h"

#include <stddef.h>

/* Bytes [start, end), end > start. */
static int walk_range(const struct nf_walk_extent *like, uint64_t start, uint64_t end, uint32_t block_bytes,
                      nf_walk_fn *fn, void *context)
{
    uint64_t block = start / block_bytes, last = (end - 1) / block_bytes;

    while (block <= last) {
        struct nf_walk_extent e = *like;
        uint64_t from, to;
        int rc;

        e.first = block;
        e.n = last - block < NF_WALK_BLOCKS ? (uint32_t)(last - block) + 1 : NF_WALK_BLOCKS;
        from = block * block_bytes;
        to = from + block_bytes;
        e.head = (uint32_t)((to < end ? to : end) - (from > start ? from : start));
        from = (block + e.n - 1) * block_bytes;
        to = from + block_bytes;
        e.tail = (uint32_t)((to < end ? to : end) - (from > start ? from : start));
        rc = fn(context, &e);
        if (rc)
            return rc;
        block += e.n;
    }
    return 0;
}

int nf_walk(const struct nf_step_class *c, uint32_t block_bytes, const uint8_t *seen, nf_walk_fn *fn, void *context)
{
    int rc = 0;

    for (uint32_t i = 0; i < c->n_visits && !rc; i++) {
        const struct nf_visit *v = &c->visits[i];
        struct nf_walk_extent e = {.visit = i, .density = 1};
        uint64_t start = c->tensors[v->tensor].address + v->offset, runs, last_run, span;

        if (!v->bytes || !v->run || (seen && !seen[i]))
            continue;
        runs = (v->bytes + v->run - 1) / v->run;
        last_run = v->bytes - (runs - 1) * v->run;
        span = (runs - 1) * v->stride + last_run;
        if (runs == 1 || v->stride - v->run < block_bytes) {
            e.density = (double)v->bytes / (double)span;
            rc = walk_range(&e, start, start + span, block_bytes, fn, context);
        } else {
            for (uint64_t k = 0; k < runs && !rc; k++) {
                uint64_t at = start + k * v->stride;

                rc = walk_range(&e, at, at + (k + 1 < runs ? v->run : last_run), block_bytes, fn, context);
            }
        }
    }
    return rc;
}
