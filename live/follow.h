#pragma once
/* Follows the moves of a plan (live/plan-file.h) through the ops of a job, and notices when the job does something else.
 * Moves nothing itself and takes no lock: whoever drives it does. */
#include <stdbool.h>
#include <stdint.h>

#include "live/plan-file.h"

struct nf_follower {
    struct nf_plan_file *plan;
    const struct nf_plan_op *ops;
    const struct nf_plan_move *moves;
    /* Asks for one move. False: no block of its storage is there. */
    bool (*move)(void *context, const struct nf_plan_move *m);
    void *context;
    uint32_t op, step, absent, due; /* of the running step */
    bool steady, stopped;
};

/* The plan is sound and the plan's ops and moves are where it says. */
void nf_follower_init(struct nf_follower *f, struct nf_plan_file *plan, bool (*move)(void *, const struct nf_plan_move *), void *context);
/* The running step is the planned one, or another, whose ops nobody knows. Call when a step begins. */
void nf_follower_enter(struct nf_follower *f, bool steady);
/* An op begins whose name has this hash (nf_job_name_hash): its moves are asked for. */
void nf_follower_op(struct nf_follower *f, uint64_t name);
/* The running step ends. */
void nf_follower_leave(struct nf_follower *f);
