#pragma once
/* The interface of placement policies, of those in this tree and of those from outside alike: nearfar-policy(7) says how to write
 * one. A policy decides; the pool enforces capacity, executes and charges every move and bills the policy's own time. A policy never
 * sees payload and never binds memory. An illegal decision fails the trial.
 *
 * A shared object exports `const struct nf_policy_ops nf_policy_plugin`. Nothing is to be linked: what a policy may call is in its
 * env. Functions declared in the headers included here are nearfar's own. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/option-table.h"
#include "core/model/regime.h"
#include "core/model/sizes.h"
#include "core/model/words.h"

/* Changes when a member, its meaning or the meaning of a number that a policy sees changes; the size beside it catches what was
 * forgotten. */
enum { NF_POLICY_ABI = 2 };
#define NF_POLICY_PLUGIN_SYMBOL "nf_policy_plugin"

/* Declared semantics; the legend of every curve shows them. */
struct nf_policy_semantics {
    enum { NF_ACCESS_IN_PLACE, NF_ACCESS_FETCH_BEFORE_USE, NF_ACCESS_PROMOTE_AFTER_USE } access;
    enum { NF_INSERT_NEAR, NF_INSERT_FAR, NF_INSERT_BYPASS } insert;
    enum { NF_DEMOTE_NEVER, NF_DEMOTE_DROP_CLEAN, NF_DEMOTE_WRITE_BACK } demote;
    enum { NF_MOVER_NONE, NF_MOVER_COPY, NF_MOVER_MOVE_PAGES, NF_MOVER_KERNEL } mover; /* none: it may not ask for a move */
    enum { NF_SYNC_INLINE, NF_SYNC_HELPER } sync;
    bool sees_profile; /* roles, lifetimes and reuse of the step class */
    bool sees_future;  /* the order of coming visits */
    bool samples;      /* what ops touch, by the verb on_access */
    bool by_page;      /* its moves name pages of storages; the mover is NF_MOVER_COPY then */
};

/* One bit per optional verb: a policy says which it has, and is refused where that is not what it has. */
enum nf_policy_capability {
    NF_POLICY_HAS_PROBE = 1 << 0,
    NF_POLICY_HAS_LOAD_PROFILE = 1 << 1,
    NF_POLICY_HAS_PLAN = 1 << 2,
    NF_POLICY_HAS_ON_OP = 1 << 3,
    NF_POLICY_HAS_ON_ACCESS = 1 << 4,
    NF_POLICY_HAS_ON_OP_END = 1 << 5,
    NF_POLICY_HAS_ON_FREE = 1 << 6,
    NF_POLICY_HAS_ON_REGIME = 1 << 7,
    NF_POLICY_HAS_ON_PRESSURE = 1 << 8,
    NF_POLICY_HAS_TICK = 1 << 9,
    NF_POLICY_HAS_EXPLAIN = 1 << 10,
    NF_POLICY_HAS_RECOMPUTE = 1 << 11, /* of built-in policies only: its types are not part of this interface */
};

/* What the pool tells about a storage. The profile fields are 0 / unknown unless sees_profile is declared. */
struct nf_policy_tensor {
    uint32_t handle;  /* pool's name of the storage, stable until freed */
    uint64_t bytes;   /* whole pages */
    nf_regime regime; /* current regime, or 0 */
    uint32_t op;      /* index of the running op in the step class */
    /* sees_profile: */
    uint32_t step_class, number; /* as load_profile numbers them; number UINT32_MAX: not profiled */
    enum nf_role role;
};

/* Where a storage goes: bytes[i] on tier i, whole pages, summing to the tensor's bytes. striped: pages alternate in
 * proportion to bytes[]; otherwise the pieces follow each other in tier order. */
struct nf_placement {
    uint64_t bytes[NF_TIER_MAX];
    bool striped;
};

/* One move of a whole storage to one tier, or of some of its pages. Executed in order, each completed before the next; what is
 * already there stays. Both copies count against capacity until a move is complete. A storage that came from a far tier under a
 * policy that declares NF_DEMOTE_DROP_CLEAN leaves a copy there, charged as well, until an op writes it: a move back to that tier
 * then copies nothing. */
struct nf_policy_move {
    uint32_t handle, to_tier;
    uint32_t first_page, n_pages; /* of NF_PAGE_BYTES; n_pages 0: the whole storage. Others need by_page */
};
enum { NF_POLICY_MOVES_MAX = 4096 };
struct nf_policy_moves {
    struct nf_policy_move *v; /* room for NF_POLICY_MOVES_MAX */
    size_t n;
    /* Once they are under way the driving thread stands still for so long: what page faults, unmapping and TLB shootdowns of a real
     * page table would cost it. It is spent and charged as a stall, and is as well known as the policy says (an option's default:
     * assumed). */
    uint64_t stall_ns;
};

/* What an op that has just run touched, for policies that sample it as a PMU or page faults would let them. */
struct nf_policy_touch {
    uint32_t handle;
    uint8_t rw;            /* enum nf_rw */
    uint64_t offset, span; /* bytes from the first to the last touched one; touched evenly in between */
    double lines;          /* cache lines fetched from beyond the caches, or written back */
};
struct nf_policy_touches {
    const struct nf_policy_touch *v;
    size_t n;
    uint64_t now_ns; /* the replay's clock */
    double latency_ns[NF_TIER_MAX]; /* loaded latency as last observed; where nobody observes it the idle one; 0: unknown */
};

/* What the pool has counted since the tick before, at the end of a step. */
struct nf_policy_counters {
    uint64_t ticks; /* steps that ended before this one */
    uint64_t ops;   /* that ended */
    struct {
        uint64_t live_bytes, free_bytes;           /* now, moves under way counted in both places */
        uint64_t moved_in_bytes, moved_out_bytes;
    } tier[NF_TIER_MAX];
    uint64_t stall_ns;  /* the driving thread stood still for moves */
    uint64_t policy_ns; /* time inside the policy */
};
enum { NF_POLICY_PLAN_AGAIN = 1 }; /* of tick: see plan */

/* The profile, one step class at a time, read forwards; structs and what they point to are valid until load_profile returns. */
struct nf_policy_op {
    uint32_t number;
    uint8_t phase; /* enum nf_phase */
    uint16_t microbatch;
    nf_regime regime;
    double dur_ns, gap_ns; /* captured; gap: before it. 0 where the capture holds no times */
};
struct nf_policy_profiled { /* a tensor of the step class */
    uint32_t number;
    uint64_t bytes; /* whole pages */
    enum nf_role role;
    int32_t birth, death;        /* ops, inclusive; -1, INT32_MAX: carried into, out of the step */
    int32_t carry_in, carry_out; /* carry slot it enters, leaves with; -1: none */
    uint32_t reads, writes;      /* visits per step */
    uint64_t read_bytes, write_bytes, miss_read_bytes, miss_write_bytes; /* miss: past the effective LLC */
    uint32_t first_op, last_op;  /* of its visits; first > last when never visited */
    uint64_t longest_gap_bytes;  /* other traffic between two bursts of its visits */
    double longest_gap_ns, live_share;
};
struct nf_policy_gap { /* between two bursts of one tensor */
    uint32_t tensor, from_op, to_op;
    uint64_t bytes; /* other traffic inside */
    double ns;      /* captured */
    bool wraps;     /* over the end of the step */
};
struct nf_policy_use { /* one op visits one tensor */
    uint32_t op, tensor;
    uint8_t rw; /* enum nf_rw */
    uint64_t bytes, miss_bytes;
};
struct nf_policy_reader {
    uint32_t step_class, n_step_classes;
    bool steady; /* the class a plan should be made for */
    uint32_t n_ops, n_tensors, n_gaps;
    uint64_t peak_live_bytes, llc_bytes;
    double step_ns; /* captured; 0: unknown */
    /* Each: 1 and *out is the next one, in order; 0 at the end. Uses are in the order they will come, and there are none for a policy
     * that does not declare sees_future. */
    int (*next_op)(struct nf_policy_reader *r, struct nf_policy_op *out);
    int (*next_tensor)(struct nf_policy_reader *r, struct nf_policy_profiled *out);
    int (*next_gap)(struct nf_policy_reader *r, struct nf_policy_gap *out);
    int (*next_use)(struct nf_policy_reader *r, struct nf_policy_use *out);
    /* The pool's: */
    const struct nf_profile *of;
    uint32_t at[4], uses_end;
};

/* What a person asks about one storage, right after it happened. */
struct nf_policy_question {
    enum { NF_POLICY_WHY_BORN, NF_POLICY_WHY_USED, NF_POLICY_WHY_TO_NEAR, NF_POLICY_WHY_TO_FAR, NF_POLICY_WHY_ENTERS } what;
    uint32_t handle, op;
    uint32_t step_class, number; /* hidden as a tensor's are */
    double near_share;           /* of it that is near now */
};

struct nf_profile;
struct nf_recompute;

struct nf_policy_env {
    uint32_t n_tiers;                  /* >= 1; tier 0 is near */
    uint64_t capacity[NF_TIER_MAX];    /* bytes */
    double latency_ns[NF_TIER_MAX], read_bps[NF_TIER_MAX]; /* measured; 0 unknown */
    const char *tier_name[NF_TIER_MAX]; /* NULL: not opened yet (recompute) */
    int node[NF_TIER_MAX];             /* NUMA node its pages are on, -1: no such thing */
    uint64_t seed;
    uint32_t n_profiles, steady_class; /* step classes; index of the class a plan should be made for */
    const void *options;               /* what ops->options filled */
    /* Free bytes of a tier now, moves in flight counted. */
    uint64_t (*free_bytes)(void *pool, uint32_t tier);
    void *pool;
    /* Says why a verb fails, in words without a newline, and returns rc: return env->fail(-EINVAL, "..."). */
    int (*fail)(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
    /* The profiles as the library has them, one per step class; NULL unless sees_profile. Their layout is not part of this
     * interface, and no policy from outside gets them: it reads by load_profile. */
    const struct nf_profile *profiles;
};

struct nf_policy_ops {
    uint32_t abi, size; /* NF_POLICY_ABI, sizeof(struct nf_policy_ops): NF_POLICY_INTERFACE fills both, and the next */
    uint64_t capabilities; /* enum nf_policy_capability, or'ed */
    const char *name, *about; /* name: a-z, 0-9 and '-', at most NF_POLICY_NAME_MAX */
    const char *source; /* who published the rule, and where; NULL: nobody but this project, or everybody */
    struct nf_policy_semantics semantics;
    const struct nf_option *options; /* NULL: none */
    size_t options_size;
    const void *option_defaults;

    /* Optional: default can always run. 0, or -errno with why. */
    int (*probe)(char *why, size_t size);
    /* Required. env (topology, capacities, measured figures) stays valid until deinit. 0 or -errno (cause set). */
    int (*init)(const struct nf_policy_env *env, void **policy);
    /* Required. */
    void (*deinit)(void *policy);
    /* Optional, and only with semantics.sees_profile. After init, once per step class in order. 0 or -errno (cause set). */
    int (*load_profile)(void *policy, struct nf_policy_reader *profile);
    /* Optional. Makes the placement map of a regime: before any storage is born for each regime of the profiles in order of its first
     * op, or of 0 where no profile is seen, with epoch 1; of a regime nobody knew when it is entered; and of every regime known by
     * then with its next epoch when tick returns NF_POLICY_PLAN_AGAIN. 0 or -errno (cause set). */
    int (*plan)(void *policy, nf_regime regime, uint32_t epoch);
    /* Required. A storage is born. evictions: moves to make room first (may stay empty); operands of a running op are
     * no victims. *out is zeroed. 0, -ENOSPC when the rule finds no room, -errno (cause set); the handle is then void.
     * When the pool cannot carry out what was decided, on_free follows. */
    int (*on_alloc)(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                    struct nf_placement *out);
    /* Optional. An op is about to run on the operands (handles, each once, in the order of their first visit as captured: gathered
     * operands, arguments, results); rw per operand (enum nf_rw). The op itself advances through all of them together. Operands may be
     * moved (fetch before use) but not evicted from near; others may. 0 or -errno (cause set). */
    int (*on_op)(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                 struct nf_policy_moves *moves);
    /* Optional, and only with semantics.samples; the clock stands still. The op's visits have been made: all in one batch, in the
     * order they were captured in, an operand as often as it was visited; visits of no bytes are left out. on_op_end follows. 0 or -errno (cause set). */
    int (*on_access)(void *policy, const struct nf_policy_touches *t);
    /* Optional. The op is done: promote-after-use goes here. */
    int (*on_op_end)(void *policy, uint32_t op, struct nf_policy_moves *moves);
    /* Optional. The handle may be reused for the next storage. */
    void (*on_free)(void *policy, uint32_t handle);
    /* Optional. Another regime is entered than the one before, between ops; epoch: of its map as last planned (1 where there is no
     * plan). 0 or -errno (cause set). */
    int (*on_regime)(void *policy, nf_regime regime, uint32_t epoch, struct nf_policy_moves *moves);
    /* Optional. A storage of `bytes` is about to be born and the tier (near) has less than that free; on_alloc follows.
     * 0 or -errno (cause set). */
    int (*on_pressure)(void *policy, uint32_t tier, uint64_t bytes, struct nf_policy_moves *moves);
    /* Optional. A step has ended. 0, NF_POLICY_PLAN_AGAIN or -errno (cause set). */
    int (*tick)(void *policy, const struct nf_policy_counters *c, struct nf_policy_moves *moves);
    /* Optional. The reason in words, one line, into text. 1; 0: it has nothing to say. Never asked in a trial. */
    int (*explain)(void *policy, const struct nf_policy_question *q, char *text, size_t size);
    /* Optional. Which storages of a class are made again instead of being held between two uses (core/model/recompute.h): asked before
     * the policy is opened, for each class that is replayed, with an env whose free_bytes cannot be called. What is replayed, and what
     * the policy then sees of it, is the class with that applied. names: of env.profiles[step_class].of. Fills *r, by
     * nf_recompute_init, and *choices, per item, of malloc: both the caller's then, also on failure. 0 or -errno (cause set). */
    int (*recompute)(const struct nf_policy_env *env, uint32_t step_class, char *const *names, struct nf_recompute *r,
                     uint8_t **choices);
};
enum { NF_POLICY_NAME_MAX = 47 };

/* The head of a policy's ops: which verbs it has beside the required ones. */
#define NF_POLICY_INTERFACE(verbs) .abi = NF_POLICY_ABI, .size = sizeof(struct nf_policy_ops), .capabilities = (verbs)
