#include "capture/pmu-sampler.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/perf-clock.h"
#include "capture/perf-ring.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/stream.h"

enum { RINGS = 2, BATCH = 512 };
/* Between two points the clocks part by up to 500 ppm of this: 50 µs, and what is in between is interpolated. */
static const uint64_t POINT_EVERY_NS = 100000000;

struct nf_source {
    struct nf_pmu_plan plan;
    struct nf_perf_ring *rings[RINGS]; /* of the group, and of the others */
    unsigned first[RINGS];             /* their first event */
    struct nf_record_layout layouts[NF_SOURCE_EVENTS_MAX];
    struct nf_perf_meter *meter;
    struct nf_perf_clock clock;
    struct nf_pmu_sampler_state state;
    uint64_t undecoded, complete_ns;
    /* of the drain in progress */
    struct nf_sample batch[BATCH];
    size_t n;
    nf_sample_sink *sink;
    void *context;
    unsigned ring;
};

void nf_pmu_plan_facts(const struct nf_pmu_plan *plan, struct nf_source_facts *out)
{
    *out = (struct nf_source_facts){.resolution_bytes = NF_LINE_BYTES, .rw = "observed", .n_events = plan->n};
    memcpy(out->events, plan->events, plan->n * sizeof *plan->events);
    memcpy(out->notes, plan->notes, sizeof out->notes);
}

int nf_pmu_sampler_open(const struct nf_pmu_plan *plan, struct nf_source **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return -ENOMEM;
    (*out)->plan = *plan;
    return 0;
}

static void close_rings(struct nf_source *s)
{
    for (int i = 0; i < RINGS; i++)
        s->rings[i] = nf_perf_ring_close(s->rings[i]);
}

static int open_rings(struct nf_source *s, pid_t pid)
{
    const struct nf_pmu_plan *p = &s->plan;
    unsigned counts[RINGS] = {p->grouped, p->n - p->grouped};
    int rc = 0;

    s->first[1] = p->grouped;
    for (int i = 0; !rc && i < RINGS; i++) {
        struct nf_perf_ring_options o = {.attrs = p->attrs + s->first[i], .n_attrs = counts[i],
                                         .ring_bytes = p->ring_bytes, .group = i == 0};

        if (counts[i])
            rc = nf_perf_ring_open(&o, pid, &s->rings[i]);
    }
    for (unsigned i = 0; !rc && i < p->n; i++) {
        unsigned ring = i >= p->grouped;

        s->layouts[i] = nf_record_layout_of(nf_perf_ring_attr(s->rings[ring], i - s->first[ring]));
    }
    if (rc)
        close_rings(s);
    return rc;
}

/* Kernels before 5.12 know one word of weight, not three. */
static bool fall_back_to_weight(struct nf_pmu_plan *p)
{
    bool changed = false;

    for (unsigned i = 0; i < p->n; i++)
        if (p->attrs[i].sample_type & PERF_SAMPLE_WEIGHT_STRUCT) {
            p->attrs[i].sample_type ^= PERF_SAMPLE_WEIGHT_STRUCT | PERF_SAMPLE_WEIGHT;
            changed = true;
        }
    return changed;
}

int nf_pmu_sampler_attach(struct nf_source *s, pid_t pid)
{
    int rc = nf_perf_meter_new(&s->meter);

    if (!rc)
        rc = nf_perf_meter_take(s->meter, &s->clock);
    if (rc)
        return rc;
    s->state.by_tsc = nf_perf_meter_by_tsc(s->meter);
    rc = open_rings(s, pid);
    if (rc == -EINVAL && fall_back_to_weight(&s->plan))
        rc = open_rings(s, pid);
    if (rc)
        return rc;
    for (int i = 0; i < RINGS; i++)
        if (s->rings[i])
            s->state.ring_bytes = nf_perf_ring_bytes(s->rings[i]);
    return 0;
}

static int hand_on(struct nf_source *s)
{
    size_t n = s->n;

    s->n = 0;
    return n ? s->sink(s->context, s->batch, n) : 0;
}

int nf_pmu_decode(const struct nf_pmu_plan *plan, const struct nf_record_layout *layout, unsigned number,
                  const struct perf_event_header *header, struct nf_sample *out)
{
    const struct nf_source_event *e = &plan->events[number];
    int rc = nf_record_decode(layout, header, out, NULL);

    if (rc)
        return rc;
    /* IBS tags any instruction. One that touches memory says so in data_src, even where its address was not caught. */
    if (plan->only_accesses && out->rw == NF_SAMPLE_RW_UNKNOWN && !out->address)
        return NF_PMU_E_NO_ACCESS;
    if (e->rw != NF_SAMPLE_RW_UNKNOWN)
        out->rw = e->rw;
    if (!out->period)
        out->period = e->period;
    out->event = (uint16_t)number;
    return 0;
}

static int on_record(void *context, unsigned event, const struct perf_event_header *header)
{
    struct nf_source *s = context;
    struct nf_sample *sample = &s->batch[s->n];
    unsigned number = s->first[s->ring] + event;
    int rc;

    if (header->type != PERF_RECORD_SAMPLE)
        return 0;
    rc = event == UINT_MAX || number >= s->plan.n ? -EBADMSG
                                                  : nf_pmu_decode(&s->plan, &s->layouts[number], number, header, sample);
    if (rc) {
        if (rc == NF_PMU_E_NO_ACCESS)
            s->state.not_memory++;
        else
            s->undecoded++;
        return 0;
    }
    sample->time_ns = nf_perf_clock_monotonic(&s->clock, sample->time_ns, &s->state.clock_error_ns);
    return ++s->n == BATCH ? hand_on(s) : 0;
}

int nf_pmu_sampler_drain(struct nf_source *s, nf_sample_sink *sink, void *context, uint64_t *complete_ns)
{
    uint64_t now = nf_now_ns(), complete;
    int rc = 0;

    s->sink = sink;
    s->context = context;
    s->n = 0;
    /* Everything before this moment is in the rings after the flush. */
    for (int i = 0; !rc && i < RINGS; i++)
        if (s->rings[i])
            rc = nf_perf_ring_flush(s->rings[i]);
    if (!rc && now - s->clock.points[s->clock.n - 1].monotonic_ns >= POINT_EVERY_NS)
        rc = nf_perf_meter_take(s->meter, &s->clock);
    for (s->ring = 0; !rc && s->ring < RINGS; s->ring++)
        if (s->rings[s->ring])
            rc = nf_perf_ring_drain(s->rings[s->ring], on_record, s);
    if (!rc)
        rc = hand_on(s);
    if (rc)
        return rc;
    complete = now - s->state.clock_error_ns;
    if (complete > s->complete_ns)
        s->complete_ns = complete;
    *complete_ns = s->complete_ns;
    return 0;
}

void nf_pmu_sampler_totals(const struct nf_source *s, struct nf_source_totals *out)
{
    *out = (struct nf_source_totals){.undecoded = s->undecoded};
    for (int i = 0; i < RINGS; i++) {
        struct nf_perf_ring_totals t = {0};

        if (!s->rings[i])
            continue;
        nf_perf_ring_totals(s->rings[i], &t);
        out->lost += t.lost;
        out->throttled += t.throttled;
    }
}

void nf_pmu_sampler_state(const struct nf_source *s, struct nf_pmu_sampler_state *out)
{
    *out = s->state;
}

struct nf_source *nf_pmu_sampler_close(struct nf_source *s)
{
    if (!s)
        return NULL;
    close_rings(s);
    nf_perf_meter_free(s->meter);
    free(s);
    return NULL;
}
