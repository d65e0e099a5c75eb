#pragma once
/* From names of blocks to dense indices. Names are mapped in chunks of 16 consecutive ones, so that an extent costs one
 * lookup per chunk and a caller's facts about the 16 share a cache line. An index never changes. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/rng.h"

enum { NF_BLOCK_CHUNK_SHIFT = 4, NF_BLOCK_CHUNK = 1 << NF_BLOCK_CHUNK_SHIFT };
#define NF_BLOCK_NONE UINT32_MAX

struct nf_block_entry {
    uint64_t chunk; /* block >> NF_BLOCK_CHUNK_SHIFT */
    uint32_t index; /* + 1; 0: empty */
};

struct nf_block_map {
    struct nf_block_entry *entries;
    uint64_t mask;
    uint32_t n; /* chunks in it: their indices are 0 .. n - 1 */
};

/* hint: expected chunks. 0 or -ENOMEM. Caller deinits. */
int nf_block_map_init(struct nf_block_map *m, uint64_t hint);
void nf_block_map_deinit(struct nf_block_map *m);
/* Adds a chunk that nf_block_map_find did not find; its index is the old n. 0 or -ENOMEM (unchanged). */
int nf_block_map_add(struct nf_block_map *m, uint64_t chunk);

static inline void nf_block_map_prefetch(const struct nf_block_map *m, uint64_t chunk)
{
    __builtin_prefetch(&m->entries[nf_mix64(chunk) & m->mask]);
}

/* Index of a chunk, or NF_BLOCK_NONE. */
static inline uint32_t nf_block_map_find(const struct nf_block_map *m, uint64_t chunk)
{
    uint64_t at = nf_mix64(chunk) & m->mask;

    while (m->entries[at].index && m->entries[at].chunk != chunk)
        at = (at + 1) & m->mask;
    return m->entries[at].index - 1; /* empty: 0 - 1 is NF_BLOCK_NONE */
}
