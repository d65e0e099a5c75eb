#include "capture/source-page-fault.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "capture/perf-probe.h"
#include "capture/perf-record.h"
#include "capture/perf-ring.h"
#include "capture/preload/arena.h"
#include "core/base/error.h"
#include "core/base/log.h"

/* Per CPU. At a million faults a second and 40 bytes each, the session's millisecond of sleep needs 40 KiB; the rest is
 * for a tool that loses its core for a while. */
enum { RING_BYTES = 32 << 20, PAGE_BYTES = 4096, HUGE_BYTES = 2 << 20, EVENTS = 2, BATCH = 1024 };
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct options {
    uint64_t every, page_bytes, min_bytes;
    const char *by;
};

static const struct nf_option options_table[] = {
    {"every", 0, NF_OPTION_U64, offsetof(struct options, every), "OPS", "empty the page table after so many ops (default 1, which 0 means too)"},
    {"page", 0, NF_OPTION_BYTES, offsetof(struct options, page_bytes), "BYTES", "4KiB (default), or 2MiB: coarse and cheap"},
    {"min", 0, NF_OPTION_BYTES, offsetof(struct options, min_bytes), "BYTES", "watch tensors of so many bytes and more (default 64KiB; 1MiB with page=2MiB)"},
    {"by", 0, NF_OPTION_STRING, offsetof(struct options, by), "EVENT", "tracepoint (tells reads from writes; root) or software; default: the best there is"},
    {0},
};

/* A tracepoint of page faults, and where its fields stand in the raw record. */
struct tracepoint {
    uint64_t id;
    unsigned address_at, error_at;
};

struct nf_source {
    struct nf_perf_ring *ring;
    pid_t pid;
    struct nf_record_layout layout;
    bool by_tracepoint, kernel_too;
    struct tracepoint points[EVENTS]; /* user mode, kernel mode */
    uint64_t undecoded;
    /* While draining. */
    nf_sample_sink *sink;
    void *context;
    struct nf_sample batch[BATCH];
    size_t n;
};

static int read_text(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;

    text[n] = '\0';
    if (f)
        fclose(f);
    return n ? 0 : -ENOENT;
}

/* "field:unsigned long address; offset:8; size:8; signed:0;" */
static int field_offset(const char *format, const char *field, unsigned *at)
{
    char pattern[64];
    const char *p;

    snprintf(pattern, sizeof pattern, " %s;", field);
    p = strstr(format, pattern);
    p = p ? strstr(p, "offset:") : NULL;
    return p && sscanf(p, "offset:%u", at) == 1 ? 0 : -ENOENT;
}

static int find_tracepoint(const char *name, struct tracepoint *out)
{
    static const char *const roots[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};
    char path[128], text[4096];

    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        snprintf(path, sizeof path, "%s/events/exceptions/%s/id", roots[i], name);
        if (read_text(path, text, sizeof text))
            continue;
        out->id = strtoull(text, NULL, 10);
        snprintf(path, sizeof path, "%s/events/exceptions/%s/format", roots[i], name);
        if (!read_text(path, text, sizeof text) && !field_offset(text, "address", &out->address_at) &&
            !field_offset(text, "error_code", &out->error_at))
            return 0;
    }
    return -ENOENT;
}

static bool find_tracepoints(struct tracepoint points[EVENTS])
{
    return !find_tracepoint("page_fault_user", &points[0]) && !find_tracepoint("page_fault_kernel", &points[1]);
}

static int probe(char *why, size_t size)
{
    return nf_perf_probe(why, size);
}

/* Does a huge page of a memory file come, and come back after it was dropped, by one fault? */
static int probe_huge_pages(void)
{
    int fd = memfd_create("nearfar-probe", MFD_CLOEXEC), rc = -ENOTSUP;
    char *space = mmap(NULL, 2 * HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *start;

    if (fd >= 0 && space != MAP_FAILED && !ftruncate(fd, HUGE_BYTES)) {
        start = (char *)(((uintptr_t)space + HUGE_BYTES - 1) & ~((uintptr_t)HUGE_BYTES - 1));
        if (mmap(start, HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED &&
            !madvise(start, HUGE_BYTES, MADV_POPULATE_WRITE) && !madvise(start, HUGE_BYTES, MADV_COLLAPSE))
            rc = 0;
    }
    if (space != MAP_FAILED)
        munmap(space, 2 * HUGE_BYTES);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int check(const struct options *given, struct options *o)
{
    *o = *given;
    o->every = o->every ? o->every : 1;
    o->page_bytes = o->page_bytes ? o->page_bytes : PAGE_BYTES;
    if (o->page_bytes != PAGE_BYTES && o->page_bytes != HUGE_BYTES)
        return nf_fail(-EINVAL, "source page-fault: page is 4KiB or 2MiB");
    /* A tensor's last page is its own: a smaller one would fill it with nothing. */
    o->min_bytes = o->min_bytes ? o->min_bytes : o->page_bytes == HUGE_BYTES ? HUGE_BYTES / 2 : 65536;
    if (o->min_bytes < 64)
        return nf_fail(-EINVAL, "source page-fault: min is at least 64 bytes");
    if (o->by && strcmp(o->by, "tracepoint") && strcmp(o->by, "software"))
        return nf_fail(-EINVAL, "source page-fault: by is 'tracepoint' or 'software'");
    return 0;
}

static size_t environment(const void *given, enum nf_pass_kind pass, const char *ring_path, const char **out, size_t max)
{
    static char arena[128];
    struct options o;

    if (pass != NF_PASS_ACCESS || !max || check(given, &o))
        return 0;
    snprintf(arena, sizeof arena, NF_ARENA_ENV "=min=%llu,granule=%llu,every=%llu", (unsigned long long)o.min_bytes,
             (unsigned long long)o.page_bytes, (unsigned long long)o.every);
    out[0] = arena;
    return 1;
}

static void describe(const struct nf_source *s, const struct options *o, struct nf_source_facts *f)
{
    static const char *const names[EVENTS] = {"exceptions:page_fault_user", "exceptions:page_fault_kernel"};

    *f = (struct nf_source_facts){
        .resolution_bytes = (uint32_t)o->page_bytes,
        .boundary_ops = (uint32_t)(o->every < UINT32_MAX ? o->every : UINT32_MAX),
        .rw = s->by_tracepoint ? "observed" : "inferred",
        .sees_all = true,
        .validated = true,
        .n_events = s->by_tracepoint ? EVENTS : 1,
    };
    for (unsigned i = 0; i < f->n_events; i++) {
        struct nf_source_event *e = &f->events[i];

        e->type = s->by_tracepoint ? PERF_TYPE_TRACEPOINT : PERF_TYPE_SOFTWARE;
        e->config = s->by_tracepoint ? s->points[i].id : PERF_COUNT_SW_PAGE_FAULTS;
        e->period = 1;
        e->rw = NF_SAMPLE_RW_UNKNOWN;
        snprintf(e->name, sizeof e->name, "%s", s->by_tracepoint ? names[i] : "page-faults");
        snprintf(e->meaning, sizeof e->meaning, "first touch of a page since the last boundary%s",
                 i ? ", by the kernel for the job" : "");
    }
    snprintf(f->notes, sizeof f->notes, "%s%s",
             s->by_tracepoint ? "a page that was written first may have been read as well"
                              : "one fault of a page is a read or a write as the op's operands say; two are a read, then a "
                                "write",
             s->kernel_too ? "" : "; what the kernel touches for the job is not seen (kernel.perf_event_paranoid > 1)");
}

static int open_source(const void *given, struct nf_source **out, struct nf_source_facts *facts)
{
    struct options o;
    struct nf_source *s;
    char paranoid[32] = "2";
    int rc = check(given, &o);

    *out = NULL;
    if (rc)
        return rc;
    if (o.page_bytes == HUGE_BYTES && probe_huge_pages())
        return nf_fail(-ENOTSUP, "source page-fault: this kernel gives no huge pages to a memory file (needs MADV_COLLAPSE, "
                       "Linux 6.1, and 2 MiB of unfragmented memory); use page=4KiB");
    s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->by_tracepoint = (!o.by || !strcmp(o.by, "tracepoint")) && find_tracepoints(s->points);
    if (o.by && !strcmp(o.by, "tracepoint") && !s->by_tracepoint) {
        free(s);
        return nf_fail(-ENOENT, "source page-fault: the tracepoints exceptions:page_fault_* cannot be read (root, and "
                       "tracefs: mount -t tracefs nodev /sys/kernel/tracing)");
    }
    read_text("/proc/sys/kernel/perf_event_paranoid", paranoid, sizeof paranoid);
    s->kernel_too = s->by_tracepoint || geteuid() == 0 || atoi(paranoid) <= 1;
    describe(s, &o, facts);
    *out = s;
    return 0;
}

static int attach(struct nf_source *s, pid_t pid)
{
    struct perf_event_attr attrs[EVENTS];
    struct nf_perf_ring_options o = {.attrs = attrs, .n_attrs = s->by_tracepoint ? EVENTS : 1, .ring_bytes = RING_BYTES};
    int rc;

    memset(attrs, 0, sizeof attrs);
    for (unsigned i = 0; i < o.n_attrs; i++) {
        attrs[i].type = s->by_tracepoint ? PERF_TYPE_TRACEPOINT : PERF_TYPE_SOFTWARE;
        attrs[i].config = s->by_tracepoint ? s->points[i].id : PERF_COUNT_SW_PAGE_FAULTS;
        attrs[i].sample_period = 1;
        attrs[i].sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME | (s->by_tracepoint ? PERF_SAMPLE_RAW : PERF_SAMPLE_ADDR);
        attrs[i].exclude_kernel = !s->kernel_too;
        attrs[i].exclude_hv = 1;
        /* The ring's clock, so that faults and ops stand in one order. A software event loses nothing by it. */
        attrs[i].use_clockid = 1;
        attrs[i].clockid = CLOCK_MONOTONIC;
    }
    rc = nf_perf_ring_open(&o, pid, &s->ring);
    if (rc)
        return nf_fail_in(rc, "source page-fault");
    s->pid = pid;
    s->layout = nf_record_layout_of(nf_perf_ring_attr(s->ring, 0));
    return 0;
}

static int flush(struct nf_source *s)
{
    int rc = s->n ? s->sink(s->context, s->batch, s->n) : 0;

    s->n = 0;
    return rc;
}

/* Bit 1 of x86's page-fault error code: the access was a write. */
enum { ERROR_WRITE = 2 };

static int on_record(void *context, unsigned event, const struct perf_event_header *header)
{
    struct nf_source *s = context;
    struct nf_sample *sample = &s->batch[s->n];
    const struct tracepoint *point;
    uint32_t size;
    uint64_t error;
    const char *raw;

    if (header->type != PERF_RECORD_SAMPLE)
        return 0;
    if (event >= EVENTS || nf_record_decode(&s->layout, header, sample, NULL)) {
        s->undecoded++;
        return 0;
    }
    if (s->by_tracepoint) {
        point = &s->points[event];
        raw = nf_record_raw(&s->layout, header, &size);
        if (!raw || point->address_at + sizeof sample->address > size || point->error_at + sizeof error > size) {
            s->undecoded++;
            return 0;
        }
        memcpy(&sample->address, raw + point->address_at, sizeof sample->address);
        memcpy(&error, raw + point->error_at, sizeof error);
        sample->rw = error & ERROR_WRITE ? NF_RW_WRITE : NF_RW_READ;
        sample->kernel = event == 1;
    }
    sample->event = (uint16_t)event;
    return ++s->n == BATCH ? flush(s) : 0;
}

static int drain(struct nf_source *s, nf_sample_sink *sink, void *context, uint64_t *complete_ns)
{
    /* A fault stands in its ring before the job runs on: whatever the job said before this moment comes after it. */
    uint64_t now_ns = nf_now_ns();
    int rc;

    s->sink = sink;
    s->context = context;
    rc = nf_perf_ring_drain(s->ring, on_record, s);
    if (!rc)
        rc = flush(s);
    *complete_ns = now_ns;
    return rc;
}

static int count_only(void *context, unsigned event, const struct perf_event_header *header)
{
    return 0;
}

static void totals(const struct nf_source *s, struct nf_source_totals *out)
{
    struct nf_perf_ring_totals t = {0};

    if (s->ring) {
        /* In this order: a child that outlives the job goes on faulting. */
        nf_perf_ring_flush(s->ring);
        nf_perf_ring_drain(s->ring, count_only, NULL);
        nf_perf_ring_totals(s->ring, &t);
    }
    /* Every fault is counted and, with a period of 1, sampled: once the job is gone and its rings are empty, what is missing
     * was lost, said so or not. */
    if (t.counted > t.delivered && t.counted - t.delivered > t.lost && kill(s->pid, 0) && errno == ESRCH)
        t.lost = t.counted - t.delivered;
    *out = (struct nf_source_totals){.lost = t.lost, .throttled = t.throttled, .undecoded = s->undecoded};
}

static struct nf_source *close_source(struct nf_source *s)
{
    if (s)
        nf_perf_ring_close(s->ring);
    free(s);
    return NULL;
}

const struct nf_source_ops nf_source_page_fault = {
    .abi = NF_SOURCE_ABI,
    .name = "page-fault",
    .about = "the page table is emptied at op boundaries; each first touch of a page faults and is seen",
    .evidence = NF_ACCESS_PAGE_FAULT,
    .options = options_table,
    .options_size = sizeof(struct options),
    .probe = probe,
    .environment = environment,
    .open = open_source,
    .attach = attach,
    .drain = drain,
    .totals = totals,
    .close = close_source,
};
