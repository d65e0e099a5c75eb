#include "capture/watchpoint-ring.h"

#include <dirent.h>
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "capture/perf-record.h"
#include "core/base/error.h"

/* Per thread; holds two thousand records of 64 bytes. */
enum { RING_BYTES = 128 << 10, RING_LEAST_BYTES = 8 << 10, RECORD_BYTES = 64 };
enum { SCANS_MAX = 16 };
enum { BREAKPOINTS = 2 * NF_WATCHPOINT_SLOTS, EVENTS = BREAKPOINTS + 1 };
/* Where a breakpoint stands before it is armed; it is not enabled there. */
#define PARKED 0x1000ull

struct thread {
    pid_t tid;
    int ring_fd; /* a dummy event: owner of the ring, teller of new threads */
    int fds[BREAKPOINTS];
    uint64_t ids[BREAKPOINTS];
    uint64_t left[BREAKPOINTS]; /* hits the kernel still allows, as last set less those seen since */
    bool spent[BREAKPOINTS];    /* it allowed no more and stopped */
    struct perf_event_mmap_page *page;
    uint64_t bytes; /* of the ring, a power of two */
    bool present;   /* while adopting */
    bool gone;      /* ended; its ring may still hold something */
};

struct nf_watchpoint_ring {
    NF_ARRAY(struct thread) threads;
    struct nf_record_layout layout;
    struct {
        bool armed;
        uint64_t address, limit;
    } slots[NF_WATCHPOINT_SLOTS];
    bool kernel_too, cannot_move;
    uint64_t ring_bytes;
    NF_ARRAY(char) record; /* one that wraps around the ring's end */
};

static int perf_event_open(struct perf_event_attr *attr, pid_t tid)
{
    int fd = (int)syscall(SYS_perf_event_open, attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static void common(const struct nf_watchpoint_ring *r, struct perf_event_attr *attr)
{
    attr->size = sizeof *attr;
    attr->sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR |
                        PERF_SAMPLE_CPU;
    attr->sample_id_all = 1;
    attr->exclude_kernel = !r->kernel_too;
    attr->exclude_hv = 1;
    attr->use_clockid = 1;
    attr->clockid = CLOCK_MONOTONIC;
}

static struct perf_event_attr breakpoint(const struct nf_watchpoint_ring *r, unsigned i, uint64_t address)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_BREAKPOINT,
        .sample_period = 1,
        .disabled = 1,
        .bp_type = i % 2 ? HW_BREAKPOINT_W : HW_BREAKPOINT_RW,
        .bp_addr = address,
        .bp_len = HW_BREAKPOINT_LEN_8,
    };

    common(r, &attr);
    return attr;
}

struct nf_watchpoint_ring *nf_watchpoint_ring_new(bool kernel_too)
{
    struct nf_watchpoint_ring *r = calloc(1, sizeof *r);
    struct perf_event_attr attr;

    if (!r)
        return NULL;
    r->kernel_too = kernel_too;
    r->ring_bytes = RING_BYTES;
    attr = breakpoint(r, 0, PARKED);
    r->layout = nf_record_layout_of(&attr);
    return r;
}

static void close_thread(struct thread *t)
{
    for (unsigned i = 0; i < BREAKPOINTS; i++)
        if (t->fds[i] >= 0)
            close(t->fds[i]);
    if (t->page)
        munmap(t->page, (size_t)sysconf(_SC_PAGESIZE) + t->bytes);
    if (t->ring_fd >= 0)
        close(t->ring_fd);
}

struct nf_watchpoint_ring *nf_watchpoint_ring_free(struct nf_watchpoint_ring *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->threads.n; i++)
        close_thread(&r->threads.v[i]);
    nf_array_free(&r->threads);
    nf_array_free(&r->record);
    free(r);
    return NULL;
}

static int refuse(int rc)
{
    switch (rc) {
    case -ENOSPC:
        return nf_fail(rc, "the four hardware breakpoints of a thread are taken, by a debugger or another tool");
    case -EACCES:
    case -EPERM:
        return nf_fail(rc, "the kernel refuses hardware breakpoints to this user (kernel.perf_event_paranoid, CAP_PERFMON; a "
                       "container may forbid perf_event_open)");
    case -EMFILE:
        return nf_fail(rc, "too many open files for %d events on each of the job's threads; raise ulimit -n", EVENTS);
    case -ENOENT:
    case -ENODEV:
    case -EOPNOTSUPP:
    case -ENOSYS:
    case -EINVAL: return nf_fail(rc, "this kernel has no hardware breakpoints of 8 bytes here: %s", strerror(-rc));
    default: return nf_fail(rc, "the kernel refuses a hardware breakpoint: %s", strerror(-rc));
    }
}

static int open_ring(struct nf_watchpoint_ring *r, struct thread *t)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_DUMMY, .task = 1};
    int fd;

    common(r, &attr);
    fd = perf_event_open(&attr, t->tid);
    if (fd < 0)
        return fd == -ESRCH ? fd : refuse(fd);
    t->ring_fd = fd;
    for (;; r->ring_bytes /= 2) {
        void *map = mmap(NULL, page + r->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (map != MAP_FAILED) {
            t->page = map;
            t->bytes = r->ring_bytes;
            return 0;
        }
        if (errno != EPERM || r->ring_bytes <= RING_LEAST_BYTES)
            return nf_fail(-errno, "the kernel refuses a perf ring of %llu bytes per thread: %s "
                           "(kernel.perf_event_mlock_kb, ulimit -l)", (unsigned long long)r->ring_bytes, strerror(errno));
    }
}

static int open_breakpoint(struct nf_watchpoint_ring *r, struct thread *t, unsigned i, uint64_t address)
{
    struct perf_event_attr attr = breakpoint(r, i, address);
    int fd = perf_event_open(&attr, t->tid);

    if (fd < 0)
        return fd == -ESRCH ? fd : refuse(fd);
    t->fds[i] = fd;
    t->left[i] = 0;
    t->spent[i] = false;
    if (ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, t->ring_fd) || ioctl(fd, PERF_EVENT_IOC_ID, &t->ids[i]))
        return nf_fail(-errno, "sharing a perf ring: %s", strerror(errno));
    return 0;
}

/* One breakpoint of a thread onto the word, with so many hits allowed. */
static int set(struct nf_watchpoint_ring *r, struct thread *t, unsigned i, uint64_t address, uint64_t limit)
{
    struct perf_event_attr attr = breakpoint(r, i, address);
    int rc = 0;

    if (!r->cannot_move && !t->spent[i] && ioctl(t->fds[i], PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &attr)) {
        if (errno == ESRCH)
            return -ESRCH;
        r->cannot_move = true; /* before Linux 4.17 */
    }
    /* Since Linux 6.16 a breakpoint that was stopped by its limit counts nothing more, enabled or not. */
    if (r->cannot_move || t->spent[i]) {
        close(t->fds[i]);
        t->fds[i] = -1;
        rc = open_breakpoint(r, t, i, address);
    }
    if (rc)
        return rc;
    /* REFRESH adds to what is left and enables. */
    if (t->left[i] < limit)
        rc = ioctl(t->fds[i], PERF_EVENT_IOC_REFRESH, (int)(limit - t->left[i])) ? -errno : 0;
    else
        rc = ioctl(t->fds[i], PERF_EVENT_IOC_ENABLE, 0) ? -errno : 0;
    if (!rc)
        t->left[i] = t->left[i] < limit ? limit : t->left[i];
    return !rc || rc == -ESRCH ? rc : nf_fail(rc, "arming a hardware breakpoint: %s", strerror(-rc));
}

static int set_slot(struct nf_watchpoint_ring *r, struct thread *t, unsigned slot)
{
    /* The one for writes first: a write is never seen without it. */
    int rc = set(r, t, 2 * slot + 1, r->slots[slot].address, r->slots[slot].limit);

    return rc ? rc : set(r, t, 2 * slot, r->slots[slot].address, r->slots[slot].limit);
}

int nf_watchpoint_ring_adopt_thread(struct nf_watchpoint_ring *r, pid_t tid)
{
    struct thread t = {.tid = tid, .ring_fd = -1, .present = true};
    int rc;

    for (unsigned i = 0; i < BREAKPOINTS; i++)
        t.fds[i] = -1;
    rc = open_ring(r, &t);
    for (unsigned i = 0; i < BREAKPOINTS && !rc; i++)
        rc = open_breakpoint(r, &t, i, PARKED);
    for (unsigned s = 0; s < NF_WATCHPOINT_SLOTS && !rc; s++)
        if (r->slots[s].armed)
            rc = set_slot(r, &t, s);
    if (!rc)
        rc = nf_array_push(&r->threads, t);
    if (rc)
        close_thread(&t);
    return rc;
}

/* One of the signal masks in a /proc status file. */
static bool has_trap(const char *status, const char *field)
{
    const char *p = strstr(status, field);

    return p && strtoull(p + strlen(field), NULL, 16) >> (SIGTRAP - 1) & 1;
}

/* May a SIGTRAP come to this thread? 1 yes, 0 no, -ESRCH gone. */
static int survives(pid_t pid, pid_t tid)
{
    char path[64], status[4096];
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
    f = fopen(path, "re");
    n = f ? fread(status, 1, sizeof status - 1, f) : 0;
    if (f)
        fclose(f);
    status[n] = '\0';
    if (!n)
        return -ESRCH;
    return has_trap(status, "\nSigCgt:") && !has_trap(status, "\nSigBlk:");
}

static struct thread *find(struct nf_watchpoint_ring *r, pid_t tid)
{
    for (size_t i = 0; i < r->threads.n; i++)
        if (r->threads.v[i].tid == tid)
            return &r->threads.v[i];
    return NULL;
}

/* A thread that has ended keeps its ring until it was drained once more. */
static void drop_absent(struct nf_watchpoint_ring *r)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->threads.n; i++) {
        struct thread *t = &r->threads.v[i];

        if (!t->present && t->gone) {
            close_thread(t);
            continue;
        }
        t->gone = !t->present;
        r->threads.v[kept++] = *t;
    }
    r->threads.n = kept;
}

/* One reading of the list of threads. *unsafe, *fresh: set when one is. */
static int scan(struct nf_watchpoint_ring *r, pid_t pid, bool *unsafe, bool *fresh)
{
    char path[64];
    struct dirent *entry;
    int rc = 0;
    DIR *tasks;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    tasks = opendir(path);
    *unsafe = *fresh = false;
    for (size_t i = 0; i < r->threads.n; i++)
        r->threads.v[i].present = false;
    while (tasks && !rc && (entry = readdir(tasks))) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        struct thread *t = tid > 0 ? find(r, tid) : NULL;
        int alive = tid > 0 ? survives(pid, tid) : -ESRCH;

        if (alive < 0)
            continue;
        *unsafe |= !alive;
        if (t) {
            t->present = true;
        } else if (r->threads.n >= NF_WATCHPOINT_THREADS_MAX) {
            *unsafe = true;
        } else {
            rc = nf_watchpoint_ring_adopt_thread(r, tid);
            *fresh |= !rc;
            rc = rc == -ESRCH ? 0 : rc;
        }
    }
    if (tasks)
        closedir(tasks);
    return rc;
}

int nf_watchpoint_ring_adopt(struct nf_watchpoint_ring *r, pid_t pid)
{
    bool unsafe = false, fresh = true;
    int rc = 0;

    /* A thread that was not watched yet may have begun another behind the reader's back: until none is new. */
    for (unsigned i = 0; i < SCANS_MAX && fresh && !rc; i++)
        rc = scan(r, pid, &unsafe, &fresh);
    if (!rc)
        drop_absent(r);
    return rc ? rc : unsafe || fresh ? NF_WATCHPOINT_E_UNSAFE : 0;
}

unsigned nf_watchpoint_ring_threads(const struct nf_watchpoint_ring *r)
{
    return (unsigned)r->threads.n;
}

uint64_t nf_watchpoint_ring_hits_max(const struct nf_watchpoint_ring *r)
{
    return r->ring_bytes / RECORD_BYTES / (BREAKPOINTS + 1);
}

int nf_watchpoint_ring_arm(struct nf_watchpoint_ring *r, unsigned slot, uint64_t address, uint64_t limit)
{
    int rc = 0;

    r->slots[slot].armed = true;
    r->slots[slot].address = address;
    r->slots[slot].limit = limit;
    for (size_t i = 0; i < r->threads.n && !rc; i++) {
        rc = set_slot(r, &r->threads.v[i], slot);
        rc = rc == -ESRCH ? 0 : rc;
    }
    return rc;
}

void nf_watchpoint_ring_disarm(struct nf_watchpoint_ring *r, unsigned slot)
{
    r->slots[slot].armed = false;
    for (size_t i = 0; i < r->threads.n; i++)
        for (unsigned k = 2 * slot; k < 2 * slot + 2; k++)
            if (r->threads.v[i].fds[k] >= 0)
                ioctl(r->threads.v[i].fds[k], PERF_EVENT_IOC_DISABLE, 0);
}

/* struct { header; u32 pid, ppid, tid, ptid; u64 time; } of PERF_RECORD_FORK and EXIT. */
struct task_record {
    struct perf_event_header header;
    uint32_t pid, ppid, tid, ptid;
    uint64_t time;
};

/* 1: *out is one, 0: nothing of interest, -EBADMSG. */
static int decode(struct nf_watchpoint_ring *r, struct thread *t, const struct perf_event_header *header,
                  struct nf_watchpoint_record *out)
{
    const struct task_record *task = (const struct task_record *)header;
    struct nf_sample sample;
    uint64_t id = 0;

    *out = (struct nf_watchpoint_record){0};
    switch (header->type) {
    case PERF_RECORD_FORK:
    case PERF_RECORD_EXIT:
        if (header->size < sizeof *task)
            return -EBADMSG;
        out->kind = header->type == PERF_RECORD_FORK ? NF_WATCHPOINT_THREAD : NF_WATCHPOINT_EXIT;
        out->time_ns = task->time;
        out->pid = task->pid;
        out->tid = task->tid;
        /* A new process has no breakpoints and is not the captured one. */
        return header->type == PERF_RECORD_EXIT || task->pid == task->ppid;
    case PERF_RECORD_LOST: out->kind = NF_WATCHPOINT_LOST; return 1;
    case PERF_RECORD_SAMPLE: break;
    default: return 0;
    }
    if (nf_record_decode(&r->layout, header, &sample, &id))
        return -EBADMSG;
    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        if (t->ids[i] != id)
            continue;
        t->left[i] -= t->left[i] > 0;
        t->spent[i] = !t->left[i];
        *out = (struct nf_watchpoint_record){
            .time_ns = sample.time_ns,
            .address = sample.address,
            .ip = sample.ip,
            .pid = sample.pid,
            .tid = sample.tid,
            .cpu = sample.cpu,
            .kind = i % 2 ? NF_WATCHPOINT_WRITE : NF_WATCHPOINT_ACCESS,
            .slot = (uint8_t)(i / 2),
            .kernel = sample.kernel,
        };
        return 1;
    }
    return 0; /* of a breakpoint that was closed since, to be moved */
}

static int drain_thread(struct nf_watchpoint_ring *r, struct thread *t, struct nf_watchpoint_records *out,
                        uint64_t *undecoded)
{
    const char *data = (const char *)t->page + sysconf(_SC_PAGESIZE);
    uint64_t head = __atomic_load_n(&t->page->data_head, __ATOMIC_ACQUIRE), tail = t->page->data_tail;

    while (tail < head) {
        const struct perf_event_header *header = (const void *)(data + (tail & (t->bytes - 1)));
        uint64_t to_end = t->bytes - (tail & (t->bytes - 1));
        struct nf_watchpoint_record record;
        uint16_t size = header->size;
        int rc;

        if (size < sizeof *header || size > head - tail) {
            ++*undecoded;
            tail = head;
            break;
        }
        if (size > to_end) {
            if (nf_array_reserve(&r->record, size))
                return -ENOMEM;
            memcpy(r->record.v, header, to_end);
            memcpy(r->record.v + to_end, data, size - to_end);
            header = (const void *)r->record.v;
        }
        rc = decode(r, t, header, &record);
        *undecoded += rc < 0;
        if (rc > 0 && nf_array_push(&out->list, record))
            return -ENOMEM;
        tail += size;
    }
    __atomic_store_n(&t->page->data_tail, tail, __ATOMIC_RELEASE);
    return 0;
}

int nf_watchpoint_ring_drain(struct nf_watchpoint_ring *r, struct nf_watchpoint_records *out, uint64_t *undecoded)
{
    int rc = 0;

    for (size_t i = 0; i < r->threads.n && !rc; i++)
        rc = drain_thread(r, &r->threads.v[i], out, undecoded);
    return rc;
}
