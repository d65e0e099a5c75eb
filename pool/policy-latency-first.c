/* Policy `latency-first`: what waits for latency is near, what streams is striped over all far tiers.
 * Rule: the data of the optimizer step (trained parameters, gradients, optimizer state and its temporaries) is latency-critical and
 * pinned near; everything else (activations, checkpoints, inputs) is latency-tolerant and striped over the far devices, so that
 * their bandwidths add up. Liaw, Chen: Analysis and Optimized CXL-Attached Memory Allocation for Long-Context LLM Fine-Tuning,
 * arXiv 2507.03305v2, 2025, the section on the CXL-aware allocator. Their far devices are alike; here pages are dealt to far tiers
 * in proportion to measured read bandwidth, evenly where one is unknown. What is critical and finds near full is striped as well; what
 * is tolerant and finds far full goes near.
 * Semantics: in place, insert by role, no moves. Sees the profile (roles only).
 * Fails where the optimizer's data is larger than near, and where it is small: near then stays partly empty while activations are
 * read far. Their system computes on a GPU, which streams activations; a CPU that computes on them does wait. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/stream.h"
#include "pool/placement.h"
#include "pool/policies.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    *policy = (void *)env;
    return 0;
}

static void close_policy(void *policy)
{
}

static bool latency_critical(enum nf_role role)
{
    return role == NF_ROLE_PARAMETER || role == NF_ROLE_GRADIENT || role == NF_ROLE_OPTIMIZER ||
           role == NF_ROLE_OPTIMIZER_TEMP;
}

static double weight(const struct nf_policy_env *env, uint32_t tier)
{
    for (uint32_t t = 1; t < env->n_tiers; t++)
        if (!(env->read_bps[t] > 0))
            return 1;
    return env->read_bps[tier];
}

/* Far tiers share by weight as far as they have room; whoever has some left takes the rest. Returns pages without a place. */
static uint64_t stripe(const struct nf_policy_env *env, uint64_t pages, struct nf_placement *out)
{
    uint64_t left = pages;
    double weights = 0, seen = 0;
    uint32_t used = 0;

    for (uint32_t t = 1; t < env->n_tiers; t++)
        weights += weight(env, t);
    for (uint32_t t = 1; t < env->n_tiers; t++) {
        uint64_t room = nf_placement_room(env, t) / NF_PAGE_BYTES, share, before = (uint64_t)(seen / weights * (double)pages + 0.5);

        seen += weight(env, t);
        share = (t + 1 == env->n_tiers ? pages : (uint64_t)(seen / weights * (double)pages + 0.5)) - before;
        share = share < room ? share : room;
        out->bytes[t] = share * NF_PAGE_BYTES;
        left -= share;
    }
    for (uint32_t t = 1; t < env->n_tiers && left; t++) {
        uint64_t room = (nf_placement_room(env, t) - out->bytes[t]) / NF_PAGE_BYTES, more = left < room ? left : room;

        out->bytes[t] += more * NF_PAGE_BYTES;
        left -= more;
    }
    for (uint32_t t = 1; t < env->n_tiers; t++)
        used += out->bytes[t] > 0;
    out->striped = used > 1;
    return left;
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    const struct nf_policy_env *env = policy;
    uint64_t left;

    if (latency_critical(t->role) && nf_placement_room(env, 0) >= t->bytes) {
        nf_placement_whole(out, 0, t->bytes);
        return 0;
    }
    left = stripe(env, t->bytes / NF_PAGE_BYTES, out);
    if (left * NF_PAGE_BYTES > nf_placement_room(env, 0))
        return nf_fail(-ENOSPC, "no tier has room for %llu of %llu bytes", (unsigned long long)(left * NF_PAGE_BYTES),
                       (unsigned long long)t->bytes);
    out->bytes[0] = left * NF_PAGE_BYTES;
    out->striped = out->striped && !left; /* what spilled is the storage's start, not a share of it */
    return 0;
}

const struct nf_policy_ops nf_policy_latency_first = {
    NF_POLICY_INTERFACE(0),
    .name = "latency-first",
    .about = "what the optimizer step works on is near, everything else striped over the far tiers",
    .source = "Liaw, Chen, arXiv 2507.03305v2, 2025",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER,
                  .mover = NF_MOVER_NONE, .sees_profile = true},
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
};
