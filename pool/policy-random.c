/* Policy `random`: each storage whole on a tier drawn at random, by the seed, with the tiers' free bytes as odds among those
 * that have room for it; nothing ever moves. What any rule that looks at the job has to beat.
 * Semantics: in place, no moves. Sees nothing of the job.
 * Fails by design; one draw says little: compare medians over blocks, each of which draws anew. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "pool/placement.h"
#include "pool/policies.h"

struct random {
    const struct nf_policy_env *env;
    struct nf_rng rng;
};

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    struct random *p = malloc(sizeof *p);

    if (!p)
        return nf_fail(-ENOMEM, "no memory");
    *p = (struct random){env, {env->seed}};
    *policy = p;
    return 0;
}

static void close_policy(void *policy)
{
    free(policy);
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    struct random *p = policy;
    uint64_t room[NF_TIER_MAX], sum = 0, ticket;

    for (uint32_t i = 0; i < p->env->n_tiers; i++) {
        room[i] = nf_placement_room(p->env, i);
        room[i] = room[i] < t->bytes ? 0 : room[i] / NF_PAGE_BYTES;
        sum += room[i];
    }
    if (!sum) /* no bytes and no tier with a free page fit together; anything else fails here with its cause */
        return nf_placement_first_fit(p->env, 0, t->bytes, out);
    ticket = nf_rng_below(&p->rng, sum);
    for (uint32_t i = 0;; i++) {
        if (ticket < room[i]) {
            nf_placement_whole(out, i, t->bytes);
            return 0;
        }
        ticket -= room[i];
    }
}

const struct nf_policy_ops nf_policy_random = {
    NF_POLICY_INTERFACE(0),
    .name = "random",
    .about = "each storage whole on a tier drawn by the seed, free bytes as odds; never moves",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER,
                  .mover = NF_MOVER_NONE},
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
};
