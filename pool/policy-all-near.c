/* Policy `all-near`: what every slowdown is a ratio to.
 * Rule: everything near; fails when near is too small for that, so the replay gives it all of peak live.
 * Semantics: in place, insert near, no moves. Sees nothing of the job.
 * Is no bound where tiers add up bandwidth: a job limited by near's may run faster on both. */
#include <errno.h>
#include <stddef.h>

#include "core/base/error.h"
#include "pool/placement.h"
#include "pool/policies.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    *policy = (void *)env; /* stateless: the environment is all it needs */
    return 0;
}

static void close_policy(void *policy)
{
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    const struct nf_policy_env *env = policy;

    if (nf_placement_room(env, 0) < t->bytes)
        return nf_fail(-ENOSPC, "near has %llu bytes free, %llu are wanted",
                       (unsigned long long)nf_placement_room(env, 0), (unsigned long long)t->bytes);
    nf_placement_whole(out, 0, t->bytes);
    return 0;
}

const struct nf_policy_ops nf_policy_all_near = {
    NF_POLICY_INTERFACE(0),
    .name = "all-near",
    .about = "everything near: what the others are measured against",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER, .mover = NF_MOVER_NONE},
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
};
