/* A policy in a shared object that errs: more bytes near than there is room for, once something lies there already. Every other
 * trial of its replay has to go on, and its own to fail in words. */
#include <stddef.h>

#include "pool/policy.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    *policy = (void *)env;
    return 0;
}

static void close_policy(void *policy)
{
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions, struct nf_placement *out)
{
    out->bytes[0] = t->bytes; /* never asks whether there is room */
    return 0;
}

extern const struct nf_policy_ops nf_policy_plugin;
const struct nf_policy_ops nf_policy_plugin = {
    NF_POLICY_INTERFACE(0),
    .name = "illegal",
    .about = "everything near, room or not",
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
};
