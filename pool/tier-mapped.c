#include "pool/tier-mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/units.h"
#include "core/model/stream.h"

/* Where huge pages can begin, and the alignment of a devdax unless it says otherwise. */
static const size_t HUGE_PAGE_BYTES = 2 << 20;

struct extent {
    char *memory;
    uint64_t at, bytes; /* in the file */
};

/* A line of /proc/self/maps. Its device and inode are not always those of fstat (overlayfs, btrfs). */
struct shown {
    unsigned long from, to, inode;
    unsigned long long at;
    unsigned major_number, minor_number;
    bool shared;
};

struct nf_mapped {
    pthread_mutex_t lock;
    int fd;
    char name[128];
    struct nf_mapped_options o;
    struct shown identity; /* as the kernel's list names the file; inode 0: not yet seen */
    NF_ARRAY(struct extent) extents; /* by offset */
};

/* --- memory that disappears --- */

/* A device that is unbound, or a file that is cut short, answers an access with SIGBUS. All ranges that are mapped now, for its
 * handler, which may take no lock. */
struct watched {
    _Atomic uintptr_t start; /* 0: a free place */
    size_t bytes;
    atomic_bool lost;
};

enum { WATCHED_MAX = 1024 };
static struct watched watched[WATCHED_MAX];
static struct sigaction handled_before;
static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;

static struct watched *watched_at(uintptr_t address)
{
    for (size_t i = 0; address && i < WATCHED_MAX; i++) {
        uintptr_t start = atomic_load(&watched[i].start);

        if (start > 1 && start <= address && address - start < watched[i].bytes)
            return &watched[i];
    }
    return NULL;
}

/* Whoever used the memory goes on with an empty one in its place; the next proof of placement says what became of it. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    struct watched *w = watched_at((uintptr_t)info->si_addr);
    int error = errno;

    if (w && mmap((void *)atomic_load(&w->start), w->bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED)
        atomic_store(&w->lost, true);
    else
        sigaction(SIGBUS, &handled_before, NULL); /* not ours: the access is repeated, and handled as before */
    errno = error;
}

/* Somebody else may have taken the signal since the last time. */
static void install_handler(void)
{
    struct sigaction ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_RESTART}, now;

    sigemptyset(&ours.sa_mask);
    pthread_mutex_lock(&handler_lock);
    if (!sigaction(SIGBUS, NULL, &now) && now.sa_sigaction != on_bus_error) {
        handled_before = now;
        sigaction(SIGBUS, &ours, NULL);
    }
    pthread_mutex_unlock(&handler_lock);
}

/* Without a free place the range is not watched: losing it ends the process. */
static void watch(void *memory, size_t bytes)
{
    for (size_t i = 0; i < WATCHED_MAX; i++) {
        uintptr_t none = 0;

        if (!atomic_compare_exchange_strong(&watched[i].start, &none, 1)) /* 1: being filled */
            continue;
        watched[i].bytes = bytes;
        atomic_store(&watched[i].lost, false);
        atomic_store(&watched[i].start, (uintptr_t)memory);
        return;
    }
}

static void unwatch(void *memory)
{
    struct watched *w = watched_at((uintptr_t)memory);

    if (w)
        atomic_store(&w->start, 0);
}

static int lost(const struct nf_mapped *m, const void *memory)
{
    const struct watched *w = watched_at((uintptr_t)memory);

    return w && atomic_load(&w->lost) ? nf_fail(-EXDEV, "%s disappeared while it was in use: an access to it was a bus error "
                                                "(unbound, offlined or cut short by somebody)", m->name)
                                      : 0;
}

int nf_mapped_new(int fd, const char *name, const struct nf_mapped_options *o, struct nf_mapped **out)
{
    struct nf_mapped *m = calloc(1, sizeof *m);

    if (!m) {
        close(fd);
        return nf_fail(-ENOMEM, "no memory");
    }
    install_handler();
    m->fd = fd;
    m->o = *o;
    pthread_mutex_init(&m->lock, NULL);
    snprintf(m->name, sizeof m->name, "%s", name);
    *out = m;
    return 0;
}

void nf_mapped_free(struct nf_mapped *m)
{
    close(m->fd);
    pthread_mutex_destroy(&m->lock);
    nf_array_free(&m->extents);
    free(m);
}

static uint64_t whole(const struct nf_mapped *m, uint64_t bytes)
{
    return (bytes + m->o.align - 1) / m->o.align * m->o.align;
}

/* First fit. Where a new extent goes in the list: *index; its offset: *at. */
static int reserve(struct nf_mapped *m, uint64_t bytes, size_t *index, uint64_t *at)
{
    char want[NF_UNITS_TEXT], have[NF_UNITS_TEXT];
    uint64_t free_bytes = 0;

    *at = 0;
    for (*index = 0; *index < m->extents.n; ++*index) {
        const struct extent *e = &m->extents.v[*index];

        if (e->at - *at >= bytes)
            break;
        free_bytes = e->at - *at > free_bytes ? e->at - *at : free_bytes;
        *at = e->at + e->bytes;
    }
    if (!m->o.bytes || *index < m->extents.n || (*at <= m->o.bytes && m->o.bytes - *at >= bytes))
        return 0;
    free_bytes = *at < m->o.bytes && m->o.bytes - *at > free_bytes ? m->o.bytes - *at : free_bytes;
    return nf_fail(-ENOSPC, "%s is full: %s wanted, %s free in one piece", m->name, nf_format_bytes(want, (double)bytes),
                   nf_format_bytes(have, (double)free_bytes));
}

/* Space is taken now: a file that cannot grow while it is written to kills the writer with a bus error. */
static int grow(struct nf_mapped *m, uint64_t at, uint64_t bytes)
{
    char want[NF_UNITS_TEXT];
    int error;

    if (m->o.bytes)
        return 0;
    do
        error = posix_fallocate(m->fd, (off_t)at, (off_t)bytes);
    while (error == EINTR);
    return error ? nf_fail(-error, "%s cannot hold %s more: %s", m->name, nf_format_bytes(want, (double)bytes),
                           strerror(error))
                 : 0;
}

/* A reserved range of addresses of which the aligned part becomes the file. */
static int map_aligned(struct nf_mapped *m, uint64_t at, uint64_t bytes, char **memory)
{
    size_t align = m->o.align > HUGE_PAGE_BYTES ? m->o.align : HUGE_PAGE_BYTES, head;
    int how = m->o.direct ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
    char *range = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *start;
    int rc;

    if (range == MAP_FAILED)
        return nf_fail(-errno, "%s: no addresses for %" PRIu64 " bytes: %s", m->name, bytes, strerror(errno));
    head = (size_t)(-(uintptr_t)range & (align - 1));
    start = range + head;
    if (mmap(start, bytes, PROT_READ | PROT_WRITE, how | MAP_FIXED, m->fd, (off_t)at) == MAP_FAILED) {
        rc = nf_fail(-errno, "%s: cannot map %" PRIu64 " bytes at %" PRIu64 ": %s", m->name, bytes, at, strerror(errno));
        munmap(range, bytes + align);
        return rc;
    }
    if (head)
        munmap(range, head);
    if (align - head)
        munmap(start + bytes, align - head);
    *memory = start;
    return 0;
}

static int insert(struct nf_mapped *m, size_t index, struct extent e)
{
    if (nf_array_push(&m->extents, e))
        return nf_fail(-ENOMEM, "no memory");
    memmove(&m->extents.v[index + 1], &m->extents.v[index], (m->extents.n - 1 - index) * sizeof e);
    m->extents.v[index] = e;
    return 0;
}

static bool parse_line(const char *line, struct shown *s)
{
    char access[8];
    bool read = sscanf(line, "%lx-%lx %7s %llx %x:%x %lu", &s->from, &s->to, access, &s->at, &s->major_number,
                       &s->minor_number, &s->inode) == 7;

    s->shared = read && access[3] == 's';
    return read;
}

static FILE *open_list(void)
{
    FILE *f = fopen("/proc/self/maps", "re");

    if (!f)
        nf_fail(-errno, "cannot read /proc/self/maps, which proves what is mapped: %s", strerror(errno));
    return f;
}

/* What the list calls the file that was just mapped here. */
static int learn(struct nf_mapped *m, const char *memory)
{
    struct shown s;
    char line[512];
    FILE *f;

    if (m->identity.inode)
        return 0;
    f = open_list();
    if (!f)
        return -EIO;
    while (fgets(line, sizeof line, f))
        if (parse_line(line, &s) && s.from <= (uintptr_t)memory && (uintptr_t)memory < s.to)
            m->identity = s;
    fclose(f);
    return m->identity.inode ? 0 : nf_fail(-EXDEV, "%s: the kernel does not list what it has just mapped", m->name);
}

static bool is_this(const struct nf_mapped *m, const struct shown *s)
{
    return s->shared && s->inode == m->identity.inode && s->major_number == m->identity.major_number &&
           s->minor_number == m->identity.minor_number;
}

int nf_mapped_map(struct nf_mapped *m, size_t bytes, void **memory)
{
    struct extent e = {0};
    size_t index;
    int rc;

    if (bytes > (size_t)INT64_MAX - m->o.align)
        return nf_fail(-ENOMEM, "%zu bytes are more than can be mapped", bytes);
    pthread_mutex_lock(&m->lock);
    e.bytes = whole(m, bytes);
    rc = reserve(m, e.bytes, &index, &e.at);
    if (!rc)
        rc = grow(m, e.at, e.bytes);
    if (!rc)
        rc = map_aligned(m, e.at, e.bytes, &e.memory);
    if (!rc) {
        rc = learn(m, e.memory);
        if (!rc)
            rc = insert(m, index, e);
        if (rc)
            munmap(e.memory, e.bytes);
    }
    pthread_mutex_unlock(&m->lock);
    if (rc)
        return rc;
    install_handler();
    watch(e.memory, e.bytes);
    for (size_t i = 0; i < bytes; i += NF_PAGE_BYTES)
        *(volatile char *)(e.memory + i) = 0;
    rc = lost(m, e.memory);
    if (rc)
        nf_mapped_unmap(m, e.memory, bytes);
    else
        *memory = e.memory;
    return rc;
}

void nf_mapped_unmap(struct nf_mapped *m, void *memory, size_t bytes)
{
    unwatch(memory);
    pthread_mutex_lock(&m->lock);
    munmap(memory, whole(m, bytes));
    for (size_t i = 0; i < m->extents.n; i++)
        if (m->extents.v[i].memory == memory) {
            memmove(&m->extents.v[i], &m->extents.v[i + 1], (m->extents.n - 1 - i) * sizeof m->extents.v[i]);
            m->extents.n--;
            break;
        }
    /* What is mapped no more takes no space of a filesystem's; a device keeps its size. */
    if (!m->o.bytes && !m->extents.n && ftruncate(m->fd, 0))
        nf_error_clear();
    pthread_mutex_unlock(&m->lock);
}

/* Where in the file an address of a known extent lies; -1 when it is in none. */
static int64_t offset_of(struct nf_mapped *m, const char *p)
{
    int64_t at = -1;

    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->extents.n; i++)
        if (p >= m->extents.v[i].memory && p < m->extents.v[i].memory + m->extents.v[i].bytes)
            at = (int64_t)(m->extents.v[i].at + (uint64_t)(p - m->extents.v[i].memory));
    pthread_mutex_unlock(&m->lock);
    return at;
}

int nf_mapped_verify(struct nf_mapped *m, const void *memory, size_t bytes)
{
    uintptr_t next = (uintptr_t)memory, end = next + bytes;
    int64_t want = offset_of(m, memory);
    char line[512];
    FILE *f;
    int rc = 0;

    if (want < 0)
        return nf_fail(-EXDEV, "%p is no memory of %s", memory, m->name);
    rc = lost(m, memory);
    if (rc)
        return rc;
    f = open_list();
    if (!f)
        return -EIO;
    while (!rc && next < end && fgets(line, sizeof line, f)) {
        struct shown s;

        if (!parse_line(line, &s) || s.to <= next || s.from >= end)
            continue;
        if (s.from > next)
            break;
        if (!is_this(m, &s))
            rc = nf_fail(-EXDEV, "%p of %s is mapped from something else: %.200s", (void *)next, m->name, line);
        else if (s.at + (next - s.from) != (uint64_t)want)
            rc = nf_fail(-EXDEV, "%p of %s is mapped from another place of it: %.200s", (void *)next, m->name, line);
        want += (int64_t)(s.to - next);
        next = s.to;
    }
    fclose(f);
    if (!rc && next < end)
        rc = nf_fail(-EXDEV, "%p of %s is not mapped", (void *)next, m->name);
    return rc;
}
