#pragma once
/* The filter of SHARDS: which blocks a spatially hashed sample keeps. Nearly all its time is spent here, so one source is
 * compiled for several instruction sets and the fastest that this processor has is taken. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/rng.h"

/* A block is kept when this is below the threshold; the threshold is rate × 2^32. */
static inline uint32_t nf_shards_hash(uint64_t block)
{
    return (uint32_t)(nf_mix64(block) >> 32);
}

/* Writes the indices of the kept blocks, ascending; kept has room for n. n <= UINT32_MAX. Returns how many. */
typedef size_t nf_shards_filter_fn(const uint64_t *blocks, size_t n, uint64_t threshold, uint32_t *kept);

struct nf_shards_filter {
    const char *name;
    bool (*supported)(void);
    nf_shards_filter_fn *run;
};

/* Every variant compiled in, fastest first; the last one runs anywhere. NULL name ends the table. */
extern const struct nf_shards_filter nf_shards_filters[];
/* The first that is supported here. */
const struct nf_shards_filter *nf_shards_filter_best(void);
