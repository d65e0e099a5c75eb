#pragma once
/* What several policies need when they place a storage: whole ones, first tier with room. */
#include "pool/policy.h"

static inline uint64_t nf_placement_room(const struct nf_policy_env *env, uint32_t tier)
{
    return env->free_bytes(env->pool, tier);
}

static inline void nf_placement_whole(struct nf_placement *out, uint32_t tier, uint64_t bytes)
{
    out->bytes[tier] = bytes;
}

/* The first tier from `first` on with room for all of it; 0 or -ENOSPC (cause set). */
int nf_placement_first_fit(const struct nf_policy_env *env, uint32_t first, uint64_t bytes, struct nf_placement *out);
/* The same over the far tiers, then near: a full far tier is no reason to fail while near has room. */
int nf_placement_far_first(const struct nf_policy_env *env, uint64_t bytes, struct nf_placement *out);
