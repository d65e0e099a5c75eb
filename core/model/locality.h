#pragma once
/* How a step class reuses memory: its miss-ratio curves by every estimator, and histograms of reuse times and distances,
 * of the whole and of groups of tensors (each one, each role).
 *
 * The step is taken as repeating: the second of two passes counts, so that carried tensors are warm. A block is accessed
 * once per visit that touches it. Caches are fully associative LRU over the blocks of all tensors; a group's curve is the
 * miss ratio of its accesses in that shared cache. */
#include <stdint.h>

#include "core/model/mrc.h"
#include "core/model/stream.h"

struct nf_grouping {
    const uint32_t *of; /* group of each tensor, below n; NULL: no groups */
    uint32_t n;
};

/* What all of these share. curves[0] is of the whole, curves[1 + g] of group g; 1 + groups.n of them, filled and named here.
 * block_bytes: a power of two, 8 at least. */
struct nf_locality {
    const struct nf_step_class *of;
    uint32_t block_bytes;
    struct nf_grouping groups;
    struct nf_mrc *curves;
};

/* All return 0 or -ENOMEM (cause set). */

/* Every access. */
int nf_locality_exact(const struct nf_locality *l);
/* Exact over the visits with seen[visit], as if there were no others: what samples fused with op bounds and extents give.
 * period names the curve. */
int nf_locality_fused(const struct nf_locality *l, const uint8_t *seen, uint64_t period);
/* SHARDS with the adjustment of bucket 0, by a fixed rate or (blocks_max > 0) a fixed size. */
int nf_locality_shards(const struct nf_locality *l, double rate, uint32_t blocks_max);
/* AET from the reuse times of all blocks. */
int nf_locality_aet(const struct nf_locality *l);

/* Reuse times of the whole and of the groups: 1 + groups.n places each, cleared here. in_bytes: traffic (blocks × their
 * bytes) between the two accesses; in_ns: captured time from the end of the op of the one to the start of the other's, NULL:
 * not wanted. l->curves is not used. */
int nf_locality_times(const struct nf_locality *l, struct nf_histogram *in_bytes, struct nf_histogram *in_ns);
