#pragma once
/* Durations of operators from a Kineto trace (Chrome's trace event format) of the run an execution trace was taken of.
 *
 * Complete events ("ph": "X") of operators are matched by "Record function id", in files that have none by "External id",
 * which older profilers fill with the same number. Where a file has neither, or the number names an event of another
 * name, an operator is matched by name and order: only where a name occurs as often in the file as in the trace. An
 * operator that launched kernels took as long as they did; else as long as its event. */
#include <stdint.h>

#include "capture/et-plan.h"

struct nf_kineto_totals {
    uint64_t events, operators, kernels;
    uint64_t by_id, by_order, unmatched; /* of the plan's operators */
    uint64_t on_device;                  /* matched ones with the time of their kernels */
};

struct nf_kineto {
    uint64_t *op_ns; /* per exec of the plan; 0 where unmatched */
    struct nf_kineto_totals totals;
};

/* 0, -EBADMSG for a broken file or one that matches less than half of the operators, -errno (cause set).
 * Deinit in any case. */
int nf_kineto_init(struct nf_kineto *k, const char *path, struct nf_et_plan *plan);
void nf_kineto_deinit(struct nf_kineto *k);
