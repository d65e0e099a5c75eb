#pragma once
/* Which pages of one tier's memory are in use. Hands out runs of pages; a captured address that was used before gets
 * its old place again when that is free. Knows nothing of the memory itself. One thread at a time. */
#include <stdbool.h>
#include <stdint.h>

#define NF_ARENA_NONE UINT32_MAX
enum { NF_ARENA_PAGES_MAX = 0x7fffffff };

struct nf_arena {
    struct nf_arena_block *block; /* by first page; of interior pages meaningless */
    struct nf_arena_place *place; /* captured address -> first page, open addressing */
    uint64_t *starts[6];          /* bit p of level 0: a block starts at page p; level i + 1: word of level i not 0 */
    uint32_t *bin;                /* head of each free list, by size class */
    uint64_t *bin_used;           /* bit per bin: not empty */
    uint32_t pages, used_pages, n_levels;
    uint32_t place_mask, n_places;
};

/* Its tables are faulted at once: an allocation makes no page faults but when the table of addresses grows.
 * 0, -ENOMEM, -EFBIG beyond NF_ARENA_PAGES_MAX (causes set). */
int nf_arena_init(struct nf_arena *a, uint64_t pages);
void nf_arena_deinit(struct nf_arena *a);

/* pages > 0. address 0: none. NF_ARENA_NONE when no run of that length is free. O(1) but for very full arenas, where
 * one size class is searched. */
uint32_t nf_arena_take(struct nf_arena *a, uint64_t address, uint32_t pages);
/* Gives back the run that starts at first. Returns its pages. */
uint32_t nf_arena_give(struct nf_arena *a, uint32_t first);

/* Runs of used pages in ascending order, neighbours joined: start with *next = 0. False after the last. */
bool nf_arena_next_used(const struct nf_arena *a, uint32_t *next, uint32_t *first, uint32_t *pages);
