#pragma once
/* Exact LRU stack distances over blocks, byte-weighted. One object follows one access stream. */
#include <stdint.h>

struct nf_reuse;

#define NF_REUSE_COLD UINT32_MAX

/* Blocks are the caller's dense or sparse 64-bit names. capacity_hint: expected distinct blocks. NULL: no memory. */
struct nf_reuse *nf_reuse_new(uint32_t capacity_hint);
struct nf_reuse *nf_reuse_free(struct nf_reuse *r);
/* Accesses a block; *distance becomes the number of distinct other blocks accessed since its last access,
 * NF_REUSE_COLD at its first. 0 or -ENOMEM. */
int nf_reuse_access(struct nf_reuse *r, uint64_t block, uint32_t *distance);
/* The same for n blocks first, first + 1, ...: the access of an extent. distances has n places. */
int nf_reuse_extent(struct nf_reuse *r, uint64_t first, uint32_t n, uint32_t *distances);
