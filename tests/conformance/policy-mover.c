/* A policy in a shared object that keeps a mover busy: whatever an op used goes to the other tier after it, where there is
 * room. MOVER says how; with NF_MOVER_KERNEL it only places, near first, and watches. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "pool/policy.h"

enum { HANDLES_MAX = 65536 };

struct shuttle {
    const struct nf_policy_env *env;
    uint64_t used[2]; /* once all moves are done */
    struct {
        uint64_t bytes;
        uint32_t tier;
    } storage[HANDLES_MAX];
    uint32_t operands[64], n;
};

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    struct shuttle *s = env->n_tiers == 2 ? calloc(1, sizeof *s) : NULL;

    if (!s)
        return env->n_tiers == 2 ? -ENOMEM : -EINVAL;
    s->env = env;
    *policy = s;
    return 0;
}

static void close_policy(void *policy)
{
    free(policy);
}

static uint64_t room(const struct shuttle *s, uint32_t tier)
{
    return s->env->capacity[tier] - s->used[tier];
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    struct shuttle *s = policy;
    uint32_t tier = room(s, 0) < t->bytes;

    if (t->handle >= HANDLES_MAX || room(s, tier) < t->bytes)
        return -ENOSPC;
    out->bytes[tier] = t->bytes;
    s->used[tier] += t->bytes;
    s->storage[t->handle].bytes = t->bytes;
    s->storage[t->handle].tier = tier;
    return 0;
}

static int access_operands(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw,
                           size_t n, struct nf_policy_moves *moves)
{
    struct shuttle *s = policy;

    s->n = 0;
    for (size_t i = 0; i < n && i < sizeof s->operands / sizeof *s->operands; i++)
        s->operands[s->n++] = handles[i];
    return 0;
}

static int after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct shuttle *s = policy;

    for (uint32_t i = 0; i < s->n && MOVER != NF_MOVER_KERNEL; i++) {
        uint32_t handle = s->operands[i], from = s->storage[handle].tier;
        uint64_t bytes = s->storage[handle].bytes;

        if (room(s, !from) < bytes)
            continue;
        moves->v[moves->n++] = (struct nf_policy_move){handle, !from};
        s->used[from] -= bytes;
        s->used[!from] += bytes;
        s->storage[handle].tier = !from;
    }
    s->n = 0;
    return 0;
}

static void freed(void *policy, uint32_t handle)
{
    struct shuttle *s = policy;

    s->used[s->storage[handle].tier] -= s->storage[handle].bytes;
}

extern const struct nf_policy_ops nf_policy_plugin;
const struct nf_policy_ops nf_policy_plugin = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE),
    .name = "shuttle",
    .about = "moves what was used to the other tier",
    .semantics = {.access = NF_ACCESS_PROMOTE_AFTER_USE, .demote = NF_DEMOTE_WRITE_BACK, .mover = MOVER, .sync = SYNC},
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
    .on_op = access_operands,
    .on_op_end = after,
    .on_free = freed,
};
