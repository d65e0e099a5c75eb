#pragma once
/* What near can save in a step: a stay of a tensor there from one of its uses to the next, which that next use then finds near.
 * A use that no stay ends in reaches far, in place or by a fetch. Planners choose stays, bounds say how much any choice can save.
 * A planner has a tensor near from its birth to its second use or at neither: near at its birth alone, all of it would be written back
 * for the bytes of one use. Policies that do write back are bounded by the stays that are apart. */
#include <stdbool.h>
#include <stdint.h>

#include "core/model/load.h"
#include "core/model/profile.h"
#include "pool/plan.h"
#include "pool/step-uses.h"

/* Near is held in the ops after `from` up to `to`; before a tensor's first use of all from that use on. */
struct nf_stay {
    uint32_t tensor, use; /* of its uses in nf_step_uses: that it ends in */
    uint32_t before;      /* the tensor's number at `from`: another when it is carried into the step under a new one */
    uint32_t from, to;    /* ops; from >= to: round the end of the step, but with `born`: the birth alone */
    uint32_t first, last; /* ops held, inclusive; first > last: [first, n_ops) and [0, last] */
    uint32_t since;       /* <= first: what is born near is held from then on, however late its first use */
    uint32_t until;       /* >= last: what is not moved away after its last use is held until it dies */
    uint32_t pages;
    uint64_t bytes;       /* of the uses it serves, those that pass the LLC */
    uint64_t last_bytes;  /* of those, of the use it ends in */
    bool born;            /* begins with the tensor: its first use is served as well, or it alone */
};

struct nf_stays {
    struct nf_stay *v; /* by tensor, in order of use */
    uint32_t n, n_ops;
    uint64_t bytes;    /* of all uses: what reaches far with nothing near */
};

/* uses: of the same class. 0 or -ENOMEM (cause set). Caller deinits in every case. */
int nf_stays_init(struct nf_stays *s, const struct nf_profile *profile, const struct nf_step_uses *uses);
/* What bounds every policy that holds storages, in bytes used far or fetched: birth and second use are two stays, neither of which needs
 * the other, and a use counts no more bytes than its storage has, as many as a fetch for it would. As nf_stays_init. */
int nf_stays_init_apart(struct nf_stays *s, const struct nf_profile *profile, const struct nf_step_uses *uses);
/* The choices of what never moves: a tensor is near from birth to death or not at all, and saves all its uses. A storage that is
 * carried into the next step as another tensor is one with it. As nf_stays_init. */
int nf_stays_init_lives(struct nf_stays *s, const struct nf_profile *profile, const struct nf_step_uses *uses);
void nf_stays_deinit(struct nf_stays *s);

/* How many ops a stay holds near. */
uint32_t nf_stay_length(const struct nf_stay *s, uint32_t n_ops);
/* How many pages more near takes at every op from `since` until `until`, beside what l says is there; at most the stay's. */
uint32_t nf_stay_room(const struct nf_stay *s, const struct nf_load *l, uint32_t n_ops, uint32_t capacity_pages);
/* So many of its pages are held from `since` until `until`. */
void nf_stay_hold(const struct nf_stay *s, struct nf_load *l, uint32_t n_ops, uint32_t pages);
/* Stays first to last of one tensor, chosen as one. */
struct nf_plan_item nf_stays_item(const struct nf_stays *s, uint32_t first, uint32_t last);
/* Bytes that are saved where kept[i] pages of stay i are near: a use is taken to touch all pages alike. */
double nf_stays_saved(const struct nf_stays *s, const uint32_t *kept);
/* Greedy: by bytes saved per page and op held, and by bytes saved per page; what fits at every op it holds is taken, all or
 * nothing or with `parts` as many pages as fit, and the best of the results is kept (pool/plan.h). kept: pages, room for s->n.
 * 0 or -ENOMEM (cause set). */
int nf_stays_choose(const struct nf_stays *s, uint64_t capacity_pages, bool parts, uint32_t *kept);
/* A capacity in pages as planners count it: of more there is no use. */
static inline uint32_t nf_stays_capacity(uint64_t pages)
{
    return pages < UINT32_MAX / 2 ? (uint32_t)pages : UINT32_MAX / 2;
}
