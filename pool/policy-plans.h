#pragma once
/* Which regimes a policy has planned, and the epoch of each one's placement map: what its verb plan is called with, and when. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/array.h"
#include "pool/policy.h"

struct nf_policy_plan {
    nf_regime regime;
    uint32_t epoch; /* from 1 */
};

struct nf_policy_plans {
    const struct nf_policy_ops *ops; /* filled */
    void *policy;
    bool has; /* a verb plan of its own */
    NF_ARRAY(struct nf_policy_plan) v;
    size_t last; /* entered */
};

/* Plans the regimes of the profiles in order of their first op, or regime 0 where there are none; what cannot plan is asked nothing.
 * ops: filled, outlives this. 0 or -errno (cause set). Caller deinits in every case. */
int nf_policy_plans_init(struct nf_policy_plans *p, const struct nf_policy_ops *ops, void *policy, const struct nf_profile *profiles,
                         uint32_t n_profiles);
void nf_policy_plans_deinit(struct nf_policy_plans *p);
/* The epoch of a regime's map, which is planned first where nobody knew it. 0 or -errno (cause set). */
int nf_policy_plans_enter(struct nf_policy_plans *p, nf_regime regime, uint32_t *epoch);
/* The next epoch of every regime that is known. 0 or -errno (cause set). */
int nf_policy_plans_again(struct nf_policy_plans *p);
