#include "capture/pmu-plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"

static const uint64_t base_fields = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
                                    PERF_SAMPLE_ADDR | PERF_SAMPLE_CPU;
static const uint64_t level_fields = PERF_SAMPLE_DATA_SRC | PERF_SAMPLE_WEIGHT_STRUCT;
/* What the CPU's record holds by itself: the kernel's LARGE_PEBS_FLAGS. */
static const uint64_t large_fields = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_ADDR | PERF_SAMPLE_ID |
                                     PERF_SAMPLE_CPU | PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_DATA_SRC |
                                     PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TRANSACTION | PERF_SAMPLE_PHYS_ADDR |
                                     PERF_SAMPLE_REGS_INTR | PERF_SAMPLE_REGS_USER | PERF_SAMPLE_PERIOD |
                                     PERF_SAMPLE_CODE_PAGE_SIZE | PERF_SAMPLE_WEIGHT_TYPE;

int nf_pebs_large(const struct perf_event_attr *attr, bool time_in_record)
{
    uint64_t rest = attr->sample_type & ~large_fields;
    static const struct {
        uint64_t field;
        const char *name;
    } names[] = {
        {PERF_SAMPLE_TIME, "TIME"}, {PERF_SAMPLE_READ, "READ"}, {PERF_SAMPLE_CALLCHAIN, "CALLCHAIN"},
        {PERF_SAMPLE_RAW, "RAW"}, {PERF_SAMPLE_BRANCH_STACK, "BRANCH_STACK"}, {PERF_SAMPLE_STACK_USER, "STACK_USER"},
        {PERF_SAMPLE_CGROUP, "CGROUP"}, {PERF_SAMPLE_DATA_PAGE_SIZE, "DATA_PAGE_SIZE"}, {PERF_SAMPLE_AUX, "AUX"},
    };
    const char *name = "a newer field";

    if (attr->freq)
        return nf_fail(-EINVAL, "a frequency instead of a period makes the CPU interrupt for every record");
    if (!attr->sample_period)
        return nf_fail(-EINVAL, "a sampled event needs a period");
    if (attr->wakeup_events && !attr->watermark)
        return nf_fail(-EINVAL, "wakeup_events makes the CPU interrupt for every record; use a watermark");
    if (attr->precise_ip != 2)
        return nf_fail(-EINVAL, "precise_ip is %u, not 2: %s", attr->precise_ip,
                       attr->precise_ip == 1 ? "1 asks for a bigger record" : "the CPU records nothing itself");
    if (attr->use_clockid && attr->sample_type & PERF_SAMPLE_TIME)
        return nf_fail(-EINVAL, "a clock other than perf's own is read in an interrupt for every record");
    if (time_in_record)
        rest &= ~(uint64_t)PERF_SAMPLE_TIME;
    if (!rest)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (rest & names[i].field) {
            name = names[i].name;
            break;
        }
    return nf_fail(-EINVAL, "sample field %s is not in the CPU's record: an interrupt for every record", name);
}

static int add(struct nf_pmu_plan *p, const struct perf_event_attr *attr, const char *name, const char *meaning, uint8_t rw)
{
    struct nf_source_event *e = &p->events[p->n];

    if (p->n == NF_SOURCE_EVENTS_MAX)
        return nf_fail(-EINVAL, "more than %d events", NF_SOURCE_EVENTS_MAX);
    p->attrs[p->n++] = *attr;
    *e = (struct nf_source_event){.type = attr->type, .config = attr->config, .config1 = attr->config1,
                                  .config2 = attr->config2, .period = attr->sample_period, .precise = attr->precise_ip,
                                  .rw = rw};
    snprintf(e->name, sizeof e->name, "%s", name);
    snprintf(e->meaning, sizeof e->meaning, "%s", meaning);
    return 0;
}

static int add_role(struct nf_pmu_plan *p, const struct nf_pebs_options *o, const struct nf_pmu_uarch *u,
                    const struct nf_pmu *pmu, enum nf_pmu_role role, uint64_t period, bool *raw)
{
    const struct nf_pmu_role_facts *facts = nf_pmu_role_facts(role);
    struct nf_event_encoding e;
    enum nf_pmu_origin origin;
    struct perf_event_attr attr;
    int rc = nf_pmu_encode(u, pmu, role, (unsigned)(o->ldlat ? o->ldlat : NF_PEBS_LDLAT), &e, &origin);

    if (rc)
        return rc;
    *raw = *raw || origin == NF_PMU_FROM_TABLE;
    attr = (struct perf_event_attr){
        .type = e.type, .size = sizeof attr, .config = e.config, .config1 = e.config1, .config2 = e.config2,
        .precise_ip = e.precise, .exclude_kernel = !o->kernel, .exclude_hv = 1, .exclude_guest = 1,
    };
    if (role != NF_PMU_AUX) {
        attr.sample_period = period;
        attr.sample_type = base_fields | (facts->has_level ? level_fields : 0) | (o->physical ? PERF_SAMPLE_PHYS_ADDR : 0);
        attr.watermark = 1;
        rc = nf_pebs_large(&attr, u->time_in_record);
        /* Before format 3 a record has no time: each needs its interrupt, and works. */
        if (rc && (u->time_in_record || nf_pebs_large(&attr, true)))
            return rc;
    }
    return add(p, &attr, facts->name, facts->meaning, facts->rw);
}

int nf_pebs_plan(const struct nf_pebs_options *o, const struct nf_pmu_uarch *u, const struct nf_pmu *pmu,
                 struct nf_pmu_plan *out)
{
    uint64_t period = o->period ? o->period : NF_PEBS_PERIOD;
    bool roles[NF_PMU_ROLES] = {0}, any = false, raw = false;
    unsigned wanted = 0;
    int rc = 0;

    *out = (struct nf_pmu_plan){.ring_bytes = NF_PMU_RING_BYTES};
    if (period < NF_PEBS_PERIOD_MIN || period > INT32_MAX)
        return nf_fail(-EINVAL, "period %" PRIu64 " is not within %d to %d events", period, NF_PEBS_PERIOD_MIN, INT32_MAX);
    if (o->ldlat > UINT16_MAX)
        return nf_fail(-EINVAL, "ldlat %" PRIu64 " is more than %d cycles", o->ldlat, UINT16_MAX);
    for (int i = 0; i < NF_PMU_AUX; i++)
        any = any || o->roles[i];
    for (int i = 0; i < NF_PMU_AUX; i++)
        roles[i] = any ? o->roles[i] : i == NF_PMU_LOADS || i == NF_PMU_STORES || i == NF_PMU_LATENCY;
    roles[NF_PMU_AUX] = roles[NF_PMU_LATENCY] && nf_pmu_needs_aux(u, pmu);
    for (int i = 0; i < NF_PMU_ROLES; i++)
        wanted += roles[i];
    if (wanted > u->counters)
        return nf_fail(-EINVAL, "%u events do not fit the %u counters of %s: the kernel would take turns and the counts "
                       "would be wrong; choose fewer", wanted, u->counters, u->cpu);
    /* The group first, so that its members stand together and the leader is number 0. */
    if (roles[NF_PMU_AUX]) {
        rc = add_role(out, o, u, pmu, NF_PMU_AUX, 0, &raw);
        if (!rc)
            rc = add_role(out, o, u, pmu, NF_PMU_LATENCY, period, &raw);
        out->grouped = out->n;
        roles[NF_PMU_LATENCY] = false;
    }
    for (int i = 0; !rc && i < NF_PMU_AUX; i++)
        if (roles[i])
            rc = add_role(out, o, u, pmu, (enum nf_pmu_role)i, period, &raw);
    if (rc)
        return rc;
    snprintf(out->notes, sizeof out->notes, "not validated on hardware; %s, user mode%s%s%s%s", u->cpu,
             o->kernel ? " and kernel" : " only", u->time_in_record ? "" : "; an interrupt for every record",
             raw ? "; some encodings from the raw table" : "",
             pmu && !strcmp(pmu->name, "cpu_core") ? "; what runs on E-cores is not seen" : "");
    return 0;
}

int nf_ibs_plan(const struct nf_ibs_options *o, const struct nf_pmu *ibs_op, struct nf_pmu_plan *out)
{
    uint64_t period = o->period ? o->period : NF_IBS_PERIOD;
    struct nf_event_encoding e = {.type = ibs_op->type};
    bool filter = nf_pmu_has(ibs_op, "format/swfilt");
    struct perf_event_attr attr;
    int rc = 0;

    *out = (struct nf_pmu_plan){.ring_bytes = NF_PMU_RING_BYTES, .only_accesses = true};
    if (period < NF_IBS_PERIOD_MIN || period > INT32_MAX)
        return nf_fail(-EINVAL, "period %" PRIu64 " is not within %d to %d ops", period, NF_IBS_PERIOD_MIN, INT32_MAX);
    if (period % 16)
        return nf_fail(-EINVAL, "period %" PRIu64 " is not a multiple of 16, as IBS counts; take %" PRIu64, period,
                       period + 16 - period % 16);
    if (!o->cycles) {
        rc = nf_pmu_terms(ibs_op, "cnt_ctl=1", &e);
        if (rc)
            return nf_fail_in(-EOPNOTSUPP, "this CPU's IBS counts cycles only (option cycles)");
    }
    if (o->l3_miss && nf_pmu_terms(ibs_op, "l3missonly=1", &e))
        return nf_fail_in(-EOPNOTSUPP, "l3-miss needs IBS as of Zen 4");
    if (filter && !o->kernel)
        rc = nf_pmu_terms(ibs_op, "swfilt=1", &e);
    if (rc)
        return rc;
    attr = (struct perf_event_attr){
        .type = e.type, .size = sizeof attr, .config = e.config, .config1 = e.config1, .config2 = e.config2,
        .sample_period = period, .watermark = 1,
        .sample_type = base_fields | level_fields | (o->physical ? PERF_SAMPLE_PHYS_ADDR : 0),
        /* Without the kernel's software filter IBS refuses to leave out a mode. */
        .exclude_kernel = filter && !o->kernel, .exclude_hv = filter && !o->kernel,
    };
    snprintf(out->notes, sizeof out->notes, "not validated on hardware; %s, each %s; stores without their level",
             attr.exclude_kernel ? "user mode only" : "user mode and kernel",
             o->cycles ? "sample a number of cycles apart, not a count of ops" : "sample a number of dispatched ops apart");
    return add(out, &attr, o->l3_miss ? "op-l3-miss" : "op",
               o->l3_miss ? "ops that read beyond the LLC" : "dispatched ops that touch memory", NF_SAMPLE_RW_UNKNOWN);
}
