#pragma once
/* What the memory of a testbed does under every condition that changes the answer: idle latency by page size, locality
 * and working set, and the effective LLC that it shows; bandwidth by mix and threads; latency beside traffic; fetches under way by class
 * of access; flushes and fences; copies and migrations between tiers. Each figure carries its conditions and all of its samples. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/array.h"
#include "pool/tier.h"

/* The gates of a figure: enough for a trend to show, few enough for a stable one to take milliseconds. */
enum { NF_GATE_WINDOW = 7, NF_GATE_SAMPLES_MAX = 50 };

struct nf_tier_figure {
    uint32_t tier;
    int to_tier;              /* -1: none */
    const char *what, *unit;  /* "latency", "llc", "bandwidth", "loaded", "k", "flush", "fence", "copy", "migrate", "fault"; "ns", "B", "B/s",
                               * "lines" */
    double value;             /* median of the last window; of an llc: of its samples' curves together */
    bool stable;
    const char *traffic;      /* "read", "mixed", "write", ""; of a k the class of access, of a flush and a fence the instruction */
    unsigned threads;
    double offered;           /* share of the tier's read bandwidth asked of each thread; 0: all it can get */
    double traffic_bps;
    char traffic_cpus[256];   /* where its threads ran: "1-7,12"; "": none */
    const char *page;         /* "4k", "2m", "1g", "4k or more", "as mapped" */
    const char *locality;     /* "tlb-local", "random", "" */
    uint64_t working_set_bytes;
    uint64_t llc_bytes;       /* effective, seen through such pages of this tier; where they could not show it, of near, else the option's */
    unsigned parallelism;
    double samples[NF_GATE_SAMPLES_MAX];
    unsigned n;
};
struct nf_tier_figures {
    NF_ARRAY(struct nf_tier_figure) list;
};

/* Whether the last window of n samples may stand: coefficient of variation below 5 %, the line through it rising or
 * falling by less than 3 % of the mean over the window, its median within 10 % of that of the window before. */
bool nf_gate_passed(const double *sample, unsigned n);

/* The next number of threads after `threads` that bandwidth is measured with, of at most `most`: 1, 2, 4, ... and all. 0: that was all. */
unsigned nf_figures_more_threads(unsigned threads, unsigned most);

struct nf_tier_figures_options {
    struct nf_tier *tiers; /* opened, near first; measured already: */
    const double *read_bps;
    uint32_t n_tiers;
    struct nf_tier_local local;
    uint64_t llc_bytes;
    uint64_t set_bytes;    /* of a chase, the largest; 0: nf_working_set_of, and what is smaller than it should be is not stable */
    int cpu;               /* the initiator, where all of it is measured */
    bool quiet;
};
/* Appends all, or nothing when it fails. What this machine cannot show (huge pages, a second CPU, a second node) is left out, said once in words.
 * 0, -EXDEV where memory is not where its tier says (cause set; no figure then), -errno (cause set). */
int nf_tier_figures_measure(const struct nf_tier_figures_options *o, struct nf_tier_figures *out);
