#pragma once
/* What is made again instead of being held, for the policies that choose it (pool/policy-recompute.c) and place the rest differently. */
#include "core/base/option.h"
#include "core/model/recompute.h"
#include "pool/policy.h"

struct nf_recompute_options {
    uint64_t depth;
    bool rng;
    double exposed;
};
/* Rows of an option table for them, `at` bytes into the policy's own struct. */
#define NF_RECOMPUTE_OPTION_ROWS(at)                                                                                                 \
    {"depth", 0, NF_OPTION_U64, (at) + offsetof(struct nf_recompute_options, depth), "N", "most ops that run again for one tensor (default 8)"}, \
    {"rng", 0, NF_OPTION_FLAG, (at) + offsetof(struct nf_recompute_options, rng), NULL,                                              \
     "ops that draw random numbers may run again, their generator's state kept"},                                                    \
    {"exposed", 0, NF_OPTION_F64, (at) + offsetof(struct nf_recompute_options, exposed), "X",                                        \
     "share of a far transfer's time that nothing hides (default 1)"}
#define NF_RECOMPUTE_OPTION_DEFAULTS {.depth = 8, .exposed = 1}

/* The verb `recompute` of a policy with these options. 0, -EINVAL (an option out of range), -ENOMEM (cause set). */
int nf_recompute_plan(const struct nf_policy_env *env, const struct nf_recompute_options *o, uint32_t step_class, char *const *names,
                      struct nf_recompute *r, uint8_t **choices);
