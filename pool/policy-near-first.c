/* Policy `near-first`: near until it is full, then far.
 * Rule: each storage whole on the first tier with room for all of it when it is born.
 * Semantics: in place, insert near, no moves. Sees nothing of the job.
 * Fails where what is born first is cold, as `first-touch`, and leaves near's last pages empty where a storage does not fit whole. */
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

    return nf_placement_first_fit(env, 0, t->bytes, out);
}

const struct nf_policy_ops nf_policy_near_first = {
    NF_POLICY_INTERFACE(0),
    .name = "near-first",
    .about = "near until full, then the next tier; never moves",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER, .mover = NF_MOVER_NONE},
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
};
