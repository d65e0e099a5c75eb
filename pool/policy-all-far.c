/* Policy `all-far`: the upper line of every curve.
 * Rule: everything on the last tier, or the farthest one that has room.
 * Semantics: in place, insert far, no moves. Sees nothing of the job.
 * Fails as an upper line where the farthest tier is not the slowest: see the tiers' measured figures. */
#include <stddef.h>

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

    return nf_placement_first_fit(env, env->n_tiers - 1, t->bytes, out);
}

const struct nf_policy_ops nf_policy_all_far = {
    NF_POLICY_INTERFACE(0),
    .name = "all-far",
    .about = "everything on the last tier: the lower bound of placement",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_FAR, .demote = NF_DEMOTE_NEVER, .mover = NF_MOVER_NONE},
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
};
