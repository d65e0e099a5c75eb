#pragma once
/* Recomputing: what of a step class can be made again instead of being held between two uses, at what cost, and which of it should be.
 *
 * A tensor in a gap between two bursts of uses (core/model/profile.h) is kept near (K), kept far (F), or dropped and made again right
 * before its next use (R). Making it again runs the ops that wrote it once more, and before them those that make what they read and
 * what is gone by then: the chain. It ends at tensors that are there at that point with the contents they had.
 *
 * Costs, after "Keep near, keep far, or recompute" of the published planners (Jain et al., Checkmate, MLSys 2020, for the term with
 * ancestors; Peng et al., Capuchin, ASPLOS 2020, for size/time as the measure; Beaumont et al., NeurIPS 2021, for both in one):
 *     sum of F * exposed * 2 size / BW_far  +  sum of R * (c + c of evicted ancestors)
 * where c is the captured time of the chain's ops. Where nothing hides a transfer, recomputing wins if size / c > BW_far / 2. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/array.h"
#include "core/model/profile.h"
#include "core/model/stream.h"

enum { NF_RECOMPUTE_DEPTH_MAX = 64 };

struct nf_recompute_rules {
    uint32_t depth; /* most ops in a chain, 1 to NF_RECOMPUTE_DEPTH_MAX */
    bool random;    /* ops that draw random numbers may run again */
};

/* One tensor in one gap. */
struct nf_recompute_item {
    uint32_t tensor, from_op, to_op; /* last op of the burst before, first op of the one after */
    uint32_t pages;
    double gap_ns;
    bool wraps;  /* to_op is the next step's */
    bool can;    /* it can be made again, nothing else being gone; never where it wraps */
    double c_ns; /* the chain's captured time then */
};

struct nf_recompute {
    const struct nf_step_class *of; /* borrowed */
    struct nf_recompute_rules rules;
    struct nf_recompute_item *items; /* by tensor, then op */
    uint32_t n_items;
    uint32_t *item_first;            /* of->n_tensors + 1: items of a tensor */
    uint32_t *write_first, *write_op; /* of->n_tensors + 1: ops that write it, ascending, each once */
    bool *repeatable;                /* per op, by its name */
    bool *made;                      /* per tensor: born in the step, and written before it is read */
    uint32_t *base;                  /* of->n_ops: pages live then that belong to no item in its gap */
};

enum nf_recompute_choice { NF_RECOMPUTE_NEAR, NF_RECOMPUTE_FAR, NF_RECOMPUTE_AGAIN };

/* How an item is made again. */
struct nf_recompute_chain {
    uint32_t ops[NF_RECOMPUTE_DEPTH_MAX]; /* in captured order */
    uint32_t n;
    NF_ARRAY(uint32_t) parents; /* tensors it reads where they are; some may come twice */
    NF_ARRAY(uint32_t) scratch; /* tensors it writes beside the item's own, each once: copies, dropped at once */
    double ns;                  /* captured, gaps before ops included */
    uint64_t scratch_pages;
};

struct nf_recompute_prices {
    uint64_t near_pages;
    double far_bps;   /* > 0 */
    double exposed;   /* share of a transfer's time that nothing hides, 0 to 1 */
    bool hidden;      /* a transfer costs only what is longer than its gap instead: far hides if BW_far >= size / window */
    double compute_x; /* > 0: this many times the captured compute rate */
    bool no_again;    /* recompute nothing: the curve of offloading alone */
};

/* p: of the class, with its visits. names: of the stream. 0, -EINVAL (depth), -ENOMEM (cause set). Caller deinits in every case. */
int nf_recompute_init(struct nf_recompute *r, const struct nf_profile *p, char *const *names, struct nf_recompute_rules rules);
void nf_recompute_deinit(struct nf_recompute *r);

/* The item of a tensor in whose gap (both ends excluded) the op lies, or UINT32_MAX. */
uint32_t nf_recompute_item_at(const struct nf_recompute *r, uint32_t tensor, uint32_t op);
/* How an item is made again when choices (per item; NULL: everything near) hold. false: not at all; the chain is then void. Memory
 * that runs out is a no, too. Reuse a chain; deinit it in the end. */
bool nf_recompute_chain(const struct nf_recompute *r, const uint8_t *choices, uint32_t item, struct nf_recompute_chain *chain);
void nf_recompute_chain_deinit(struct nf_recompute_chain *chain);

/* The ops for which an item's pages are free to be elsewhere: two ranges [first, end), either of which may be empty. */
void nf_recompute_ranges(const struct nf_recompute *r, const struct nf_recompute_item *i, uint32_t range[2][2]);

/* Nanoseconds that it costs to have an item far. */
double nf_recompute_far_ns(const struct nf_recompute_item *i, const struct nf_recompute_prices *p);
/* What all choices cost together, in nanoseconds of a step; scratch that finds no room near goes far and back. Negative: they do
 * not hold, as near has no room at some op or something recomputed lacks a parent. What lies outside gaps always has room: a planner of
 * gaps cannot change it. -ENOMEM is negative, too. */
double nf_recompute_cost(const struct nf_recompute *r, const uint8_t *choices, const struct nf_recompute_prices *p);
/* Greedy: near goes to the items that save most per page and time held (lifetime density's key, on gaps); of the rest each is made again
 * where that is cheaper than far, with what it adds to the chains of others. O(n log n) beside the chains. choices: room for n_items.
 * 0 or -ENOMEM (cause set). */
int nf_recompute_choose(const struct nf_recompute *r, const struct nf_recompute_prices *p, uint8_t *choices);
/* The best of all choices, by trying each: at most NF_RECOMPUTE_EXACT_MAX items. 0, -E2BIG, -ENOMEM (cause set). */
enum { NF_RECOMPUTE_EXACT_MAX = 12 };
int nf_recompute_exact(const struct nf_recompute *r, const struct nf_recompute_prices *p, uint8_t *choices);
