#include "pool/placement.h"

#include <errno.h>

#include "core/base/error.h"

int nf_placement_first_fit(const struct nf_policy_env *env, uint32_t first, uint64_t bytes, struct nf_placement *out)
{
    for (uint32_t t = first; t < env->n_tiers; t++)
        if (nf_placement_room(env, t) >= bytes) {
            nf_placement_whole(out, t, bytes);
            return 0;
        }
    return nf_fail(-ENOSPC, "no tier from %u on has %llu bytes free", first, (unsigned long long)bytes);
}

int nf_placement_far_first(const struct nf_policy_env *env, uint64_t bytes, struct nf_placement *out)
{
    return nf_placement_first_fit(env, 1, bytes, out) ? nf_placement_first_fit(env, 0, bytes, out) : 0;
}
