#include "core/base/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/base/error.h"

/* The headers of glibc 2.36 and of kernels before 5.14 do not name it. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
/* statfs(2): file systems whose files are memory. */
static const uint32_t TMPFS = 0x01021994, RAMFS = 0x858458f6;
enum { LEAST_FILE_BYTES = 1 << 16 /* a smaller array is not worth a file */ };

/* In front of every array. */
struct head {
    size_t bytes;  /* of the array */
    size_t mapped; /* of the file, this head included; 0: memory */
    struct head *before, *after;
    char pad[32];
};
_Static_assert(sizeof(struct head) == 64, "arrays begin on a cache line of their own");

static struct {
    pthread_mutex_t lock;
    uint64_t limit, in_memory, in_files;
    struct head *first; /* of those in files */
} spill = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit = UINT64_MAX};

static struct head *head_of(const void *array)
{
    return (struct head *)((uintptr_t)array - sizeof(struct head));
}

void nf_spill_limit(uint64_t bytes)
{
    pthread_mutex_lock(&spill.lock);
    spill.limit = bytes;
    pthread_mutex_unlock(&spill.lock);
}

static bool is_memory(const char *folder)
{
    struct statfs fs;

    return !statfs(folder, &fs) && ((uint32_t)fs.f_type == TMPFS || (uint32_t)fs.f_type == RAMFS);
}

static int create_in(const char *folder)
{
    char path[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    if ((size_t)snprintf(path, sizeof path, "%s/nearfar-XXXXXX", folder) >= sizeof path)
        return -1;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

/* Memory is the last resort: an array there is at least not lost. */
static int create_file(void)
{
    const char *folders[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};

    for (int in_memory = 0; in_memory < 2; in_memory++) {
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
            int fd;

            if (!folders[i] || !*folders[i] || is_memory(folders[i]) != in_memory)
                continue;
            fd = create_in(folders[i]);
            if (fd >= 0)
                return fd;
        }
    }
    return nf_fail(-errno, "cannot create a temporary file: %s; set TMPDIR", strerror(errno));
}

static struct head *map_file(size_t size)
{
    int fd = create_file(), rc;
    void *p;

    if (fd < 0)
        return NULL;
    rc = posix_fallocate(fd, 0, (off_t)size);
    if (rc) {
        nf_fail(-rc, "no space for a temporary file of %zu bytes: %s; set TMPDIR", size, strerror(rc));
        close(fd);
        return NULL;
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        nf_fail(-errno, "cannot map a temporary file of %zu bytes: %s", size, strerror(errno));
    close(fd);
    return p == MAP_FAILED ? NULL : p;
}

static bool fits(size_t size)
{
    return size < LEAST_FILE_BYTES || (spill.in_memory <= spill.limit && size <= spill.limit - spill.in_memory);
}

void *nf_spill_alloc(size_t n, size_t size)
{
    struct head *h;
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX - sizeof *h) {
        nf_fail(-ENOMEM, "an array of %zu times %zu bytes", n, size);
        return NULL;
    }
    pthread_mutex_lock(&spill.lock);
    if (fits(bytes)) {
        h = calloc(1, sizeof *h + bytes);
        if (h)
            spill.in_memory += bytes;
        else
            nf_fail(-ENOMEM, "no memory for %zu bytes", bytes);
    } else {
        h = map_file(sizeof *h + bytes);
        if (h) {
            h->mapped = sizeof *h + bytes;
            h->after = spill.first;
            if (h->after)
                h->after->before = h;
            spill.first = h;
            spill.in_files += bytes;
        }
    }
    pthread_mutex_unlock(&spill.lock);
    if (!h)
        return NULL;
    h->bytes = bytes;
    return h + 1;
}

void *nf_spill_free(void *array)
{
    struct head *h;

    if (!array)
        return NULL;
    h = head_of(array);
    pthread_mutex_lock(&spill.lock);
    if (h->mapped) {
        if (h->before)
            h->before->after = h->after;
        else
            spill.first = h->after;
        if (h->after)
            h->after->before = h->before;
        spill.in_files -= h->bytes;
        munmap(h, h->mapped);
    } else {
        spill.in_memory -= h->bytes;
        free(h);
    }
    pthread_mutex_unlock(&spill.lock);
    return NULL;
}

bool nf_spill_in_file(const void *array)
{
    return head_of(array)->mapped;
}

uint64_t nf_spill_file_bytes(void)
{
    uint64_t bytes;

    pthread_mutex_lock(&spill.lock);
    bytes = spill.in_files;
    pthread_mutex_unlock(&spill.lock);
    return bytes;
}

int nf_spill_settle(void)
{
    int rc = 0;

    pthread_mutex_lock(&spill.lock);
    for (struct head *h = spill.first, *after; h && !rc; h = after) {
        size_t mapped = h->mapped;

        after = h->after; /* looked up before its page goes */
        if (msync(h, mapped, MS_SYNC))
            rc = nf_fail(-errno, "cannot write a temporary file back: %s", strerror(errno));
        madvise(h, mapped, MADV_DONTNEED);
    }
    pthread_mutex_unlock(&spill.lock);
    return rc;
}

/* Clamped to the array, so that a caller may ask for more than there is. */
static void clamp(const struct head *h, size_t *from, size_t *bytes)
{
    *from = *from < h->bytes ? *from : h->bytes;
    *bytes = *bytes < h->bytes - *from ? *bytes : h->bytes - *from;
}

int nf_spill_fetch(const void *array, size_t from, size_t bytes)
{
    struct head *h = head_of(array);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin, end;

    clamp(h, &from, &bytes);
    if (!h->mapped || !bytes)
        return 0;
    begin = ((uintptr_t)array + from) & -page;
    end = ((uintptr_t)array + from + bytes + page - 1) & -page;
    if (!madvise((void *)begin, end - begin, MADV_POPULATE_READ))
        return 0;
    if (errno != EINVAL) /* of kernels that do not know it */
        return nf_fail(-errno, "cannot read a temporary file back: %s", strerror(errno));
    for (; begin < end; begin += page)
        (void)*(const volatile char *)begin;
    return 0;
}

void nf_spill_drop(const void *array, size_t from, size_t bytes)
{
    struct head *h = head_of(array);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin, end;

    clamp(h, &from, &bytes);
    if (!h->mapped)
        return;
    begin = ((uintptr_t)array + from + page - 1) & -page;
    end = ((uintptr_t)array + from + bytes) & -page;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}
