/* Does this libperf deliver? Counts page faults of this thread through its ring buffer and holds them against the pages
 * that were touched. Exit 0: yes, 1: no, 77: the kernel does not let this user open events. */
#include <errno.h>
#include <linux/perf_event.h>
#include <perf/core.h>
#include <perf/cpumap.h>
#include <perf/event.h>
#include <perf/evlist.h>
#include <perf/evsel.h>
#include <perf/mmap.h>
#include <perf/threadmap.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 200, RING_PAGES = 64 };

static int print(enum libperf_print_level level, const char *format, va_list arguments)
{
    return level <= LIBPERF_WARN ? vfprintf(stderr, format, arguments) : 0;
}

/* Faults in [memory, memory + size) found in the ring. */
static unsigned read_ring(struct perf_evlist *events, uintptr_t memory, size_t size)
{
    struct perf_mmap *map;
    unsigned found = 0;

    perf_evlist__for_each_mmap(events, map, false) {
        union perf_event *event;

        if (perf_mmap__read_init(map) < 0)
            continue;
        while ((event = perf_mmap__read_event(map))) {
            if (event->header.type == PERF_RECORD_SAMPLE) {
                uint64_t address;

                memcpy(&address, event->sample.array, sizeof address); /* the only field asked for */
                found += address - memory < size;
            }
            perf_mmap__consume(map);
        }
        perf_mmap__read_done(map);
    }
    return found;
}

int main(void)
{
    long page = sysconf(_SC_PAGESIZE);
    size_t size = PAGES * (size_t)page;
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_PAGE_FAULTS, .sample_period = 1,
        .sample_type = PERF_SAMPLE_ADDR, .disabled = 1, .exclude_kernel = 1,
    };

    libperf_init(print);
    struct perf_thread_map *threads = perf_thread_map__new_dummy();
    struct perf_cpu_map *cpus = perf_cpu_map__dummy_new();
    struct perf_evlist *events = perf_evlist__new();
    struct perf_evsel *faults = perf_evsel__new(&attr);
    if (!threads || !cpus || !events || !faults)
        return 1;
    perf_thread_map__set_pid(threads, 0, 0);
    perf_evlist__add(events, faults);
    perf_evlist__set_maps(events, cpus, threads);

    int rc = perf_evlist__open(events);
    if (rc == -EACCES || rc == -EPERM || rc == -ENOSYS) {
        fprintf(stderr, "libperf: built, but events cannot be opened here: %s\n", strerror(-rc));
        return 77;
    }
    if (rc || (rc = perf_evlist__mmap(events, RING_PAGES))) {
        fprintf(stderr, "libperf: opening a page-fault event: %s\n", strerror(-rc));
        return 1;
    }

    volatile char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    madvise((void *)memory, size, MADV_NOHUGEPAGE);
    perf_evlist__enable(events);
    for (size_t i = 0; i < size; i += (size_t)page)
        memory[i] = 1;
    perf_evlist__disable(events);

    unsigned found = read_ring(events, (uintptr_t)memory, size);
    if (found != PAGES)
        fprintf(stderr, "libperf: %u page faults expected, %u sampled\n", PAGES, found);
    perf_evlist__delete(events); /* with its events and their ring; the maps it was given are ours */
    perf_cpu_map__put(cpus);
    perf_thread_map__put(threads);
    return found == PAGES ? 0 : 1;
}
