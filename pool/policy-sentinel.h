#pragma once
/* How policy `sentinel` chooses the length of its migration interval, apart from where its inputs come from. */
#include <stddef.h>
#include <stdint.h>

/* What one interval asks for. */
struct nf_sentinel_interval {
    double ns;             /* it takes, all near */
    uint64_t bytes;        /* of long-lived tensors used in it */
    uint64_t fresh_bytes;  /* of those, used in it and not in the one before: they arrive while that one runs */
};

/* Time exposed by a division into intervals, taken as repeating: what arrives later than the interval before lasts, and what does
 * not fit into `room` bytes and is used over the link at bps. */
double nf_sentinel_exposed_ns(const struct nf_sentinel_interval *v, size_t n, uint64_t room, double bps);
