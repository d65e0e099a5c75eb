#include "pool/policy-cache.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "pool/placement.h"

struct whereabouts {
    uint8_t tier;
    uint8_t copy; /* of what is near: tier of its clean copy, 0: none */
};

struct cache {
    const struct nf_policy_env *env;
    struct nf_cache near;
    bool drops; /* what was not written since it came near goes back to its copy */
    NF_ARRAY(uint64_t) bytes; /* by handle */
    NF_ARRAY(struct whereabouts) where; /* the same */
    NF_ARRAY(uint32_t) operands;
    uint64_t pinned; /* bytes near of the running op's operands */
    /* Room per tier as it will be once the moves decided so far are done. */
    uint64_t room[NF_TIER_MAX];
};

static int open_cache(const struct nf_policy_env *env, enum nf_cache_rule rule, bool drops, void **policy)
{
    struct cache *p = calloc(1, sizeof *p);

    if (!p)
        return nf_fail(-ENOMEM, "no memory");
    p->env = env;
    p->drops = drops;
    nf_cache_init(&p->near, rule, env->capacity[0], true);
    *policy = p;
    return 0;
}

int nf_policy_cache_open(const struct nf_policy_env *env, enum nf_cache_rule rule, void **policy)
{
    return open_cache(env, rule, false, policy);
}

int nf_policy_cache_open_drop(const struct nf_policy_env *env, enum nf_cache_rule rule, void **policy)
{
    return open_cache(env, rule, true, policy);
}

void nf_policy_cache_close(void *policy)
{
    struct cache *p = policy;

    nf_cache_deinit(&p->near);
    nf_array_free(&p->bytes);
    nf_array_free(&p->where);
    nf_array_free(&p->operands);
    free(p);
}

static void look_around(struct cache *p)
{
    for (uint32_t t = 0; t < p->env->n_tiers; t++)
        p->room[t] = nf_placement_room(p->env, t);
}

static uint32_t far_tier_for(const struct cache *p, uint64_t bytes)
{
    uint32_t t = 1;

    while (t < p->env->n_tiers && p->room[t] < bytes)
        t++;
    return t;
}

static void keep(struct cache *p, uint32_t handle)
{
    nf_cache_recall(&p->near, handle);
    nf_cache_admit(&p->near, handle, p->bytes.v[handle]);
    p->where.v[handle].tier = 0;
}

/* Lets go of storages until near has room for `bytes`. False, with nothing or less than enough demoted, when that cannot be:
 * too much of near is operands, the far tiers are full, or the list of moves is (one place is kept for the promotion itself). */
static bool make_room(struct cache *p, uint64_t bytes, struct nf_policy_moves *moves)
{
    uint64_t refused = 0;

    while (p->room[0] < bytes) {
        uint32_t victim, to;

        if (p->room[0] + p->near.bytes < bytes + p->pinned + refused || moves->n + 1 >= NF_POLICY_MOVES_MAX)
            return false;
        victim = nf_cache_evict(&p->near);
        if (victim == NF_CACHE_NONE)
            return false;
        to = p->drops ? p->where.v[victim].copy : 0;
        if (to) { /* its bytes there are charged already */
            moves->v[moves->n++] = (struct nf_policy_move){.handle = victim, .to_tier = to};
            p->where.v[victim].tier = (uint8_t)to;
            p->room[0] += p->bytes.v[victim];
            continue;
        }
        to = far_tier_for(p, p->bytes.v[victim]);
        if (to == p->env->n_tiers) { /* no far tier takes it: it stays, as if it had just come */
            refused += p->bytes.v[victim];
            keep(p, victim);
            continue;
        }
        moves->v[moves->n++] = (struct nf_policy_move){.handle = victim, .to_tier = to};
        p->where.v[victim].tier = (uint8_t)to;
        p->room[to] -= p->bytes.v[victim];
        p->room[0] += p->bytes.v[victim];
    }
    return true;
}

int nf_policy_cache_place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                          struct nf_placement *out)
{
    struct cache *p = policy;
    uint32_t tier = 0;

    if (nf_array_reserve(&p->bytes, t->handle + (size_t)1) || nf_array_reserve(&p->where, t->handle + (size_t)1) || nf_cache_grow(&p->near, t->handle + 1))
        return nf_fail(-ENOMEM, "no memory for %u storages", t->handle + 1);
    look_around(p);
    p->bytes.v[t->handle] = t->bytes;
    if (!make_room(p, t->bytes, evictions))
        tier = far_tier_for(p, t->bytes);
    if (tier == p->env->n_tiers) {
        while (evictions->n) /* will not be carried out */
            keep(p, evictions->v[--evictions->n].handle);
        return nf_fail(-ENOSPC, "no tier has %llu bytes free", (unsigned long long)t->bytes);
    }
    nf_placement_whole(out, tier, t->bytes);
    p->where.v[t->handle] = (struct whereabouts){.tier = (uint8_t)tier};
    if (tier == 0)
        keep(p, t->handle);
    return 0;
}

int nf_policy_cache_access(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                           struct nf_policy_moves *moves)
{
    struct cache *p = policy;

    if (nf_array_reserve(&p->operands, n))
        return nf_fail(-ENOMEM, "no memory for %zu operands", n);
    look_around(p);
    p->operands.n = 0;
    p->pinned = 0;
    for (size_t i = 0; i < n; i++) {
        p->operands.v[p->operands.n++] = handles[i];
        nf_cache_pin(&p->near, handles[i], true);
        if (rw[i] != NF_RW_READ)
            p->where.v[handles[i]].copy = 0;
        if (nf_cache_holds(&p->near, handles[i])) {
            nf_cache_use(&p->near, handles[i]);
            p->pinned += p->bytes.v[handles[i]];
        }
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = p->bytes.v[handles[i]];

        if (nf_cache_holds(&p->near, handles[i]) || bytes > p->env->capacity[0])
            continue;
        nf_cache_recall(&p->near, handles[i]);
        if (!make_room(p, bytes, moves))
            continue;
        moves->v[moves->n++] = (struct nf_policy_move){.handle = handles[i]};
        p->where.v[handles[i]] = (struct whereabouts){.copy = rw[i] == NF_RW_READ ? p->where.v[handles[i]].tier : 0};
        p->room[0] -= bytes;
        p->pinned += bytes;
        nf_cache_admit(&p->near, handles[i], bytes);
    }
    return 0;
}

int nf_policy_cache_after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct cache *p = policy;

    for (size_t i = 0; i < p->operands.n; i++)
        nf_cache_pin(&p->near, p->operands.v[i], false);
    p->operands.n = 0;
    p->pinned = 0;
    return 0;
}

void nf_policy_cache_freed(void *policy, uint32_t handle)
{
    struct cache *p = policy;

    nf_cache_forget(&p->near, handle);
}
