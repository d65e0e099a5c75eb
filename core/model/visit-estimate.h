#pragma once
/* What sampled accesses say about one visit: an op touching a tensor. The framework knows the extent and the timing pass
 * the duration; the samples of the (op, tensor), gathered over all steps of a class, tell how often its lines came from
 * beyond L2 and beyond the LLC, in which pattern, and how many fetches were under way at once. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"
#include "core/model/words.h"

/* What a sample of an event is counted as. */
enum nf_visit_count {
    NF_COUNTS_NOTHING,
    NF_COUNTS_ACCESS,     /* every load or store */
    NF_COUNTS_BEYOND_L2,  /* loads that were not answered by L2 */
    NF_COUNTS_BEYOND_LLC, /* nor by the LLC */
    NF_COUNTS_BY_LEVEL,   /* every access, and its data_src tells which of the above too (ibs_op) */
    NF_COUNTS_LATENCY,    /* no count: shadowing makes its totals some 100 times too small. Level and latency only */
};
/* By perf_event_attr's type and config; NF_COUNTS_NOTHING for events that are none of memory sampling. */
enum nf_visit_count nf_visit_count_of(uint32_t type, uint64_t config);

struct nf_visit_event {
    uint32_t type; /* perf_event_attr */
    uint64_t config, period;
};

struct nf_visit_sampling {
    const struct nf_visit_event *events; /* by nf_sample.event */
    unsigned n_events;
    double correction;    /* for lost and throttled samples: nf_count_correction; 1: none */
    double cycles_per_ns; /* of the clock that latencies are counted in; 0: unknown, then k is unknown */
    double level;         /* of the intervals: 0.95 */
};

struct nf_visit_facts {
    uint64_t bytes;       /* of the visit, each counted once */
    double dur_ns;        /* of the op in one step; 0 unknown */
    uint32_t occurrences; /* steps the samples were gathered over, > 0 */
};

/* low and high enclose the truth with the probability of the level, as far as samples are independent: a fixed period
 * makes them more even than that, which leaves the interval too wide rather than too narrow. */
struct nf_interval {
    double value, low, high; /* value is for print from NF_COUNT_POINT_SAMPLES samples on */
    uint32_t samples; /* it rests on; 0 with known: none came, and high says how many events may have been missed */
    bool known;       /* false: no event of the source could tell */
};

struct nf_visit_estimate {
    struct nf_interval accesses;     /* loads and stores per visit */
    struct nf_interval missed_bytes; /* read from beyond the LLC per visit, demand loads only */
    struct nf_interval touches;      /* fetches of a line from beyond L2, as nf_visit.touches_q8 without its scale */
    struct nf_interval parallelism;  /* k by Little's law: fetches beyond the LLC times their mean latency over time */
    double detection;                /* probability that a visit that fetches each line once leaves a sample in all */
    bool detectable;                 /* detection >= 0.95; if not, no samples mean nothing */
    uint8_t pattern;                 /* enum nf_pattern; only with pattern_confidence > 0 */
    double pattern_confidence;
    uint64_t stride;                 /* bytes between accesses as far as they tell (their greatest common divisor); 0 unknown */
};

/* Samples of one (op, tensor), in any order: time_ns, offset, tid, step, event, data_src and weight are looked at.
 * 0 or -ENOMEM. Events beyond n_events are passed over. */
int nf_visit_estimate(const struct nf_visit_sampling *how, const struct nf_visit_facts *visit,
                      const struct nf_sample *samples, size_t n, struct nf_visit_estimate *out);
