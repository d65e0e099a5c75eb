#pragma once
/* Follows the moves of a plan (live/plan-file.h) through the steps of a job, and notices when the job does something else. Where
 * the job is it learns from its allocator: each block of the plan comes and goes at an op that is known. A job that says its ops
 * itself is followed by those. Moves nothing itself and takes no lock: whoever drives it does. */
#include <stdbool.h>
#include <stdint.h>

#include "live/plan-file.h"

struct nf_follower {
    struct nf_plan_file *plan;
    const struct nf_plan_op *ops;
    const struct nf_plan_move *moves;
    const struct nf_plan_entry *entries; /* of the planned step, in the order in which they are allocated */
    uint32_t n_entries, n_frees;
    /* Asks for one move. False: no block of its storage is there. */
    bool (*move)(void *context, const struct nf_plan_move *m);
    void *context;
    bool says_ops, steady, stopped;
    uint32_t step;
    /* Of the running step: ops that began, moves that were due and found nothing, the op that the allocator's last event stands for;
     * planned blocks that came and went, one beyond the last of those, events that came otherwise. */
    uint32_t op, due, absent, at, born, gone, next, others;
};

/* The plan is sound and all is where it says. */
void nf_follower_init(struct nf_follower *f, struct nf_plan_file *plan, bool (*move)(void *, const struct nf_plan_move *), void *context);
/* The running step is the planned one, or another, of which nobody knows anything. Call when a step begins. */
void nf_follower_enter(struct nf_follower *f, bool steady);
/* A block is about to be allocated: entry i of the planned step, or NF_PLAN_NONE: one that is not in the plan. */
void nf_follower_born(struct nf_follower *f, uint32_t i);
/* It has its place, and may be moved. */
void nf_follower_placed(struct nf_follower *f);
/* A block of the plan was freed that is planned to be gone (nf_plan_entry) then. */
void nf_follower_gone(struct nf_follower *f, uint32_t gone);
/* The job says: an op begins whose name has this hash (nf_job_name_hash). */
void nf_follower_op(struct nf_follower *f, uint64_t name);
/* The running step ends. */
void nf_follower_leave(struct nf_follower *f);
