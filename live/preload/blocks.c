#include "live/preload/blocks.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct nf_blocks nf_blocks = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void (*tell_child)(void);

static void take_lock(void)
{
    pthread_mutex_lock(&nf_blocks.lock);
}

static void give_lock(void)
{
    pthread_mutex_unlock(&nf_blocks.lock);
}

static void go_on_in_child(void)
{
    pthread_mutex_init(&nf_blocks.lock, NULL);
    nf_blocks.child = true;
    if (tell_child)
        tell_child();
}

void *nf_blocks_zeroes(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

bool nf_blocks_begin(uint64_t bytes, bool base_pages, void (*in_child)(void))
{
    uint32_t n = bytes / NF_PAGE_BYTES < NF_ARENA_PAGES_MAX ? (uint32_t)(bytes / NF_PAGE_BYTES) : NF_ARENA_PAGES_MAX;

    tell_child = in_child;
    nf_blocks.memory = nf_blocks_zeroes((size_t)n * NF_PAGE_BYTES);
    nf_blocks.tier = nf_blocks_zeroes(n);
    nf_blocks.pages = nf_blocks_zeroes(n * sizeof *nf_blocks.pages);
    if (!nf_blocks.memory || !nf_blocks.tier || !nf_blocks.pages || nf_arena_init(&nf_blocks.arena, n) || pthread_atfork(take_lock, give_lock, go_on_in_child))
        return false;
    if (base_pages)
        madvise(nf_blocks.memory, (size_t)n * NF_PAGE_BYTES, MADV_NOHUGEPAGE);
    memset(nf_blocks.tier, NF_BLOCKS_NO_TIER, n);
    nf_blocks.n_pages = n;
    return true;
}

bool nf_blocks_wants(size_t alignment, size_t bytes, size_t least)
{
    return !nf_blocks.child && bytes >= least && alignment <= NF_PAGE_BYTES && bytes <= (uint64_t)nf_blocks.n_pages * NF_PAGE_BYTES;
}

uint32_t nf_blocks_take(uint64_t address, size_t bytes)
{
    uint32_t pages = (uint32_t)(((uint64_t)bytes + NF_PAGE_BYTES - 1) / NF_PAGE_BYTES), first = nf_arena_take(&nf_blocks.arena, address, pages);

    if (first != NF_ARENA_NONE)
        nf_blocks.pages[first] = pages;
    return first;
}

void nf_blocks_give(uint32_t first)
{
    if (nf_blocks.pages[first])
        nf_arena_give(&nf_blocks.arena, first);
    nf_blocks.pages[first] = 0;
}

bool nf_blocks_own(const void *block)
{
    return (uintptr_t)block - (uintptr_t)nf_blocks.memory < (uint64_t)nf_blocks.n_pages * NF_PAGE_BYTES;
}

size_t nf_blocks_usable(const void *block)
{
    return (size_t)nf_blocks.pages[nf_blocks_page(block)] * NF_PAGE_BYTES;
}

void *nf_blocks_map_file(const char *path, size_t least, size_t *size)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat s;
    void *p;

    if (fd < 0)
        return NULL;
    p = fstat(fd, &s) || (size_t)s.st_size < least ? MAP_FAILED : mmap(NULL, (size_t)s.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    *size = p == MAP_FAILED ? 0 : (size_t)s.st_size;
    return p == MAP_FAILED ? NULL : p;
}
