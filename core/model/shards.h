#pragma once
/* SHARDS (Waldspurger et al., FAST 2015): stack distances of a spatially hashed sample of the blocks, scaled up. All
 * accesses to a kept block are seen, none to the others.
 *
 * Fixed rate keeps a share of the blocks; fixed size keeps at most blocks_max of them and lowers its rate as more come. A
 * sampled access stands for 1 / rate accesses of its time. Where the true number of accesses is known, the difference to
 * that sum belongs into bucket 0 (SHARDS-adj): the sample's error is mostly that very hot blocks are in it or are not. */
#include <stddef.h>
#include <stdint.h>

struct nf_shards;

#define NF_SHARDS_COLD UINT64_MAX

/* A sampled access. */
struct nf_shards_hit {
    uint32_t index;    /* of the batch's blocks */
    double weight;     /* accesses it stands for */
    uint64_t distance; /* estimated, in blocks; NF_SHARDS_COLD at the block's first access */
};

/* rate in (0, 1]; blocks_max 0: fixed rate, otherwise the rate begins at `rate` and falls. NULL: no memory. */
struct nf_shards *nf_shards_new(double rate, uint32_t blocks_max);
struct nf_shards *nf_shards_free(struct nf_shards *s);
/* Accesses n blocks in order. *hits: those that were sampled, owned by s and valid until its next call.
 * 0, or -ENOMEM, after which s is only good for nf_shards_free. */
int nf_shards_run(struct nf_shards *s, const uint64_t *blocks, uint32_t n, const struct nf_shards_hit **hits,
                  uint32_t *n_hits);
/* The rate now. */
double nf_shards_rate(const struct nf_shards *s);
