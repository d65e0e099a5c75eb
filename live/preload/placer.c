/* Places the blocks of a job by a plan: preloaded behind the library that follows its allocator (core/base/job-placer.h).
 *
 * Blocks lie in one range of addresses. A block of the plan comes to the place that its captured address had before, so
 * that pages keep their tier from step to step; where they do not, they are bound to its node (and moved there). Within
 * a step blocks come in the plan's order; one that is missing or added shifts nothing, as sizes are compared. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/job-placer.h"
#include "core/model/stream.h"
#include "live/plan-file.h"
#include "pool/arena.h"

/* How far a block is looked for: library scratch comes and goes between the plan's. */
enum { LOOK_AHEAD = 256 };
enum { NO_ENTRY = UINT32_MAX, NO_TIER = 0xff };

struct block {
    uint32_t entry; /* NO_ENTRY: not of the plan */
    uint32_t pages; /* 0: none begins there */
};

static struct {
    pthread_mutex_t lock;
    struct nf_plan_file *plan; /* NULL: there is none */
    const uint32_t *sequence;
    const struct nf_plan_group *groups;
    const struct nf_plan_entry *entries;
    const uint8_t *page_tiers;
    struct nf_arena arena;
    char *memory;
    uint32_t n_pages;
    uint8_t *tier;        /* of each page, NO_TIER before its first use */
    struct block *blocks; /* by first page */
    uint8_t *taken;       /* by entry of the running group */
    uint32_t group, cursor, step;
    uint64_t near_pages;
    bool training, child;
} placer = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    if (!placer.child)
        atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void *zeroes(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static bool fits(uint64_t at, uint64_t n, size_t each, uint64_t size)
{
    return at % 8 == 0 && at <= size && n <= (size - at) / each;
}

/* Whether every index of the file stays inside it. */
static bool is_sound(const struct nf_plan_file *f, uint64_t size)
{
    const struct nf_plan_group *groups = (const void *)((const char *)f + f->groups_at);
    const struct nf_plan_entry *entries = (const void *)((const char *)f + f->entries_at);
    const uint32_t *sequence = (const void *)((const char *)f + f->sequence_at);
    const uint8_t *tiers = (const uint8_t *)f + f->page_tiers_at;

    if (memcmp(f->magic, NF_PLAN_MAGIC, sizeof f->magic) || f->version != NF_PLAN_VERSION || !f->n_tiers ||
        f->n_tiers > NF_PLAN_TIERS || f->arena_bytes / NF_PAGE_BYTES > 2 * (uint64_t)sysconf(_SC_PHYS_PAGES) || !f->n_sequence || f->before >= f->n_groups || f->steady >= f->n_groups ||
        !fits(f->sequence_at, f->n_sequence, sizeof *sequence, size) ||
        !fits(f->groups_at, f->n_groups, sizeof *groups, size) ||
        !fits(f->entries_at, f->n_entries, sizeof *entries, size) || !fits(f->page_tiers_at, f->n_page_tiers, 1, size))
        return false;
    for (uint32_t i = 0; i < f->n_sequence; i++) {
        if (sequence[i] >= f->n_groups)
            return false;
    }
    for (uint32_t i = 0; i < f->n_groups; i++) {
        if (groups[i].first > f->n_entries || groups[i].n > f->n_entries - groups[i].first)
            return false;
    }
    for (uint32_t i = 0; i < f->n_entries; i++) {
        if (entries[i].pages_at > f->n_page_tiers || entries[i].pages > f->n_page_tiers - entries[i].pages_at ||
            (uint64_t)entries[i].pages * NF_PAGE_BYTES < entries[i].bytes)
            return false;
    }
    for (uint64_t i = 0; i < f->n_page_tiers; i++) {
        if (tiers[i] >= f->n_tiers)
            return false;
    }
    return true;
}

static struct nf_plan_file *map_plan(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat s;
    void *p;

    if (fd < 0)
        return NULL;
    p = fstat(fd, &s) || (size_t)s.st_size < sizeof(struct nf_plan_file)
            ? MAP_FAILED
            : mmap(NULL, (size_t)s.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return NULL;
    if (is_sound(p, (uint64_t)s.st_size))
        return p;
    munmap(p, (size_t)s.st_size);
    return NULL;
}

static void enter_group(uint32_t group)
{
    placer.group = group;
    placer.cursor = 0;
    memset(placer.taken, 0, placer.groups[group].n);
}

static void take_lock(void)
{
    pthread_mutex_lock(&placer.lock);
}

static void give_lock(void)
{
    pthread_mutex_unlock(&placer.lock);
}

/* A child has a copy of every block. It places none of its own: the plan is its parent's. */
static void go_on_in_child(void)
{
    pthread_mutex_init(&placer.lock, NULL);
    placer.child = true;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv(NF_PLAN_ENV);
    struct nf_plan_file *f = path ? map_plan(path) : NULL;
    uint64_t pages;

    if (!f)
        return;
    pages = f->arena_bytes / NF_PAGE_BYTES;
    placer.sequence = (const void *)((const char *)f + f->sequence_at);
    placer.groups = (const void *)((const char *)f + f->groups_at);
    placer.entries = (const void *)((const char *)f + f->entries_at);
    placer.page_tiers = (const uint8_t *)f + f->page_tiers_at;
    placer.n_pages = pages < NF_ARENA_PAGES_MAX ? (uint32_t)pages : NF_ARENA_PAGES_MAX;
    placer.memory = zeroes((size_t)placer.n_pages * NF_PAGE_BYTES);
    placer.tier = zeroes(placer.n_pages);
    placer.blocks = zeroes(placer.n_pages * sizeof *placer.blocks);
    placer.taken = zeroes(f->n_entries + (size_t)1);
    if (!placer.memory || !placer.tier || !placer.blocks || !placer.taken ||
        nf_arena_init(&placer.arena, placer.n_pages) || pthread_atfork(take_lock, give_lock, go_on_in_child))
        return;
    memset(placer.tier, NO_TIER, placer.n_pages);
    enter_group(f->before);
    placer.plan = f;
}

/* The next block of these bytes in the running group. Until the first step ends, any will do. */
static uint32_t find_entry(size_t bytes)
{
    const struct nf_plan_group *g = &placer.groups[placer.group];
    bool any = placer.group == placer.plan->before;
    uint32_t end = any || g->n - placer.cursor < LOOK_AHEAD ? g->n : placer.cursor + LOOK_AHEAD;

    for (uint32_t i = placer.cursor; i < end; i++) {
        if (placer.taken[i] || placer.entries[g->first + i].bytes != bytes)
            continue;
        placer.taken[i] = 1;
        while (placer.cursor < g->n && placer.taken[placer.cursor])
            placer.cursor++;
        return g->first + i;
    }
    return NO_ENTRY;
}

static void bind_run(uint32_t first, uint32_t pages, uint8_t tier)
{
    int node = placer.plan->node[tier];
    unsigned long mask[16] = {0};
    uint64_t bytes = (uint64_t)pages * NF_PAGE_BYTES;

    if (node < 0 || node >= (int)(sizeof mask * 8))
        return;
    mask[(size_t)node / (sizeof *mask * 8)] = 1ul << ((size_t)node % (sizeof *mask * 8));
    if (syscall(SYS_mbind, placer.memory + (size_t)first * NF_PAGE_BYTES, bytes, MPOL_BIND, mask, sizeof mask * 8,
                MPOL_MF_MOVE))
        count(&placer.plan->unbound_bytes, bytes);
    else
        count(&placer.plan->bound_bytes, bytes);
}

/* Gives each page its tier: that of the plan; what the plan does not know goes last, so that near is the plan's alone. */
static void place_pages(uint32_t first, uint32_t pages, uint32_t entry)
{
    struct nf_plan_file *f = placer.plan;
    const uint8_t *want = entry == NO_ENTRY ? NULL : placer.page_tiers + placer.entries[entry].pages_at;
    uint64_t room = f->capacity / NF_PAGE_BYTES, near;
    uint32_t run = 0;

    for (uint32_t i = 0; i < pages; i++) {
        uint8_t tier = want ? want[i] : (uint8_t)(f->n_tiers - 1);
        bool full = !tier && placer.near_pages >= room;

        if (full && want)
            count(&f->spilled_bytes, NF_PAGE_BYTES);
        tier = full ? (uint8_t)(f->n_tiers - 1) : tier;
        placer.near_pages += !tier;
        if (run && (placer.tier[first + i] == tier || tier != placer.tier[first + i - 1])) {
            bind_run(first + i - run, run, placer.tier[first + i - 1]);
            run = 0;
        }
        if (placer.tier[first + i] != tier) {
            placer.tier[first + i] = tier;
            run++;
        }
    }
    if (run)
        bind_run(first + pages - run, run, placer.tier[first + pages - 1]);
    if (placer.child)
        return;
    near = placer.near_pages * NF_PAGE_BYTES;
    atomic_store_explicit(&f->near_bytes, near, memory_order_relaxed);
    if (near > atomic_load_explicit(&f->near_peak_bytes, memory_order_relaxed))
        atomic_store_explicit(&f->near_peak_bytes, near, memory_order_relaxed);
}

static void count_block(size_t bytes, bool found)
{
    struct nf_plan_file *f = placer.plan;

    if (placer.training && placer.group == f->steady) {
        count(found ? &f->placed : &f->unplaced, 1);
        count(found ? &f->placed_bytes : &f->unplaced_bytes, bytes);
    } else {
        count(&f->early, 1);
        count(&f->early_placed, found);
    }
}

static void *allocate(size_t alignment, size_t bytes)
{
    uint64_t pages = ((uint64_t)bytes + NF_PAGE_BYTES - 1) / NF_PAGE_BYTES;
    struct nf_plan_file *f = placer.plan;
    uint32_t entry, first;
    int saved_errno = errno;

    if (!f || placer.child || bytes < NF_PLAN_MIN_BYTES || alignment > NF_PAGE_BYTES || pages > placer.n_pages)
        return NULL;
    pthread_mutex_lock(&placer.lock);
    entry = find_entry(bytes);
    first = nf_arena_take(&placer.arena, entry == NO_ENTRY ? 0 : placer.entries[entry].address, (uint32_t)pages);
    if (first == NF_ARENA_NONE) {
        count(&f->refused, 1);
    } else {
        placer.blocks[first] = (struct block){entry, (uint32_t)pages};
        place_pages(first, (uint32_t)pages, entry);
        count_block(bytes, entry != NO_ENTRY);
    }
    pthread_mutex_unlock(&placer.lock);
    errno = saved_errno;
    return first == NF_ARENA_NONE ? NULL : placer.memory + (size_t)first * NF_PAGE_BYTES;
}

static bool owns(const void *block)
{
    return placer.plan && (uintptr_t)block - (uintptr_t)placer.memory < (uint64_t)placer.n_pages * NF_PAGE_BYTES;
}

static uint32_t page_of(const void *block)
{
    return (uint32_t)(((uintptr_t)block - (uintptr_t)placer.memory) / NF_PAGE_BYTES);
}

static void release(void *block)
{
    uint32_t first = page_of(block), entry;
    int saved_errno = errno;

    pthread_mutex_lock(&placer.lock);
    entry = placer.blocks[first].entry;
    for (uint32_t i = 0; i < placer.blocks[first].pages; i++)
        placer.near_pages -= !placer.tier[first + i];
    if (placer.blocks[first].pages)
        nf_arena_give(&placer.arena, first);
    placer.blocks[first] = (struct block){NO_ENTRY, 0};
    /* It was not the one that lives on: the next of its size may be. */
    if (!placer.training && entry != NO_ENTRY) {
        uint32_t i = entry - placer.groups[placer.group].first;

        placer.taken[i] = 0;
        placer.cursor = i < placer.cursor ? i : placer.cursor;
    }
    if (!placer.child)
        atomic_store_explicit(&placer.plan->near_bytes, placer.near_pages * NF_PAGE_BYTES, memory_order_relaxed);
    pthread_mutex_unlock(&placer.lock);
    errno = saved_errno;
}

static size_t usable(const void *block)
{
    return (size_t)placer.blocks[page_of(block)].pages * NF_PAGE_BYTES;
}

static void training(void)
{
    if (!placer.plan || placer.child)
        return;
    pthread_mutex_lock(&placer.lock);
    atomic_fetch_add(&placer.plan->jobs, 1);
    placer.training = true;
    pthread_mutex_unlock(&placer.lock);
}

static void step(void)
{
    if (!placer.plan || placer.child || !placer.training)
        return;
    pthread_mutex_lock(&placer.lock);
    placer.step += placer.step + 1 < placer.plan->n_sequence;
    atomic_fetch_add(&placer.plan->steady_steps, placer.group == placer.plan->steady);
    enter_group(placer.sequence[placer.step]);
    pthread_mutex_unlock(&placer.lock);
}

__attribute__((visibility("default"))) const struct nf_job_placer nf_job_placer_library = {
    .allocate = allocate,
    .owns = owns,
    .release = release,
    .usable = usable,
    .training = training,
    .step = step,
};
