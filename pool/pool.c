#include "pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "pool/arena.h"
#include "pool/mover.h"
#include "pool/ticks.h"

/* Storages live in blocks of this many, so that a growing table never moves one. */
enum { BLOCK_BITS = 10, BLOCK_STORAGES = 1 << BLOCK_BITS };
#define NO_HANDLE UINT32_MAX

struct entry {
    struct nf_pool_storage s;
    uint64_t address;
    uint32_t next_free;
    bool live, pinned;
};

/* One tier's memory and ledger. */
struct place {
    struct nf_arena arena;
    char *memory;
    uint64_t arena_bytes, capacity;
    struct nf_pool_tier_stats stats;
};

struct nf_pool {
    struct nf_tier *tiers;
    uint32_t n_tiers;
    struct place place[NF_TIER_MAX];

    struct nf_policy_ops ops;
    bool has_access, has_after, has_freed; /* its own: two clock reads cost more than a default that does nothing */
    struct nf_policy_env env;
    void *policy, *options;
    struct nf_policy_moves moves;
    nf_regime regime;

    NF_ARRAY(struct entry *) blocks;
    uint32_t first_free;
    uint64_t live_storages;
    NF_ARRAY(uint32_t) pinned;
    bool in_op, operands_fixed; /* between begin and end; from the end of begin on */

    struct nf_mover mover;
    uint64_t moves_done, moved_bytes, move_ns, policy_ticks, refused;
    uint64_t open_ns, open_ticks; /* the two clocks read together, to know a tick's length */
    char refusal[512];
};

static struct entry *entry_of(const struct nf_pool *p, uint32_t handle)
{
    return &p->blocks.v[handle >> BLOCK_BITS][handle & (BLOCK_STORAGES - 1)];
}

static struct entry *entry_live(const struct nf_pool *p, uint32_t handle)
{
    struct entry *e;

    if (handle >> BLOCK_BITS >= p->blocks.n)
        return NULL;
    e = entry_of(p, handle);
    return e->live ? e : NULL;
}

static int entry_new(struct nf_pool *p, uint32_t *handle)
{
    if (p->first_free == NO_HANDLE) {
        struct entry *block = calloc(BLOCK_STORAGES, sizeof *block);
        uint32_t first = (uint32_t)p->blocks.n << BLOCK_BITS;

        if (!block || nf_array_push(&p->blocks, block)) {
            free(block);
            return nf_fail(-ENOMEM, "no memory for the table of storages");
        }
        for (uint32_t i = 0; i < BLOCK_STORAGES; i++)
            block[i].next_free = i + 1 < BLOCK_STORAGES ? first + i + 1 : NO_HANDLE;
        p->first_free = first;
    }
    *handle = p->first_free;
    p->first_free = entry_of(p, *handle)->next_free;
    return 0;
}

static void entry_release(struct nf_pool *p, uint32_t handle)
{
    struct entry *e = entry_of(p, handle);

    e->live = e->pinned = false;
    e->next_free = p->first_free;
    p->first_free = handle;
}

/* A decision broke a rule. The first cause is kept: what follows is often its consequence. */
__attribute__((format(printf, 2, 3))) static int refuse(struct nf_pool *p, const char *fmt, ...)
{
    char text[384];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    nf_fail(-EPROTO, "policy %s broke a rule: %s", p->ops.name, text);
    if (!p->refused++)
        snprintf(p->refusal, sizeof p->refusal, "%s", nf_error_text(-EPROTO));
    return -EPROTO;
}

static uint64_t room(const struct nf_pool *p, uint32_t tier)
{
    return p->place[tier].capacity - p->place[tier].stats.live_bytes;
}

static uint64_t free_bytes(void *pool, uint32_t tier)
{
    const struct nf_pool *p = pool;

    return tier < p->n_tiers ? room(p, tier) : 0;
}

/* Memory on a tier that has room by its ledger. */
static int piece_take(struct nf_pool *p, uint32_t tier, uint64_t address, uint64_t bytes, struct nf_extent *out)
{
    struct place *place = &p->place[tier];
    uint32_t first = nf_arena_take(&place->arena, address, (uint32_t)(bytes / NF_PAGE_BYTES));

    if (first == NF_ARENA_NONE)
        return nf_fail(-ENOSPC, "tier '%s' has room for %llu bytes but no such run of pages: its arena needs more slack",
                       p->tiers[tier].name, (unsigned long long)bytes);
    *out = (struct nf_extent){place->memory + (uint64_t)first * NF_PAGE_BYTES, bytes};
    place->stats.live_bytes += bytes;
    if (place->stats.live_bytes > place->stats.peak_bytes)
        place->stats.peak_bytes = place->stats.live_bytes;
    return 0;
}

static void piece_give(struct nf_pool *p, uint32_t tier, struct nf_extent *piece)
{
    struct place *place = &p->place[tier];

    if (!piece->bytes)
        return;
    nf_arena_give(&place->arena, (uint32_t)((uint64_t)(piece->memory - place->memory) / NF_PAGE_BYTES));
    place->stats.live_bytes -= piece->bytes;
    *piece = (struct nf_extent){0};
}

static void pieces_give(struct nf_pool *p, struct nf_pool_storage *s)
{
    for (uint32_t t = 0; t < p->n_tiers; t++)
        piece_give(p, t, &s->piece[t]);
}

static int execute_move(struct nf_pool *p, const struct nf_policy_move *m)
{
    struct entry *e = entry_live(p, m->handle);
    struct nf_extent to;
    uint64_t start;
    int rc;

    if (!e)
        return refuse(p, "it moves storage %u, which does not exist", m->handle);
    if (m->to_tier >= p->n_tiers)
        return refuse(p, "it moves storage %u to tier %u of %u", m->handle, m->to_tier, p->n_tiers);
    if (e->s.piece[m->to_tier].bytes == e->s.bytes)
        return 0;
    if (e->pinned && (p->operands_fixed || (m->to_tier > 0 && e->s.piece[0].bytes)))
        return refuse(p, "it moves storage %u to tier %u while an op runs on it", m->handle, m->to_tier);
    if (e->s.bytes > room(p, m->to_tier))
        return refuse(p, "it moves %llu bytes to tier %u, which has %llu free", (unsigned long long)e->s.bytes,
                      m->to_tier, (unsigned long long)room(p, m->to_tier));
    rc = piece_take(p, m->to_tier, e->address, e->s.bytes, &to);
    if (rc)
        return rc;
    start = nf_now_ns();
    nf_mover_copy(&p->mover, &e->s, to.memory, m->to_tier);
    p->move_ns += nf_now_ns() - start;
    p->moves_done++;
    p->moved_bytes += e->s.bytes;
    p->place[m->to_tier].stats.moved_in_bytes += e->s.bytes;
    for (uint32_t t = 0; t < p->n_tiers; t++)
        p->place[t].stats.moved_out_bytes += e->s.piece[t].bytes;
    pieces_give(p, &e->s);
    e->s.piece[m->to_tier] = to;
    e->s.striped = false;
    return 0;
}

static int execute_moves(struct nf_pool *p)
{
    if (p->moves.n > NF_POLICY_MOVES_MAX)
        return refuse(p, "it asks for %zu moves at once; %d are allowed", p->moves.n, NF_POLICY_MOVES_MAX);
    for (size_t i = 0; i < p->moves.n; i++) {
        int rc = execute_move(p, &p->moves.v[i]);

        if (rc)
            return rc;
    }
    return 0;
}

/* Gives a storage the memory the policy chose. */
static int settle(struct nf_pool *p, struct entry *e, const struct nf_placement *want)
{
    uint64_t sum = 0;
    int rc;

    for (uint32_t t = 0; t < NF_TIER_MAX; t++) {
        if (want->bytes[t] % NF_PAGE_BYTES)
            return refuse(p, "it places %llu bytes on tier %u, not whole pages", (unsigned long long)want->bytes[t], t);
        if (want->bytes[t] && t >= p->n_tiers)
            return refuse(p, "it places bytes on tier %u of %u", t, p->n_tiers);
        if (want->bytes[t] > e->s.bytes - sum)
            return refuse(p, "it places more bytes than the %llu there are", (unsigned long long)e->s.bytes);
        sum += want->bytes[t];
    }
    if (sum != e->s.bytes)
        return refuse(p, "it places %llu bytes of %llu", (unsigned long long)sum, (unsigned long long)e->s.bytes);
    for (uint32_t t = 0; t < p->n_tiers; t++)
        if (want->bytes[t] > room(p, t))
            return refuse(p, "it places %llu bytes on tier %u, which has %llu free",
                          (unsigned long long)want->bytes[t], t, (unsigned long long)room(p, t));
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        if (!want->bytes[t])
            continue;
        rc = piece_take(p, t, e->address, want->bytes[t], &e->s.piece[t]);
        if (rc) {
            pieces_give(p, &e->s);
            return rc;
        }
        p->place[t].stats.allocations++;
    }
    e->s.striped = want->striped;
    return 0;
}

int nf_pool_allocate(struct nf_pool *p, const struct nf_pool_alloc *a, uint32_t *handle)
{
    uint64_t bytes = nf_page_bytes(a->bytes), free_sum = 0, ticks;
    struct nf_policy_tensor t = {.bytes = bytes, .regime = p->regime, .op = a->op, .step_class = a->step_class,
                                 .number = a->number, .role = a->role};
    struct nf_placement want = {0};
    struct entry *e;
    int rc;

    for (uint32_t i = 0; i < p->n_tiers; i++)
        free_sum += room(p, i);
    if (bytes < a->bytes || bytes > free_sum)
        return nf_fail(-ENOSPC, "%llu bytes wanted, %llu free on all tiers together", (unsigned long long)a->bytes,
                       (unsigned long long)free_sum);
    rc = entry_new(p, handle);
    if (rc)
        return rc;
    e = entry_of(p, *handle);
    t.handle = *handle;
    nf_policy_hide_tensor(&p->ops.semantics, &t);
    p->moves.n = 0;
    ticks = nf_ticks();
    rc = p->ops.place(p->policy, &t, &p->moves, &want);
    p->policy_ticks += nf_ticks() - ticks;
    if (rc) {
        entry_release(p, *handle);
        return nf_fail_in(rc, "policy %s", p->ops.name);
    }
    e->s.bytes = bytes;
    e->address = a->address;
    rc = p->moves.n ? execute_moves(p) : 0;
    if (!rc)
        rc = settle(p, e, &want);
    if (rc) {
        p->ops.freed(p->policy, *handle);
        entry_release(p, *handle);
        return rc;
    }
    e->live = true;
    p->live_storages++;
    return 0;
}

void nf_pool_free(struct nf_pool *p, uint32_t handle)
{
    struct entry *e = entry_live(p, handle);
    uint64_t ticks;

    assert(e);
    pieces_give(p, &e->s);
    entry_release(p, handle);
    p->live_storages--;
    if (!p->has_freed)
        return;
    ticks = nf_ticks();
    p->ops.freed(p->policy, handle);
    p->policy_ticks += nf_ticks() - ticks;
}

const struct nf_pool_storage *nf_pool_storage(const struct nf_pool *p, uint32_t handle)
{
    return &entry_of(p, handle)->s;
}

void nf_pool_enter(struct nf_pool *p, nf_regime regime)
{
    p->regime = regime;
}

static void unpin(struct nf_pool *p)
{
    for (size_t i = 0; i < p->pinned.n; i++)
        entry_of(p, p->pinned.v[i])->pinned = false;
    p->pinned.n = 0;
    p->in_op = p->operands_fixed = false;
}

int nf_pool_begin(struct nf_pool *p, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n)
{
    uint64_t ticks;
    int rc = 0;

    if (p->in_op)
        return nf_fail(-EINVAL, "op %u begins before the last one ended", op);
    if (nf_array_reserve(&p->pinned, n))
        return nf_fail(-ENOMEM, "no memory for %zu operands", n);
    for (size_t i = 0; i < n; i++) {
        struct entry *e = entry_live(p, handles[i]);

        if (!e) {
            unpin(p);
            return nf_fail(-EINVAL, "op %u runs on storage %u, which does not exist", op, handles[i]);
        }
        e->pinned = true;
        p->pinned.v[p->pinned.n++] = handles[i];
    }
    p->in_op = true;
    if (p->has_access) {
        p->moves.n = 0;
        ticks = nf_ticks();
        rc = p->ops.access(p->policy, p->regime, op, handles, rw, n, &p->moves);
        p->policy_ticks += nf_ticks() - ticks;
    }
    if (rc)
        nf_fail_in(rc, "policy %s", p->ops.name);
    else if (p->has_access && p->moves.n)
        rc = execute_moves(p);
    if (rc)
        unpin(p);
    else
        p->operands_fixed = true;
    return rc;
}

int nf_pool_end(struct nf_pool *p, uint32_t op)
{
    uint64_t ticks;
    int rc;

    if (!p->in_op)
        return nf_fail(-EINVAL, "op %u ends before it began", op);
    unpin(p);
    if (!p->has_after)
        return 0;
    p->moves.n = 0;
    ticks = nf_ticks();
    rc = p->ops.after(p->policy, op, &p->moves);
    p->policy_ticks += nf_ticks() - ticks;
    if (rc)
        return nf_fail_in(rc, "policy %s", p->ops.name);
    return p->moves.n ? execute_moves(p) : 0;
}

int nf_pool_verify(struct nf_pool *p)
{
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        uint32_t next = 0, first, pages;

        while (nf_arena_next_used(&p->place[t].arena, &next, &first, &pages)) {
            int rc = p->tiers[t].ops->verify(p->tiers[t].state, p->place[t].memory + (uint64_t)first * NF_PAGE_BYTES,
                                             (uint64_t)pages * NF_PAGE_BYTES);

            if (rc)
                return nf_fail_in(rc, "tier '%s'", p->tiers[t].name);
        }
    }
    return 0;
}

uint64_t nf_pool_near_bytes(const struct nf_pool *p)
{
    return p->place[0].stats.live_bytes;
}

void nf_pool_stats(const struct nf_pool *p, struct nf_pool_stats *out)
{
    uint64_t ticks = nf_ticks() - p->open_ticks, ns = nf_now_ns() - p->open_ns;

    *out = (struct nf_pool_stats){
        .moves = p->moves_done,
        .moved_bytes = p->moved_bytes,
        .live_storages = p->live_storages,
        .policy_ns = ticks ? (uint64_t)((double)p->policy_ticks * (double)ns / (double)ticks) : 0,
        .move_ns = p->move_ns,
        .move_forgiven_ns = p->mover.forgiven_ns,
        .refused = p->refused,
    };
    for (uint32_t t = 0; t < p->n_tiers; t++)
        out->tier[t] = p->place[t].stats;
}

void nf_pool_stats_reset(struct nf_pool *p)
{
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        uint64_t live = p->place[t].stats.live_bytes;

        p->place[t].stats = (struct nf_pool_tier_stats){.live_bytes = live, .peak_bytes = live};
    }
    p->moves_done = p->moved_bytes = p->move_ns = p->policy_ticks = p->mover.forgiven_ns = 0;
}

const char *nf_pool_refusal(const struct nf_pool *p)
{
    return p->refusal;
}

static int open_tier(struct nf_pool *p, uint32_t t, const struct nf_pool_config *c)
{
    struct place *place = &p->place[t];
    const struct nf_tier *tier = &p->tiers[t];
    uint64_t bytes = nf_page_bytes(c->arena_bytes[t]);
    void *memory = NULL;
    int rc;

    if (bytes < c->arena_bytes[t] || bytes > SIZE_MAX)
        return nf_fail(-ENOMEM, "tier '%s': %llu bytes are more than can be mapped", tier->name,
                       (unsigned long long)c->arena_bytes[t]);
    rc = nf_arena_init(&place->arena, bytes / NF_PAGE_BYTES);
    if (!rc && bytes) {
        rc = tier->ops->map(tier->state, bytes, &memory);
        if (!rc) {
            place->memory = memory;
            place->arena_bytes = bytes;
            rc = tier->ops->verify(tier->state, memory, bytes);
        }
    }
    if (rc)
        return nf_fail_in(rc, "tier '%s'", tier->name);
    place->capacity = (c->capacity[t] < bytes ? c->capacity[t] : bytes) & ~(uint64_t)(NF_PAGE_BYTES - 1);
    return 0;
}

static int open_policy(struct nf_pool *p, const struct nf_pool_config *c)
{
    char why[256] = "";
    int rc;

    rc = nf_policy_check(c->policy, &p->ops);
    if (rc)
        return rc;
    p->has_access = c->policy->access;
    p->has_after = c->policy->after;
    p->has_freed = c->policy->freed;
    rc = p->ops.probe(why, sizeof why);
    if (rc)
        return nf_fail(rc, "policy %s cannot work here: %s", p->ops.name, why);
    rc = nf_policy_configure(&p->ops, c->policy_options, &p->options);
    if (rc)
        return rc;
    p->env = (struct nf_policy_env){
        .n_tiers = p->n_tiers,
        .seed = c->seed,
        .profiles = c->profiles,
        .n_profiles = c->n_profiles,
        .steady_class = c->steady_class,
        .options = p->options,
        .free_bytes = free_bytes,
        .pool = p,
    };
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        p->env.capacity[t] = p->place[t].capacity;
        p->env.latency_ns[t] = c->latency_ns[t];
        p->env.read_bps[t] = c->read_bps[t];
    }
    nf_policy_hide_env(&p->ops.semantics, &p->env);
    rc = p->ops.open(&p->env, &p->policy);
    return rc ? nf_fail_in(rc, "policy %s", p->ops.name) : 0;
}

int nf_pool_open(const struct nf_pool_config *c, struct nf_pool **out)
{
    struct nf_pool *p;
    int rc;

    if (c->n_tiers < 1 || c->n_tiers > NF_TIER_MAX)
        return nf_fail(-EINVAL, "a pool has 1 to %d tiers, not %u", NF_TIER_MAX, c->n_tiers);
    if (c->n_profiles && c->steady_class >= c->n_profiles)
        return nf_fail(-EINVAL, "steady class %u of %u", c->steady_class, c->n_profiles);
    p = calloc(1, sizeof *p);
    if (!p)
        return nf_fail(-ENOMEM, "no memory for a pool");
    p->tiers = c->tiers;
    p->n_tiers = c->n_tiers;
    p->first_free = NO_HANDLE;
    p->open_ns = nf_now_ns();
    p->open_ticks = nf_ticks();
    nf_mover_init(&p->mover, c->tiers, c->n_tiers, c->latency_ns[0], c->read_bps[0]);
    p->moves.v = calloc(NF_POLICY_MOVES_MAX, sizeof *p->moves.v);
    rc = p->moves.v ? 0 : nf_fail(-ENOMEM, "no memory for moves");
    for (uint32_t t = 0; !rc && t < c->n_tiers; t++)
        rc = open_tier(p, t, c);
    if (!rc) {
        rc = open_policy(p, c);
        if (rc)
            p->ops.close = NULL; /* never opened */
    }
    if (rc) {
        nf_pool_close(p);
        return rc;
    }
    *out = p;
    return 0;
}

struct nf_pool *nf_pool_close(struct nf_pool *p)
{
    if (!p)
        return NULL;
    if (p->ops.close)
        p->ops.close(p->policy);
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        if (p->place[t].memory)
            p->tiers[t].ops->unmap(p->tiers[t].state, p->place[t].memory, p->place[t].arena_bytes);
        nf_arena_deinit(&p->place[t].arena);
    }
    for (size_t i = 0; i < p->blocks.n; i++)
        free(p->blocks.v[i]);
    nf_array_free(&p->blocks);
    nf_array_free(&p->pinned);
    free(p->moves.v);
    free(p->options);
    free(p);
    return NULL;
}
