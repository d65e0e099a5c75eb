#pragma once
/* From watched words to a tensor: how often a word of it is accessed in a step, and after how long again. Pure. */
#include <stddef.h>
#include <stdint.h>

/* The part of one watch (a word, from arming to disarming) that fell into one step of the tensor's class. */
struct nf_watch_part {
    uint64_t from_ns, to_ns;           /* watched */
    uint64_t life_from_ns, life_to_ns; /* the tensor's life within that step */
    uint64_t watch_from_ns;            /* when the watch began: earlier than from_ns where an earlier step saw it begin */
    uint64_t watch_to_ns;
    uint64_t address;
    uint32_t watch;     /* parts of one watch have the same number, and follow each other in order of time */
    uint8_t cut;        /* 1: the budget ended the watch */
};

struct nf_watch_access {
    uint64_t time_ns;
    uint32_t watch;
    uint8_t write;
};

struct nf_watch_count {
    uint64_t hits;         /* all that were seen */
    double per_step;       /* accesses of one word in one step; NAN unknown */
    double low, high;      /* 95 %; NAN unknown: no upper end while bursts were cut */
};

/* Enough for spans from a nanosecond to centuries. */
enum { NF_WATCH_REUSE_BINS = 64 };

struct nf_watch_estimate {
    uint32_t words, watches, cut; /* different words; watches; of them ended by the budget in the step they began in */
    uint64_t armed_ns;            /* within steps, summed over words */
    double covered;               /* share of the tensor's life that some watch saw */
    struct nf_watch_count read, write;
    uint64_t gaps, open_gaps;     /* reuse times seen whole; those that the end of a watch cut short */
    /* NAN: more than half last longer than they were watched, or none was seen. 0: shorter than can be told. */
    double reuse_median_ns;
    double reuse[NF_WATCH_REUSE_BINS]; /* share of reuse times in [2^i, 2^(i+1)) ns */
    double reuse_beyond;          /* share that is longer than anything seen whole */
};

/* Of one tensor: parts in order of watch, then time; accesses of them in the same order. Accesses outside every part are
 * left out. hit_ns: what one hit costs the job. That time is taken out of what was watched, and a gap shorter than twice as
 * much, which cannot be told from none, is taken out whole.
 *
 * Counts. Watches begin at moments that do not depend on what the job does (exponential gaps), but not before the tensor
 * lives, so its early life is watched less: the rate of accesses is taken by stretches of its life (post-stratified), and
 * the mean over the stretches that were watched is the figure. The interval is a percentile bootstrap over watches; without
 * a single access it is [0, 3 / watched lives], the 95 % bound of a Poisson count of 0. The budget ends a
 * watch within a burst whose rest nobody counts: of such a watch the step in which it ended is left out. One that ended in
 * the step in which it began cannot be left out, or only quiet beginnings would be left: with such a one the figure is a
 * lower bound, and high is unknown.
 *
 * Reuse times. From each access to the next one seen by the same watch; the last one's is cut short by the end of its watch
 * (right-censored). Kaplan and Meier 1958: S(t) = product over seen times <= t of 1 - seen / still watched.
 *
 * 0 or -ENOMEM. */
int nf_watch_estimate(const struct nf_watch_part *parts, size_t n_parts, const struct nf_watch_access *accesses,
                      size_t n_accesses, double hit_ns, uint64_t seed, struct nf_watch_estimate *out);
