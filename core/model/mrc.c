#include "core/model/mrc.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "core/base/error.h"

void nf_mrc_init(struct nf_mrc *m, const char *estimator, uint32_t block_bytes)
{
    *m = (struct nf_mrc){.block_bytes = block_bytes};
    snprintf(m->estimator, sizeof m->estimator, "%s", estimator);
}

double nf_mrc_ratio(const struct nf_mrc *m, uint64_t cache_bytes)
{
    uint64_t blocks = cache_bytes / m->block_bytes;
    const struct nf_histogram *h = &m->distances;
    double missed;

    if (!(h->total > 0))
        return NAN;
    missed = h->cold + nf_histogram_above(h, (double)(blocks ? blocks : 1));
    /* Bucket 0 may be negative where an estimator corrects its sampling error there. */
    return fmin(fmax(missed / h->total, 0), 1);
}

uint64_t nf_mrc_reach(const struct nf_mrc *m)
{
    uint32_t end = nf_histogram_end(&m->distances);

    return nf_histogram_edge(end ? end : 1) * m->block_bytes;
}

uint64_t nf_mrc_size(uint32_t block_bytes, uint64_t reach_bytes, uint32_t at)
{
    uint64_t from = reach_bytes < NF_MRC_FROM_BYTES ? 1 : (NF_MRC_FROM_BYTES + block_bytes - 1) / block_bytes;
    uint32_t first = nf_histogram_bucket(from);

    first += nf_histogram_edge(first) < from;
    if (first + at > NF_HISTOGRAM_BUCKETS || (at && nf_histogram_edge(first + at - 1) * block_bytes >= reach_bytes))
        return 0;
    return nf_histogram_edge(first + at) * block_bytes;
}

int nf_mrc_compare(const struct nf_mrc *truth, const struct nf_mrc *estimate, struct nf_mrc_error *out)
{
    uint64_t reach = nf_mrc_reach(truth), size;

    *out = (struct nf_mrc_error){0};
    if (truth->block_bytes != estimate->block_bytes)
        return nf_fail(-EINVAL, "a curve over blocks of %u bytes cannot be compared with one over %u",
                       truth->block_bytes, estimate->block_bytes);
    if (!(truth->distances.total > 0) || !(estimate->distances.total > 0))
        return nf_fail(-EINVAL, "no accesses in the curve of %s",
                       truth->distances.total > 0 ? estimate->estimator : truth->estimator);
    while ((size = nf_mrc_size(truth->block_bytes, reach, out->sizes))) {
        double off = fabs(nf_mrc_ratio(truth, size) - nf_mrc_ratio(estimate, size));

        out->mean += off;
        out->sizes++;
        if (off >= out->most) {
            out->most = off;
            out->most_at_bytes = size;
        }
    }
    out->mean /= out->sizes;
    return 0;
}
