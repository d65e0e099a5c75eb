/* The allocator functions that tensors come from, interposed. Each calls the next definition and tells the tracker.
 * The blocks are the next allocator's own, unaltered, the arena's, or those of a library that places them. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <malloc.h>
#include <string.h>

#include "capture/preload/arena.h"
#include "capture/preload/tracker.h"
#include "core/base/job-placer.h"

#define NF_EXPORT __attribute__((visibility("default")))

/* The C library's own, for a realloc from inside dlsym. */
extern void *__libc_realloc(void *block, size_t bytes);

static struct {
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    size_t (*malloc_usable_size)(void *);
} next;

static _Atomic int resolved;
static __thread int resolving __attribute__((tls_model("initial-exec")));

/* dlsym may allocate and free through the very functions it is looking up. Those few blocks are served from here
 * and never given back. */
static _Alignas(64) char early_heap[4096];
static _Atomic size_t early_used;

static void *early_alloc(size_t alignment, size_t bytes)
{
    size_t used = atomic_load(&early_used), start;

    do {
        start = (used + alignment - 1) / alignment * alignment;
        if (alignment > 64 || bytes > sizeof early_heap || start > sizeof early_heap - bytes)
            return NULL;
    } while (!atomic_compare_exchange_weak(&early_used, &used, start + bytes));
    return early_heap + start;
}

static bool is_early(const void *block)
{
    return (const char *)block >= early_heap && (const char *)block < early_heap + sizeof early_heap;
}

static void *early_move(const void *block, size_t bytes)
{
    size_t left = (size_t)(early_heap + sizeof early_heap - (const char *)block);
    void *moved = malloc(bytes);

    if (moved)
        memcpy(moved, block, bytes < left ? bytes : left);
    return moved;
}

/* False while this very thread is inside dlsym. Several threads may resolve at once: they find the same. */
static bool resolve(void)
{
    int saved_errno;

    if (atomic_load_explicit(&resolved, memory_order_acquire))
        return true;
    if (resolving)
        return false;
    saved_errno = errno;
    resolving = 1;
    *(void **)&next.posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    *(void **)&next.aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
    *(void **)&next.memalign = dlsym(RTLD_NEXT, "memalign");
    *(void **)&next.realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&next.free = dlsym(RTLD_NEXT, "free");
    *(void **)&next.malloc_usable_size = dlsym(RTLD_NEXT, "malloc_usable_size");
    resolving = 0;
    atomic_store_explicit(&resolved, 1, memory_order_release);
    errno = saved_errno;
    return true;
}

__attribute__((constructor)) static void resolve_early(void)
{
    resolve();
}

static void note_alloc(void *block, size_t alignment, size_t bytes)
{
    int saved_errno;

    /* A block that happens to lie well but was asked for with less alignment is no tensor. */
    if (alignment < NF_TRACKER_ALIGNMENT || !nf_tracker_may_hold(block))
        return;
    saved_errno = errno;
    nf_tracker_add(block, bytes);
    errno = saved_errno;
}

static bool note_free(void *block, size_t *bytes)
{
    int saved_errno = errno;
    bool tracked = nf_tracker_remove(block, bytes);

    errno = saved_errno;
    return tracked;
}

/* A block of ours, or NULL: then the next allocator is asked, which also judges odd alignments. */
static void *own_alloc(size_t alignment, size_t bytes)
{
    void *block;

    if (alignment < NF_TRACKER_ALIGNMENT || alignment & (alignment - 1))
        return NULL;
    block = &nf_job_placer_library ? nf_job_placer_library.allocate(alignment, bytes) : NULL;
    return block ? block : nf_arena_alloc(alignment, bytes);
}

static bool is_placed(const void *block)
{
    return &nf_job_placer_library && nf_job_placer_library.owns(block);
}

static bool is_own(const void *block)
{
    return nf_arena_owns(block) || is_placed(block);
}

static size_t own_usable(const void *block)
{
    return is_placed(block) ? nf_job_placer_library.usable(block) : nf_arena_usable(block);
}

static void own_free(void *block)
{
    if (is_placed(block))
        nf_job_placer_library.release(block);
    else
        nf_arena_free(block);
}

NF_EXPORT int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    void *own;
    int r;

    if (!resolve()) {
        *block = early_alloc(alignment, bytes);
        return *block ? 0 : ENOMEM;
    }
    own = own_alloc(alignment, bytes);
    if (own)
        *block = own;
    r = own ? 0 : next.posix_memalign(block, alignment, bytes);
    if (r == 0)
        note_alloc(*block, alignment, bytes);
    return r;
}

static void *aligned(void *(*function)(size_t, size_t), size_t alignment, size_t bytes)
{
    void *block = own_alloc(alignment, bytes);

    if (!block)
        block = function(alignment, bytes);
    note_alloc(block, alignment, bytes);
    return block;
}

NF_EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
    return resolve() ? aligned(next.aligned_alloc, alignment, bytes) : early_alloc(alignment, bytes);
}

NF_EXPORT void *memalign(size_t alignment, size_t bytes)
{
    return resolve() ? aligned(next.memalign, alignment, bytes) : early_alloc(alignment, bytes);
}

NF_EXPORT size_t malloc_usable_size(void *block)
{
    if (is_own(block))
        return own_usable(block);
    return !block || is_early(block) || !resolve() ? 0 : next.malloc_usable_size(block);
}

NF_EXPORT void free(void *block)
{
    size_t bytes;

    /* While resolving, a block may belong to any allocator: leaking it is the one safe choice. */
    if (!resolve() || is_early(block))
        return;
    if (nf_tracker_may_hold(block))
        note_free(block, &bytes);
    if (is_own(block))
        own_free(block);
    else
        next.free(block);
}

/* A realloc of a block of ours: by the C library's contract the result need not be aligned. */
static void *own_move(void *block, size_t bytes)
{
    size_t old_bytes = own_usable(block);
    void *moved = bytes ? own_alloc(NF_TRACKER_ALIGNMENT, bytes) : NULL;

    if (!moved && bytes)
        moved = malloc(bytes);
    if (moved)
        memcpy(moved, block, bytes < old_bytes ? bytes : old_bytes);
    if (moved || !bytes)
        own_free(block);
    return moved;
}

NF_EXPORT void *realloc(void *block, size_t bytes)
{
    size_t old_bytes = 0;
    bool tracked = false;
    void *moved;

    if (block && is_early(block))
        return early_move(block, bytes);
    if (!resolve())
        return __libc_realloc(block, bytes);
    /* Forgotten before the call: its address may be another thread's block before the call returns. */
    if (nf_tracker_may_hold(block))
        tracked = note_free(block, &old_bytes);
    moved = is_own(block) ? own_move(block, bytes) : next.realloc(block, bytes);
    if (!tracked)
        return moved;
    if (moved)
        note_alloc(moved, NF_TRACKER_ALIGNMENT, bytes);
    else if (bytes)
        note_alloc(block, NF_TRACKER_ALIGNMENT, old_bytes);
    return moved;
}

/* The C library's own would hand a block of ours to its own realloc. */
NF_EXPORT void *reallocarray(void *block, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, bytes);
}
