#pragma once
/* The whole of `nearfar replay`: a capture's stream, the tiers of this machine, every trial, and their rows. */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/model/words.h"
#include "core/store/study.h"
#include "pool/guard.h"
#include "replay/kernel.h"

struct nf_counter_ops;

struct nf_replay_options {
    int64_t invocation; /* row of the running command */
    int64_t capture;    /* 0: the latest */
    const char *const *policies; /* "name", "name:key=value,...", "./mine.so" or "all" */
    size_t n_policies;           /* 0: all but trace */
    const double *near_shares;   /* of peak live, in (0, 1] */
    size_t n_near_shares;        /* 0: 10 %, 20 %, ... 100 % */
    const enum nf_overlap *overlaps;
    size_t n_overlaps;           /* 0: full and none, which bracket the truth */
    bool overlaps_asked;         /* a capture without times is replayed asap alone; true: refuse the others instead */
    const char *const *tiers;    /* specs in tier order, near first: "provider:key=value" or "name=provider:..." */
    size_t n_tiers;              /* 0: local memory near, an emulated far tier */
    double far_latency_x, far_bandwidth_x; /* of the emulated far tier; 0: 2 and 0.5 */
    unsigned blocks;             /* each runs every trial once, in random order */
    unsigned steps;              /* measured ones of a trial */
    double until_width;          /* blocks end, after NF_REPLAY_BLOCKS_MIN, once the 95 % interval of every median slowdown is
                                    narrower than this share of it; 0: all blocks run */
    int64_t resume;              /* a partial replay of the study to go on with, told the same options; 0: a new one */
    int64_t resume_testbed;      /* the one it ran on, or that was copied from a file: no other; 0: any */
    uint64_t seed;
    uint64_t llc_bytes;          /* of the cache filter; 0: as measured */
    bool unfiltered;             /* no filter: every visited byte is charged */
    double parallelism_scale;    /* of every k: 0.5 and 2 are the sensitivity runs */
    enum nf_store store;         /* how visits that write do it: not known from a capture */
    bool migrate;                /* what built-in policies copy the kernel migrates (move_pages): tiers are then NUMA nodes */
    double scale;                /* of every storage's bytes, (0, 1] */
    uint64_t batch_bytes;        /* a stream that needs more memory is read in batches; 0: a quarter of what is available */
    int cpu;                     /* -1: the one this runs on */
    unsigned threads;            /* that share each op; 0: as the job had. At most the CPUs there are, a hog's taken off */
    bool whole_sequence;         /* replay all captured steps in order instead of the steady one */
    bool reuse_testbed;          /* take the tiers' numbers from the study when it has this machine's */
    bool cold;                   /* every trial also cold: one cycle from empty caches, nothing warmed up */
    bool sensitivity;            /* every plain trial again at k/2 and 2k, unfiltered, with other stores, with other pages */
    bool hog;                    /* all-near trials beside a bandwidth hog as well */
    const char *background;      /* every trial also under this contention (replay/background.h); NULL: none */
    const char *despite;         /* spoilers (nf_spoiler_names) to go on with, "load,thp"; NULL: none */
    const char *root;            /* where the machine's state is looked at before; NULL: "", this machine's */
    const struct nf_counter_ops *const *counters; /* that trials are judged by, as nf_counter_sources (replay/counters.h), which NULL stands for */
    const char *profile_from;    /* a study: policies that see a profile also plan on that of its latest capture; NULL: none */
    double policy_limit_s;       /* that the rehearsal of a policy from outside, and each question in its trial, may take (pool/guard.h) */
    bool dry_run;                /* say what would be done, on `out`; nothing is measured or written */
    bool quiet;                  /* no progress line */
    const volatile sig_atomic_t *stop; /* ends after the running step; may be NULL */
    FILE *out;                   /* dry run only; NULL: stdout */
};
#define NF_REPLAY_OPTIONS_INIT {.blocks = 5, .steps = 3, .seed = 1, .parallelism_scale = 1, .scale = 1, .cpu = -1, .policy_limit_s = NF_GUARD_LIMIT_S}

struct nf_replay_result {
    int64_t replay, testbed; /* rows; 0: none was written */
    uint32_t planned, done, failed, unsteady; /* trials; done: by this call */
    uint32_t kept, disturbed;  /* done before (resume); marked for what came between */
    char first_failure[640];   /* which trial of them failed first, and why: "lru at 20 % near, overlap full, block 3: ..." */
    uint32_t blocks;           /* that are whole */
    double width;              /* the widest relative interval then; NAN: fewer than two blocks, or no stop rule */
};

/* Fewer repetitions than this are no basis for an interval (five counted runs are the least a valid result discloses). */
enum { NF_REPLAY_BLOCKS_MIN = 5 };

enum { NF_REPLAY_E_STOPPED = 1 };
/* Study opened for writing (a dry run also takes one opened for reading). Every trial is committed as it ends.
 * 0 (failed and unsteady trials are counted in *result, not an error), NF_REPLAY_E_STOPPED (the stop flag: what was
 * done is kept as a partial replay), -EINVAL, -ENOENT (no capture), -ENOMEM (this machine cannot hold it; the cause
 * names the numbers and a scale that would fit), -ENODEV (this machine cannot), -errno, all with the cause set. */
int nf_replay_run(struct nf_study *study, const struct nf_replay_options *options, struct nf_replay_result *result);
