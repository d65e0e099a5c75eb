#pragma once
/* Inside a job: what a second preloaded library, which decides where blocks lie, offers the one that follows the job's
 * allocator. It is found by its symbol: absent, the reference is NULL and blocks come from where they always came from. */
#include <stdbool.h>
#include <stddef.h>

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
};

extern const struct nf_job_placer nf_job_placer_library __attribute__((weak, visibility("default")));
