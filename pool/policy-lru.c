/* Policy `lru`: near is a cache of whole tensors. A storage is inserted near, promoted before use, and demoted by
 * copying it far when it is the least recently used one and no operand of the running op. Storages larger than near
 * bypass it. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "pool/placement.h"
#include "pool/policies.h"

#define NONE UINT32_MAX

struct item {
    uint64_t bytes;
    uint32_t newer, older; /* among those near */
    bool near, operand;
};

struct lru {
    const struct nf_policy_env *env;
    NF_ARRAY(struct item) items; /* by handle */
    NF_ARRAY(uint32_t) operands;
    uint32_t newest, oldest;
    uint64_t evictable; /* bytes near that are no operands */
    /* Room per tier as it will be once the moves decided so far are done. */
    uint64_t room[NF_TIER_MAX];
};

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    struct lru *p = calloc(1, sizeof *p);

    if (!p)
        return nf_fail(-ENOMEM, "no memory");
    p->env = env;
    p->newest = p->oldest = NONE;
    *policy = p;
    return 0;
}

static void close_policy(void *policy)
{
    struct lru *p = policy;

    nf_array_free(&p->items);
    nf_array_free(&p->operands);
    free(p);
}

static void list_remove(struct lru *p, uint32_t handle)
{
    struct item *i = &p->items.v[handle];

    *(i->newer == NONE ? &p->newest : &p->items.v[i->newer].older) = i->older;
    *(i->older == NONE ? &p->oldest : &p->items.v[i->older].newer) = i->newer;
}

static void list_add(struct lru *p, uint32_t handle)
{
    struct item *i = &p->items.v[handle];

    i->newer = NONE;
    i->older = p->newest;
    *(p->newest == NONE ? &p->oldest : &p->items.v[p->newest].newer) = handle;
    p->newest = handle;
}

static void list_add_oldest(struct lru *p, uint32_t handle)
{
    struct item *i = &p->items.v[handle];

    i->older = NONE;
    i->newer = p->oldest;
    *(p->oldest == NONE ? &p->newest : &p->items.v[p->oldest].older) = handle;
    p->oldest = handle;
}

static void set_near(struct lru *p, uint32_t handle, bool near)
{
    struct item *i = &p->items.v[handle];

    i->near = near;
    if (near)
        list_add(p, handle);
    else
        list_remove(p, handle);
    if (!i->operand)
        p->evictable = near ? p->evictable + i->bytes : p->evictable - i->bytes;
}

static void set_operand(struct lru *p, uint32_t handle, bool operand)
{
    struct item *i = &p->items.v[handle];

    if (i->near && i->operand != operand)
        p->evictable = operand ? p->evictable - i->bytes : p->evictable + i->bytes;
    i->operand = operand;
}

static void look_around(struct lru *p)
{
    for (uint32_t t = 0; t < p->env->n_tiers; t++)
        p->room[t] = nf_placement_room(p->env, t);
}

/* Demotes the oldest until near has room for `bytes`. False, with nothing or less than enough demoted, when that
 * cannot be: too much of near is operands, the far tiers are full, or the list of moves is (one place is kept for the
 * promotion itself). */
static bool make_room(struct lru *p, uint64_t bytes, struct nf_policy_moves *moves)
{
    uint32_t victim = p->oldest;

    if (p->room[0] + p->evictable < bytes)
        return false;
    while (p->room[0] < bytes && victim != NONE && moves->n + 1 < NF_POLICY_MOVES_MAX) {
        uint32_t next = p->items.v[victim].newer, to = 1;
        uint64_t size = p->items.v[victim].bytes;

        if (!p->items.v[victim].operand) {
            while (to < p->env->n_tiers && p->room[to] < size)
                to++;
            if (to < p->env->n_tiers) {
                moves->v[moves->n++] = (struct nf_policy_move){victim, to};
                p->room[to] -= size;
                p->room[0] += size;
                set_near(p, victim, false);
            }
        }
        victim = next;
    }
    return p->room[0] >= bytes;
}

/* Takes back demotions that will not be carried out. */
static void undo(struct lru *p, struct nf_policy_moves *moves)
{
    while (moves->n > 0) {
        uint32_t handle = moves->v[--moves->n].handle;

        p->items.v[handle].near = true;
        list_add_oldest(p, handle);
        p->evictable += p->items.v[handle].bytes;
    }
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    struct lru *p = policy;
    uint32_t tier = 0;

    if (nf_array_reserve(&p->items, t->handle + (size_t)1))
        return nf_fail(-ENOMEM, "no memory for %u storages", t->handle + 1);
    look_around(p);
    if (!make_room(p, t->bytes, evictions))
        for (tier = 1; tier < p->env->n_tiers && p->room[tier] < t->bytes;)
            tier++;
    if (tier == p->env->n_tiers) {
        undo(p, evictions);
        return nf_fail(-ENOSPC, "no tier has %llu bytes free", (unsigned long long)t->bytes);
    }
    nf_placement_whole(out, tier, t->bytes);
    p->items.v[t->handle] = (struct item){.bytes = t->bytes};
    if (tier == 0)
        set_near(p, t->handle, true);
    return 0;
}

static int access_operands(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw,
                           size_t n, struct nf_policy_moves *moves)
{
    struct lru *p = policy;

    if (nf_array_reserve(&p->operands, n))
        return nf_fail(-ENOMEM, "no memory for %zu operands", n);
    look_around(p);
    p->operands.n = 0;
    for (size_t i = 0; i < n; i++) {
        p->operands.v[p->operands.n++] = handles[i];
        set_operand(p, handles[i], true);
        if (p->items.v[handles[i]].near) {
            list_remove(p, handles[i]);
            list_add(p, handles[i]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        struct item *item = &p->items.v[handles[i]];

        if (item->near || item->bytes > p->env->capacity[0] || !make_room(p, item->bytes, moves))
            continue;
        moves->v[moves->n++] = (struct nf_policy_move){handles[i], 0};
        p->room[0] -= item->bytes;
        set_near(p, handles[i], true);
    }
    return 0;
}

static int after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct lru *p = policy;

    for (size_t i = 0; i < p->operands.n; i++)
        set_operand(p, p->operands.v[i], false);
    p->operands.n = 0;
    return 0;
}

static void freed(void *policy, uint32_t handle)
{
    struct lru *p = policy;

    if (p->items.v[handle].near)
        set_near(p, handle, false);
    p->items.v[handle] = (struct item){0};
}

const struct nf_policy_ops nf_policy_lru = {
    .abi = NF_POLICY_ABI,
    .name = "lru",
    .about = "near as a cache of whole tensors: promoted before use, least recently used copied back far",
    .semantics = {.access = NF_ACCESS_FETCH_BEFORE_USE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_WRITE_BACK,
                  .mover = NF_MOVER_COPY, .sync = NF_SYNC_INLINE},
    .open = open_policy,
    .close = close_policy,
    .place = place,
    .access = access_operands,
    .after = after,
    .freed = freed,
};
