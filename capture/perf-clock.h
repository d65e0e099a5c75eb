#pragma once
/* perf's own clock against CLOCK_MONOTONIC. Large PEBS wants samples stamped by perf's default clock (asking for another
 * one switches it off), the session merges by CLOCK_MONOTONIC. Both run on one oscillator, but the second is steered (up to
 * 500 ppm): pairs of the two are taken at intervals, and a time in between is interpolated. */
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>

/* A moment in both clocks: perf's lies within error_ns of the monotonic one. */
struct nf_perf_clock_point {
    uint64_t perf_ns, monotonic_ns, error_ns;
};

enum { NF_PERF_CLOCK_POINTS = 32, NF_PERF_CLOCK_PPM = 500 /* the kernel steers CLOCK_MONOTONIC no faster (adjtimex) */ };

/* Zeroed: no point yet. */
struct nf_perf_clock {
    struct nf_perf_clock_point points[NF_PERF_CLOCK_POINTS]; /* the latest, oldest first */
    unsigned n;
};

/* A point that does not lie after the last one in both clocks is passed over. */
void nf_perf_clock_add(struct nf_perf_clock *c, const struct nf_perf_clock_point *point);
/* perf's time in CLOCK_MONOTONIC; error_ns (may be NULL) bounds its error: that of the nearer points, and beyond them
 * NF_PERF_CLOCK_PPM of the distance. 0 without a point (error UINT64_MAX). Never decreasing in perf_ns. */
uint64_t nf_perf_clock_monotonic(const struct nf_perf_clock *c, uint64_t perf_ns, uint64_t *error_ns);

/* perf's time of a time stamp counter value, by the fields of an mmapped event page (the formula stands in
 * linux/perf_event.h). 0, or -ENODATA when the page does not offer it (no stable counter: many virtual machines). */
int nf_perf_clock_of_tsc(const struct perf_event_mmap_page *page, uint64_t tsc, uint64_t *perf_ns);

/* Takes points: through the page of an event of our own where it offers the conversion, else by a page fault of our own
 * that perf stamps between two readings of CLOCK_MONOTONIC. */
struct nf_perf_meter;
/* 0, or -errno with the cause. */
int nf_perf_meter_new(struct nf_perf_meter **out);
struct nf_perf_meter *nf_perf_meter_free(struct nf_perf_meter *m); /* NULL is fine; returns NULL */
bool nf_perf_meter_by_tsc(const struct nf_perf_meter *m);
/* Adds the best of a few readings. 0 or -ENODATA when perf answered none of them (cause set). */
int nf_perf_meter_take(struct nf_perf_meter *m, struct nf_perf_clock *clock);
