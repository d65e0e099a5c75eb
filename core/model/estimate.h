#pragma once
/* What can be said from sparse samples, and how surely: counts with intervals, whether something could have been seen at
 * all, strides, parallelism. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"

/* --- counts --- */

/* Fewer samples than this get an interval and no single number: its relative error would be above 5 %. */
enum { NF_COUNT_POINT_SAMPLES = 400 };

/* Samples of one thing (a tensor, a visit, an event). */
struct nf_count {
    uint64_t samples;
    double periods, squares; /* sums of the samples' periods and of their squares */
};

static inline void nf_count_add(struct nf_count *c, uint64_t period)
{
    c->samples++;
    c->periods += (double)period;
    c->squares += (double)period * (double)period;
}

struct nf_count_estimate {
    double value; /* events; NAN below NF_COUNT_POINT_SAMPLES */
    double low, high;
};

/* What sums of periods must be multiplied by because of samples that the kernel lost and time in which it had throttled the
 * event. running_share: time the event was counted / time it was enabled, in (0, 1]. 1 when nothing was delivered. */
double nf_count_correction(uint64_t delivered, uint64_t lost, double running_share);
/* The sum of periods, times correction, with its interval of the level (0.95): Garwood's exact one for a Poisson count,
 * scaled by the mean period; periods of different length count as fewer samples, (sum)^2 / sum of squares. Without a sample
 * the interval begins at 0 and period says what one would have stood for. */
void nf_count_estimate(const struct nf_count *c, uint64_t period, double correction, double level,
                       struct nf_count_estimate *out);

/* --- detection --- */

/* The chance that at least one of the line accesses of so many bytes is sampled at this period: 1 - exp(-bytes / 64 P). */
double nf_detection(double bytes, double period);
/* False: below 95 %, "not detectable at this period", which is not zero. 3 x 64 x period bytes are enough. */
bool nf_detectable(double bytes, double period);

/* --- strides --- */

/* Of the addresses that one instruction touched in one tensor during one op. */
struct nf_stride {
    uint64_t ip;
    uint32_t tensor, op;
    uint64_t bytes;       /* greatest common divisor of the differences; 0: fewer than two samples at different offsets */
    uint32_t differences; /* between neighbouring sampled offsets */
    /* The chance that so many random multiples of the true stride have no larger divisor in common, 1 / zeta(differences):
     * 0.61, 0.83, 0.96, 0.996 for 2, 3, 5, 8. 0 below two. */
    double confidence;
};

double nf_stride_confidence(uint32_t differences);
/* One row per (op, tensor, ip) of the attributed samples, in that order. 0 or -ENOMEM. *out: free it. */
int nf_strides(const struct nf_sample *samples, size_t n, struct nf_stride **out, size_t *n_out);

/* --- parallelism --- */

/* Outstanding accesses on average, by Little's law: (accesses x their latency) / elapsed. latency_cycles: sum of
 * period x weight over samples of an event that sees every access it counts. NAN when nothing elapsed. */
double nf_parallelism(double latency_cycles, double elapsed_cycles);
