#pragma once
/* Pacing: waiting for absolute deadlines by spinning, and knowing how well that went. Times are CLOCK_MONOTONIC
 * nanoseconds, read from the time-stamp counter where it is invariant (about 20 ns a read, against 40 for the
 * clock in a guest). One object belongs to one pinned thread. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/log.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* How late waits ended, in eighths of powers of two: 12 % wide buckets from 1 ns to an hour. */
enum { NF_LATENESS_SUB = 8, NF_LATENESS_BUCKETS = 42 * NF_LATENESS_SUB };
struct nf_lateness {
    uint32_t count[NF_LATENESS_BUCKETS];
    uint64_t n, max_ns;
};
void nf_lateness_add(struct nf_lateness *l, uint64_t late_ns);
/* Upper edge of the bucket that holds quantile q, at most the maximum; 0 when nothing was added. */
uint64_t nf_lateness_quantile(const struct nf_lateness *l, double q);

/* Two clock reads of a spinning loop are some 30 ns apart; more than this means the thread did not run. */
enum { NF_PACE_GAP_NS = 1000 };

struct nf_pace {
    bool tsc;                    /* false: clock_gettime */
    uint64_t base_ns, base_tick; /* the two clocks read together at the last sync */
    uint64_t ns_per_tick_q32;    /* nanoseconds per tick × 2^32 */
    uint64_t stolen_ns;          /* time in gaps between two reads of a spinning loop: preemption, at least. Who finds more of it
                                    elsewhere (replay/absence.h) adds it */
    uint64_t gaps;
    bool waited;                 /* the last deadline was not yet past when its wait began */
    uint64_t began_ns;           /* when that was */
};

/* Calibrates against CLOCK_MONOTONIC; takes 20 ms. */
void nf_pace_init(struct nf_pace *p);
/* Ties the counter to the clock again: the clock is slewed by up to 500 ppm, so once a step is enough for
 * microseconds. No system call. */
void nf_pace_sync(struct nf_pace *p);

/* About now: at half the cost, as loads before may still be under way, which moves it by less than a microsecond. */
static inline uint64_t nf_pace_glance(const struct nf_pace *p)
{
#if defined(__x86_64__)
    if (__builtin_expect(p->tsc, 1))
        return p->base_ns + (uint64_t)(((unsigned __int128)(__rdtsc() - p->base_tick) * p->ns_per_tick_q32) >> 32);
#endif
    return nf_now_ns();
}

static inline uint64_t nf_pace_now(const struct nf_pace *p)
{
#if defined(__x86_64__)
    _mm_lfence(); /* the loads before are done: their time counts */
#endif
    return nf_pace_glance(p);
}

/* Spins until deadline_ns; returns the time then, which is later than the deadline by the lateness. Returns at once,
 * with the time now, when the deadline has passed; p->waited tells the two apart. Who was on time and is late after its wait
 * was kept from running: that is the machine's doing, not the memory's. */
uint64_t nf_pace_until(struct nf_pace *p, uint64_t deadline_ns);
