/* Policy `promote`: the plainest rule whose moves run beside the job.
 * Rule: a storage that was used far often enough is copied near after the op, by a thread of its own while the next ops run; what was
 * used least recently makes room. Room is counted as it will be once all moves are done, so that decisions do not depend on how fast
 * those are.
 * Semantics: promote after use, insert near, write back, copied by a helper; an op that needs a storage under way waits for it. Sees
 * nothing of the job.
 * Fails on what is used a fixed few times: it comes near after its last use. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "pool/placement.h"
#include "pool/policies.h"

#define NONE UINT32_MAX

struct options {
    uint64_t uses;
};

static const struct nf_option table[] = {
    {"uses", 0, NF_OPTION_U64, offsetof(struct options, uses), "N", "ops that use a storage far before it is promoted (default: 2)"},
    {NULL},
};
/* One use says little: most storages that are used once are not used again (a step's temporaries). */
static const struct options defaults = {.uses = 2};

struct item {
    uint64_t bytes, far_uses;
    uint32_t newer, older; /* among those near */
    uint32_t tier;         /* where it is, or is on its way to */
};

struct promote {
    const struct nf_policy_env *env;
    uint64_t uses;
    NF_ARRAY(struct item) items; /* by handle */
    NF_ARRAY(uint32_t) operands;
    uint32_t newest, oldest;
    uint64_t used[NF_TIER_MAX]; /* once all moves are done */
};

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    const struct options *o = env->options;
    struct promote *p = calloc(1, sizeof *p);

    if (!p)
        return nf_fail(-ENOMEM, "no memory");
    p->env = env;
    p->uses = o->uses;
    p->newest = p->oldest = NONE;
    *policy = p;
    return 0;
}

static void close_policy(void *policy)
{
    struct promote *p = policy;

    nf_array_free(&p->items);
    nf_array_free(&p->operands);
    free(p);
}

static uint64_t room(const struct promote *p, uint32_t tier)
{
    return p->env->capacity[tier] - p->used[tier];
}

static void unlink_near(struct promote *p, uint32_t handle)
{
    struct item *i = &p->items.v[handle];

    *(i->newer == NONE ? &p->newest : &p->items.v[i->newer].older) = i->older;
    *(i->older == NONE ? &p->oldest : &p->items.v[i->older].newer) = i->newer;
}

static void link_near(struct promote *p, uint32_t handle)
{
    struct item *i = &p->items.v[handle];

    i->newer = NONE;
    i->older = p->newest;
    *(p->newest == NONE ? &p->oldest : &p->items.v[p->newest].newer) = handle;
    p->newest = handle;
}

static void send(struct promote *p, uint32_t handle, uint32_t tier, struct nf_policy_moves *moves)
{
    struct item *i = &p->items.v[handle];

    moves->v[moves->n++] = (struct nf_policy_move){handle, tier};
    p->used[i->tier] -= i->bytes;
    p->used[tier] += i->bytes;
    if (i->tier == 0)
        unlink_near(p, handle);
    i->tier = tier;
    i->far_uses = 0;
    if (tier == 0)
        link_near(p, handle);
}

static uint32_t far_tier_for(const struct promote *p, uint64_t bytes)
{
    uint32_t t = 1;

    while (t < p->env->n_tiers && room(p, t) < bytes)
        t++;
    return t;
}

/* Whether sending the oldest away, each to a tier with room, leaves room near. */
static bool can_make_room(const struct promote *p, uint64_t bytes, size_t moves_left)
{
    uint64_t left[NF_TIER_MAX];

    for (uint32_t t = 0; t < p->env->n_tiers; t++)
        left[t] = room(p, t);
    for (uint32_t h = p->oldest; left[0] < bytes && h != NONE; h = p->items.v[h].newer) {
        uint64_t size = p->items.v[h].bytes;
        uint32_t t = 1;

        while (t < p->env->n_tiers && left[t] < size)
            t++;
        if (t == p->env->n_tiers || !moves_left--)
            return false;
        left[t] -= size;
        left[0] += size;
    }
    return left[0] >= bytes;
}

/* Both copies of a promotion count while it is under way, and its own far copy is not free for victims: all of it has to
 * fit without that. */
static void promote(struct promote *p, uint32_t handle, struct nf_policy_moves *moves)
{
    uint64_t bytes = p->items.v[handle].bytes;

    if (moves->n + 1 >= NF_POLICY_MOVES_MAX || bytes > p->env->capacity[0] ||
        !can_make_room(p, bytes, NF_POLICY_MOVES_MAX - moves->n - 1))
        return;
    while (room(p, 0) < bytes)
        send(p, p->oldest, far_tier_for(p, p->items.v[p->oldest].bytes), moves);
    send(p, handle, 0, moves);
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    struct promote *p = policy;
    uint32_t tier = 0;

    if (nf_array_reserve(&p->items, t->handle + (size_t)1))
        return nf_fail(-ENOMEM, "no memory for %u storages", t->handle + 1);
    while (tier < p->env->n_tiers && room(p, tier) < t->bytes)
        tier++;
    if (tier == p->env->n_tiers)
        return nf_fail(-ENOSPC, "no tier has %llu bytes free", (unsigned long long)t->bytes);
    nf_placement_whole(out, tier, t->bytes);
    p->items.v[t->handle] = (struct item){.bytes = t->bytes, .tier = tier};
    p->used[tier] += t->bytes;
    if (tier == 0)
        link_near(p, t->handle);
    return 0;
}

static int access_operands(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw,
                           size_t n, struct nf_policy_moves *moves)
{
    struct promote *p = policy;

    if (nf_array_reserve(&p->operands, n))
        return nf_fail(-ENOMEM, "no memory for %zu operands", n);
    p->operands.n = 0;
    for (size_t i = 0; i < n; i++) {
        struct item *item = &p->items.v[handles[i]];

        p->operands.v[p->operands.n++] = handles[i];
        item->far_uses += item->tier > 0;
        if (item->tier == 0) {
            unlink_near(p, handles[i]);
            link_near(p, handles[i]);
        }
    }
    return 0;
}

static int after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct promote *p = policy;

    for (size_t i = 0; i < p->operands.n; i++) {
        const struct item *item = &p->items.v[p->operands.v[i]];

        if (item->tier > 0 && item->far_uses >= p->uses)
            promote(p, p->operands.v[i], moves);
    }
    p->operands.n = 0;
    return 0;
}

static void freed(void *policy, uint32_t handle)
{
    struct promote *p = policy;
    struct item *i = &p->items.v[handle];

    p->used[i->tier] -= i->bytes;
    if (i->tier == 0)
        unlink_near(p, handle);
    *i = (struct item){0};
}

const struct nf_policy_ops nf_policy_promote = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE),
    .name = "promote",
    .about = "storages used far are copied near after use, by a thread of its own while the next ops run",
    .semantics = {.access = NF_ACCESS_PROMOTE_AFTER_USE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_WRITE_BACK,
                  .mover = NF_MOVER_COPY, .sync = NF_SYNC_HELPER},
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
    .on_op = access_operands,
    .on_op_end = after,
    .on_free = freed,
};
