#pragma once
/* What a pool is made of, for the files it is made of: pool.c, which drives it, pool-policy.c, which tells its policy, and proof.c, which
 * looks at it. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "pool/arena.h"
#include "pool/flight.h"
#include "pool/mover.h"
#include "pool/policy-plans.h"
#include "pool/pool.h"
#include "pool/ticks.h"

/* Storages live in blocks of this many, so that a growing table never moves one. */
enum { NF_POOL_BLOCK_BITS = 10, NF_POOL_BLOCK = 1 << NF_POOL_BLOCK_BITS };

struct nf_pool_entry {
    struct nf_pool_storage s;
    uint64_t address;
    uint64_t move; /* number of the one under way; 0: none */
    uint32_t page_moves;    /* of some of its pages, under way */
    uint32_t copy_tier;
    struct nf_extent copy;  /* clean, on copy_tier, while the storage is near; 0 bytes: none */
    uint32_t next_free;
    bool live, pinned;
};

/* One tier's memory and ledger. */
struct nf_pool_place {
    struct nf_arena arena;
    char *memory;
    uint64_t arena_bytes, capacity;
    struct nf_pool_tier_stats stats;
    uint64_t charged_before; /* of the mover's count, at the last reset */
    uint8_t *seen;           /* tier of each page when last looked at; NULL: the kernel moves nothing here */
};

struct nf_pool {
    struct nf_tier *tiers;
    uint32_t n_tiers;
    struct nf_pool_place place[NF_TIER_MAX];

    struct nf_policy_ops ops;
    _Atomic uint8_t *page_tier; /* of each page of near's arena that a storage has; NULL: the policy moves whole storages */
    /* Its own verbs: two clock reads cost more than a default that does nothing. */
    bool has_op, has_access, has_op_end, has_free, has_regime, has_pressure, has_tick;
    struct nf_policy_plans plans;
    struct {
        uint64_t ticks, ops, stall_ns, policy_ns, in_bytes[NF_TIER_MAX], out_bytes[NF_TIER_MAX];
    } told; /* counted up to the tick before; ops: since then */
    struct nf_policy_env env;
    void *policy, *options;
    struct nf_policy_moves moves;
    nf_regime regime;

    NF_ARRAY(struct nf_pool_entry *) blocks;
    uint32_t first_free;
    uint64_t live_storages;
    NF_ARRAY(uint32_t) pinned;
    bool in_op, operands_fixed; /* between begin and end; from the end of begin on */

    struct nf_mover mover;
    struct nf_flight *flight; /* NULL: moves are made inline */
    uint64_t forgiven_before; /* of the mover's count, at the last reset */
    uint64_t moves_done, moved_bytes, move_ns, wait_ns, stall_ns, fault_ns, policy_ticks, refused;
    int failed;               /* a move of the helper failed, or pages could not go home; the cause is kept */
    char failure[512];
    _Atomic uint32_t *asked, nobody_looks; /* where nf_pool_config.asked is NULL, the second */
    uint64_t open_ns, open_ticks; /* the two clocks read together, to know a tick's length */
    char refusal[512];
};

static inline struct nf_pool_entry *nf_pool_entry(const struct nf_pool *p, uint32_t handle)
{
    return &p->blocks.v[handle >> NF_POOL_BLOCK_BITS][handle & (NF_POOL_BLOCK - 1)];
}

/* One thread counts: no read-modify-write. */
static inline void nf_pool_count_asked(struct nf_pool *p)
{
    atomic_store_explicit(p->asked, atomic_load_explicit(p->asked, memory_order_relaxed) + 1, memory_order_relaxed);
}
/* Around every verb of the policy that is charged for its time. ticks: what the first returned. */
static inline uint64_t nf_pool_ask(struct nf_pool *p)
{
    nf_pool_count_asked(p);
    return nf_ticks();
}
static inline void nf_pool_answered(struct nf_pool *p, uint64_t ticks)
{
    p->policy_ticks += nf_ticks() - ticks;
    nf_pool_count_asked(p);
}

/* What went wrong beside the driving thread, or where nobody could be told: 0 or -errno (cause set). */
static inline int nf_pool_failed(const struct nf_pool *p)
{
    return p->failed ? nf_fail(p->failed, "%s", p->failure) : 0;
}

/* --- of pool.c --- */

/* A decision broke a rule. Returns -EPROTO (cause set). */
__attribute__((format(printf, 2, 3))) int nf_pool_refuse(struct nf_pool *p, const char *fmt, ...);
/* Room by the ledger, which counts both places of what is under way. */
static inline uint64_t nf_pool_room(const struct nf_pool *p, uint32_t tier)
{
    return p->place[tier].capacity - p->place[tier].stats.live_bytes;
}
void nf_pool_ledger_add(struct nf_pool *p, uint32_t tier, uint64_t bytes);
/* Ends the oldest move under way, waiting for it where need be. */
void nf_pool_land(struct nf_pool *p);
/* A verb returned rc, not 0. -EPROTO where that is no error, else rc (cause set). */
int nf_pool_policy_failed(struct nf_pool *p, int rc);
/* Carries out what the policy asked for last. 0, -EPROTO, -errno (cause set). */
int nf_pool_execute(struct nf_pool *p);
/* Waits for moves under way as long as the tier lacks room that they will leave. */
bool nf_pool_make_room(struct nf_pool *p, uint32_t tier, uint64_t bytes);
/* The next place for a move, waiting where too many are under way. */
struct nf_flight_move *nf_pool_next_move(struct nf_pool *p);

/* --- what the policy is told (pool-policy.c) --- */

/* Opens it, with its options, profiles and first plans. 0 or -errno (cause set). */
int nf_pool_open_policy(struct nf_pool *p, const struct nf_pool_config *c);
void nf_pool_close_policy(struct nf_pool *p);
/* Near has less than bytes. 0, -EPROTO, -errno (cause set). */
int nf_pool_tell_pressure(struct nf_pool *p, uint64_t bytes);

/* --- storages of which pages move (paged.c) --- */

/* The table of pages. 0 or -ENOMEM (cause set). */
int nf_paged_open(struct nf_pool *p);
/* Gives a storage addresses on every tier, and the pages the placement says. 0 or -ENOSPC (cause set). */
int nf_paged_settle(struct nf_pool *p, struct nf_pool_entry *e, const struct nf_placement *want);
/* Takes all of it back; nothing of it is under way. */
void nf_paged_give(struct nf_pool *p, struct nf_pool_storage *s);
/* Carries out, or hands over, one move. 0, -EPROTO, -errno (cause set). */
int nf_paged_move(struct nf_pool *p, struct nf_pool_entry *e, const struct nf_policy_move *m);
/* A move under way has ended. */
void nf_paged_arrive(struct nf_pool *p, const struct nf_flight_move *m);
/* Cancels what is under way of it. */
void nf_paged_cancel(struct nf_pool *p, uint32_t handle);
