#pragma once
/* One replay thread's part of an op: it issues its share of every visit, chunk by chunk, waits for what its tiers charge and
 * for the deadlines of its chunks, and counts. */
#include <stdbool.h>
#include <stdint.h>

#include "pool/pool.h"
#include "replay/absence.h"
#include "replay/kernel.h"
#include "replay/observer.h"
#include "replay/pace.h"
#include "replay/script.h"

/* What all threads of a trial read, and nobody writes while they run. */
struct nf_worker_op {
    const struct nf_script *script;
    const struct nf_script_op *op;
    const struct nf_pool_storage **storages; /* of the op's operands */
    const uint32_t *only_tier;               /* of the same: n_tiers when split */
    uint64_t start_ns;                       /* where its schedule begins; paced only */
    uint32_t parts;                          /* threads that share it, the first ones */
    uint32_t chunks;                         /* of each part */
    uint64_t at;                             /* its number among the ops of all classes */
    bool paced, measuring;
};
struct nf_worker_rules {
    struct nf_tier *tiers;
    uint32_t n_tiers;
    struct nf_kernels kernels;
    enum nf_store store; /* which they are */
    bool injects[NF_TIER_MAX];
    double k[NF_TIER_MAX][NF_PATTERN_COUNT][NF_RW_COUNT]; /* assumed parallelism, scaled */
    bool by_class[NF_TIER_MAX][NF_PATTERN_COUNT][NF_RW_COUNT]; /* that is the one measured of such accesses */
    double parallelism_scale;
    bool observed; /* each worker keeps what it issued */
};

struct nf_worker_tier {
    uint64_t read_bytes, write_bytes, charged_bytes, charged_lines;
    double charged_ns;   /* of charged stretches, each divided among the threads that share its op: they run at the same time */
    double charged_k_ns; /* of the same, undivided, times their parallelism */
    double miss_read_lines, miss_write_lines; /* past the cache filter */
};
/* A thread's own; one cache line apart by its size. */
struct nf_worker {
    struct nf_pace pace;
    struct nf_absence absence;
    uint64_t waited_ns; /* for tiers, in all steps */
    double due[NF_TIER_MAX]; /* fraction of a line not charged yet */
    /* When the last wait was for, while nothing but dispatching followed it: the next charged stretch begins there, so
     * that the few tens of ns between two chunks do not add up (relative deadlines: +5 to 17 %). 0: begin now. */
    uint64_t carried_ns;
    struct nf_worker_tier tier[NF_TIER_MAX];
    uint64_t assumed_bytes, class_bytes; /* charged under an assumed k; of them by class of access */
    uint64_t injected_ns, compute_ns; /* waited in measured steps: for tiers; for deadlines */
    uint64_t forgiven_ns; /* overshoot of waits beyond what is caught up */
    struct nf_lateness lateness; /* of chunks, paced */
    uint64_t faults, switches;   /* at the last look */
    uint64_t ended;
    struct nf_issued_log issued; /* where observed: of the running op */
    char pad[64];
};

/* Issues part `part` of the op. Returns when it is done, and, where paced, its last deadline has passed. w->ended: where
 * paced, when the op ended as far as memory is concerned: at its last deadline, or when its accesses were done where that
 * was later; not when the wait for the deadline was noticed to be over. */
void nf_worker_run(struct nf_worker *w, const struct nf_worker_rules *r, const struct nf_worker_op *op, uint32_t part);
