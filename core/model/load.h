#pragma once
/* The load of a plan over the ops of a step: add to a range of ops, ask for the largest in a range. A flat segment
 * tree climbed from the leaves: what was added to a whole subtree stays at its root, so nothing is ever pushed down.
 * Units are pages: exact, where floating point could not promise that a capacity holds. */
#include <stdint.h>

struct nf_load {
    struct nf_load_node {
        uint32_t max; /* of the subtree, its own `add` included */
        uint32_t add; /* to every op of the subtree */
    } *node;
    uint32_t leaves; /* a power of two, at least n + 2: the climb starts outside the range on both sides */
};

/* 0 or -ENOMEM. */
int nf_load_init(struct nf_load *l, uint32_t n);
void nf_load_deinit(struct nf_load *l);
/* Adds to ops [first, last]. The sum at an op must stay below 2^32. */
void nf_load_add(struct nf_load *l, uint32_t first, uint32_t last, uint32_t pages);
/* Adds change[0] to all ops, change[1] to all but the first, and so on: many ranges at once, n as at init, any change modulo 2^32.
 * Only right after init. */
void nf_load_fill(struct nf_load *l, const uint32_t *change, uint32_t n);
/* The largest load in [first, last]. */
uint32_t nf_load_peak(const struct nf_load *l, uint32_t first, uint32_t last);
/* The largest of all. */
static inline uint32_t nf_load_top(const struct nf_load *l)
{
    return l->node[1].max;
}
