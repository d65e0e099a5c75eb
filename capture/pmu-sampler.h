#pragma once
/* The verbs of a sampling source once it is known what to open: perf rings on the job, perf's clock turned into
 * CLOCK_MONOTONIC, records into samples. It knows no PMU: software events run through it as well. */
#include "capture/perf-record.h"
#include "capture/pmu-plan.h"
#include "capture/source.h"

/* One record of the plan's event `number`, as the source hands it on, but for its time, which is still perf's: read and
 * write as the event says where it does, the period filled in. The layout is that of the attr as opened.
 * 0, NF_PMU_E_NO_ACCESS for an instruction that touched no memory (see nf_pmu_plan.only_accesses), -EBADMSG. */
enum { NF_PMU_E_NO_ACCESS = 1 };
int nf_pmu_decode(const struct nf_pmu_plan *plan, const struct nf_record_layout *layout, unsigned number,
                  const struct perf_event_header *header, struct nf_sample *out);

/* The source of a plan, which is copied. 0 or -ENOMEM. */
int nf_pmu_sampler_open(const struct nf_pmu_plan *plan, struct nf_source **out);
/* As nf_source_ops has them. */
int nf_pmu_sampler_attach(struct nf_source *s, pid_t pid);
int nf_pmu_sampler_drain(struct nf_source *s, nf_sample_sink *sink, void *context, uint64_t *complete_ns);
void nf_pmu_sampler_totals(const struct nf_source *s, struct nf_source_totals *out);
struct nf_source *nf_pmu_sampler_close(struct nf_source *s);

struct nf_pmu_sampler_state {
    uint64_t not_memory;     /* samples of instructions that touch no memory, left out */
    uint64_t clock_error_ns; /* bound of the last drained sample's time */
    size_t ring_bytes;       /* per CPU, as the kernel allowed it; 0 before attach */
    bool by_tsc;             /* the clock is read off the event's page, not by page faults */
};
void nf_pmu_sampler_state(const struct nf_source *s, struct nf_pmu_sampler_state *out);
/* The plan's facts: events, 64 bytes of resolution (a line), read and write told by the event or by data_src. */
void nf_pmu_plan_facts(const struct nf_pmu_plan *plan, struct nf_source_facts *out);
