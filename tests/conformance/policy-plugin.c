/* A policy in a shared object, for the tests: first tier with room. It declares to see nothing, and refuses to work
 * when it is shown something. */
#include <errno.h>
#include <stddef.h>

#include "pool/policy.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    if (env->profiles || env->n_profiles || env->steady_class)
        return -EPERM;
    *policy = (void *)env;
    return 0;
}

static void close_policy(void *policy)
{
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    const struct nf_policy_env *env = policy;

    if (t->step_class || t->number != UINT32_MAX || t->role != NF_ROLE_UNKNOWN)
        return -EPERM;
    for (uint32_t i = 0; i < env->n_tiers; i++)
        if (env->free_bytes(env->pool, i) >= t->bytes) {
            out->bytes[i] = t->bytes;
            return 0;
        }
    return -ENOSPC;
}

extern const struct nf_policy_ops nf_policy_plugin;
const struct nf_policy_ops nf_policy_plugin = {
    NF_POLICY_INTERFACE(0),
    .name = "plugin",
    .about = "first fit, from a shared object",
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
};
