#include "core/model/aet.h"

void nf_aet_init(struct nf_aet *a, const struct nf_histogram *times)
{
    double above = times->total;

    a->depth[0] = 0;
    for (uint32_t b = 0; b < NF_HISTOGRAM_BUCKETS; b++) {
        double next = above - times->at[b];
        double width = (double)(nf_histogram_edge(b + 1) - nf_histogram_edge(b));

        /* P falls evenly inside a bucket. */
        a->depth[b + 1] = a->depth[b] + width * (above + next) / 2 / times->total;
        above = next;
    }
}

void nf_aet_distances(const struct nf_aet *a, const struct nf_histogram *times, struct nf_histogram *distances)
{
    for (uint32_t b = 0; b < NF_HISTOGRAM_BUCKETS; b++) {
        if (times->at[b] != 0)
            nf_histogram_spread(distances, a->depth[b], a->depth[b + 1], times->at[b]);
    }
    if (times->cold != 0)
        nf_histogram_add_cold(distances, times->cold);
}
