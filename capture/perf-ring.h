#pragma once
/* Kernel sampling events of one job, read through libperf: opened on its process before it runs, inherited by its threads
 * and children, one ring per CPU. Decoding a record is capture/perf-record.h's. */
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct nf_perf_ring;

struct nf_perf_ring_totals {
    uint64_t lost, throttled;
    uint64_t delivered; /* sample records handed on */
    uint64_t counted;   /* the events' counters at the last flush: with a period of 1, what should have been delivered */
};

struct nf_perf_ring_options {
    const struct perf_event_attr *attrs; /* enable_on_exec and inherit are set here; sample_type gets IDENTIFIER added */
    unsigned n_attrs;
    size_t ring_bytes; /* per CPU, wanted: halved until the kernel's mlock limit allows it */
    bool group;        /* the first attr leads the others */
};

/* pid: not yet running. 0, or -errno with the cause and what would mend it (perf_event_paranoid, mlock, no such PMU). */
int nf_perf_ring_open(const struct nf_perf_ring_options *o, pid_t pid, struct nf_perf_ring **out);
struct nf_perf_ring *nf_perf_ring_close(struct nf_perf_ring *r); /* NULL is fine; returns NULL */
/* Calls back for every record but LOST, LOST_SAMPLES, THROTTLE and UNTHROTTLE, which are counted here. `record` is whole
 * (wrapped ones are copied) and valid during the call; `event` is the index of its attr, UINT_MAX unknown.
 * 0 or what the callback returned. */
int nf_perf_ring_drain(struct nf_perf_ring *r,
                       int (*record)(void *context, unsigned event, const struct perf_event_header *header),
                       void *context);
/* Reads every event's counter: makes the kernel empty what the CPU has buffered (large PEBS). 0 or -errno. */
int nf_perf_ring_flush(struct nf_perf_ring *r);
/* The rings' size each, as the kernel allowed it. */
size_t nf_perf_ring_bytes(const struct nf_perf_ring *r);
void nf_perf_ring_totals(const struct nf_perf_ring *r, struct nf_perf_ring_totals *out);
/* The attr's fields as opened: sample_type with what was added. */
const struct perf_event_attr *nf_perf_ring_attr(const struct nf_perf_ring *r, unsigned event);
