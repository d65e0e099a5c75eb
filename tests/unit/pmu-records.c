#include "tests/unit/pmu-records.h"

#include <stdlib.h>

struct writer {
    uint8_t *at;
};

static void put(struct writer *w, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        *w->at++ = (uint8_t)(v >> 8 * i);
}

size_t pmu_record_put(uint8_t *to, const struct perf_event_attr *attr, uint64_t id, const struct nf_sample *s)
{
    static const uint64_t known = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
                                  PERF_SAMPLE_ADDR | PERF_SAMPLE_CPU | PERF_SAMPLE_PERIOD | PERF_SAMPLE_WEIGHT |
                                  PERF_SAMPLE_WEIGHT_STRUCT | PERF_SAMPLE_DATA_SRC | PERF_SAMPLE_PHYS_ADDR;
    uint64_t type = attr->sample_type;
    struct writer w = {to + 8};
    size_t size;

    if (type & ~known)
        abort();
    if (type & PERF_SAMPLE_IDENTIFIER)
        put(&w, id, 8);
    if (type & PERF_SAMPLE_IP)
        put(&w, s->ip, 8);
    if (type & PERF_SAMPLE_TID) {
        put(&w, s->pid, 4);
        put(&w, s->tid, 4);
    }
    if (type & PERF_SAMPLE_TIME)
        put(&w, s->time_ns, 8);
    if (type & PERF_SAMPLE_ADDR)
        put(&w, s->address, 8);
    if (type & PERF_SAMPLE_CPU)
        put(&w, s->cpu, 8);
    if (type & PERF_SAMPLE_PERIOD)
        put(&w, s->period, 8);
    if (type & PERF_SAMPLE_WEIGHT)
        put(&w, s->weight, 8);
    if (type & PERF_SAMPLE_WEIGHT_STRUCT) {
        put(&w, s->weight, 4);
        put(&w, s->weight2, 2);
        put(&w, s->weight3, 2);
    }
    if (type & PERF_SAMPLE_DATA_SRC)
        put(&w, s->data_src, 8);
    if (type & PERF_SAMPLE_PHYS_ADDR)
        put(&w, s->physical, 8);
    size = (size_t)(w.at - to);
    w.at = to;
    put(&w, PERF_RECORD_SAMPLE, 4);
    put(&w, PERF_RECORD_MISC_USER | PERF_RECORD_MISC_EXACT_IP, 2);
    put(&w, size, 2);
    return size;
}
