#pragma once
/* Placement policies. A policy decides; the pool enforces capacity, executes and charges every move and bills the
 * policy's own time. A policy never sees payload and never binds memory. An illegal decision fails the trial. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/option.h"
#include "core/model/profile.h"
#include "core/model/recompute.h"
#include "core/model/regime.h"
#include "pool/tier.h"

enum { NF_POLICY_ABI = 1 };

/* Declared semantics; the legend of every curve shows them. */
struct nf_policy_semantics {
    enum { NF_ACCESS_IN_PLACE, NF_ACCESS_FETCH_BEFORE_USE, NF_ACCESS_PROMOTE_AFTER_USE } access;
    enum { NF_INSERT_NEAR, NF_INSERT_FAR, NF_INSERT_BYPASS } insert;
    enum { NF_DEMOTE_NEVER, NF_DEMOTE_DROP_CLEAN, NF_DEMOTE_WRITE_BACK } demote;
    enum { NF_MOVER_NONE, NF_MOVER_COPY, NF_MOVER_MOVE_PAGES, NF_MOVER_KERNEL } mover;
    enum { NF_SYNC_INLINE, NF_SYNC_HELPER } sync;
    bool sees_profile; /* roles, lifetimes and reuse of the step class */
    bool sees_future;  /* the order of coming visits */
    bool samples;      /* what ops touch, by the verb touched */
    bool by_page;      /* its moves name pages of storages; the mover is NF_MOVER_COPY then */
};
/* "in-place, insert near, no migration; sees profile" into text. Returns text. */
char *nf_policy_semantics_text(const struct nf_policy_semantics *s, char *text, size_t size);

/* What the pool tells about a storage. The profile fields are 0 / unknown unless sees_profile is declared. */
struct nf_policy_tensor {
    uint32_t handle;  /* pool's name of the storage, stable until freed */
    uint64_t bytes;   /* whole pages */
    nf_regime regime; /* current regime, or 0 */
    uint32_t op;      /* index of the running op in the step class */
    /* sees_profile: */
    uint32_t step_class, number; /* index into env.profiles[step_class].of->tensors; number UINT32_MAX: not profiled */
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

struct nf_policy_env {
    uint32_t n_tiers;                  /* >= 1; tier 0 is near */
    uint64_t capacity[NF_TIER_MAX];    /* bytes */
    double latency_ns[NF_TIER_MAX], read_bps[NF_TIER_MAX]; /* measured; 0 unknown */
    uint64_t seed;
    const struct nf_profile *profiles; /* one per step class; NULL unless sees_profile */
    uint32_t n_profiles, steady_class; /* index of the class a plan should be made for */
    const void *options;               /* what ops->options filled */
    /* Free bytes of a tier now, moves in flight counted. */
    uint64_t (*free_bytes)(void *pool, uint32_t tier);
    void *pool;
};

struct nf_policy_ops {
    uint32_t abi; /* NF_POLICY_ABI */
    const char *name, *about;
    const char *source; /* who published the rule, and where; NULL: nobody but this project, or everybody */
    struct nf_policy_semantics semantics;
    const struct nf_option *options; /* NULL: none */
    size_t options_size;
    const void *option_defaults;

    /* Optional: default can always run. 0, or -errno with why. */
    int (*probe)(char *why, size_t size);
    /* Required. env stays valid until close. 0 or -errno (cause set). */
    int (*open)(const struct nf_policy_env *env, void **policy);
    /* Required. */
    void (*close)(void *policy);
    /* Required. A storage is born. evictions: moves to make room first (may stay empty); operands of a running op are
     * no victims. *out is zeroed. 0, -ENOSPC when the rule finds no room, -errno (cause set); the handle is then void.
     * When the pool cannot carry out what was decided, freed follows. */
    int (*place)(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out);
    /* Optional. An op is about to run on the operands (handles, each once); rw per operand (enum nf_rw). Operands may be
     * moved (fetch before use) but not evicted from near; others may. 0 or -errno (cause set). */
    int (*access)(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                  struct nf_policy_moves *moves);
    /* Optional, and only with semantics.samples; the clock stands still. The op's visits have been made; after follows.
     * 0 or -errno (cause set). */
    int (*touched)(void *policy, const struct nf_policy_touches *t);
    /* Optional. The op is done: promote-after-use goes here. */
    int (*after)(void *policy, uint32_t op, struct nf_policy_moves *moves);
    /* Optional. The handle may be reused for the next storage. */
    void (*freed)(void *policy, uint32_t handle);
    /* Optional. Which storages of a class are made again instead of being held between two uses (core/model/recompute.h): asked before
     * the policy is opened, for each class that is replayed, with an env whose free_bytes cannot be called. What is replayed, and what
     * the policy then sees of it, is the class with that applied. names: of env.profiles[step_class].of. Fills *r, by
     * nf_recompute_init, and *choices, per item, of malloc: both the caller's then, also on failure. 0 or -errno (cause set). */
    int (*recompute)(const struct nf_policy_env *env, uint32_t step_class, char *const *names, struct nf_recompute *r,
                     uint8_t **choices);
};

extern const struct nf_policy_ops *const nf_policies[]; /* NULL-terminated */
/* A built-in, or for a name with a '/' the shared object at that path, which exports
 * `const struct nf_policy_ops nf_policy_plugin` and stays loaded. NULL, with the cause set (to the list of names when
 * there is none of that name). */
const struct nf_policy_ops *nf_policy_find(const char *name);
#define NF_POLICY_PLUGIN_SYMBOL "nf_policy_plugin"
/* Fills optional members. 0 or -EINVAL (cause set) when a required one or the ABI is wrong. */
int nf_policy_check(const struct nf_policy_ops *ops, struct nf_policy_ops *filled);
/* The options struct of a policy from "key=value,..." (NULL: none given); *options may become NULL when it takes none.
 * 0, -EINVAL (cause set), -ENOMEM. Caller frees with free(). */
int nf_policy_configure(const struct nf_policy_ops *ops, const char *text, void **options);
/* What a policy with these semantics may not see of a tensor or an environment is blanked. */
void nf_policy_hide_tensor(const struct nf_policy_semantics *s, struct nf_policy_tensor *t);
void nf_policy_hide_env(const struct nf_policy_semantics *s, struct nf_policy_env *env);
