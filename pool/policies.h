#pragma once
/* The built-in policies, for the table. */
#include "pool/policy.h"

extern const struct nf_policy_ops nf_policy_all_near, nf_policy_all_far, nf_policy_near_first, nf_policy_first_touch,
    nf_policy_interleave, nf_policy_weighted, nf_policy_random, nf_policy_lru, nf_policy_lru_drop, nf_policy_clock, nf_policy_gdsf,
    nf_policy_s3_fifo, nf_policy_promote, nf_policy_class, nf_policy_lifetime_density, nf_policy_soar,
    nf_policy_sentinel, nf_policy_g10, nf_policy_tiertrain, nf_policy_regime_plan, nf_policy_gap_greedy, nf_policy_interval_lp, nf_policy_latency_first, nf_policy_hemem,
    nf_policy_memtis, nf_policy_tpp, nf_policy_nbt, nf_policy_colloid, nf_policy_kernel, nf_policy_recompute, nf_policy_gap_recompute,
    nf_policy_trace;
