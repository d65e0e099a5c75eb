#pragma once
/* Exact LRU stack distances over blocks: the number of distinct other blocks accessed since a block's last access. One
 * object follows one access stream. Memory: about 25 bytes per block where names are dense, 120 where they are sparse. */
#include <stddef.h>
#include <stdint.h>

struct nf_reuse;

#define NF_REUSE_COLD UINT32_MAX
/* Live blocks at most: their distances stay clear of NF_REUSE_COLD. One more is -ENOMEM. */
#define NF_REUSE_BLOCKS_MAX ((1u << 31) - 1)

/* Blocks are the caller's dense or sparse 64-bit names. capacity_hint: expected distinct blocks. NULL: no memory. */
struct nf_reuse *nf_reuse_new(uint32_t capacity_hint);
struct nf_reuse *nf_reuse_free(struct nf_reuse *r);
/* Accesses n blocks in order; distances[i] becomes the distance of blocks[i], NF_REUSE_COLD at its first access.
 * Batches of a few hundred hide the latency of memory, single accesses pay it. 0, or -ENOMEM, after which r is only
 * good for nf_reuse_free. */
int nf_reuse_run(struct nf_reuse *r, const uint64_t *blocks, size_t n, uint32_t *distances);
/* The same for n blocks first, first + 1, ...: the access of an extent, several times faster. */
int nf_reuse_extent(struct nf_reuse *r, uint64_t first, uint32_t n, uint32_t *distances);
/* Takes a block out of the stack as if it had never been accessed. */
void nf_reuse_forget(struct nf_reuse *r, uint64_t block);
