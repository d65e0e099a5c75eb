#pragma once
/* The pool: aggregates tiers and hands out extents under a policy. Useful without the rest of nearfar: link
 * libnearfar-pool and include this header. One thread drives a pool (allocation, op brackets); any thread may touch the
 * memory it hands out. */
#include <stdatomic.h>
#include <stdint.h>

#include "core/model/stream.h"
#include "pool/policy.h"
#include "pool/tier.h"

struct nf_pages_system;
struct nf_pool;

struct nf_pool_config {
    struct nf_tier *tiers; /* borrowed, opened; tiers[0] is near */
    uint32_t n_tiers;
    uint64_t capacity[NF_TIER_MAX]; /* ledger limit in bytes; UINT64_MAX: what the arena holds */
    uint64_t arena_bytes[NF_TIER_MAX]; /* memory mapped per tier; at least the most that can ever be placed there,
                                          plus slack for fragmentation */
    const struct nf_policy_ops *policy;
    const char *policy_options; /* "key=value,..." or "" */
    const struct nf_profile *profiles; /* hidden from policies that do not declare sees_profile */
    uint32_t n_profiles, steady_class;
    double latency_ns[NF_TIER_MAX], read_bps[NF_TIER_MAX];
    uint64_t seed;
    /* Of a policy whose moves a helper makes (NF_SYNC_HELPER): */
    const int *helper_cpu; /* its thread runs there; NULL: anywhere. Read at open */
    bool helper_shares;    /* others want that CPU: it yields instead of spinning */
    const struct nf_pages_system *pages; /* the system calls that place pages; NULL: the kernel's */
    /* Grows by one whenever the policy is asked something, and once more when it has answered: odd while it is at work. NULL: nobody
     * looks. */
    _Atomic uint32_t *asked;
    /* Nobody reads the tiers' memory: decisions are checked and accounted for, and nothing is moved, waited or asked of the kernel. */
    bool weightless;
};

/* A live storage's pieces. */
struct nf_extent {
    char *memory;
    uint64_t bytes; /* whole pages; 0: no piece on this tier */
};
struct nf_pool_storage {
    struct nf_extent piece[NF_TIER_MAX]; /* by tier */
    uint64_t bytes;                      /* whole pages */
    bool striped; /* which page lies where: nf_pool_locate */
    /* Of a policy that moves pages: the tier of each, NF_PAGE_UNDER_WAY added while it is copied elsewhere; every tier then has
     * addresses for all pages, and piece[].bytes of them are there. NULL: pieces as above. */
    _Atomic uint8_t *page_tier;
};
enum { NF_PAGE_UNDER_WAY = 0x80 };

struct nf_pool_alloc {
    uint64_t bytes;
    uint64_t address;            /* captured address: storages that shared a slot share memory again; 0: none */
    uint32_t op;                 /* running op of the step class */
    uint32_t step_class, number; /* number UINT32_MAX: not in the profile */
    enum nf_role role;
};

struct nf_pool_tier_stats {
    uint64_t live_bytes, peak_bytes; /* moves under way counted in both places */
    uint64_t copy_bytes; /* of live_bytes: clean copies of storages that are near */
    uint64_t moved_in_bytes, moved_out_bytes, allocations;
    uint64_t charged_bytes; /* of moves, charged to a tier that injects: its bucket is the visits' own */
};
struct nf_pool_stats {
    struct nf_pool_tier_stats tier[NF_TIER_MAX];
    uint64_t moves, moved_bytes, live_storages;
    uint64_t policy_ns; /* time inside the policy, clock reads around every callback */
    uint64_t move_ns;   /* wall time of moves, injection included; a helper's passes beside the ops */
    uint64_t move_forgiven_ns; /* lateness of injected moves beyond the millisecond that is caught up */
    uint64_t wait_ns;   /* ops and allocations stood still for moves under way (sync helper) */
    uint64_t stall_ns;  /* the driving thread stood still for moves: those made inline, waits, and fault_ns */
    uint64_t fault_ns;  /* page faults and unmapping that the policy charged */
    uint64_t moved_pages_ever; /* by move_pages or the kernel's tiering, since the pool was opened; no reset */
    uint64_t refused;   /* decisions that broke a rule; the first one's cause is kept */
};

/* 0 or -errno (cause set). The arenas are mapped, faulted, bound and verified before it returns. */
int nf_pool_open(const struct nf_pool_config *config, struct nf_pool **out);
/* NULL is fine. Returns NULL. */
struct nf_pool *nf_pool_close(struct nf_pool *pool);

/* Between ops. 0, -EPROTO, -errno (cause set). */
int nf_pool_enter(struct nf_pool *pool, nf_regime regime);
/* A step has ended; storages that it alone had are freed. 0, -EPROTO, -errno (cause set). */
int nf_pool_tick(struct nf_pool *pool);
/* What the policy has to say about a storage right now, into text; false: nothing. */
bool nf_pool_explain(struct nf_pool *pool, const struct nf_policy_question *question, char *text, size_t size);
/* *handle names the storage until nf_pool_free. 0, -ENOSPC (no tier can hold it; cause set), -EPROTO (the policy broke
 * a rule; cause set), -errno. */
int nf_pool_allocate(struct nf_pool *pool, const struct nf_pool_alloc *a, uint32_t *handle);
void nf_pool_free(struct nf_pool *pool, uint32_t handle);
/* Valid until the storage moves or is freed; while an op runs (begin to end) its operands do not move. */
const struct nf_pool_storage *nf_pool_storage(const struct nf_pool *pool, uint32_t handle);
/* The address of byte `offset` (< bytes) of a storage. *tier: where it is; *run: how many bytes from there on are
 * contiguous on that tier, at least up to the end of the page. */
char *nf_pool_locate(const struct nf_pool_storage *s, uint64_t offset, uint32_t *tier, uint64_t *run);
/* Brackets an op: operands are pinned near-wise between them. rw: enum nf_rw. 0, -EPROTO, -errno (cause set). */
int nf_pool_begin(struct nf_pool *pool, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n);
int nf_pool_end(struct nf_pool *pool, uint32_t op);
/* Whether the policy samples accesses: then each op's are told before it ends. */
bool nf_pool_samples(const struct nf_pool *pool);
/* The time it takes is not billed to the policy: hardware would do it. latency_ns: loaded, per tier, as observed lately; 0 or NULL: not observed. now_ns: from the replay's clock. 0 or -errno. */
int nf_pool_touched(struct nf_pool *pool, const struct nf_policy_touch *v, size_t n, uint64_t now_ns, const double *latency_ns);
/* Waits for every move under way. 0 or what made one fail (cause set). */
int nf_pool_settle(struct nf_pool *pool);
/* Proves the placement of every page in use, and that what is to be on huge pages still is; of a policy that leaves its pages to the kernel: reads back where they went,
 * counts those as its moves, and holds the kernel to the capacity of near. 0 or -EXDEV (cause set). */
int nf_pool_verify(struct nf_pool *pool);
/* While held, moves under way stand still (at their next chunk): for when the clock does. The pool must not be driven
 * meanwhile but for verify and stats. */
void nf_pool_hold(struct nf_pool *pool, bool held);
/* Writes what the caches hold of the pool's memory back and drops it there, on every CPU. */
void nf_pool_evict_caches(struct nf_pool *pool);
/* Bytes near once the moves under way are done; equal at two step ends (within 1 %) means steady. */
uint64_t nf_pool_near_bytes(const struct nf_pool *pool);
void nf_pool_stats(const struct nf_pool *pool, struct nf_pool_stats *out);
/* The cause of the first decision that broke a rule; "" when none did. Lives as long as the pool. */
const char *nf_pool_refusal(const struct nf_pool *pool);
/* Starts counting peaks, moves and times anew (after warm-up). */
void nf_pool_stats_reset(struct nf_pool *pool);
