#pragma once
/* When the tensors of a step class are used, for policies that see the future: per tensor its ops in order, per op its
 * operands, and the captured schedule they follow. */
#include <stdint.h>

#include "core/model/stream.h"

struct nf_step_uses {
    const struct nf_step_class *of; /* borrowed; its visits are read at init only */
    uint32_t *first; /* n_tensors + 1: tensor t is used by op[first[t]] to op[first[t + 1] - 1], ascending, each op once */
    uint32_t *op;
    uint32_t *operand_first; /* n_ops + 1: op o runs on operand[operand_first[o]] and so on, in order of their first visit */
    uint32_t *operand;
    double *start_ns; /* n_ops + 1: op o begins at start_ns[o] and ends at start_ns[o + 1] of the step */
};

/* near_bps: bytes per second that stand in for the times of a class without any; <= 0: unknown, a DRAM channel's is assumed.
 * 0 or -ENOMEM (cause set). Caller deinits in every case. */
int nf_step_uses_init(struct nf_step_uses *u, const struct nf_step_class *c, double near_bps);
void nf_step_uses_deinit(struct nf_step_uses *u);

static inline uint32_t nf_step_uses_n(const struct nf_step_uses *u, uint32_t tensor)
{
    return u->first[tensor + 1] - u->first[tensor];
}
/* The op of a tensor's i-th use. */
static inline uint32_t nf_step_uses_op(const struct nf_step_uses *u, uint32_t tensor, uint32_t i)
{
    return u->op[u->first[tensor] + i];
}
/* The op that runs at a time of the step; the last one for times behind its end, the first for those before. */
uint32_t nf_step_uses_at(const struct nf_step_uses *u, double ns);
