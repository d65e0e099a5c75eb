#pragma once
/* Log-linear histograms of distances and times: 16 buckets an octave, exact below 16. Weights are bytes. */
#include <stdint.h>

enum {
    NF_HISTOGRAM_OCTAVE = 16, /* buckets per doubling: an edge is at most 1/16 from the next */
    NF_HISTOGRAM_OCTAVES = 48,
    NF_HISTOGRAM_BUCKETS = NF_HISTOGRAM_OCTAVE * (NF_HISTOGRAM_OCTAVES - 3),
};

struct nf_histogram {
    double total; /* all weight, cold included */
    double cold;  /* of first accesses, which have no distance */
    double at[NF_HISTOGRAM_BUCKETS];
};

/* The bucket of a value; everything from 2^48 on is in the last. */
static inline uint32_t nf_histogram_bucket(uint64_t value)
{
    uint32_t octave;

    if (value < NF_HISTOGRAM_OCTAVE)
        return (uint32_t)value;
    if (value >> NF_HISTOGRAM_OCTAVES)
        return NF_HISTOGRAM_BUCKETS - 1;
    octave = 63 - (uint32_t)__builtin_clzll(value);
    return NF_HISTOGRAM_OCTAVE * (octave - 3) + ((uint32_t)(value >> (octave - 4)) & (NF_HISTOGRAM_OCTAVE - 1));
}

/* The smallest value of a bucket; bucket may be one past the last. */
static inline uint64_t nf_histogram_edge(uint32_t bucket)
{
    if (bucket < NF_HISTOGRAM_OCTAVE)
        return bucket;
    return (uint64_t)(NF_HISTOGRAM_OCTAVE + bucket % NF_HISTOGRAM_OCTAVE) << (bucket / NF_HISTOGRAM_OCTAVE - 1);
}

static inline void nf_histogram_add(struct nf_histogram *h, uint64_t value, double weight)
{
    h->at[nf_histogram_bucket(value)] += weight;
    h->total += weight;
}

static inline void nf_histogram_add_cold(struct nf_histogram *h, double weight)
{
    h->cold += weight;
    h->total += weight;
}

/* Spreads weight evenly over the values low to high (low <= high). */
void nf_histogram_spread(struct nf_histogram *h, double low, double high, double weight);
/* Weight of values at or above value, cold not included; values inside a bucket are taken as evenly spread. */
double nf_histogram_above(const struct nf_histogram *h, double value);
/* One past the last bucket with weight; 0: none. */
uint32_t nf_histogram_end(const struct nf_histogram *h);
