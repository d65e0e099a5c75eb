#pragma once
/* AET (Hu et al., ATC 2016), StatStack's relative: a miss-ratio curve from reuse times alone. With P(t) the share of accesses
 * whose reuse time is above t, a block that is not used again sinks in an LRU stack at speed P, so that it leaves a cache
 * of c blocks after the time T with sum of P(t) over t < T = c; the miss ratio of c is P(T). Reuse times may come from a
 * sample of the blocks. It is a model: it takes reuse times as independent of each other. */
#include <stdint.h>

#include "core/model/histogram.h"

/* Time -> the stack distance that AET expects of it. */
struct nf_aet {
    double depth[NF_HISTOGRAM_BUCKETS + 1]; /* at each edge of the times' buckets */
};

/* times: reuse times of all accesses, in accesses that lie between; weights of any unit. total > 0. */
void nf_aet_init(struct nf_aet *a, const struct nf_histogram *times);
/* Adds to distances what the times of some of those accesses (of one tensor, of all) amount to. */
void nf_aet_distances(const struct nf_aet *a, const struct nf_histogram *times, struct nf_histogram *distances);
