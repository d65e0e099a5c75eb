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
#include "pool/copy.h"
#include "pool/evict.h"
#include "pool/pool-state.h"
#include "pool/ticks.h"

#define NO_HANDLE UINT32_MAX

static struct nf_pool_entry *entry_live(const struct nf_pool *p, uint32_t handle)
{
    struct nf_pool_entry *e;

    if (handle >> NF_POOL_BLOCK_BITS >= p->blocks.n)
        return NULL;
    e = nf_pool_entry(p, handle);
    return e->live ? e : NULL;
}

/* All of it is written, and so faulted. */
static int block_new(struct nf_pool *p)
{
    struct nf_pool_entry *block = calloc(NF_POOL_BLOCK, sizeof *block);
    uint32_t first = (uint32_t)p->blocks.n << NF_POOL_BLOCK_BITS;

    if (!block || nf_array_push(&p->blocks, block)) {
        free(block);
        return nf_fail(-ENOMEM, "no memory for the table of storages");
    }
    for (uint32_t i = 0; i < NF_POOL_BLOCK; i++)
        block[i].next_free = i + 1 < NF_POOL_BLOCK ? first + i + 1 : NO_HANDLE;
    p->first_free = first;
    return 0;
}

static int entry_new(struct nf_pool *p, uint32_t *handle)
{
    int rc = p->first_free == NO_HANDLE ? block_new(p) : 0;

    if (rc)
        return rc;
    *handle = p->first_free;
    p->first_free = nf_pool_entry(p, *handle)->next_free;
    return 0;
}

static void entry_release(struct nf_pool *p, uint32_t handle)
{
    struct nf_pool_entry *e = nf_pool_entry(p, handle);

    e->live = e->pinned = false;
    e->next_free = p->first_free;
    p->first_free = handle;
}

/* A decision broke a rule. The first cause is kept: what follows is often its consequence. */
int nf_pool_refuse(struct nf_pool *p, const char *fmt, ...)
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

int nf_pool_policy_failed(struct nf_pool *p, int rc)
{
    return rc > 0 ? nf_pool_refuse(p, "it returns %d, which means nothing", rc) : nf_fail_in(rc, "policy %s", p->ops.name);
}

void nf_pool_ledger_add(struct nf_pool *p, uint32_t tier, uint64_t bytes)
{
    struct nf_pool_tier_stats *stats = &p->place[tier].stats;

    stats->live_bytes += bytes;
    if (stats->live_bytes > stats->peak_bytes)
        stats->peak_bytes = stats->live_bytes;
}

/* The tier whose arena a piece lies in: not where its pages are, once they were migrated. */
static uint32_t home_of(const struct nf_pool *p, const struct nf_extent *piece)
{
    uint32_t t = 0;

    while (piece->memory < p->place[t].memory || piece->memory >= p->place[t].memory + p->place[t].arena_bytes)
        t++;
    return t;
}

static void fail(struct nf_pool *p, int rc, const char *cause)
{
    if (p->failed)
        return;
    p->failed = rc;
    snprintf(p->failure, sizeof p->failure, "%s", cause);
}

/* Pages of memory that changes hands, while the driving thread waits. */
static int migrate_now(struct nf_pool *p, const struct nf_extent *piece, uint32_t from, uint32_t to)
{
    uint64_t start = nf_now_ns(), ns;
    int rc = nf_mover_migrate(&p->mover, piece->memory, piece->bytes, to);

    ns = nf_now_ns() - start;
    p->move_ns += ns;
    p->stall_ns += ns;
    p->moved_bytes += piece->bytes;
    p->place[from].stats.moved_out_bytes += piece->bytes;
    p->place[to].stats.moved_in_bytes += piece->bytes;
    return rc;
}

static void piece_give(struct nf_pool *p, uint32_t tier, struct nf_extent *piece)
{
    uint32_t home;

    if (!piece->bytes)
        return;
    home = home_of(p, piece);
    /* The address goes back to an arena that hands it out as memory of its own tier. */
    if (home != tier) {
        int rc = migrate_now(p, piece, tier, home);

        if (rc)
            fail(p, rc, nf_error_text(rc));
    }
    nf_arena_give(&p->place[home].arena, (uint32_t)((uint64_t)(piece->memory - p->place[home].memory) / NF_PAGE_BYTES));
    p->place[tier].stats.live_bytes -= piece->bytes;
    *piece = (struct nf_extent){0};
}

static void pieces_give(struct nf_pool *p, struct nf_pool_storage *s)
{
    for (uint32_t t = 0; t < p->n_tiers; t++)
        piece_give(p, t, &s->piece[t]);
}

/* --- moves under way --- */

/* --- clean copies --- */

static void drop_copy(struct nf_pool *p, struct nf_pool_entry *e)
{
    if (!e->copy.bytes)
        return;
    p->place[e->copy_tier].stats.copy_bytes -= e->copy.bytes;
    piece_give(p, e->copy_tier, &e->copy);
}

/* What a storage that came near leaves behind stays, until it is written. */
static void keep_copy(struct nf_pool *p, struct nf_pool_entry *e, uint32_t to_tier)
{
    uint32_t t = 1;

    drop_copy(p, e);
    if (p->ops.semantics.demote != NF_DEMOTE_DROP_CLEAN || to_tier || nf_mover_in_place(&p->mover))
        return;
    while (t < p->n_tiers && e->s.piece[t].bytes != e->s.bytes)
        t++;
    if (t == p->n_tiers)
        return;
    e->copy = e->s.piece[t];
    e->copy_tier = t;
    e->s.piece[t] = (struct nf_extent){0};
    p->place[t].stats.copy_bytes += e->copy.bytes;
}

/* Nothing is copied: the bytes are there. */
static void return_to_copy(struct nf_pool *p, struct nf_pool_entry *e)
{
    p->moves_done++;
    p->place[e->copy_tier].stats.copy_bytes -= e->copy.bytes;
    pieces_give(p, &e->s);
    e->s.piece[e->copy_tier] = e->copy;
    e->copy = (struct nf_extent){0};
}

/* A storage is where a move took it: the move is counted and what it leaves is given back. */
static void arrive(struct nf_pool *p, struct nf_pool_entry *e, const struct nf_extent *to, uint32_t to_tier, uint64_t ns)
{
    p->move_ns += ns;
    p->moves_done++;
    p->moved_bytes += e->s.bytes;
    p->place[to_tier].stats.moved_in_bytes += e->s.bytes;
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        p->place[t].stats.moved_out_bytes += e->s.piece[t].bytes;
        if (nf_mover_in_place(&p->mover)) {
            p->place[t].stats.live_bytes -= e->s.piece[t].bytes;
            e->s.piece[t] = (struct nf_extent){0};
        }
    }
    keep_copy(p, e, to_tier);
    pieces_give(p, &e->s);
    e->s.piece[to_tier] = *to;
    e->s.striped = false;
}

/* What a move that did not arrive had taken. */
static void give_up(struct nf_pool *p, struct nf_extent *to, uint32_t to_tier)
{
    if (nf_mover_in_place(&p->mover))
        p->place[to_tier].stats.live_bytes -= to->bytes;
    else
        piece_give(p, to_tier, to);
}

/* Ends the oldest move, waiting for it where it is still under way. */
void nf_pool_land(struct nf_pool *p)
{
    struct nf_flight_move *m = nf_flight_at(p->flight, 0);

    if (!nf_flight_ended(p->flight)) {
        uint64_t start = nf_now_ns(), ns;

        nf_flight_await(p->flight);
        ns = nf_now_ns() - start;
        p->wait_ns += ns;
        p->stall_ns += ns;
    }
    nf_flight_land(p->flight);
    if (m->pages) {
        if (m->rc)
            fail(p, m->rc, m->cause);
        nf_paged_arrive(p, m);
        return;
    }
    if (m->orphan) {
        pieces_give(p, &m->from);
        piece_give(p, m->to_tier, &m->to);
        return;
    }
    nf_pool_entry(p, m->handle)->move = 0;
    if (m->rc) {
        fail(p, m->rc, m->cause);
        give_up(p, &m->to, m->to_tier);
    } else {
        arrive(p, nf_pool_entry(p, m->handle), &m->to, m->to_tier, m->ns);
    }
}

static bool under_way(const struct nf_pool *p)
{
    return p->flight && nf_flight_n(p->flight);
}

static void land_ended(struct nf_pool *p)
{
    while (p->flight && nf_flight_ended(p->flight))
        nf_pool_land(p);
}

static void land_move_of(struct nf_pool *p, const struct nf_pool_entry *e)
{
    while (e->move || e->page_moves)
        nf_pool_land(p);
}

static bool land_one(struct nf_pool *p)
{
    bool any = under_way(p);

    if (any)
        nf_pool_land(p);
    return any;
}

/* Waits for moves under way as long as the tier lacks room that they will leave. */
bool nf_pool_make_room(struct nf_pool *p, uint32_t tier, uint64_t bytes)
{
    while (bytes > nf_pool_room(p, tier) && land_one(p))
        ;
    return bytes <= nf_pool_room(p, tier);
}

/* The addresses of a tier's arena are with storages that migrated elsewhere: others have addresses left, whose pages come. */
static int foreign_take(struct nf_pool *p, uint32_t tier, uint64_t bytes, struct nf_extent *out)
{
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        uint32_t first = t == tier ? NF_ARENA_NONE : nf_arena_take(&p->place[t].arena, 0, (uint32_t)(bytes / NF_PAGE_BYTES));

        if (first == NF_ARENA_NONE)
            continue;
        *out = (struct nf_extent){p->place[t].memory + (uint64_t)first * NF_PAGE_BYTES, bytes};
        nf_pool_ledger_add(p, tier, bytes);
        return migrate_now(p, out, t, tier);
    }
    return nf_fail(-ENOSPC, "no tier's arena has a run of %llu bytes: they need more slack", (unsigned long long)bytes);
}

/* Memory on a tier that has room by its ledger. */
static int piece_take(struct nf_pool *p, uint32_t tier, uint64_t address, uint64_t bytes, struct nf_extent *out)
{
    struct nf_pool_place *place = &p->place[tier];
    uint32_t first;

    while ((first = nf_arena_take(&place->arena, address, (uint32_t)(bytes / NF_PAGE_BYTES))) == NF_ARENA_NONE &&
           land_one(p))
        ;
    if (first == NF_ARENA_NONE && p->mover.kind == NF_MOVER_MOVE_PAGES)
        return foreign_take(p, tier, bytes, out);
    if (first == NF_ARENA_NONE)
        return nf_fail(-ENOSPC, "tier '%s' has room for %llu bytes but no such run of pages: its arena needs more slack",
                       p->tiers[tier].name, (unsigned long long)bytes);
    *out = (struct nf_extent){place->memory + (uint64_t)first * NF_PAGE_BYTES, bytes};
    nf_pool_ledger_add(p, tier, bytes);
    return 0;
}

/* Where the storage goes: memory of the tier, or its own where pages migrate. */
static int take_destination(struct nf_pool *p, const struct nf_pool_entry *e, uint32_t handle, uint32_t to_tier, struct nf_extent *to)
{
    if (!nf_mover_in_place(&p->mover))
        return piece_take(p, to_tier, e->address, e->s.bytes, to);
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        if (e->s.piece[t].bytes == e->s.bytes) {
            *to = e->s.piece[t];
            nf_pool_ledger_add(p, to_tier, to->bytes);
            return 0;
        }
    }
    return nf_pool_refuse(p, "it moves storage %u, whose pieces lie apart: migrated pages keep their addresses", handle);
}

struct nf_flight_move *nf_pool_next_move(struct nf_pool *p)
{
    struct nf_flight_move *m;

    while (!(m = nf_flight_next(p->flight)))
        nf_pool_land(p);
    return m;
}

static int post_move(struct nf_pool *p, struct nf_pool_entry *e, uint32_t handle, const struct nf_extent *to, uint32_t to_tier)
{
    struct nf_flight_move *m = nf_pool_next_move(p);

    m->handle = handle;
    m->to_tier = to_tier;
    m->from = e->s;
    m->to = *to;
    m->offset = 0;
    m->bytes = e->s.bytes;
    m->pages = false;
    e->move = nf_flight_post(p->flight);
    return 0;
}

static int make_move(struct nf_pool *p, struct nf_pool_entry *e, struct nf_extent *to, uint32_t to_tier)
{
    uint64_t start = nf_now_ns(), ns;
    int rc = nf_mover_move(&p->mover, &e->s, 0, e->s.bytes, to->memory, to_tier, NULL);

    ns = nf_now_ns() - start;
    p->stall_ns += ns;
    if (rc)
        give_up(p, to, to_tier);
    else
        arrive(p, e, to, to_tier, ns);
    return rc;
}

static int execute_move(struct nf_pool *p, const struct nf_policy_move *m)
{
    struct nf_pool_entry *e = entry_live(p, m->handle);
    struct nf_extent to;
    int rc;

    if (p->mover.kind == NF_MOVER_KERNEL)
        return nf_pool_refuse(p, "it moves storage %u and declares that the kernel moves", m->handle);
    if (p->mover.kind == NF_MOVER_NONE)
        return nf_pool_refuse(p, "it moves storage %u and declares that nothing migrates", m->handle);
    if (!e)
        return nf_pool_refuse(p, "it moves storage %u, which does not exist", m->handle);
    if (m->to_tier >= p->n_tiers)
        return nf_pool_refuse(p, "it moves storage %u to tier %u of %u", m->handle, m->to_tier, p->n_tiers);
    if (p->page_tier)
        return nf_paged_move(p, e, m);
    if (m->n_pages)
        return nf_pool_refuse(p, "it moves pages of storage %u and declares that it moves whole ones", m->handle);
    if (e->move && nf_flight_find(p->flight, e->move)->to_tier == m->to_tier)
        return 0;
    land_move_of(p, e);
    if (e->s.piece[m->to_tier].bytes == e->s.bytes)
        return 0;
    if (e->pinned && (p->operands_fixed || (m->to_tier > 0 && e->s.piece[0].bytes)))
        return nf_pool_refuse(p, "it moves storage %u to tier %u while an op runs on it", m->handle, m->to_tier);
    if (e->copy.bytes && e->copy_tier == m->to_tier) {
        return_to_copy(p, e);
        return 0;
    }
    if (!nf_pool_make_room(p, m->to_tier, e->s.bytes))
        return nf_pool_refuse(p, "it moves %llu bytes to tier %u, which has %llu free", (unsigned long long)e->s.bytes,
                      m->to_tier, (unsigned long long)nf_pool_room(p, m->to_tier));
    rc = take_destination(p, e, m->handle, m->to_tier, &to);
    if (rc)
        return rc;
    return p->flight ? post_move(p, e, m->handle, &to, m->to_tier) : make_move(p, e, &to, m->to_tier);
}

/* Not hidden from anybody: as a fault's handler, it has the CPU of the thread that faulted. */
static void stand_still(struct nf_pool *p, uint64_t ns)
{
    uint64_t start = nf_now_ns(), now = start;

    while (now - start < ns)
        now = nf_now_ns();
    p->stall_ns += now - start;
    p->fault_ns += now - start;
}

int nf_pool_execute(struct nf_pool *p)
{
    if (p->moves.n > NF_POLICY_MOVES_MAX)
        return nf_pool_refuse(p, "it asks for %zu moves at once; %d are allowed", p->moves.n, NF_POLICY_MOVES_MAX);
    for (size_t i = 0; i < p->moves.n; i++) {
        int rc = execute_move(p, &p->moves.v[i]);

        if (rc)
            return rc;
    }
    if (p->moves.stall_ns && !p->mover.weightless)
        stand_still(p, p->moves.stall_ns);
    return 0;
}

/* A free page that the kernel took elsewhere is placed anew. */
static int bring_back(struct nf_pool *p, uint32_t tier, const struct nf_extent *piece)
{
    uint8_t *seen = p->place[tier].seen;
    uint64_t first = (uint64_t)(piece->memory - p->place[tier].memory) / NF_PAGE_BYTES, n = piece->bytes / NF_PAGE_BYTES;
    uint64_t elsewhere = 0;

    for (uint64_t i = first; i < first + n; i++)
        elsewhere += seen[i] != tier;
    if (!elsewhere)
        return 0;
    memset(seen + first, (int)tier, n);
    return migrate_now(p, piece, tier, tier); /* from wherever */
}

/* Gives a storage the memory the policy chose. */
static int settle(struct nf_pool *p, struct nf_pool_entry *e, const struct nf_placement *want)
{
    uint64_t sum = 0;
    int rc;

    for (uint32_t t = 0; t < NF_TIER_MAX; t++) {
        if (want->bytes[t] % NF_PAGE_BYTES)
            return nf_pool_refuse(p, "it places %llu bytes on tier %u, not whole pages", (unsigned long long)want->bytes[t], t);
        if (want->bytes[t] && t >= p->n_tiers)
            return nf_pool_refuse(p, "it places bytes on tier %u of %u", t, p->n_tiers);
        if (want->bytes[t] > e->s.bytes - sum)
            return nf_pool_refuse(p, "it places more bytes than the %llu there are", (unsigned long long)e->s.bytes);
        sum += want->bytes[t];
    }
    if (sum != e->s.bytes)
        return nf_pool_refuse(p, "it places %llu bytes of %llu", (unsigned long long)sum, (unsigned long long)e->s.bytes);
    for (uint32_t t = 0; t < p->n_tiers; t++)
        if (!nf_pool_make_room(p, t, want->bytes[t]))
            return nf_pool_refuse(p, "it places %llu bytes on tier %u, which has %llu free",
                          (unsigned long long)want->bytes[t], t, (unsigned long long)nf_pool_room(p, t));
    if (p->page_tier)
        return nf_paged_settle(p, e, want);
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        if (!want->bytes[t])
            continue;
        rc = piece_take(p, t, e->address, want->bytes[t], &e->s.piece[t]);
        if (!rc && p->place[t].seen)
            rc = bring_back(p, t, &e->s.piece[t]);
        if (rc) {
            pieces_give(p, &e->s);
            return rc;
        }
        p->place[t].stats.allocations++;
    }
    e->s.striped = want->striped;
    return 0;
}

static void tell_freed(struct nf_pool *p, uint32_t handle)
{
    uint64_t ticks = nf_pool_ask(p);

    p->ops.on_free(p->policy, handle);
    nf_pool_answered(p, ticks);
}

int nf_pool_allocate(struct nf_pool *p, const struct nf_pool_alloc *a, uint32_t *handle)
{
    uint64_t bytes = nf_page_bytes(a->bytes), free_sum, ticks;
    struct nf_policy_tensor t = {.bytes = bytes, .regime = p->regime, .op = a->op, .step_class = a->step_class,
                                 .number = a->number, .role = a->role};
    struct nf_placement want = {0};
    struct nf_pool_entry *e;
    int rc;

    land_ended(p);
    do {
        free_sum = 0;
        for (uint32_t i = 0; i < p->n_tiers; i++)
            free_sum += nf_pool_room(p, i);
    } while (bytes > free_sum && land_one(p));
    rc = nf_pool_failed(p);
    if (rc)
        return rc;
    if (bytes < a->bytes || bytes > free_sum)
        return nf_fail(-ENOSPC, "%llu bytes wanted, %llu free on all tiers together", (unsigned long long)a->bytes,
                       (unsigned long long)free_sum);
    rc = entry_new(p, handle);
    if (rc)
        return rc;
    e = nf_pool_entry(p, *handle);
    t.handle = *handle;
    nf_policy_hide_tensor(&p->ops.semantics, &t);
    rc = p->has_pressure && bytes > nf_pool_room(p, 0) ? nf_pool_tell_pressure(p, bytes) : 0;
    if (rc) {
        entry_release(p, *handle);
        return rc;
    }
    p->moves.n = p->moves.stall_ns = 0;
    ticks = nf_pool_ask(p);
    rc = p->ops.on_alloc(p->policy, &t, &p->moves, &want);
    nf_pool_answered(p, ticks);
    if (rc) {
        entry_release(p, *handle);
        return nf_pool_policy_failed(p, rc);
    }
    e->s.bytes = bytes;
    e->move = 0;
    e->address = a->address;
    rc = p->moves.n || p->moves.stall_ns ? nf_pool_execute(p) : 0;
    if (!rc)
        rc = settle(p, e, &want);
    if (rc) {
        tell_freed(p, *handle);
        entry_release(p, *handle);
        return rc;
    }
    e->live = true;
    p->live_storages++;
    return 0;
}

/* Nobody waits for the move of a storage that nobody wants: it ends early, and its memory is free then. */
static void orphan(struct nf_pool *p, struct nf_pool_entry *e)
{
    struct nf_flight_move *m = nf_flight_find(p->flight, e->move);

    m->orphan = true;
    atomic_store_explicit(&m->cancelled, true, memory_order_relaxed);
    memset(e->s.piece, 0, sizeof e->s.piece);
    e->move = 0;
}

void nf_pool_free(struct nf_pool *p, uint32_t handle)
{
    struct nf_pool_entry *e = entry_live(p, handle);

    assert(e);
    if (e->page_moves)
        nf_paged_cancel(p, handle);
    if (e->move && !nf_mover_in_place(&p->mover))
        orphan(p, e);
    else
        land_move_of(p, e);
    drop_copy(p, e);
    if (p->page_tier)
        nf_paged_give(p, &e->s);
    else
        pieces_give(p, &e->s);
    entry_release(p, handle);
    p->live_storages--;
    if (p->has_free)
        tell_freed(p, handle);
}

const struct nf_pool_storage *nf_pool_storage(const struct nf_pool *p, uint32_t handle)
{
    return &nf_pool_entry(p, handle)->s;
}

static void unpin(struct nf_pool *p)
{
    for (size_t i = 0; i < p->pinned.n; i++)
        nf_pool_entry(p, p->pinned.v[i])->pinned = false;
    p->pinned.n = 0;
    p->in_op = p->operands_fixed = false;
}

int nf_pool_begin(struct nf_pool *p, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n)
{
    uint64_t ticks;
    int rc = 0;

    if (p->in_op)
        return nf_fail(-EINVAL, "op %u begins before the last one ended", op);
    land_ended(p);
    rc = nf_pool_failed(p);
    if (rc)
        return rc;
    if (nf_array_reserve(&p->pinned, n))
        return nf_fail(-ENOMEM, "no memory for %zu operands", n);
    for (size_t i = 0; i < n; i++) {
        struct nf_pool_entry *e = entry_live(p, handles[i]);

        if (!e) {
            unpin(p);
            return nf_fail(-EINVAL, "op %u runs on storage %u, which does not exist", op, handles[i]);
        }
        e->pinned = true;
        p->pinned.v[p->pinned.n++] = handles[i];
    }
    p->in_op = true;
    if (p->has_op) {
        p->moves.n = p->moves.stall_ns = 0;
        ticks = nf_pool_ask(p);
        rc = p->ops.on_op(p->policy, p->regime, op, handles, rw, n, &p->moves);
        nf_pool_answered(p, ticks);
    }
    if (rc)
        rc = nf_pool_policy_failed(p, rc);
    else if (p->has_op && (p->moves.n || p->moves.stall_ns))
        rc = nf_pool_execute(p);
    for (size_t i = 0; i < n && !rc && under_way(p); i++) {
        land_move_of(p, nf_pool_entry(p, handles[i]));
        rc = nf_pool_failed(p);
    }
    for (size_t i = 0; i < n && !rc; i++)
        if (rw[i] != NF_RW_READ)
            drop_copy(p, nf_pool_entry(p, handles[i]));
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
    p->told.ops++;
    if (!p->has_op_end)
        return 0;
    p->moves.n = p->moves.stall_ns = 0;
    ticks = nf_pool_ask(p);
    rc = p->ops.on_op_end(p->policy, op, &p->moves);
    nf_pool_answered(p, ticks);
    if (rc)
        return nf_pool_policy_failed(p, rc);
    return p->moves.n || p->moves.stall_ns ? nf_pool_execute(p) : 0;
}

int nf_pool_settle(struct nf_pool *p)
{
    while (land_one(p))
        ;
    return nf_pool_failed(p);
}

void nf_pool_hold(struct nf_pool *p, bool held)
{
    atomic_store_explicit(&p->mover.held, held, memory_order_release);
}

void nf_pool_evict_caches(struct nf_pool *p)
{
    for (uint32_t t = 0; t < p->n_tiers; t++)
        nf_evict(p->place[t].memory, p->place[t].arena_bytes);
}

const char *nf_pool_refusal(const struct nf_pool *p)
{
    return p->refusal;
}

/* NUMA balancing leaves bound memory where it is; reclaim demotes it all the same (seen on 6.12). */
static int leave_to_kernel(struct nf_pool *p, uint32_t t)
{
    struct nf_pool_place *place = &p->place[t];

    if (!place->arena_bytes)
        return 0;
    place->seen = malloc(place->arena_bytes / NF_PAGE_BYTES);
    if (!place->seen)
        return nf_fail(-ENOMEM, "no memory to remember where pages are");
    memset(place->seen, (int)t, place->arena_bytes / NF_PAGE_BYTES);
    if (p->mover.pages->unbind(place->memory, place->arena_bytes) < 0)
        return nf_fail(-errno, "tier '%s': cannot leave its pages to the kernel: %s", p->tiers[t].name, strerror(errno));
    return 0;
}

static int open_tier(struct nf_pool *p, uint32_t t, const struct nf_pool_config *c)
{
    struct nf_pool_place *place = &p->place[t];
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
            rc = nf_tier_verify(tier, memory, bytes);
        }
    }
    if (rc)
        return nf_fail_in(rc, "tier '%s'", tier->name);
    place->capacity = (c->capacity[t] < bytes ? c->capacity[t] : bytes) & ~(uint64_t)(NF_PAGE_BYTES - 1);
    return p->mover.kind == NF_MOVER_KERNEL && !c->weightless ? leave_to_kernel(p, t) : 0;
}

static int open_mover(struct nf_pool *p, const struct nf_pool_config *c)
{
    int kind = (int)p->ops.semantics.mover, rc;
    char why[512];

    rc = nf_mover_probe(kind, c->tiers, c->n_tiers, why, sizeof why);
    if (rc && !c->pages && !c->weightless)
        return nf_fail(rc, "policy %s cannot work here: %s", p->ops.name, why);
    nf_mover_init(&p->mover, kind, c->tiers, c->n_tiers, c->latency_ns[0], c->read_bps[0], c->pages);
    p->mover.yields = c->helper_shares;
    p->mover.weightless = c->weightless;
    if (!c->weightless && kind != NF_MOVER_KERNEL && kind != NF_MOVER_MOVE_PAGES)
        nf_copy_choose();
    if (p->ops.semantics.sync == NF_SYNC_HELPER)
        p->mover.chunk_bytes = NF_MOVER_CHUNK_BESIDE;
    return 0;
}

int nf_pool_open(const struct nf_pool_config *c, struct nf_pool **out)
{
    bool opened = false;
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
    p->asked = c->asked ? c->asked : &p->nobody_looks;
    p->first_free = NO_HANDLE;
    p->open_ns = nf_now_ns();
    p->open_ticks = nf_ticks();
    p->moves.v = malloc(NF_POLICY_MOVES_MAX * sizeof *p->moves.v);
    rc = p->moves.v ? block_new(p) : nf_fail(-ENOMEM, "no memory for moves");
    if (p->moves.v)
        memset(p->moves.v, 0xff, NF_POLICY_MOVES_MAX * sizeof *p->moves.v); /* faulted before the first op */
    if (!rc)
        rc = nf_policy_check(c->policy, &p->ops);
    if (!rc)
        rc = open_mover(p, c);
    for (uint32_t t = 0; !rc && t < c->n_tiers; t++)
        rc = open_tier(p, t, c);
    if (!rc && p->ops.semantics.by_page)
        rc = nf_paged_open(p);
    if (!rc) {
        rc = nf_pool_open_policy(p, c);
        opened = !rc;
    }
    if (!rc && p->ops.semantics.sync == NF_SYNC_HELPER && p->mover.kind != NF_MOVER_KERNEL)
        rc = nf_flight_start(&p->mover, c->helper_cpu, &p->flight);
    if (!opened)
        p->ops.deinit = NULL;
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
    nf_flight_stop(p->flight); /* before the memory it writes goes */
    if (p->ops.deinit)
        nf_pool_close_policy(p);
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        if (p->place[t].memory)
            p->tiers[t].ops->unmap(p->tiers[t].state, p->place[t].memory, p->place[t].arena_bytes);
        nf_arena_deinit(&p->place[t].arena);
        free(p->place[t].seen);
    }
    for (size_t i = 0; i < p->blocks.n; i++)
        free(p->blocks.v[i]);
    nf_array_free(&p->blocks);
    nf_array_free(&p->pinned);
    nf_policy_plans_deinit(&p->plans);
    free((void *)p->page_tier);
    free(p->moves.v);
    free(p->options);
    free(p);
    return NULL;
}
