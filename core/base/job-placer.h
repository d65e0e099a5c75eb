#pragma once
/* Inside a job: what a second preloaded library, which decides where blocks lie, offers the one that follows the job's
 * allocator. It is found by its symbol: absent, the reference is NULL and blocks come from where they always came from. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Set in a job whose storages are moved as it goes: it is to say what those are that last, and in C, where that costs next to
 * nothing, also where its ops begin, though nothing of them is recorded. */
#define NF_MOVES_ENV "NEARFAR_MOVES"

/* FNV-1a over 64 bits (Fowler, Noll, Vo) of a name, and of a tensor's name and role. The hook in Python and
 * nearfar_annotate.h have the same. */
static inline uint64_t nf_job_name_hash(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325ull;

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3ull;
    return hash;
}
static inline uint64_t nf_job_tensor_hash(const char *name, unsigned role)
{
    return (nf_job_name_hash(name) ^ role) * 0x100000001b3ull;
}

struct nf_job_placer {
    /* A block for an aligned allocation; NULL: the next allocator is to be asked. Thread-safe, as all of these. */
    void *(*allocate)(size_t alignment, size_t bytes);
    /* Whether the block is one of those. */
    bool (*owns)(const void *block);
    /* Of an owned block. */
    void (*release)(void *block);
    size_t (*usable)(const void *block); /* bytes */
    /* The first training step begins; a step has ended. */
    void (*training)(void);
    void (*step)(void);
    /* An op begins whose name has this hash: only from annotated jobs in C (NF_MOVES_ENV). */
    void (*boundary)(uint64_t op);
    /* What an owned block is, by the hash of its name and role; before the first step ends. */
    void (*named)(const void *block, uint64_t name);
};

extern const struct nf_job_placer nf_job_placer_library __attribute__((weak, visibility("default")));
