#pragma once
/* Miss-ratio curves: the share of accessed bytes that a fully associative LRU cache of a size does not hold. Byte-weighted:
 * a block of which an access touches 8 bytes weighs 8. Every curve names the estimator it comes from. */
#include <stdint.h>

#include "core/model/histogram.h"

enum { NF_MRC_ESTIMATOR = 48 };

struct nf_mrc {
    char estimator[NF_MRC_ESTIMATOR]; /* "exact", "SHARDS 0.01", "AET", "visit-fused P=10007" */
    uint32_t block_bytes;
    struct nf_histogram distances; /* stack distances in blocks, weighted by bytes */
};

void nf_mrc_init(struct nf_mrc *m, const char *estimator, uint32_t block_bytes);
/* Miss ratio at a cache of so many bytes (whole blocks; at least one). An access hits when fewer than that many other
 * blocks lie between it and the last access of its block; cold accesses miss. Exact at edges of the histogram's buckets,
 * interpolated between. NAN when nothing was accessed. */
double nf_mrc_ratio(const struct nf_mrc *m, uint64_t cache_bytes);
/* The smallest cache that holds whatever is accessed again, rounded up to a bucket's edge: beyond it the curve is flat. */
uint64_t nf_mrc_reach(const struct nf_mrc *m);

/* The cache sizes at which curves are compared and printed: every bucket edge of the distances (16 an octave) from
 * NF_MRC_FROM_BYTES up to the first that is not below reach_bytes; from one block when reach_bytes lies below that.
 * Returns size number `at`, or 0 past the last. */
enum { NF_MRC_FROM_BYTES = 64 << 10 };
uint64_t nf_mrc_size(uint32_t block_bytes, uint64_t reach_bytes, uint32_t at);

/* The difference of an estimate's miss ratio from the truth's, over those sizes up to the truth's reach: the mean of the
 * absolute values (each size counts once, so each octave equally) and the largest one. */
struct nf_mrc_error {
    double mean, most;
    uint64_t most_at_bytes;
    uint32_t sizes;
};
/* 0; -EINVAL (cause set) when the block sizes differ or one of the curves is of nothing. */
int nf_mrc_compare(const struct nf_mrc *truth, const struct nf_mrc *estimate, struct nf_mrc_error *out);
