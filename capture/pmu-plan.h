#pragma once
/* What to open for a sampling source: perf_event_attrs and what each means. Made from options and a described PMU alone, so
 * that a plan for a machine that is elsewhere can be looked at. */
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>

#include "capture/pmu-events.h"
#include "capture/source.h"

struct nf_pmu_plan {
    struct perf_event_attr attrs[NF_SOURCE_EVENTS_MAX];
    struct nf_source_event events[NF_SOURCE_EVENTS_MAX]; /* of the attr with the same index */
    unsigned n;
    unsigned grouped;      /* the first so many are one group, the first of them leads; 0: none */
    bool only_accesses;    /* the CPU samples any instruction: those that touch no memory are left out */
    size_t ring_bytes;     /* per CPU */
    char notes[NF_SOURCE_NOTES];
};

enum { NF_PEBS_PERIOD = 10007, NF_PEBS_LDLAT = 3, NF_PEBS_PERIOD_MIN = 100, NF_PMU_RING_BYTES = 1 << 20 };
/* Zeroed: period and ldlat as above; loads, stores and latency. */
struct nf_pebs_options {
    uint64_t period, ldlat;
    bool roles[NF_PMU_AUX];
    bool kernel;   /* of kernel mode too */
    bool physical; /* physical addresses: which node served it */
};

/* pmu: NULL for a CPU that is not here. 0, -EINVAL for options, -EOPNOTSUPP for an event the CPU has not (cause set). */
int nf_pebs_plan(const struct nf_pebs_options *o, const struct nf_pmu_uarch *u, const struct nf_pmu *pmu,
                 struct nf_pmu_plan *out);
/* Whether the kernel will let the CPU gather many records before it interrupts (intel_pmu_hw_config): a fixed period, no
 * wakeup per event, no clock but perf's own, precise_ip 2, nothing in sample_type that only an interrupt can tell.
 * time_in_record: see nf_pmu_uarch. 0 or -EINVAL (cause set: the rule that is broken). */
int nf_pebs_large(const struct perf_event_attr *attr, bool time_in_record);

enum { NF_IBS_PERIOD = 100000, NF_IBS_PERIOD_MIN = 0x90 };
/* Zeroed: every NF_IBS_PERIOD-th dispatched op. */
struct nf_ibs_options {
    uint64_t period;
    bool l3_miss; /* only ops that missed the LLC (Zen 4) */
    bool cycles;  /* count cycles instead of dispatched ops */
    bool kernel, physical;
};
/* ibs_op: as nf_pmu_open has it. 0, -EINVAL, -EOPNOTSUPP (cause set). */
int nf_ibs_plan(const struct nf_ibs_options *o, const struct nf_pmu *ibs_op, struct nf_pmu_plan *out);
