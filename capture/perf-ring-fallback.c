#include <errno.h>

#include "capture/perf-ring.h"
#include "core/base/error.h"

int nf_perf_ring_open(const struct nf_perf_ring_options *o, pid_t pid, struct nf_perf_ring **out)
{
    *out = NULL;
    return nf_fail(-ENOSYS, "built without libperf (Debian: package linux-source, then build again)");
}

struct nf_perf_ring *nf_perf_ring_close(struct nf_perf_ring *r)
{
    return NULL;
}

int nf_perf_ring_drain(struct nf_perf_ring *r, int (*record)(void *, unsigned, const struct perf_event_header *),
                       void *context)
{
    return 0;
}

int nf_perf_ring_flush(struct nf_perf_ring *r)
{
    return 0;
}

size_t nf_perf_ring_bytes(const struct nf_perf_ring *r)
{
    return 0;
}

void nf_perf_ring_totals(const struct nf_perf_ring *r, struct nf_perf_ring_totals *out)
{
    *out = (struct nf_perf_ring_totals){0};
}

const struct perf_event_attr *nf_perf_ring_attr(const struct nf_perf_ring *r, unsigned event)
{
    return NULL;
}
