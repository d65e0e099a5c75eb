#include "capture/perf-clock.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"

void nf_perf_clock_add(struct nf_perf_clock *c, const struct nf_perf_clock_point *point)
{
    const struct nf_perf_clock_point *last = c->n ? &c->points[c->n - 1] : NULL;

    if (last && (point->perf_ns <= last->perf_ns || point->monotonic_ns <= last->monotonic_ns))
        return;
    if (c->n == NF_PERF_CLOCK_POINTS)
        memmove(c->points, c->points + 1, --c->n * sizeof *c->points);
    c->points[c->n++] = *point;
}

uint64_t nf_perf_clock_monotonic(const struct nf_perf_clock *c, uint64_t perf_ns, uint64_t *error_ns)
{
    const struct nf_perf_clock_point *a, *b;
    uint64_t error, away;
    unsigned i = c->n;

    if (!c->n) {
        if (error_ns)
            *error_ns = UINT64_MAX;
        return 0;
    }
    while (i > 1 && c->points[i - 1].perf_ns > perf_ns)
        i--;
    a = &c->points[i - 1]; /* the last point not after it, or the first */
    b = i < c->n ? &c->points[i] : NULL;
    if (perf_ns < a->perf_ns || !b) {
        /* Beyond the points both clocks are taken to run alike: a slope from noisy ends would be worse. */
        away = perf_ns < a->perf_ns ? a->perf_ns - perf_ns : perf_ns - a->perf_ns;
        if (error_ns)
            *error_ns = a->error_ns + away / 1000000 * NF_PERF_CLOCK_PPM + away % 1000000 * NF_PERF_CLOCK_PPM / 1000000;
        if (perf_ns >= a->perf_ns)
            return a->monotonic_ns + away;
        return away < a->monotonic_ns ? a->monotonic_ns - away : 0;
    }
    error = a->error_ns > b->error_ns ? a->error_ns : b->error_ns;
    if (error_ns)
        *error_ns = error;
    return a->monotonic_ns + (uint64_t)((nf_u128)(perf_ns - a->perf_ns) * (b->monotonic_ns - a->monotonic_ns) /
                                        (b->perf_ns - a->perf_ns));
}

int nf_perf_clock_of_tsc(const struct perf_event_mmap_page *page, uint64_t tsc, uint64_t *perf_ns)
{
    uint64_t quotient, rest;

    if (!page->cap_user_time_zero || page->time_shift > 63)
        return -ENODATA;
    if (page->cap_user_time_short)
        tsc = page->time_cycles + ((tsc - page->time_cycles) & page->time_mask);
    quotient = tsc >> page->time_shift;
    rest = tsc & ((1ull << page->time_shift) - 1);
    *perf_ns = page->time_zero + quotient * page->time_mult +
               (uint64_t)(((nf_u128)rest * page->time_mult) >> page->time_shift);
    return 0;
}

/* --- the meter --- */

enum { TRIES = 7 };

struct nf_perf_meter {
    struct perf_event_mmap_page *page; /* followed by one data page */
    char *probe;                       /* a page to fault on */
    size_t page_bytes;
    int fd;
};

#if defined(__x86_64__)
static uint64_t cycles(void)
{
    return __builtin_ia32_rdtsc();
}
#else
static uint64_t cycles(void)
{
    return 0; /* no page offers the conversion through this counter */
}
#endif

/* The page's fields change under us: its lock counts. */
static int page_ns(const struct nf_perf_meter *m, uint64_t tsc, uint64_t *perf_ns)
{
    struct perf_event_mmap_page copy;
    uint32_t seq;

    do {
        seq = __atomic_load_n(&m->page->lock, __ATOMIC_ACQUIRE);
        copy = *m->page;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (seq & 1 || seq != __atomic_load_n(&m->page->lock, __ATOMIC_RELAXED));
    return nf_perf_clock_of_tsc(&copy, tsc, perf_ns);
}

int nf_perf_meter_new(struct nf_perf_meter **out)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_PAGE_FAULTS, .size = sizeof attr, .sample_period = 1,
        .sample_type = PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR, .exclude_kernel = 1, .exclude_hv = 1,
    };
    struct nf_perf_meter *m = calloc(1, sizeof *m);

    if (!m)
        return -ENOMEM;
    m->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    m->probe = MAP_FAILED;
    m->page = MAP_FAILED;
    m->fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (m->fd >= 0)
        m->page = mmap(NULL, 2 * m->page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
    if (m->page != MAP_FAILED)
        m->probe = mmap(NULL, m->page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->probe == MAP_FAILED) {
        int rc = -errno;

        nf_perf_meter_free(m);
        return nf_fail(rc, "the kernel gives no perf clock: %s (kernel.perf_event_paranoid, kernel.perf_event_mlock_kb)",
                       strerror(-rc));
    }
    *out = m;
    return 0;
}

struct nf_perf_meter *nf_perf_meter_free(struct nf_perf_meter *m)
{
    if (!m)
        return NULL;
    if (m->probe != MAP_FAILED)
        munmap(m->probe, m->page_bytes);
    if (m->page != MAP_FAILED)
        munmap(m->page, 2 * m->page_bytes);
    if (m->fd >= 0)
        close(m->fd);
    free(m);
    return NULL;
}

bool nf_perf_meter_by_tsc(const struct nf_perf_meter *m)
{
    return m->page->cap_user_time_zero;
}

/* The time of the sample of our page's fault, which is the last one; everything before is passed over. */
static int fault_ns(struct nf_perf_meter *m, uint64_t *perf_ns)
{
    uint64_t head = __atomic_load_n(&m->page->data_head, __ATOMIC_ACQUIRE), tail = m->page->data_tail;
    const char *data = (const char *)m->page + m->page_bytes;
    int rc = -ENODATA;

    while (tail < head) {
        struct perf_event_header header;
        uint64_t field[2];
        char raw[sizeof header + sizeof field] = {0};

        for (size_t i = 0; i < sizeof raw && tail + i < head; i++)
            raw[i] = data[(tail + i) % m->page_bytes];
        memcpy(&header, raw, sizeof header);
        memcpy(field, raw + sizeof header, sizeof field); /* time, address */
        if (header.type == PERF_RECORD_SAMPLE && field[1] / m->page_bytes == (uintptr_t)m->probe / m->page_bytes) {
            *perf_ns = field[0];
            rc = 0;
        }
        if (!header.size)
            break;
        tail += header.size;
    }
    __atomic_store_n(&m->page->data_tail, head, __ATOMIC_RELEASE);
    return rc;
}

int nf_perf_meter_take(struct nf_perf_meter *m, struct nf_perf_clock *clock)
{
    struct nf_perf_clock_point best = {.error_ns = UINT64_MAX};

    for (int i = 0; i < TRIES; i++) {
        uint64_t before, after, perf_ns, tsc;
        int rc;

        if (nf_perf_meter_by_tsc(m)) {
            before = nf_now_ns();
            tsc = cycles();
            after = nf_now_ns();
            rc = page_ns(m, tsc, &perf_ns);
        } else {
            /* Pages of a file or of shared memory would come back without a fault; this one is zeroed anew. */
            madvise(m->probe, m->page_bytes, MADV_DONTNEED);
            before = nf_now_ns();
            *(volatile char *)m->probe = 1;
            after = nf_now_ns();
            rc = fault_ns(m, &perf_ns);
        }
        if (!rc && (after - before) / 2 + 1 < best.error_ns)
            best = (struct nf_perf_clock_point){perf_ns, before + (after - before) / 2, (after - before) / 2 + 1};
    }
    if (best.error_ns == UINT64_MAX)
        return nf_fail(-ENODATA, "perf stamped none of %d page faults of our own", TRIES);
    nf_perf_clock_add(clock, &best);
    return 0;
}
