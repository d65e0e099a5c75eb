#pragma once
/* The static plan by lifetime density, for policies that decide something else first (pool/policy-lifetime-density.c). */
#include "pool/policy.h"

/* Weights: cost of a byte read, written. 0, -EINVAL, -ENOMEM (cause set). */
int nf_lifetime_density_open(const struct nf_policy_env *env, double read_weight, double write_weight, void **policy);
void nf_lifetime_density_close(void *policy);
int nf_lifetime_density_place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                              struct nf_placement *out);
