#pragma once
/* Copies a storage to another tier in chunks, each charged to the tiers it reads from and writes to. */
#include <stdint.h>

#include "pool/pool.h"

struct nf_mover {
    const struct nf_tier *tiers;
    uint32_t n_tiers;
    double parallelism;   /* line fetches the copy keeps outstanding */
    uint64_t forgiven_ns; /* lateness beyond what may be caught up */
};

/* near_latency_ns, near_read_bps: measured; 0 unknown. */
void nf_mover_init(struct nf_mover *m, const struct nf_tier *tiers, uint32_t n_tiers, double near_latency_ns,
                   double near_read_bps);
/* All bytes of `from` to `to`, which is on to_tier. Returns when the last chunk's deadline has passed. */
void nf_mover_copy(struct nf_mover *m, const struct nf_pool_storage *from, char *to, uint32_t to_tier);
