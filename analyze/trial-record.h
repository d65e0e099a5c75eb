#pragma once
/* How the trials of a replay ran, and what else was measured beside them: threads, lateness, disturbances, contention from
 * other CPUs, and the real job bound to a tier. Each a table of the report and a CSV file. */
#include <stdint.h>

#include "analyze/dataset.h"
#include "analyze/live-comparison.h"
#include "core/base/table.h"
#include "core/store/study.h"

enum nf_record_table {
    NF_RECORD_RAN,        /* by overlap mode */
    NF_RECORD_COUNTED,    /* by tier and reason: the replay's bytes beside the hardware's */
    NF_RECORD_MARKED,     /* every trial that failed, was unsteady or disturbed */
    NF_RECORD_CONTENTION, /* policy by policy: with and without, paired within a block */
    NF_RECORD_COLD,       /* policy by policy: a step from empty caches and one of the steady state, paired likewise */
    NF_RECORD_STALE,      /* policy by policy: planned on another capture's profile and on its own, paired likewise */
    NF_RECORD_SENSITIVITY, /* policy by policy: with one factor changed and without, paired likewise */
    NF_RECORD_PREDICTED,  /* policy by policy: what a model said of the step, and the replayed one */
    NF_RECORD_LIVE,       /* the real job bound to a tier or under a plan, and the replay's prediction */
    NF_RECORD_TABLES
};
/* Of trial_tier x in replay r: why hardware counters say nothing of it, in SQL. */
#define NF_RECORD_UNCOUNTED                                                                                                \
    "CASE WHEN r.counters = '' AND x.counter_read_bytes = -1 THEN 'unknown: an older trial' WHEN x.uncounted = "           \
    "'no counter works here' THEN x.uncounted || ' (' || r.counters || ')' ELSE x.uncounted END"

/* "live.csv" */
extern const char *const nf_record_files[NF_RECORD_TABLES];

struct nf_trial_record {
    struct nf_table *tables[NF_RECORD_TABLES]; /* NULL: there is nothing of that kind */
    struct nf_live_comparisons live;
    int64_t resumed;
    double until_width; /* 0: no stop rule */
};

/* 0, -ENOMEM or -errno (cause set). Deinit in every case. */
int nf_trial_record_init(struct nf_trial_record *r, struct nf_study *study, const struct nf_dataset *d);
void nf_trial_record_deinit(struct nf_trial_record *r);
