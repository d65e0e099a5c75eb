/* Rings of the kernel's sampling events, on real children: what is counted was delivered or is said to be lost. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <pthread.h>

#include <cmocka.h>

#include "capture/perf-record.h"
#include "capture/perf-ring.h"
#include "core/base/error.h"

/* libperf (of Linux 6.1) keeps an event's table of ids and its maps when it is deleted: some hundred bytes a ring. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:perf_evsel__alloc_id\nleak:perf_thread_map__\nleak:perf_cpu_map__\n";
}

enum { PAGE = 4096, PAGES = 4096, EVENTS = 2 };

static struct nf_perf_ring *ring;
static int go[2];

/* Events of ours: page faults, and of the same faults those that needed no disk. */
static const struct perf_event_attr attrs[EVENTS] = {
    {.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_PAGE_FAULTS, .sample_period = 1,
     .sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR, .exclude_kernel = 1, .exclude_hv = 1},
    {.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_PAGE_FAULTS_MIN, .sample_period = 1,
     .sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR, .exclude_kernel = 1, .exclude_hv = 1},
};

/* Touches `rounds` times all of its pages, each a fault. */
static void flood(int rounds)
{
    char *p = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    madvise(p, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE);
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < PAGES; i++)
            ((volatile char *)p)[(size_t)i * PAGE] = 1;
        madvise(p, (size_t)PAGES * PAGE, MADV_DONTNEED);
    }
}

static void *flood_thread(void *rounds)
{
    flood((int)(intptr_t)rounds);
    return NULL;
}

/* What this program does when it is run as the watched job: enable_on_exec needs an exec. */
static int watched(const char *what)
{
    pthread_t t[2];
    pid_t child;

    if (!strcmp(what, "flood")) {
        flood(60);
        return 0;
    }
    if (!strcmp(what, "short")) {
        flood(2);
        return 0;
    }
    /* In two threads and in two children, one of them a child's child. */
    for (int i = 0; i < 2; i++)
        if (pthread_create(&t[i], NULL, flood_thread, (void *)(intptr_t)2))
            return 1;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    child = fork();
    if (!child) {
        flood(2);
        child = fork();
        if (!child) {
            flood(2);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return 0;
}

static pid_t start(const char *what, unsigned n_attrs, size_t bytes)
{
    struct nf_perf_ring_options o = {.attrs = attrs, .n_attrs = n_attrs, .ring_bytes = bytes};
    char byte;
    pid_t pid;
    int rc;

    assert_int_equal(pipe(go), 0);
    pid = fork();
    if (!pid) {
        /* A leak sanitizer looks around from a process of its own, which would be counted too. */
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
        if (read(go[0], &byte, 1) == 1)
            execl("/proc/self/exe", "watched", what, NULL);
        _exit(127);
    }
    rc = nf_perf_ring_open(&o, pid, &ring);
    if (rc) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(go[0]);
        close(go[1]);
        print_message("%s\n", nf_error_text(rc));
        skip();
    }
    assert_int_equal(write(go[1], "", 1), 1);
    close(go[0]);
    close(go[1]);
    return pid;
}

struct tally {
    uint64_t samples[EVENTS], others, unordered, last_ns, pids, tids;
    struct nf_record_layout layout;
    uint32_t pid[8], tid[8];
};

static uint64_t note(uint32_t *known, uint64_t n, uint32_t id)
{
    for (uint64_t i = 0; i < n; i++)
        if (known[i] == id)
            return n;
    if (n < 8)
        known[n] = id;
    return n < 8 ? n + 1 : n;
}

static int on_record(void *context, unsigned event, const struct perf_event_header *header)
{
    struct tally *t = context;
    struct nf_sample sample;

    if (header->type != PERF_RECORD_SAMPLE) {
        t->others++;
        return 0;
    }
    assert_true(event < EVENTS);
    assert_int_equal(nf_record_decode(&t->layout, header, &sample, NULL), 0);
    t->samples[event]++;
    t->pids = note(t->pid, t->pids, sample.pid);
    t->tids = note(t->tid, t->tids, sample.tid);
    return 0;
}

/* Reads until the job has ended, now and then not for a while. */
static struct nf_perf_ring_totals follow(pid_t pid, struct tally *t, unsigned pause_us)
{
    struct nf_perf_ring_totals totals;
    int status = -1;
    bool ended = false;

    *t = (struct tally){.layout = nf_record_layout_of(nf_perf_ring_attr(ring, 0))};
    while (!ended) {
        ended = waitpid(pid, &status, WNOHANG) == pid;
        assert_int_equal(nf_perf_ring_drain(ring, on_record, t), 0);
        if (!ended && pause_us)
            usleep(pause_us);
    }
    assert_int_equal(status, 0);
    assert_int_equal(nf_perf_ring_flush(ring), 0);
    assert_int_equal(nf_perf_ring_drain(ring, on_record, t), 0);
    nf_perf_ring_totals(ring, &totals);
    return totals;
}

static int teardown(void **state)
{
    ring = nf_perf_ring_close(ring);
    return 0;
}

/* A reader that is never far behind: it looks while records arrive, all the time. */
static void nothing_is_skipped(void **state)
{
    struct tally t;
    struct nf_perf_ring_totals totals = follow(start("flood", 1, 8 << 20), &t, 0);

    assert_true(totals.counted >= 60 * PAGES);
    assert_int_equal(totals.delivered, t.samples[0]);
    assert_int_equal(totals.delivered + totals.lost, totals.counted);
}

static void pauses_lose_nothing_that_is_not_counted(void **state)
{
    struct tally t;
    struct nf_perf_ring_totals totals = follow(start("flood", 1, 1 << 20), &t, 3000);

    assert_int_equal(totals.delivered + totals.lost, totals.counted);
    assert_int_equal(totals.delivered, t.samples[0]);
}

/* A ring of a few pages, over whose end records wrap all the time, and a reader that sleeps. */
static void a_tiny_ring_loses_and_says_so(void **state)
{
    struct tally t;
    pid_t pid = start("flood", 1, 4 * PAGE);
    struct nf_perf_ring_totals totals;

    assert_int_equal(nf_perf_ring_bytes(ring), 4 * PAGE);
    totals = follow(pid, &t, 50000); /* machines there are whose faults take 10 us: some hundred in a few milliseconds */
    assert_true(totals.lost > 1000);
    assert_true(t.samples[0] > 100);
    assert_int_equal(totals.delivered + totals.lost, totals.counted);
}

/* All faults of such a job are minor: both events see each. */
static void two_events_are_told_apart(void **state)
{
    struct tally t;
    struct nf_perf_ring_totals totals = follow(start("short", 2, 8 << 20), &t, 100);

    assert_true(t.samples[1] >= 2 * PAGES);
    assert_true(t.samples[0] >= t.samples[1] && t.samples[0] - t.samples[1] < 200);
    assert_int_equal(totals.lost, 0);
    assert_int_equal(t.samples[0] + t.samples[1], totals.counted);
}

static void threads_and_children_are_seen(void **state)
{
    struct tally t;
    struct nf_perf_ring_totals totals = follow(start("family", 1, 8 << 20), &t, 100);

    assert_int_equal(t.pids, 3);
    assert_int_equal(t.tids, 5);
    assert_true(t.samples[0] >= 8 * PAGES);
    assert_int_equal(totals.delivered + totals.lost, totals.counted);
}

#define T(name) cmocka_unit_test_teardown(name, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(nothing_is_skipped), T(pauses_lose_nothing_that_is_not_counted), T(a_tiny_ring_loses_and_says_so),
        T(two_events_are_told_apart), T(threads_and_children_are_seen),
    };

    if (argc > 1)
        return watched(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
