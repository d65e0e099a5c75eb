#pragma once
/* The blocks of a job that a preloaded library has in hand: one range of addresses, its pages with their tiers, and which runs of them
 * are blocks. Nothing is decided here. There is one such range in a process; its lock is the library's, too, and held around forks. */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/sizes.h"
#include "pool/arena.h"

enum { NF_BLOCKS_NO_TIER = 0xff };

struct nf_blocks {
    pthread_mutex_t lock;
    struct nf_arena arena;
    char *memory;
    uint32_t n_pages;
    uint8_t *tier;   /* of each page; NF_BLOCKS_NO_TIER: it had none yet */
    uint32_t *pages; /* of the block that begins there; 0: none does */
    bool child;      /* of a fork: it has a copy of every block, and takes none of its own */
};
extern struct nf_blocks nf_blocks;

/* So many bytes of addresses. in_child: called in a child of a fork, whose copy has a lock of its own again; NULL: nothing is. base_pages:
 * no huge ones. False: there is no memory, and nothing is owned. */
bool nf_blocks_begin(uint64_t bytes, bool base_pages, void (*in_child)(void));
/* Zeroes that stay: for what its owner keeps per page or block. NULL: no memory. */
void *nf_blocks_zeroes(size_t bytes);
/* Whether an allocation is one for it: aligned, but not to more than a page, and of at least so many bytes. */
bool nf_blocks_wants(size_t alignment, size_t bytes, size_t least);

/* Locked: a block of so many bytes, where the captured address lay (0: anywhere). Its first page, or NF_ARENA_NONE. */
uint32_t nf_blocks_take(uint64_t address, size_t bytes);
/* Locked. What begins at this page, if a block does, is free. */
void nf_blocks_give(uint32_t first);

static inline char *nf_blocks_at(uint32_t page)
{
    return nf_blocks.memory + (size_t)page * NF_PAGE_BYTES;
}
/* Of an owned one. */
static inline uint32_t nf_blocks_page(const void *block)
{
    return (uint32_t)(((uintptr_t)block - (uintptr_t)nf_blocks.memory) / NF_PAGE_BYTES);
}
/* As nf_job_placer's. */
bool nf_blocks_own(const void *block);
size_t nf_blocks_usable(const void *block);

/* A file that both this library and the tool have mapped, of at least so many bytes. *size: its own. NULL: there is none. */
void *nf_blocks_map_file(const char *path, size_t least, size_t *size);
