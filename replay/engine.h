#pragma once
/* The engine: one trial. Reissues the stream's visits on the memory where the policy put each tensor, in captured
 * order, and spends the captured compute time as the overlap mode says. */
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/model/stream.h"
#include "pool/lives.h"
#include "pool/pool.h"
#include "replay/kernel.h"
#include "replay/measure.h"
#include "replay/observer.h"
#include "replay/pace.h"
#include "replay/script.h"

struct nf_engine_config {
    const struct nf_stream *stream;
    const struct nf_script *scripts; /* one per class of the stream */
    struct nf_pool_config pool;      /* tiers, capacities, policy, seed; steady_class is what is replayed */
    struct nf_parallelism parallelism[NF_TIER_MAX]; /* assumed where a visit does not know its own (nf_parallelism_of) */
    double parallelism_scale;        /* of every k, known or assumed: the k/2 and 2k sensitivity runs */
    enum nf_store store;             /* how visits that write do it */
    enum nf_overlap overlap;
    /* Compute time per class and op, for NF_OVERLAP_NONE (replay/residual.h). NULL: none. */
    const double *const *residual_ns;
    /* Per class and op: it runs a second time to make a storage again (replay/variant.h). NULL, or NULL for a class: none does. */
    const bool *const *again;
    /* Per class of the stream; NULL: the policy sees what is replayed. planned_class is then the steady one of pool.profiles. */
    const struct nf_seen_as *seen;
    uint32_t planned_class;
    bool whole_sequence;             /* a cycle is the captured sequence of classes instead of the steady class once */
    unsigned warmup_min, warmup_max; /* cycles before the measured ones */
    unsigned cycles;                 /* measured */
    int cpu;                         /* to run on; -1: wherever the thread is now */
    unsigned threads;                /* that share each op; 0: as the job had. At most the CPUs there are */
    int helper_cpu;                  /* of a mover with a thread of its own; -1: a CPU that no thread has, else the last one's */
    bool cold;                       /* no warm-up; what caches hold of the tiers is dropped before the first measured step */
    const cpu_set_t *allowed;        /* the others' CPUs are chosen from these; NULL: from this process's */
    /* Called before each op while the clock stands still: its time and its page faults are in no figure. 0, or an error
     * that fails the trial. May be NULL. */
    int (*between)(void *ctx, uint32_t class_index, uint32_t next_op);
    void *between_ctx;
    /* Called right before and right after the measured steps. May be NULL. */
    void (*measuring)(void *ctx, bool begin);
    void *measuring_ctx;
    const volatile sig_atomic_t *stop; /* ends between steps when not zero; may be NULL */
    const struct nf_replay_observer *observer; /* tiers are then of its memory, and storages whole on one; NULL: nobody watches */
    /* Filled with the time of each op of the measured steps, in order, when not NULL: op_ns_room places. */
    double *op_ns;
    uint64_t op_ns_room;
};
/* Warm-up: at most 8 cycles, then the trial counts as unsteady. Three measured steps are the default of a trial. */
#define NF_ENGINE_CONFIG_INIT                                                                                          \
    {.parallelism_scale = 1, .overlap = NF_OVERLAP_ASAP, .warmup_min = 2, .warmup_max = 8, .cycles = 3, .cpu = -1,        \
     .helper_cpu = -1}

enum nf_trial_status { NF_TRIAL_OK, NF_TRIAL_UNSTEADY, NF_TRIAL_FAILED };
/* "ok", "unsteady", "failed". */
const char *nf_trial_status_name(enum nf_trial_status status);

struct nf_trial_tier {
    uint64_t read_bytes, write_bytes; /* issued by visits, every pass counted; an update counts in both */
    uint64_t miss_read_bytes, miss_write_bytes; /* of them, in whole lines, what goes past the cache filter, injected or not */
    uint64_t charged_bytes;           /* that went past the cache filter of a tier that injects */
    uint64_t charged_lines;           /* demand lines among them */
    uint64_t counter_read_bytes, counter_write_bytes; /* NF_TRIAL_UNKNOWN: nothing counted it, */
    char uncounted[128];              /* for this reason */
    double achieved_latency_ns;       /* Little's law: time × k / lines inside charged stretches; 0: nothing charged */
    double achieved_bps;              /* charged bytes / time inside charged stretches */
};

#define NF_TRIAL_UNKNOWN UINT64_MAX

struct nf_trial {
    enum nf_trial_status status;
    char message[512];         /* why not ok, or what to know although it is */
    unsigned warmup_steps, steps;
    uint64_t wall_ns;          /* of the measured steps */
    double *step_ns;           /* per measured step */
    uint64_t stolen_ns, late_ns; /* stolen: preempted, as the threads noticed it themselves, in waits and in accesses */
    /* Of the measured steps, on the driving thread (what it waits for the others of its team is memory time); with the pool's
     * stall_ns and policy_ns, what is missing to wall_ns is dispatch. */
    uint64_t memory_ns;        /* accesses: an estimate (replay/account.h) */
    uint64_t injected_ns;      /* waits that injected tiers asked for, of accesses */
    uint64_t compute_ns;       /* captured compute time, waited out */
    uint64_t forgiven_ns;      /* of waits on injected tiers: overshoot beyond what is caught up */
    struct nf_lateness lateness; /* of chunks, overlap = full */
    bool saturated;            /* ops holding most of the captured time ended more than 5 % late */
    double assumed_k_share;    /* of charged bytes: their visits do not know their k */
    double class_k_share;      /* of charged bytes, among those: charged by the k that was measured of their class of access */
    uint64_t page_faults;      /* in the measured steps */
    uint64_t switches;         /* involuntary context switches in them */
    uint64_t moved_pages;      /* by the kernel, unasked; NF_TRIAL_UNKNOWN */
    uint64_t steal_ns;         /* of its CPUs together, as the host tells, warm-up included; NF_TRIAL_UNKNOWN */
    unsigned threads;
    char cpus[128];            /* "0,1": of the threads */
    bool cold;
    enum nf_store store;
    double scheduled_ns;       /* captured time the deadlines were made from */
    unsigned proofs, batches;
    int helper_cpu;            /* of the asynchronous mover; -1: none ran */
    bool helper_shares;        /* it ran on a core of the replay's threads */
    char interference[256];    /* "" : nothing noticed */
    double background_bps;     /* bytes per second that a hog or a background moved beside it; 0: there was none */
    struct nf_trial_tier tier[NF_TIER_MAX];
    struct nf_pool_stats pool; /* of the measured steps */
    /* Of a policy that makes storages again instead of holding them: */
    uint64_t recompute_ns;         /* measured steps: what ops that ran again took, moves and waits included */
    uint32_t recomputed, recomputed_ops; /* of one step, as the next ones: gaps in which a storage was not held; ops that ran again */
    uint64_t unheld_bytes;         /* of the storages in those gaps */
    double unheld_byte_ns;         /* times the captured time of each gap */
    uint64_t reissued_bytes;       /* that those ops touched */
    double recompute_captured_ns;  /* of those ops, in the capture */
    uint64_t variant_peak_bytes;   /* peak live of what was replayed; 0: as captured */
};

enum { NF_TRIAL_E_STOPPED = 1 };
/* 0: *out says how it went, failures of policy, placement and memory included, so that the next trial can run.
 * NF_TRIAL_E_STOPPED: the stop flag ended it, nothing to keep. -ENOMEM, -EINVAL (cause set). Caller deinits *out in
 * every case. */
int nf_trial_run(const struct nf_engine_config *config, struct nf_trial *out);
void nf_trial_deinit(struct nf_trial *t);

/* How many threads a trial of this config has, where the pinned one's affinity is still the process's. */
unsigned nf_engine_threads(const struct nf_engine_config *config);
/* Steps of one cycle. */
uint32_t nf_engine_cycle_steps(const struct nf_engine_config *config);
/* Class of step i of a cycle. */
uint32_t nf_engine_cycle_class(const struct nf_engine_config *config, uint32_t i);
