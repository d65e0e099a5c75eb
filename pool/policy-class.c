/* Policy `class`: placement by role alone.
 * Rule: what is short-lived or needed by backward goes near: saved activations, gradients, temporaries. Then parameters and inputs.
 * Checkpoints, optimizer state and frozen parameters go near only when the step's profile says that the others leave room.
 * Semantics: in place, insert by role, no moves. Sees the profile (roles, sizes and lifetimes).
 * Fails where near is smaller than the first group, whose members it cannot tell apart; good where activations are recomputed. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "pool/placement.h"
#include "pool/policies.h"

enum rank { RANK_HOT, RANK_WARM, RANK_COLD, RANK_COUNT };

static const uint8_t rank_of_role[NF_ROLE_COUNT] = {
    [NF_ROLE_UNKNOWN] = RANK_COLD,       [NF_ROLE_PARAMETER] = RANK_WARM,     [NF_ROLE_FROZEN] = RANK_COLD,
    [NF_ROLE_GRADIENT] = RANK_HOT,       [NF_ROLE_OPTIMIZER] = RANK_COLD,     [NF_ROLE_INPUT] = RANK_WARM,
    [NF_ROLE_SAVED] = RANK_HOT,          [NF_ROLE_CHECKPOINT] = RANK_COLD,    [NF_ROLE_FORWARD_TEMP] = RANK_HOT,
    [NF_ROLE_BACKWARD_TEMP] = RANK_HOT,  [NF_ROLE_COLLECTIVE] = RANK_HOT,     [NF_ROLE_SCRATCH] = RANK_HOT,
    [NF_ROLE_OPTIMIZER_TEMP] = RANK_HOT,
};

struct storage {
    uint64_t near_bytes;
    uint8_t rank;
};

struct class {
    const struct nf_policy_env *env;
    uint64_t peak[RANK_COUNT]; /* largest live bytes of this rank and those before it, in the steady step */
    uint64_t near[RANK_COUNT]; /* live bytes near, by rank */
    NF_ARRAY(struct storage) storages; /* by handle */
};

static enum rank rank_of(unsigned role)
{
    return role < NF_ROLE_COUNT ? rank_of_role[role] : RANK_COLD;
}

/* Largest sum of live bytes over the ops of a step, of tensors up to a rank. */
static int peak_up_to(const struct nf_step_class *c, enum rank rank, uint64_t *peak)
{
    int64_t *change = calloc(c->n_ops + (size_t)1, sizeof *change), live = 0;

    *peak = 0;
    if (!change)
        return nf_fail(-ENOMEM, "no memory for %u ops", c->n_ops);
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const struct nf_tensor *t = &c->tensors[i];
        int64_t bytes = (int64_t)nf_page_bytes(t->bytes);

        if (rank_of(t->role) > rank)
            continue;
        change[t->birth < 0 ? 0 : t->birth] += bytes;
        if (t->death != NF_OP_AFTER)
            change[t->death < 0 ? 0 : t->death + 1] -= bytes;
    }
    for (uint32_t i = 0; i <= c->n_ops; i++) {
        live += change[i];
        *peak = live > (int64_t)*peak ? (uint64_t)live : *peak;
    }
    free(change);
    return 0;
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    struct class *p = calloc(1, sizeof *p);

    if (!p)
        return nf_fail(-ENOMEM, "no memory");
    p->env = env;
    for (enum rank r = 0; r < RANK_COUNT && env->n_profiles; r++) {
        int rc = peak_up_to(env->profiles[env->steady_class].of, r, &p->peak[r]);

        if (rc) {
            free(p);
            return rc;
        }
    }
    *policy = p;
    return 0;
}

static void close_policy(void *policy)
{
    struct class *p = policy;

    nf_array_free(&p->storages);
    free(p);
}

/* Near bytes to be kept free for the ranks before this one: what they will need at most, less what they have. */
static uint64_t reserve(const struct class *p, enum rank rank)
{
    uint64_t have = 0;

    for (enum rank r = 0; r < rank; r++)
        have += p->near[r];
    return rank && p->peak[rank - 1] > have ? p->peak[rank - 1] - have : 0;
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    struct class *p = policy;
    enum rank rank = rank_of(t->role);
    uint64_t room = nf_placement_room(p->env, 0), kept = reserve(p, rank);
    int rc = 0;

    if (nf_array_reserve(&p->storages, t->handle + (size_t)1))
        return nf_fail(-ENOMEM, "no memory for %u storages", t->handle + 1);
    if (room >= t->bytes && room - t->bytes >= kept)
        nf_placement_whole(out, 0, t->bytes);
    else
        rc = nf_placement_far_first(p->env, t->bytes, out);
    if (!rc) {
        p->storages.v[t->handle] = (struct storage){out->bytes[0], (uint8_t)rank};
        p->near[rank] += out->bytes[0];
    }
    return rc;
}

static void freed(void *policy, uint32_t handle)
{
    struct class *p = policy;
    struct storage *s = &p->storages.v[handle];

    p->near[s->rank] -= s->near_bytes;
}

const struct nf_policy_ops nf_policy_class = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_FREE),
    .name = "class",
    .about = "by role: saved activations, gradients and temporaries near; checkpoints and optimizer state far",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER,
                  .mover = NF_MOVER_NONE, .sees_profile = true},
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
    .on_free = freed,
};
