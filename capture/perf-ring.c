#include "capture/perf-ring.h"

#include <errno.h>
#include <limits.h>
#include <perf/core.h>
#include <perf/cpumap.h>
#include <perf/event.h>
#include <perf/evlist.h>
#include <perf/evsel.h>
#include <perf/mmap.h>
#include <perf/threadmap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/error.h"

struct id {
    uint64_t id;
    unsigned event;
};

struct nf_perf_ring {
    struct perf_thread_map *threads;
    struct perf_cpu_map *cpus;
    struct perf_evlist *list;
    struct perf_evsel **events;
    unsigned n_events, n_cpus;
    struct id *ids; /* sorted; one per event and CPU */
    size_t n_ids;
    size_t ring_bytes;
    struct nf_perf_ring_totals totals;
    bool mapped, opened;
    bool reads_lost; /* the kernel counts the lost by event */
};

static int silent(enum libperf_print_level level, const char *fmt, va_list ap)
{
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const struct id *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int paranoid_level(void)
{
    FILE *f = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
    int level = INT_MAX;

    if (f && fscanf(f, "%d", &level) != 1)
        level = INT_MAX;
    if (f)
        fclose(f);
    return level;
}

static int refuse(int rc, const struct perf_event_attr *attr)
{
    switch (rc) {
    case -EACCES:
    case -EPERM:
        return nf_fail(rc, "the kernel refuses the event to this user (kernel.perf_event_paranoid is %d; it takes root, "
                       "CAP_PERFMON, or a lower level)", paranoid_level());
    case -ENOENT:
    case -ENODEV:
    case -EOPNOTSUPP:
        return nf_fail(rc, "this machine has no such event (perf type %u, config 0x%llx)", attr->type,
                       (unsigned long long)attr->config);
    case -EMFILE:
        return nf_fail(rc, "too many open files for one perf event per CPU; raise ulimit -n");
    default: return nf_fail(rc, "the kernel refuses the event: %s", strerror(-rc));
    }
}

static int add_events(struct nf_perf_ring *r, const struct nf_perf_ring_options *o)
{
    r->events = calloc(o->n_attrs, sizeof *r->events);
    if (!r->events)
        return -ENOMEM;
    for (; r->n_events < o->n_attrs; r->n_events++) {
        struct perf_event_attr attr = o->attrs[r->n_events];

        attr.size = sizeof attr;
        /* The id comes first in every record, so that several events can share a ring. */
        attr.sample_type |= PERF_SAMPLE_IDENTIFIER;
        attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING | PERF_FORMAT_ID |
                           PERF_FORMAT_LOST;
        attr.inherit = 1;
        attr.disabled = !o->group || !r->n_events;
        attr.enable_on_exec = attr.disabled;
        r->events[r->n_events] = perf_evsel__new(&attr);
        if (!r->events[r->n_events])
            return -ENOMEM;
        perf_evlist__add(r->list, r->events[r->n_events]);
    }
    if (o->group)
        perf_evlist__set_leader(r->list);
    return 0;
}

/* Before Linux 6.0 the lost are told by records alone. */
static int open_events(struct nf_perf_ring *r)
{
    int rc = perf_evlist__open(r->list);

    r->reads_lost = !rc;
    if (rc == -EINVAL) {
        for (unsigned e = 0; e < r->n_events; e++)
            perf_evsel__attr(r->events[e])->read_format &= ~(uint64_t)PERF_FORMAT_LOST;
        rc = perf_evlist__open(r->list);
    }
    return rc;
}

/* A smaller ring may still fit what kernel.perf_event_mlock_kb allows an ordinary user. */
static int map_rings(struct nf_perf_ring *r, size_t wanted)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = 1;
    int rc;

    while (pages * 2 * page <= wanted)
        pages *= 2;
    for (;; pages /= 2) {
        rc = perf_evlist__mmap(r->list, (int)pages);
        if (!rc || (rc != -EPERM && rc != -ENOMEM) || pages < 16)
            break;
    }
    r->ring_bytes = pages * page;
    r->mapped = !rc;
    if (rc)
        return nf_fail(rc, "the kernel refuses a perf ring of %zu bytes per CPU: %s (kernel.perf_event_mlock_kb, ulimit -l)",
                       pages * page, strerror(-rc));
    return 0;
}

static int learn_ids(struct nf_perf_ring *r)
{
    r->ids = calloc((size_t)r->n_events * r->n_cpus, sizeof *r->ids);
    if (!r->ids)
        return -ENOMEM;
    for (unsigned e = 0; e < r->n_events; e++) {
        for (unsigned c = 0; c < r->n_cpus; c++) {
            struct perf_counts_values values;
            int rc = perf_evsel__read(r->events[e], (int)c, 0, &values);

            if (rc)
                return nf_fail(rc, "reading a perf event: %s", strerror(-rc));
            r->ids[r->n_ids++] = (struct id){values.id, e};
        }
    }
    qsort(r->ids, r->n_ids, sizeof *r->ids, by_id);
    return 0;
}

int nf_perf_ring_open(const struct nf_perf_ring_options *o, pid_t pid, struct nf_perf_ring **out)
{
    struct nf_perf_ring *r = calloc(1, sizeof *r);
    int rc = -ENOMEM;

    *out = NULL;
    if (!r)
        return -ENOMEM;
    libperf_init(silent);
    r->threads = perf_thread_map__new_dummy();
    r->cpus = perf_cpu_map__new(NULL); /* all that are online */
    r->list = perf_evlist__new();
    if (r->threads && r->cpus && r->list) {
        r->n_cpus = (unsigned)perf_cpu_map__nr(r->cpus);
        perf_thread_map__set_pid(r->threads, 0, pid);
        rc = add_events(r, o);
    }
    if (!rc) {
        perf_evlist__set_maps(r->list, r->cpus, r->threads);
        rc = open_events(r);
        r->opened = !rc;
        if (rc)
            rc = refuse(rc, &o->attrs[0]);
    }
    if (!rc)
        rc = map_rings(r, o->ring_bytes);
    if (!rc)
        rc = learn_ids(r);
    if (rc)
        nf_perf_ring_close(r);
    else
        *out = r;
    return rc;
}

struct nf_perf_ring *nf_perf_ring_close(struct nf_perf_ring *r)
{
    if (!r)
        return NULL;
    if (r->mapped)
        perf_evlist__munmap(r->list);
    if (r->opened)
        perf_evlist__close(r->list);
    perf_evlist__delete(r->list); /* with its events */
    perf_cpu_map__put(r->cpus);
    perf_thread_map__put(r->threads);
    free(r->events);
    free(r->ids);
    free(r);
    return NULL;
}

static unsigned event_of(const struct nf_perf_ring *r, uint64_t id)
{
    const struct id key = {.id = id}, *found;

    if (r->n_events == 1)
        return 0;
    found = bsearch(&key, r->ids, r->n_ids, sizeof *r->ids, by_id);
    return found ? found->event : UINT_MAX;
}

/* One record. Its bookkeeping kinds are counted, the rest handed on. */
static int take(struct nf_perf_ring *r, const union perf_event *event,
                int (*record)(void *, unsigned, const struct perf_event_header *), void *context)
{
    const struct perf_event_header *header = (const struct perf_event_header *)&event->header;
    uint64_t words[2];

    switch (header->type) {
    case PERF_RECORD_LOST:
        if (header->size >= sizeof *header + sizeof words) {
            memcpy(words, header + 1, sizeof words);
            r->totals.lost += words[1];
        }
        return 0;
    case PERF_RECORD_LOST_SAMPLES:
        if (header->size >= sizeof *header + sizeof *words) {
            memcpy(words, header + 1, sizeof *words);
            r->totals.lost += words[0];
        }
        return 0;
    case PERF_RECORD_THROTTLE: r->totals.throttled++; return 0;
    case PERF_RECORD_UNTHROTTLE: return 0;
    case PERF_RECORD_SAMPLE:
        if (header->size < sizeof *header + sizeof *words)
            return 0;
        memcpy(words, header + 1, sizeof *words);
        r->totals.delivered++;
        return record(context, event_of(r, words[0]), header);
    default: return record(context, UINT_MAX, header);
    }
}

int nf_perf_ring_drain(struct nf_perf_ring *r, int (*record)(void *, unsigned, const struct perf_event_header *),
                       void *context)
{
    /* The kernel gets room back in pieces: returning it record by record costs a barrier each, all at once starves it. */
    enum { RECORDS_AT_ONCE = 512 };
    struct perf_mmap *map;
    int rc = 0;

    perf_evlist__for_each_mmap(r->list, map, false) {
        union perf_event *event;
        unsigned n = 0;

        if (rc)
            break;
        if (perf_mmap__read_init(map) < 0)
            continue;
        while (!rc && (event = perf_mmap__read_event(map))) {
            rc = take(r, event, record, context);
            if (++n % RECORDS_AT_ONCE == 0)
                perf_mmap__consume(map);
        }
        perf_mmap__consume(map);
        /* No perf_mmap__read_done: it moves on to the ring's head as it is by then, and what was written since the last
         * look would be skipped without a trace (measured: 45 of a million page faults). */
    }
    return rc;
}

int nf_perf_ring_flush(struct nf_perf_ring *r)
{
    r->totals.counted = 0;
    for (unsigned e = 0; e < r->n_events; e++) {
        for (unsigned c = 0; c < r->n_cpus; c++) {
            struct perf_counts_values values;
            int rc = perf_evsel__read(r->events[e], (int)c, 0, &values);

            if (rc)
                return nf_fail(rc, "reading a perf event: %s", strerror(-rc));
            r->totals.counted += values.val;
        }
    }
    return 0;
}

size_t nf_perf_ring_bytes(const struct nf_perf_ring *r)
{
    return r->ring_bytes;
}

void nf_perf_ring_totals(const struct nf_perf_ring *r, struct nf_perf_ring_totals *out)
{
    uint64_t lost = 0;

    *out = r->totals;
    /* The kernel writes a LOST record in front of the next one that fits: what is lost at the end has none. */
    for (unsigned e = 0; r->reads_lost && e < r->n_events; e++) {
        for (unsigned c = 0; c < r->n_cpus; c++) {
            struct perf_counts_values values = {0};

            if (!perf_evsel__read(r->events[e], (int)c, 0, &values))
                lost += values.lost;
        }
    }
    if (lost > out->lost)
        out->lost = lost;
}

const struct perf_event_attr *nf_perf_ring_attr(const struct nf_perf_ring *r, unsigned event)
{
    return perf_evsel__attr(r->events[event]);
}
