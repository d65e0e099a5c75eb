/* Deals the pages of a job over nodes by weight where the kernel has no rule for it: preloaded behind the library that follows the job's
 * allocator (core/base/job-placer.h).
 *
 * Blocks lie in one range of addresses. A page gets its node when a block first has it, as at a first touch, in turns of the weights, and
 * keeps it. It is touched under a rule of the calling thread instead of being bound: bound runs of a few pages are mappings of their own,
 * of which the kernel allows a process some 65000 (vm.max_map_count). What the job has besides (its heap, small blocks, what it maps
 * itself) is dealt out once, after its first step, by moving. After the second step all of it is looked at. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/job-placer.h"
#include "live/preload/blocks.h"
#include "live/spread-file.h"

/* Pages in one call: their arrays fit a thread's stack. */
enum { BATCH = 512, MASK_LONGS = 16, LONG_BITS = 8 * sizeof(long) };

static struct {
    struct nf_spread_file *file; /* NULL: there is none */
    uint32_t turn, left; /* whose turn it is, pages that are left of it */
    uint32_t steps;
    bool training;
} spreader;

static bool is_sound(const struct nf_spread_file *f)
{
    if (memcmp(f->magic, NF_SPREAD_MAGIC, sizeof f->magic) || f->version != NF_SPREAD_VERSION || !f->n_tiers || f->n_tiers > NF_SPREAD_TIERS)
        return false;
    for (uint32_t i = 0; i < f->n_tiers; i++) {
        if (f->node[i] < 0 || f->node[i] >= (int)(MASK_LONGS * LONG_BITS) || !f->weight[i])
            return false;
    }
    return true;
}

static struct nf_spread_file *map_file(const char *path)
{
    size_t size;
    struct nf_spread_file *f = nf_blocks_map_file(path, sizeof *f, &size);

    if (!f || is_sound(f))
        return f;
    munmap(f, size);
    return NULL;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv(NF_SPREAD_ENV);
    struct nf_spread_file *f = path ? map_file(path) : NULL;

    /* A huge page would take the turns of 512. */
    if (!f || !nf_blocks_begin(f->arena_bytes, true, NULL))
        return;
    spreader.turn = f->n_tiers - 1;
    spreader.file = f;
}

/* The tier whose turn the next page is. */
static uint8_t deal(void)
{
    if (!spreader.left) {
        spreader.turn = (spreader.turn + 1) % spreader.file->n_tiers;
        spreader.left = spreader.file->weight[spreader.turn];
    }
    spreader.left--;
    return (uint8_t)spreader.turn;
}

/* New pages of this thread go to the tier's node while it has room. */
static void prefer(uint8_t tier)
{
    unsigned long mask[MASK_LONGS] = {0};
    unsigned node = (unsigned)spreader.file->node[tier];

    mask[node / LONG_BITS] = 1ul << (node % LONG_BITS);
    syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask, MASK_LONGS * LONG_BITS + 1);
}

static void touch_new(uint32_t first, uint32_t pages)
{
    unsigned long before[MASK_LONGS] = {0};
    int mode = MPOL_DEFAULT;
    uint8_t preferred = NF_BLOCKS_NO_TIER;

    for (uint32_t i = first; i < first + pages; i++) {
        if (nf_blocks.tier[i] != NF_BLOCKS_NO_TIER)
            continue;
        if (preferred == NF_BLOCKS_NO_TIER)
            syscall(SYS_get_mempolicy, &mode, before, MASK_LONGS * LONG_BITS, NULL, 0);
        nf_blocks.tier[i] = deal();
        if (nf_blocks.tier[i] != preferred)
            prefer(preferred = nf_blocks.tier[i]);
        *(volatile char *)nf_blocks_at(i) = 0;
    }
    if (preferred != NF_BLOCKS_NO_TIER)
        syscall(SYS_set_mempolicy, mode, mode == MPOL_DEFAULT ? NULL : before, mode == MPOL_DEFAULT ? 0 : MASK_LONGS * LONG_BITS + 1);
}

static void *allocate(size_t alignment, size_t bytes)
{
    uint32_t first;
    int saved_errno = errno;

    if (!spreader.file || !nf_blocks_wants(alignment, bytes, NF_SPREAD_MIN_BYTES))
        return NULL;
    pthread_mutex_lock(&nf_blocks.lock);
    first = nf_blocks_take(0, bytes);
    if (first == NF_ARENA_NONE)
        atomic_fetch_add(&spreader.file->refused, 1);
    else
        touch_new(first, nf_blocks.pages[first]);
    pthread_mutex_unlock(&nf_blocks.lock);
    errno = saved_errno;
    return first == NF_ARENA_NONE ? NULL : nf_blocks_at(first);
}

static void release(void *block)
{
    pthread_mutex_lock(&nf_blocks.lock);
    nf_blocks_give(nf_blocks_page(block));
    pthread_mutex_unlock(&nf_blocks.lock);
}

/* --- what the job has besides --- */

/* Those of a mapping that are there, in batches. map: /proc/self/pagemap, eight bytes a page of which the highest bit says so. */
static void each_present(int map, uintptr_t from, uintptr_t to, void (*take)(void **pages, unsigned long n))
{
    uint64_t entry[BATCH];
    void *pages[BATCH];

    for (uintptr_t at = from; at < to; at += (uintptr_t)BATCH * NF_PAGE_BYTES) {
        size_t want = (to - at) / NF_PAGE_BYTES < BATCH ? (to - at) / NF_PAGE_BYTES : BATCH;
        ssize_t got = pread(map, entry, want * sizeof *entry, (off_t)(at / NF_PAGE_BYTES * sizeof *entry));
        unsigned long n = 0;

        for (size_t i = 0; got > 0 && i < (size_t)got / sizeof *entry; i++) {
            void *page = (void *)(at + i * NF_PAGE_BYTES);

            if (entry[i] >> 63 && !nf_blocks_own(page))
                pages[n++] = page;
        }
        if (n)
            take(pages, n);
    }
}

static void each_other(void (*take)(void **pages, unsigned long n))
{
    FILE *maps = fopen("/proc/self/maps", "re");
    int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    unsigned long from, to, inode;
    char access[8], line[512];

    while (maps && map >= 0 && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %7s %*x %*s %lu", &from, &to, access, &inode) == 4 && !inode && access[1] == 'w' && access[3] == 'p')
            each_present(map, from, to, take);
    }
    if (maps)
        fclose(maps);
    if (map >= 0)
        close(map);
}

static void deal_out(void **pages, unsigned long n)
{
    int node[BATCH], status[BATCH];

    for (unsigned long i = 0; i < n; i++)
        node[i] = spreader.file->node[deal()];
    syscall(SYS_move_pages, 0, n, pages, node, status, MPOL_MF_MOVE);
}

static uint32_t tier_of(int node)
{
    uint32_t t = 0;

    while (t < spreader.file->n_tiers && spreader.file->node[t] != node)
        t++;
    return t;
}

static void count_others(void **pages, unsigned long n)
{
    int node[BATCH];

    if (syscall(SYS_move_pages, 0, n, pages, NULL, node, 0))
        return;
    for (unsigned long i = 0; i < n; i++) {
        uint32_t t = tier_of(node[i]);

        if (node[i] >= 0)
            atomic_fetch_add(t < spreader.file->n_tiers ? &spreader.file->others[t] : &spreader.file->elsewhere, 1);
    }
}

/* Those that a block has, or had: they keep their node. */
static void count_blocks(void)
{
    void *pages[BATCH];
    int node[BATCH];
    uint32_t which[BATCH];

    for (uint32_t i = 0; i < nf_blocks.n_pages;) {
        unsigned long n = 0;

        for (; i < nf_blocks.n_pages && n < BATCH; i++) {
            if (nf_blocks.tier[i] == NF_BLOCKS_NO_TIER)
                continue;
            which[n] = i;
            pages[n++] = nf_blocks_at(i);
        }
        if (!n || syscall(SYS_move_pages, 0, n, pages, NULL, node, 0))
            continue;
        for (unsigned long k = 0; k < n; k++) {
            uint32_t t = tier_of(node[k]);

            if (t < spreader.file->n_tiers)
                atomic_fetch_add(&spreader.file->blocks[t], 1);
            atomic_fetch_add(&spreader.file->wrong, t != nf_blocks.tier[which[k]]);
        }
    }
}

static void training(void)
{
    if (!spreader.file || nf_blocks.child)
        return;
    atomic_fetch_add(&spreader.file->jobs, 1);
    spreader.training = true;
}

static void step(void)
{
    if (!spreader.file || nf_blocks.child || !spreader.training)
        return;
    pthread_mutex_lock(&nf_blocks.lock);
    spreader.steps++;
    if (spreader.steps == 1)
        each_other(deal_out);
    if (spreader.steps == 2) {
        count_blocks();
        each_other(count_others);
        atomic_store(&spreader.file->looked, 1);
    }
    pthread_mutex_unlock(&nf_blocks.lock);
}

static void boundary(uint64_t op)
{
}

static void named(const void *block, uint64_t name)
{
}

__attribute__((visibility("default"))) const struct nf_job_placer nf_job_placer_library = {
    .allocate = allocate,
    .owns = nf_blocks_own,
    .release = release,
    .usable = nf_blocks_usable,
    .training = training,
    .step = step,
    .boundary = boundary,
    .named = named,
};
