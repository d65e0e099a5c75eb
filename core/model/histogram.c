#include "core/model/histogram.h"

#include <math.h>

void nf_histogram_spread(struct nf_histogram *h, double low, double high, double weight)
{
    uint32_t bucket = nf_histogram_bucket((uint64_t)fmax(low, 0));

    h->total += weight;
    if (high - low < 1e-9) {
        h->at[bucket] += weight;
        return;
    }
    for (double from = low; from < high; bucket++) {
        double to = bucket + 1 < NF_HISTOGRAM_BUCKETS ? fmin(high, (double)nf_histogram_edge(bucket + 1)) : high;

        h->at[bucket] += weight * (to - from) / (high - low);
        from = to;
    }
}

double nf_histogram_above(const struct nf_histogram *h, double value)
{
    double low, high, sum = 0;
    uint32_t bucket;

    if (!(value > 0)) {
        bucket = 0;
    } else {
        bucket = nf_histogram_bucket(value < 0x1p48 ? (uint64_t)value : UINT64_MAX);
        low = (double)nf_histogram_edge(bucket);
        high = (double)nf_histogram_edge(bucket + 1);
        sum += h->at[bucket] * fmax(high - value, 0) / (high - low);
        bucket++;
    }
    for (; bucket < NF_HISTOGRAM_BUCKETS; bucket++)
        sum += h->at[bucket];
    return sum;
}

uint32_t nf_histogram_end(const struct nf_histogram *h)
{
    uint32_t end = NF_HISTOGRAM_BUCKETS;

    while (end && h->at[end - 1] == 0)
        end--;
    return end;
}
