/* What a pool has counted. */
#include <string.h>

#include "core/base/log.h"
#include "pool/pool-state.h"
#include "pool/ticks.h"

uint64_t nf_pool_near_bytes(const struct nf_pool *p)
{
    uint64_t bytes = p->place[0].stats.live_bytes;

    for (uint32_t i = 0; p->flight && i < nf_flight_n(p->flight); i++) {
        const struct nf_flight_move *m = nf_flight_at(p->flight, i);

        if (m->pages) /* which come from elsewhere, or leave near */
            bytes -= m->to_tier == 0 ? 0 : m->bytes;
        else
            bytes -= m->from.piece[0].bytes + (m->orphan && m->to_tier == 0 ? m->to.bytes : 0);
    }
    return bytes;
}

static uint64_t count(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
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
        .move_forgiven_ns = count(&p->mover.forgiven_ns) - p->forgiven_before,
        .wait_ns = p->wait_ns,
        .stall_ns = p->stall_ns,
        .fault_ns = p->fault_ns,
        .moved_pages_ever = count(&p->mover.moved_pages),
        .refused = p->refused,
    };
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        out->tier[t] = p->place[t].stats;
        out->tier[t].charged_bytes = count(&p->mover.charged_bytes[t]) - p->place[t].charged_before;
    }
}

void nf_pool_stats_reset(struct nf_pool *p)
{
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        uint64_t live = p->place[t].stats.live_bytes, copies = p->place[t].stats.copy_bytes;

        p->place[t].stats = (struct nf_pool_tier_stats){.live_bytes = live, .peak_bytes = live, .copy_bytes = copies};
        p->place[t].charged_before = count(&p->mover.charged_bytes[t]);
    }
    p->forgiven_before = count(&p->mover.forgiven_ns);
    memset(p->told.in_bytes, 0, sizeof p->told.in_bytes);
    memset(p->told.out_bytes, 0, sizeof p->told.out_bytes);
    p->told.stall_ns = p->told.policy_ns = 0;
    p->moves_done = p->moved_bytes = p->move_ns = p->wait_ns = p->stall_ns = p->fault_ns = p->policy_ticks = 0;
}
