#pragma once
/* One contiguous range of addresses in which all tensors of a job live, so that a source can watch them: large aligned
 * blocks come from here instead of from the heap when NEARFAR_ARENA asks for it.
 *
 * The memory is a shared memory file. Dropping its pages from the page table loses nothing: the next touch of each page
 * faults, finds the page in the file, and tells perf its address. A shared mapping is not copied by fork, so the child
 * gets a private copy before it runs on (nf_arena_fork_*). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "min=BYTES,granule=BYTES,every=OPS,reserve=BYTES", numbers in decimal; what is left out is 65536, 4096, 0, twice the
 * memory of the machine.
 *   min      blocks of so many bytes and more live in the arena
 *   granule  4096, or 2097152: huge pages, and blocks begin on one
 *   every    the page table is emptied after so many ops; 0: never (the arena only gathers the tensors) */
#define NF_ARENA_ENV "NEARFAR_ARENA"

struct nf_ring_header;

/* A block for an aligned allocation, or NULL when it isn't for the arena, or the arena is absent or full. Contents are
 * arbitrary. Thread-safe. */
void *nf_arena_alloc(size_t alignment, size_t bytes);
/* What nf_arena_alloc gave. */
void nf_arena_free(void *block);
/* Usable bytes of such a block. */
size_t nf_arena_usable(const void *block);

/* The reserved range; 0 before the first block. */
uintptr_t nf_arena_base(void);
size_t nf_arena_size(void);

static inline bool nf_arena_owns(const void *block)
{
    extern uintptr_t nf_arena_start;
    extern size_t nf_arena_bytes;
    size_t bytes = __atomic_load_n(&nf_arena_bytes, __ATOMIC_ACQUIRE);

    return (uintptr_t)block - nf_arena_start < bytes;
}

/* The ring's header tells the tool where the arena is and how finely it sees; from here on boundaries work. NULL ends it. */
void nf_arena_attach(struct nf_ring_header *header);
/* An op has ended: every `every` ops, what is mapped of the arena is dropped from the page table. */
void nf_arena_boundary(void);
/* Training begins, or a step has ended: it is dropped now, and the next `every` ops are counted from here. So each step
 * sees the first touches of its own ops, and the same of them as every other step. */
void nf_arena_restart(void);

/* The three handlers of pthread_atfork. The child goes on with a copy as of the moment of the fork: private memory, or,
 * where it may be the process that trains, an arena of its own. Where it finds no memory for that, it says so and exits. */
void nf_arena_fork_prepare(void);
void nf_arena_fork_parent(void);
void nf_arena_fork_child(bool may_train);
