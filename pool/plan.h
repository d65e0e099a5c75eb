#pragma once
/* A static placement plan: which storages of a step live on a tier of a given size. Greedy by density on a segment
 * tree over the ops; O(n log n). */
#include <stdbool.h>
#include <stdint.h>

/* A storage that is alive in one or two ranges of ops (what enters a step and what leaves it can be the same one,
 * dead in between). Ranges are inclusive. */
struct nf_plan_item {
    uint32_t pages, n_spans;
    struct {
        uint32_t first, last;
    } span[2];
    double benefit; /* >= 0: what it saves to have it on the tier, in any one unit */
};

/* Sorts by benefit / (size × lifetime) and by benefit / size, accepts in that order whatever fits over its whole
 * life, and keeps the better of the two results. capacity and base (what is taken already at every op) are pages;
 * n_ops > 0. taken[i] says whether item i is in. 0 or -ENOMEM. */
int nf_plan_choose(const struct nf_plan_item *items, uint32_t n, uint32_t n_ops, uint32_t capacity, uint32_t base,
                   bool *taken);
/* The same where an item may be taken in part, for that part of its benefit: pages[i] of item i are. A third result has what fits
 * whole by benefit / (size × lifetime), and then parts of what does not. The two ranges of an item do not overlap. */
int nf_plan_choose_parts(const struct nf_plan_item *items, uint32_t n, uint32_t n_ops, uint32_t capacity, uint32_t base,
                         uint32_t *pages);
