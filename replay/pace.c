#include "replay/pace.h"

#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* One bucket index per eighth of a power of two; values under 8 have their own. */
static unsigned bucket_of(uint64_t ns)
{
    unsigned top, index;

    if (ns < NF_LATENESS_SUB)
        return (unsigned)ns;
    top = 63 - (unsigned)__builtin_clzll(ns); /* >= 3 */
    index = (top - 2) * NF_LATENESS_SUB + (unsigned)((ns >> (top - 3)) & (NF_LATENESS_SUB - 1));
    return index < NF_LATENESS_BUCKETS ? index : NF_LATENESS_BUCKETS - 1;
}

static uint64_t bucket_end(unsigned index)
{
    unsigned top = index / NF_LATENESS_SUB + 2;

    if (index < NF_LATENESS_SUB)
        return index;
    return (((uint64_t)NF_LATENESS_SUB + index % NF_LATENESS_SUB + 1) << (top - 3)) - 1;
}

void nf_lateness_add(struct nf_lateness *l, uint64_t late_ns)
{
    l->count[bucket_of(late_ns)]++;
    l->n++;
    if (late_ns > l->max_ns)
        l->max_ns = late_ns;
}

uint64_t nf_lateness_quantile(const struct nf_lateness *l, double q)
{
    uint64_t want = (uint64_t)(q * (double)l->n), seen = 0;

    for (unsigned i = 0; i < NF_LATENESS_BUCKETS; i++) {
        seen += l->count[i];
        if (seen > want)
            return bucket_end(i) < l->max_ns ? bucket_end(i) : l->max_ns;
    }
    return l->max_ns;
}

#if defined(__x86_64__)

/* CPUID 0x80000007 EDX bit 8: the counter runs at one rate in every power state. */
static bool tsc_invariant(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & (1u << 8));
}

/* The two clocks at one moment: of several tries the one with the least time between its two counter reads. */
static void read_both(uint64_t *ns, uint64_t *tick)
{
    uint64_t best = UINT64_MAX;

    *ns = *tick = 0;
    for (int i = 0; i < 5; i++) {
        uint64_t before, after, now;

        _mm_lfence();
        before = __rdtsc();
        now = nf_now_ns();
        _mm_lfence();
        after = __rdtsc();
        if (after - before < best) {
            best = after - before;
            *ns = now;
            *tick = before + (after - before) / 2;
        }
    }
}

void nf_pace_init(struct nf_pace *p)
{
    const uint64_t calibration_ns = 20000000; /* 50 ns of reading error over it is 2.5 ppm */
    uint64_t ns, tick;

    *p = (struct nf_pace){.tsc = tsc_invariant()};
    if (!p->tsc)
        return;
    read_both(&p->base_ns, &p->base_tick);
    while (nf_now_ns() < p->base_ns + calibration_ns)
        _mm_pause();
    read_both(&ns, &tick);
    p->ns_per_tick_q32 = (uint64_t)(((unsigned __int128)(ns - p->base_ns) << 32) / (tick - p->base_tick));
    p->base_ns = ns;
    p->base_tick = tick;
}

void nf_pace_sync(struct nf_pace *p)
{
    if (p->tsc)
        read_both(&p->base_ns, &p->base_tick);
}

#else

void nf_pace_init(struct nf_pace *p)
{
    *p = (struct nf_pace){0};
}

void nf_pace_sync(struct nf_pace *p)
{
}

#endif

uint64_t nf_pace_until(struct nf_pace *p, uint64_t deadline_ns)
{
    uint64_t now = nf_pace_now(p), last;

    p->waited = now < deadline_ns;
    p->began_ns = now;
    while (now < deadline_ns) {
        last = now;
        now = nf_pace_now(p);
        if (now - last > NF_PACE_GAP_NS) {
            p->stolen_ns += now - last;
            p->gaps++;
        }
    }
    return now;
}
