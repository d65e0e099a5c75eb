#pragma once
/* The tiers a replay runs on: opened, measured, and known to the study. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/store/study.h"
#include "pool/tier.h"
#include "replay/figures.h"
#include "replay/measure.h"

struct nf_testbed {
    int64_t id; /* row; 0: not recorded */
    int64_t k_id; /* row of the testbed whose figures measured[0].parallelism.of_class is; 0: there is none */
    struct nf_tier tiers[NF_TIER_MAX];
    struct nf_measured measured[NF_TIER_MAX];
    uint32_t n_tiers;
    uint64_t llc_bytes; /* effective */
    int cpu;            /* that measured, pinned to it */
    char governor[32];  /* its frequency governor; "unknown" */
    struct nf_samples samples;
    struct nf_tier_figures figures;
};

struct nf_testbed_options {
    const char *const *specs; /* in tier order, near first: "provider:key=value,..." or "name=provider:..."; */
    size_t n_specs;           /* 0: local memory near, far an emulated tier, or: */
    bool nodes;               /* without specs, and no far tier described: far are the other nodes of this machine, where there are some */
    double far_latency_x, far_bandwidth_x; /* of the emulated far tier; 0: its defaults. Not beside specs */
    int cpu;                  /* the initiator; -1: the CPU that this runs on */
    uint64_t llc_bytes;       /* 0: measure it */
    struct nf_study *reuse;   /* take the numbers of the latest testbed with the same machine and specs; NULL: measure */
    int64_t machine;          /* row, for reuse and for k */
    int64_t reuse_id;         /* that testbed and no other: -EINVAL when it is another machine's, or has other tiers; 0: latest */
    /* k by class of access of near, as another testbed of the same machine and near spec has it among its figures; NULL: not wanted */
    struct nf_study *k_from;
    int64_t k_id;             /* of that testbed and no other; 0: the latest that has it; -1: of none */
    bool quiet;               /* no progress line */
};

/* Whether these go together, before anything is done. 0 or -EINVAL (cause set). */
int nf_testbed_check(const struct nf_testbed_options *options);
/* Opens and measures. Without specs near is the pinned CPU's NUMA node, or plain anonymous memory where nodes cannot
 * be bound (with a message). 0 or -errno (cause set). Caller deinits in every case. */
int nf_testbed_init(struct nf_testbed *t, const struct nf_testbed_options *options);
void nf_testbed_deinit(struct nf_testbed *t);
/* All figures of a testbed whose tiers were measured. 0 or -errno (cause set). */
int nf_testbed_measure_figures(struct nf_testbed *t, bool quiet);

/* Of a time that was measured on all of its tiers: the weakest of theirs. */
enum nf_evidence nf_testbed_evidence(const struct nf_testbed *t);

/* Adds the rows testbed, tier, tier_sample and tier_figure in one transaction, unless the numbers came from a row already.
 * 0 or -errno (cause set). */
int nf_testbed_record(struct nf_testbed *t, struct nf_study *study, int64_t invocation, int64_t machine);
