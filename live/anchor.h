#pragma once
/* When the moves of an op are made in a job that says no ops: at the last of its allocator's events, as far as they are in the plan,
 * that comes no later than the op begins. A block is taken to be allocated when its op begins, an operand to be freed when the op
 * after its last one begins, library scratch within its op. */
#include <stdint.h>

#include "core/model/stream.h"
#include "live/plan-file.h"

/* How far the events lie before the beginnings of the ops that they stand for, over the moves of a step: medians and maxima, in ops and
 * in captured time. */
struct nf_live_early {
    uint32_t moves;  /* of them, at an earlier op's event */
    double ops_median, ns_median;
    uint32_t ops_max;
    double ns_max;
};

/* The op by whose beginning the storage is freed; NF_PLAN_NONE: it outlives the step. */
uint32_t nf_live_gone(const struct nf_tensor *t);
/* Sets the anchors of the step's ops, and of the end of the step behind them. 0 or -ENOMEM (cause set). */
int nf_live_anchor(const struct nf_step_class *c, struct nf_plan_op *ops, struct nf_live_early *early);
