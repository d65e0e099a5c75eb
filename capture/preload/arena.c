#include "capture/preload/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "capture/ring.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18: also of what the job has locked in memory */
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define FEATURE_WP_SHMEM (1ull << 12) /* UFFD_FEATURE_WP_HUGETLBFS_SHMEM, Linux 5.19 */
#define HUGE_BYTES ((size_t)2 << 20)
/* With fault-around the kernel maps this much around a page that is read (mm/memory.c, fault_around_bytes). */
enum { PAGE_BYTES = 4096, FAULT_AROUND_BYTES = 65536 };
/* Descriptors of ours go here, out of the way of jobs that close "everything above 2" or count on low numbers. */
enum { FD_FLOOR = 500 };

/* A forked child copies in pieces of this size, so that a limited address space needs room for one piece more. */
enum { COPY_BYTES = 64 << 20 };

struct extent {
    size_t start, n; /* granules */
};

uintptr_t nf_arena_start;
size_t nf_arena_bytes; /* 0: no arena; set after the start */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool tried;
static size_t min_bytes = 65536, granule = PAGE_BYTES, every, n_granules;
static size_t top;                 /* granules below it are blocks or holes */
static size_t stale_top;           /* granules below it may be mapped although they lie above top by now */
static uint32_t *block_granules;   /* of the block that starts there; 0: none does */
static struct extent *holes;       /* free below top, sorted by start, never adjacent */
static size_t n_holes, holes_max;
static int memory_fd = -1, userfault_fd = -1;
static uint32_t reads_bytes; /* how finely reads are seen */
static struct nf_ring_header *ring;
static size_t ops;
static bool shared;                /* with a child that has not copied it: false in a child that has */
static bool freezes;               /* userfaultfd can hold back writes of the kernel's too */
static int spare_fd[2] = {-1, -1}; /* so that a job at its limit of open files can still fork */
static int fork_pipe[2] = {-1, -1};
static bool frozen;

static size_t option(const char *text, const char *name, size_t otherwise)
{
    size_t n = strlen(name);

    for (const char *p = text; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, name, n) && p[n] == '=')
            return (size_t)strtoull(p + n + 1, NULL, 10);
    return otherwise;
}

static int out_of_the_way(int fd)
{
    int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);

    if (moved < 0)
        return fd;
    close(fd);
    return moved;
}

/* A read fault maps sixteen pages at once, unless the range is registered for write-protect faults: then a read maps the
 * one page, read-only, and a later write of it faults again. Nothing is ever write-protected, so no event comes. */
static bool map_reads_singly(void *start, size_t bytes)
{
    struct uffdio_api api = {.api = UFFD_API, .features = FEATURE_WP_SHMEM};
    struct uffdio_register range = {.range = {(uintptr_t)start, bytes}, .mode = UFFDIO_REGISTER_MODE_WP};

    userfault_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    freezes = userfault_fd >= 0;
    if (userfault_fd < 0) /* an ordinary user */
        userfault_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (userfault_fd < 0)
        return false;
    if (!ioctl(userfault_fd, UFFDIO_API, &api) && !ioctl(userfault_fd, UFFDIO_REGISTER, &range)) {
        userfault_fd = out_of_the_way(userfault_fd);
        return true;
    }
    close(userfault_fd);
    userfault_fd = -1;
    freezes = false;
    return false;
}

static void *reserve(size_t bytes, int protection)
{
    void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void unreserve(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes);
}

/* How the arena's mapping is set up, at its first or in a child. */
static void tune(char *start, size_t bytes)
{
    if (granule == HUGE_BYTES) {
        reads_bytes = (uint32_t)HUGE_BYTES;
        return;
    }
    madvise(start, bytes, MADV_NOHUGEPAGE);
    reads_bytes = every && map_reads_singly(start, bytes) ? PAGE_BYTES : FAULT_AROUND_BYTES;
}

static void keep_spares(void)
{
    for (int i = 0; i < 2; i++)
        if (spare_fd[i] < 0)
            spare_fd[i] = fcntl(memory_fd, F_DUPFD_CLOEXEC, FD_FLOOR);
}

static void drop_spares(void)
{
    for (int i = 0; i < 2; i++) {
        if (spare_fd[i] >= 0)
            close(spare_fd[i]);
        spare_fd[i] = -1;
    }
}

/* What the job may still map, when that is limited (ulimit -v): the arena leaves it half. */
static size_t address_space_left(void)
{
    struct rlimit limit;
    char text[64];
    ssize_t n;
    size_t used;
    int fd;

    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    used = strtoull(text, NULL, 10) * PAGE_BYTES;
    return used < limit.rlim_cur ? limit.rlim_cur - used : 0;
}

/* Once per process, at the first block that could live in it. */
static void set_up(void)
{
    const char *text = getenv(NF_ARENA_ENV);
    size_t bytes, left, slack = HUGE_BYTES;
    char *space, *start;

    tried = true;
    if (!text)
        return;
    min_bytes = option(text, "min", min_bytes);
    granule = option(text, "granule", granule) == HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES;
    every = option(text, "every", 0);
    bytes = option(text, "reserve", 2 * (size_t)sysconf(_SC_PHYS_PAGES) * PAGE_BYTES);
    left = address_space_left() / 2;
    bytes = (bytes < left ? bytes : left) & ~(HUGE_BYTES - 1);
    for (space = NULL; bytes >= HUGE_BYTES && !space; bytes = space ? bytes : bytes / 2 & ~(HUGE_BYTES - 1))
        space = reserve(bytes + slack, PROT_NONE);
    if (!space)
        return;
    n_granules = bytes / granule;
    holes_max = n_granules / 2 + 1;
    block_granules = reserve(n_granules * sizeof *block_granules, PROT_READ | PROT_WRITE);
    holes = reserve(holes_max * sizeof *holes, PROT_READ | PROT_WRITE);
    memory_fd = out_of_the_way(memfd_create("nearfar-arena", MFD_CLOEXEC));
    start = (char *)(((uintptr_t)space + slack - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
    if (!block_granules || !holes || memory_fd < 0 || ftruncate(memory_fd, (off_t)bytes) ||
        mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, memory_fd, 0) == MAP_FAILED) {
        unreserve(block_granules, n_granules * sizeof *block_granules);
        unreserve(holes, holes_max * sizeof *holes);
        munmap(space, bytes + slack);
        if (memory_fd >= 0)
            close(memory_fd);
        memory_fd = -1;
        return;
    }
    shared = true;
    tune(start, bytes);
    keep_spares();
    nf_arena_start = (uintptr_t)start;
    __atomic_store_n(&nf_arena_bytes, bytes, __ATOMIC_RELEASE);
}

static void *at(size_t g)
{
    return (void *)(nf_arena_start + g * granule);
}

/* The hole with the least room to spare; among equals the lowest, so that addresses recur from step to step. */
static size_t best_hole(size_t n)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < n_holes; i++)
        if (holes[i].n >= n && (best == SIZE_MAX || holes[i].n < holes[best].n)) {
            best = i;
            if (holes[i].n == n)
                break;
        }
    return best;
}

static size_t take(size_t n)
{
    size_t i = best_hole(n), start;

    if (i == SIZE_MAX) {
        start = top;
        if (n > n_granules - top)
            return SIZE_MAX;
        /* Whole huge pages exist before the first touch, or a fault would map small ones. */
        if (granule == HUGE_BYTES &&
            (madvise(at(start), n * granule, MADV_POPULATE_WRITE) || madvise(at(start), n * granule, MADV_COLLAPSE)))
            return SIZE_MAX;
        __atomic_store_n(&top, top + n, __ATOMIC_RELEASE);
        return start;
    }
    start = holes[i].start;
    holes[i].start += n;
    holes[i].n -= n;
    if (!holes[i].n) {
        memmove(holes + i, holes + i + 1, (n_holes - i - 1) * sizeof *holes);
        n_holes--;
    }
    return start;
}

/* Puts a hole in its place and joins it with its neighbours. */
static void give(size_t start, size_t n)
{
    size_t low = 0, high = n_holes;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (holes[middle].start < start)
            low = middle + 1;
        else
            high = middle;
    }
    if (low && holes[low - 1].start + holes[low - 1].n == start) {
        holes[--low].n += n;
    } else {
        memmove(holes + low + 1, holes + low, (n_holes - low) * sizeof *holes);
        holes[low] = (struct extent){start, n};
        n_holes++;
    }
    if (low + 1 < n_holes && holes[low].start + holes[low].n == holes[low + 1].start) {
        holes[low].n += holes[low + 1].n;
        memmove(holes + low + 1, holes + low + 2, (n_holes - low - 2) * sizeof *holes);
        n_holes--;
    }
    if (low + 1 == n_holes && holes[low].start + holes[low].n == top) {
        if (__atomic_load_n(&stale_top, __ATOMIC_RELAXED) < top)
            __atomic_store_n(&stale_top, top, __ATOMIC_RELAXED);
        __atomic_store_n(&top, holes[low].start, __ATOMIC_RELEASE);
        n_holes--;
    }
}

void *nf_arena_alloc(size_t alignment, size_t bytes)
{
    size_t n, start = SIZE_MAX;
    int saved_errno = errno;

    if (tried && (!nf_arena_bytes || bytes < min_bytes))
        return NULL;
    pthread_mutex_lock(&mutex);
    if (!tried)
        set_up();
    if (nf_arena_bytes && bytes >= min_bytes && alignment <= granule &&
        bytes <= n_granules * granule) {
        n = (bytes + granule - 1) / granule;
        start = n <= UINT32_MAX ? take(n) : SIZE_MAX;
        if (start != SIZE_MAX)
            block_granules[start] = (uint32_t)n;
    }
    pthread_mutex_unlock(&mutex);
    errno = saved_errno;
    return start == SIZE_MAX ? NULL : at(start);
}

static size_t granule_of(const void *block)
{
    return ((uintptr_t)block - nf_arena_start) / granule;
}

void nf_arena_free(void *block)
{
    size_t start = granule_of(block), n;

    pthread_mutex_lock(&mutex);
    n = block_granules[start];
    block_granules[start] = 0;
    if (n && n_holes < holes_max) /* without: freed twice, or never ours */
        give(start, n);
    pthread_mutex_unlock(&mutex);
}

size_t nf_arena_usable(const void *block)
{
    return (size_t)block_granules[granule_of(block)] * granule;
}

uintptr_t nf_arena_base(void)
{
    return nf_arena_start;
}

size_t nf_arena_size(void)
{
    return nf_arena_bytes;
}

static void tell(void)
{
    atomic_store(&ring->arena_bytes, nf_arena_size());
    atomic_store(&ring->arena_reads_bytes, reads_bytes);
    atomic_store_explicit(&ring->arena_base, nf_arena_start, memory_order_release);
}

/* Of a shared mapping this drops the table's entries; the pages stay in the file. */
static bool drop(void)
{
    /* A block at the top that came and went within the op has left its pages behind, for the next one there to find. */
    size_t stale = __atomic_exchange_n(&stale_top, 0, __ATOMIC_ACQ_REL), now = __atomic_load_n(&top, __ATOMIC_ACQUIRE);
    size_t bytes = (stale > now ? stale : now) * granule;
    int saved_errno = errno;
    bool dropped = !madvise((void *)nf_arena_start, bytes, MADV_DONTNEED) ||
                   !madvise((void *)nf_arena_start, bytes, MADV_DONTNEED_LOCKED);

    errno = saved_errno;
    return dropped;
}

void nf_arena_attach(struct nf_ring_header *header)
{
    ring = header;
    ops = 0;
    if (!ring)
        return;
    tell();
    if (every && nf_arena_bytes)
        drop();
}

void nf_arena_restart(void)
{
    if (!every || !ring || !nf_arena_bytes)
        return;
    ops = 0;
    if (!atomic_load_explicit(&ring->arena_base, memory_order_relaxed))
        tell(); /* the first block came after the claim */
    if (drop())
        atomic_fetch_add_explicit(&ring->boundaries, 1, memory_order_relaxed);
}

void nf_arena_boundary(void)
{
    if (every && ring && ++ops >= every)
        nf_arena_restart();
}

/* --- fork --- */

/* Other threads go on while the child copies: their writes are held back until it has. */
static bool hold_writes(bool hold)
{
    struct uffdio_writeprotect range = {.range = {nf_arena_start, top * granule},
                                        .mode = hold ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

    return freezes && top && !ioctl(userfault_fd, UFFDIO_WRITEPROTECT, &range);
}

void nf_arena_fork_prepare(void)
{
    pthread_mutex_lock(&mutex);
    if (!nf_arena_bytes || !shared)
        return;
    drop_spares();
    if (pipe2(fork_pipe, O_CLOEXEC))
        fork_pipe[0] = fork_pipe[1] = -1;
    frozen = hold_writes(true);
}

static void close_pipe(void)
{
    for (int i = 0; i < 2; i++) {
        if (fork_pipe[i] >= 0)
            close(fork_pipe[i]);
        fork_pipe[i] = -1;
    }
}

/* The parent must not write what the child has not copied yet: it waits for the child's end of the pipe to close, which
 * also happens when the child dies or was never made. */
void nf_arena_fork_parent(void)
{
    int saved_errno = errno;
    char byte;

    if (fork_pipe[1] >= 0) {
        close(fork_pipe[1]);
        fork_pipe[1] = -1;
        while (read(fork_pipe[0], &byte, 1) < 0 && errno == EINTR)
            ;
        close_pipe();
    }
    if (frozen)
        hold_writes(false);
    frozen = false;
    if (nf_arena_bytes && shared)
        keep_spares();
    pthread_mutex_unlock(&mutex);
    errno = saved_errno;
}

static bool is_our_file(void)
{
    struct stat st;

    return !fstat(memory_fd, &st) && (size_t)st.st_size == nf_arena_bytes && S_ISREG(st.st_mode);
}

/* The first range from `from` on that the memory file holds, clipped to end; false when there is none. */
static bool next_data(bool seekable, size_t from, size_t end, size_t *start, size_t *stop)
{
    off_t data = seekable ? lseek(memory_fd, (off_t)from, SEEK_DATA) : -1, hole;

    *start = from;
    *stop = end;
    if (seekable && data < 0 && errno == ENXIO)
        return false;
    if (data >= 0) {
        hole = lseek(memory_fd, data, SEEK_HOLE);
        *start = (size_t)data;
        *stop = hole < 0 || (size_t)hole > end ? end : (size_t)hole;
    }
    return *start < end;
}

static void give_up(void)
{
    static const char text[] = "nearfar: a forked child has no memory for its copy of the tensors; it ends\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);

    (void)n;
    _exit(1); /* running on would let it write into its parent's tensors */
}

/* Anonymous memory of this process takes the file's place, piece by piece. */
static void copy_privately(bool seekable)
{
    size_t used = (top * granule + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1), piece = COPY_BYTES, start, stop;
    char *arena = (char *)nf_arena_start;

    for (size_t at = 0; at < used; at += piece) {
        size_t end;
        char *copy;

        for (copy = NULL; !copy; piece = copy ? piece : piece / 2) {
            if (piece < PAGE_BYTES)
                give_up();
            copy = reserve(piece < used - at ? piece : used - at, PROT_READ | PROT_WRITE);
        }
        end = piece < used - at ? at + piece : used;
        for (size_t from = at; next_data(seekable, from, end, &start, &stop); from = stop)
            memcpy(copy + (start - at), arena + start, stop - start);
        if (mremap(copy, end - at, end - at, MREMAP_MAYMOVE | MREMAP_FIXED, arena + at) == MAP_FAILED)
            give_up();
    }
    if (used < nf_arena_bytes &&
        mmap(arena + used, nf_arena_bytes - used, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        give_up();
    shared = false;
    every = 0;
    if (seekable)
        close(memory_fd);
    memory_fd = -1;
}

static void write_whole(int fd, const char *from, size_t bytes, off_t at)
{
    while (bytes) {
        ssize_t n = pwrite(fd, from, bytes, at);

        if (n <= 0 && errno != EINTR)
            give_up();
        n = n < 0 ? 0 : n;
        from += n;
        bytes -= (size_t)n;
        at += n;
    }
}

/* A child that may be the one that trains gets an arena of its own that works as its parent's does. */
static void copy_shared(bool seekable)
{
    int fd = out_of_the_way(memfd_create("nearfar-arena", MFD_CLOEXEC));
    char *arena = (char *)nf_arena_start;
    size_t start, stop;

    if (fd < 0 || ftruncate(fd, (off_t)nf_arena_bytes))
        give_up();
    for (size_t from = 0; next_data(seekable, from, top * granule, &start, &stop); from = stop)
        write_whole(fd, arena + start, stop - start, (off_t)start);
    if (mmap(arena, nf_arena_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED)
        give_up();
    if (seekable)
        close(memory_fd);
    memory_fd = fd;
    tune(arena, nf_arena_bytes);
    if (granule == HUGE_BYTES && top)
        madvise(arena, top * granule, MADV_COLLAPSE);
}

void nf_arena_fork_child(bool may_train)
{
    bool seekable;

    ring = NULL;
    pthread_mutex_init(&mutex, NULL);
    if (!nf_arena_bytes || !shared)
        return;
    seekable = is_our_file(); /* unless the job closed the descriptor, and something else has its number */
    if (userfault_fd >= 0 && seekable)
        close(userfault_fd);
    userfault_fd = -1;
    freezes = frozen = false;
    if (may_train && every)
        copy_shared(seekable);
    else
        copy_privately(seekable);
    close_pipe();
    if (shared)
        keep_spares();
}
