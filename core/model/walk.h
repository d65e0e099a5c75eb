#pragma once
/* A step class as the sequence of extents of blocks that its visits touch, at their captured addresses: recycled addresses
 * are the same blocks, as they were in the job's caches. */
#include <stdint.h>

#include "core/model/stream.h"

/* Consecutive blocks of one visit. */
struct nf_walk_extent {
    uint32_t visit;
    uint32_t n;           /* blocks; at most NF_WALK_BLOCKS */
    uint64_t first;       /* address / block_bytes */
    uint32_t head, tail;  /* bytes touched in the first and in the last block; the others are touched whole */
    double density;       /* share of those bytes that the visit really touches; below 1 where it skips inside blocks */
};

enum { NF_WALK_BLOCKS = 1024 };

typedef int nf_walk_fn(void *context, const struct nf_walk_extent *e); /* 0, or an error that ends the walk */

/* Bytes touched in block i of an extent. */
static inline double nf_walk_bytes(const struct nf_walk_extent *e, uint32_t i, uint32_t block_bytes)
{
    return e->density * (i == 0 ? e->head : i + 1 == e->n ? e->tail : block_bytes);
}

/* Calls fn for the extents of visits with seen[visit], in order; seen NULL: of all. Each touched block appears once per
 * visit, however often the op fetched it. Where no block lies wholly between two runs of a strided visit, its whole span is
 * one extent with its bytes evenly spread. block_bytes is a power of two. 0, or what fn returned. */
int nf_walk(const struct nf_step_class *c, uint32_t block_bytes, const uint8_t *seen, nf_walk_fn *fn, void *context);
