#pragma once
/* Which trials a replay makes, and in which order. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/words.h"
#include "pool/policy.h"

struct nf_trials_policy {
    const struct nf_policy_ops *ops;
    const struct nf_policy_ops *outside; /* that decides: ops, or what it wraps; NULL: it is built in */
    char options[192]; /* "key=value,..." */
    char late[256];    /* its rehearsal ran into the limit once, and is not waited for again: in words; "" otherwise */
};

/* What of a trial is changed to see how much hangs on it (replay/factors.h). */
enum nf_factor {
    NF_FACTOR_NONE,
    NF_FACTOR_HALF_K,     /* every parallelism halved */
    NF_FACTOR_TWICE_K,    /* and doubled */
    NF_FACTOR_UNFILTERED, /* no cache filter: every visited byte is charged */
    NF_FACTOR_STORE,      /* the other kind of store */
    NF_FACTOR_PAGES,      /* pages of the other size */
    NF_FACTORS
};

struct nf_trials_one {
    uint32_t policy; /* index into nf_trials.policies */
    double near_share;
    enum nf_overlap overlap;
    bool hog;
    bool background; /* beside the contention asked for */
    bool cold;       /* one cycle from empty caches, nothing warmed up */
    bool stale;      /* planned on another capture's profile */
    enum nf_factor variant;
};

struct nf_trials {
    struct nf_trials_policy *policies; /* the first is all-near */
    struct nf_trials_one *v; /* of one block */
    struct nf_policy_ops *migrating; /* the rules of policies whose moves are made otherwise than they declare */
    uint32_t n_policies, n;
    uint32_t varied; /* bit per enum nf_factor that there are trials of */
};

struct nf_trials_wish {
    const char *const *policies; /* "name" or "name:key=value,...", or "all"; a path is a shared object */
    size_t n_policies;           /* 0: all */
    const double *near_shares;
    size_t n_near_shares;
    const enum nf_overlap *overlaps;
    size_t n_overlaps;
    bool hog; /* also all-near beside a bandwidth hog, in every overlap mode */
    bool background; /* every trial but those a second time, under contention: paired with the plain one of its block */
    bool cold;       /* every plain trial a second time, cold: paired likewise */
    bool stale;      /* and those of policies that see a profile a second time with another capture's: paired likewise */
    bool migrate;     /* built-in policies that copy whole storages have the kernel migrate them instead (NF_MOVER_MOVE_PAGES) */
    uint32_t factors; /* bit per enum nf_factor: every plain trial again with each, paired likewise */
};

/* all-near is always among them: slowdowns are measured against it. It and all-far come once per overlap mode, the
 * others once per near share too; "all" leaves out trace, which only prints, and what cannot run here (with a
 * message). 0, -EINVAL (cause set), -ENOMEM. Caller deinits in every case. */
int nf_trials_init(struct nf_trials *t, const struct nf_trials_wish *wish);
void nf_trials_deinit(struct nf_trials *t);

/* The order of a block: indices into v, shuffled by seed and block. order: room for t->n. */
void nf_trials_order(const struct nf_trials *t, uint64_t seed, uint32_t block, uint32_t *order);

/* Whether everything fits near by definition, or nothing may be there. */
/* The name of a sweep, not of a policy: `interleave` once for each of some ratios, whose fastest the report draws as the best static
 * interleave. "best-interleave" or "best-interleave:ratios=10:20:40" (percent near; default every ten from 10 to 90). */
#define NF_TRIALS_SWEEP "best-interleave"
bool nf_trials_is_all_near(const struct nf_policy_ops *ops);
bool nf_trials_is_all_far(const struct nf_policy_ops *ops);
