#include "capture/perf-probe.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <perf/core.h>
#include <perf/cpumap.h>
#include <perf/event.h>
#include <perf/evlist.h>
#include <perf/evsel.h>
#include <perf/mmap.h>
#include <perf/threadmap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGES = 16, PAGE_BYTES = 4096, RING_PAGES = 8 };

static int silent(enum libperf_print_level level, const char *fmt, va_list ap)
{
    return 0;
}

static unsigned count_samples(struct perf_evlist *list)
{
    struct perf_mmap *map;
    unsigned n = 0;

    perf_evlist__for_each_mmap(list, map, false) {
        union perf_event *event;

        if (perf_mmap__read_init(map) < 0)
            continue;
        while ((event = perf_mmap__read_event(map))) {
            n += event->header.type == PERF_RECORD_SAMPLE;
            perf_mmap__consume(map);
        }
        perf_mmap__read_done(map);
    }
    return n;
}

int nf_perf_probe(char *text, size_t size)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE,
        .config = PERF_COUNT_SW_PAGE_FAULTS,
        .size = sizeof attr,
        .sample_period = 1,
        .sample_type = PERF_SAMPLE_ADDR,
        .exclude_kernel = 1,
        .disabled = 1,
    };
    struct perf_thread_map *threads;
    struct perf_cpu_map *cpus;
    struct perf_evlist *list;
    struct perf_evsel *event;
    unsigned samples;
    int rc = -ENOMEM;
    char *pages;

    libperf_init(silent);
    threads = perf_thread_map__new_dummy();
    cpus = perf_cpu_map__dummy_new();
    list = perf_evlist__new();
    event = perf_evsel__new(&attr);
    if (!threads || !cpus || !list || !event)
        goto out;
    perf_thread_map__set_pid(threads, 0, 0);
    perf_evlist__add(list, event);
    perf_evlist__set_maps(list, cpus, threads);
    rc = perf_evlist__open(list);
    if (rc) {
        snprintf(text, size, "the kernel refuses a perf event: %s (kernel.perf_event_paranoid, CAP_PERFMON)",
                 strerror(-rc));
        goto out;
    }
    rc = perf_evlist__mmap(list, RING_PAGES);
    if (rc) {
        snprintf(text, size, "the kernel refuses a perf ring: %s (kernel.perf_event_mlock_kb)", strerror(-rc));
        perf_evlist__close(list);
        goto out;
    }
    pages = mmap(NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    perf_evlist__enable(list);
    for (size_t i = 0; pages != MAP_FAILED && i < PAGES; i++)
        *(volatile char *)(pages + i * PAGE_BYTES) = 1;
    perf_evlist__disable(list);
    samples = count_samples(list);
    if (pages != MAP_FAILED)
        munmap(pages, PAGES * PAGE_BYTES);
    perf_evlist__munmap(list);
    perf_evlist__close(list);
    rc = samples ? 0 : -ENODATA;
    if (samples)
        snprintf(text, size, "perf's ring delivers samples (%u page faults of %d touched pages)", samples, PAGES);
    else
        snprintf(text, size, "the perf event opened but delivered no sample");
out:
    perf_evlist__delete(list);
    perf_thread_map__put(threads);
    perf_cpu_map__put(cpus);
    return rc;
}
