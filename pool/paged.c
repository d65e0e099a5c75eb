/* Storages of which single pages move. Each has addresses for all its pages on every tier, and a byte per page that says on which
 * one it is: a page keeps its offset wherever it goes, no run of free pages is ever looked for, and what the ledger counts is
 * pages, not addresses. The table of bytes is indexed by the addresses on near, which only one storage has at a time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "pool/pool-state.h"

static uint8_t look(const _Atomic uint8_t *tier)
{
    return atomic_load_explicit(tier, memory_order_relaxed);
}

static void set(_Atomic uint8_t *tier, uint32_t value)
{
    atomic_store_explicit(tier, (uint8_t)value, memory_order_relaxed);
}

int nf_paged_open(struct nf_pool *p)
{
    size_t pages = p->place[0].arena_bytes / NF_PAGE_BYTES;

    p->page_tier = malloc(pages + 1);
    if (!p->page_tier)
        return nf_fail(-ENOMEM, "no memory for a table of %zu pages", pages);
    memset((void *)p->page_tier, 0, pages + 1); /* faulted before the first op */
    return 0;
}

static void pages_change(struct nf_pool *p, struct nf_pool_storage *s, uint32_t tier, uint64_t bytes)
{
    s->piece[tier].bytes += bytes;
    nf_pool_ledger_add(p, tier, bytes);
}

void nf_paged_give(struct nf_pool *p, struct nf_pool_storage *s)
{
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        struct nf_pool_place *place = &p->place[t];

        if (!s->piece[t].memory)
            continue;
        nf_arena_give(&place->arena, (uint32_t)((uint64_t)(s->piece[t].memory - place->memory) / NF_PAGE_BYTES));
        place->stats.live_bytes -= s->piece[t].bytes;
        s->piece[t] = (struct nf_extent){0};
    }
    s->page_tier = NULL;
}

/* The placement's pages, dealt out as nf_pool_locate would find them without a table. */
static void deal(const struct nf_pool *p, struct nf_pool_storage *s, const struct nf_placement *want)
{
    struct nf_pool_storage as_pieces = {.bytes = s->bytes, .striped = want->striped};

    for (uint32_t t = 0; t < p->n_tiers; t++)
        as_pieces.piece[t] = (struct nf_extent){s->piece[t].memory, want->bytes[t]};
    for (uint64_t i = 0; i < s->bytes / NF_PAGE_BYTES; i++) {
        uint32_t tier;
        uint64_t run;

        nf_pool_locate(&as_pieces, i * NF_PAGE_BYTES, &tier, &run);
        set(&s->page_tier[i], tier);
    }
}

int nf_paged_settle(struct nf_pool *p, struct nf_pool_entry *e, const struct nf_placement *want)
{
    uint32_t pages = (uint32_t)(e->s.bytes / NF_PAGE_BYTES);

    if (!pages)
        return 0;
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        struct nf_pool_place *place = &p->place[t];
        uint32_t first = nf_arena_take(&place->arena, e->address, pages);

        if (first == NF_ARENA_NONE) {
            nf_paged_give(p, &e->s);
            return nf_fail(-ENOSPC, "tier '%s' has no run of %u addresses for a storage whose pages move: its arena needs more slack",
                           p->tiers[t].name, pages);
        }
        e->s.piece[t].memory = place->memory + (uint64_t)first * NF_PAGE_BYTES;
        pages_change(p, &e->s, t, want->bytes[t]);
        place->stats.allocations += want->bytes[t] > 0;
        if (t == 0)
            e->s.page_tier = p->page_tier + first;
    }
    e->s.striped = false;
    deal(p, &e->s, want);
    return 0;
}

/* A stretch of pages is on another tier; what it left is free. */
static void pages_arrive(struct nf_pool *p, struct nf_pool_storage *s, uint64_t first, uint64_t n, uint32_t to_tier)
{
    uint64_t bytes = n * NF_PAGE_BYTES;

    for (uint64_t i = first; i < first + n; i++) {
        uint32_t from = look(&s->page_tier[i]) & (NF_PAGE_UNDER_WAY - 1);

        s->piece[from].bytes -= NF_PAGE_BYTES;
        p->place[from].stats.live_bytes -= NF_PAGE_BYTES;
        p->place[from].stats.moved_out_bytes += NF_PAGE_BYTES;
        set(&s->page_tier[i], to_tier);
    }
    s->piece[to_tier].bytes += bytes;
    p->place[to_tier].stats.moved_in_bytes += bytes;
    p->moves_done++;
    p->moved_bytes += bytes;
}

static void give_up(struct nf_pool *p, struct nf_pool_storage *s, uint64_t first, uint64_t n, uint32_t to_tier)
{
    p->place[to_tier].stats.live_bytes -= n * NF_PAGE_BYTES;
    for (uint64_t i = first; i < first + n; i++)
        set(&s->page_tier[i], look(&s->page_tier[i]) & (NF_PAGE_UNDER_WAY - 1));
}

void nf_paged_arrive(struct nf_pool *p, const struct nf_flight_move *m)
{
    struct nf_pool_entry *e = nf_pool_entry(p, m->handle);

    e->page_moves--;
    if (m->rc || atomic_load_explicit(&m->cancelled, memory_order_relaxed)) {
        give_up(p, &e->s, m->offset / NF_PAGE_BYTES, m->bytes / NF_PAGE_BYTES, m->to_tier);
        return;
    }
    p->move_ns += m->ns;
    pages_arrive(p, &e->s, m->offset / NF_PAGE_BYTES, m->bytes / NF_PAGE_BYTES, m->to_tier);
}

void nf_paged_cancel(struct nf_pool *p, uint32_t handle)
{
    for (uint32_t i = 0; p->flight && i < nf_flight_n(p->flight); i++) {
        struct nf_flight_move *m = nf_flight_at(p->flight, i);

        if (m->handle == handle)
            atomic_store_explicit(&m->cancelled, true, memory_order_relaxed);
    }
}

/* A stretch of pages none of which is on to_tier or under way. Room is taken. */
static int move_stretch(struct nf_pool *p, struct nf_pool_entry *e, uint32_t handle, uint64_t first, uint64_t n, uint32_t to_tier)
{
    uint64_t bytes = n * NF_PAGE_BYTES, start;
    struct nf_flight_move *m;
    int rc;

    if (!p->flight) {
        start = nf_now_ns();
        rc = nf_mover_move(&p->mover, &e->s, first * NF_PAGE_BYTES, bytes, e->s.piece[to_tier].memory, to_tier, NULL);
        start = nf_now_ns() - start;
        p->stall_ns += start;
        if (rc) {
            give_up(p, &e->s, first, n, to_tier);
            return rc;
        }
        p->move_ns += start;
        pages_arrive(p, &e->s, first, n, to_tier);
        return 0;
    }
    m = nf_pool_next_move(p);
    m->handle = handle;
    m->to_tier = to_tier;
    m->from = e->s;
    m->to = e->s.piece[to_tier];
    m->offset = first * NF_PAGE_BYTES;
    m->bytes = bytes;
    m->pages = true;
    for (uint64_t i = first; i < first + n; i++)
        set(&e->s.page_tier[i], look(&e->s.page_tier[i]) | NF_PAGE_UNDER_WAY);
    e->page_moves++;
    nf_flight_post(p->flight);
    return 0;
}

static bool any_under_way(const struct nf_pool_entry *e, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; e->page_moves && i < first + n; i++)
        if (look(&e->s.page_tier[i]) & NF_PAGE_UNDER_WAY)
            return true;
    return false;
}

/* An operand's pages may come near before its op and go nowhere while it runs. */
static bool disturbs_op(const struct nf_pool *p, const struct nf_pool_entry *e, uint64_t first, uint64_t n, uint32_t to_tier)
{
    if (!e->pinned)
        return false;
    for (uint64_t i = first; i < first + n; i++) {
        uint32_t on = look(&e->s.page_tier[i]);

        if (on != to_tier && (p->operands_fixed || (to_tier > 0 && on == 0)))
            return true;
    }
    return false;
}

int nf_paged_move(struct nf_pool *p, struct nf_pool_entry *e, const struct nf_policy_move *m)
{
    uint64_t pages = e->s.bytes / NF_PAGE_BYTES, first = m->n_pages ? m->first_page : 0, n = m->n_pages ? m->n_pages : pages;
    int rc = 0;

    if (first > pages || n > pages - first)
        return nf_pool_refuse(p, "it moves pages %llu to %llu of storage %u, which has %llu", (unsigned long long)first,
                              (unsigned long long)(first + n - 1), m->handle, (unsigned long long)pages);
    while (any_under_way(e, first, n))
        nf_pool_land(p);
    if (disturbs_op(p, e, first, n, m->to_tier))
        return nf_pool_refuse(p, "it moves pages of storage %u to tier %u while an op runs on it", m->handle, m->to_tier);
    for (uint64_t i = first, end; i < first + n && !rc; i = end) {
        end = i + 1;
        if (look(&e->s.page_tier[i]) == m->to_tier)
            continue;
        while (end < first + n && look(&e->s.page_tier[end]) != m->to_tier)
            end++;
        if (!nf_pool_make_room(p, m->to_tier, (end - i) * NF_PAGE_BYTES))
            return nf_pool_refuse(p, "it moves %llu pages to tier %u, which has %llu bytes free", (unsigned long long)(end - i),
                                  m->to_tier, (unsigned long long)nf_pool_room(p, m->to_tier));
        nf_pool_ledger_add(p, m->to_tier, (end - i) * NF_PAGE_BYTES);
        rc = move_stretch(p, e, m->handle, i, end - i, m->to_tier);
    }
    return rc;
}
