/* The verbs of the sampling sources on a real kernel, with software events in place of a CPU's: addresses, threads,
 * children, times, losses, groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "capture/perf-probe.h"
#include "capture/pmu-sampler.h"
#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "tests/unit/pmu-job.h"

enum { PAGES = 300, CLOCK_PERIOD_NS = 100000, PATIENCE_NS = 2000000000 };
static const uint64_t fields = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
                               PERF_SAMPLE_ADDR | PERF_SAMPLE_CPU;

static void add(struct nf_pmu_plan *p, uint64_t config, uint64_t period, uint8_t rw)
{
    p->attrs[p->n] = (struct perf_event_attr){
        .type = PERF_TYPE_SOFTWARE, .config = config, .size = sizeof *p->attrs, .sample_period = period,
        .sample_type = fields, .exclude_kernel = 1, .exclude_hv = 1, .watermark = 1,
    };
    p->events[p->n++] = (struct nf_source_event){.type = PERF_TYPE_SOFTWARE, .config = config, .period = period, .rw = rw};
}

/* In the shape of a plan for Sapphire Rapids: a counted leader and the event it stands in front of, then another. */
static void substitute(struct nf_pmu_plan *p, size_t ring_bytes)
{
    *p = (struct nf_pmu_plan){.ring_bytes = ring_bytes};
    add(p, PERF_COUNT_SW_DUMMY, 0, NF_SAMPLE_RW_UNKNOWN);
    add(p, PERF_COUNT_SW_PAGE_FAULTS, 1, NF_RW_WRITE);
    p->grouped = 2;
    add(p, PERF_COUNT_SW_CPU_CLOCK, CLOCK_PERIOD_NS, NF_SAMPLE_RW_UNKNOWN);
}

struct take {
    NF_ARRAY(struct nf_sample) samples;
    uint64_t complete_ns;    /* of the drain before: what comes now must not be older */
    uint64_t early;          /* older than that, all the same */
    int rc;                  /* to return */
};

static int sink(void *context, const struct nf_sample *s, size_t n)
{
    struct take *t = context;

    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        t->early += s[i].time_ns < t->complete_ns;
        assert_int_equal(nf_array_push(&t->samples, s[i]), 0);
    }
    return t->rc;
}

static void drain(struct nf_source *s, struct take *t)
{
    uint64_t complete = 0;

    assert_int_equal(nf_pmu_sampler_drain(s, sink, t, &complete), 0);
    assert_true(complete >= t->complete_ns);
    assert_true(complete <= nf_now_ns());
    t->complete_ns = complete;
}

static void drain_until_ended(struct nf_source *s, struct pmu_job *j, struct take *t)
{
    uint64_t start = nf_now_ns();

    while (!pmu_job_ended(j)) {
        drain(s, t);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        assert_true(nf_now_ns() - start < 20ull * PATIENCE_NS);
    }
    drain(s, t);
}

/* Each page of the part was seen once, at its address, by its thread, in its time. */
static void check_part(const struct take *t, const struct pmu_job_part *part, uint64_t slack_ns, const char *name)
{
    uint8_t *seen = calloc(part->pages, 1);
    uint64_t n = 0;

    assert_int_equal(part->pages, PAGES);
    for (size_t i = 0; i < t->samples.n; i++) {
        const struct nf_sample *s = &t->samples.v[i];
        uint64_t page = (s->address - part->address) / PMU_JOB_PAGE;

        /* The forked child has its own pages at addresses that the parent may use too, later. */
        if (s->event != 1 || s->address < part->address || page >= part->pages || s->pid != part->pid)
            continue;
        if (s->address % PMU_JOB_PAGE != page % PMU_JOB_PAGE || s->tid != part->tid || seen[page]++)
            fail_msg("%s: page %llu at %llx by %u, or again", name, (unsigned long long)page,
                     (unsigned long long)s->address, s->tid);
        if (s->time_ns + slack_ns < part->from_ns || s->time_ns > part->to_ns + slack_ns)
            fail_msg("%s: page %llu at %llu, not from %llu to %llu", name, (unsigned long long)page,
                     (unsigned long long)s->time_ns, (unsigned long long)part->from_ns, (unsigned long long)part->to_ns);
        assert_int_equal(s->rw, NF_RW_WRITE); /* the event says so */
        assert_int_equal(s->period, 1);
        assert_int_equal(s->kernel, 0);
        assert_true(s->ip && s->cpu != UINT32_MAX);
        n++;
    }
    free(seen);
    if (n != part->pages)
        fail_msg("%s: %llu of %llu pages", name, (unsigned long long)n, (unsigned long long)part->pages);
}

static void open_or_skip(const struct nf_pmu_plan *p, struct nf_source **s, struct pmu_job *j, uint64_t pages, uint64_t spin)
{
    int rc;

    assert_int_equal(nf_pmu_sampler_open(p, s), 0);
    pmu_job_start(j, pages, spin);
    rc = nf_pmu_sampler_attach(*s, j->pid);
    if (rc) {
        print_message("%s\n", nf_error_text(rc));
        nf_pmu_sampler_close(*s);
        pmu_job_end(j);
        skip();
    }
    pmu_job_go(j);
}

static void test_threads_and_children(void **state)
{
    static const char *const names[PMU_JOB_PARTS] = {"main", "thread", "child"};
    struct nf_pmu_sampler_state st;
    struct nf_source_totals totals;
    struct nf_pmu_plan p;
    struct nf_source *s;
    struct take t = {0};
    struct pmu_job j;
    size_t ticks = 0;

    substitute(&p, 1 << 20);
    open_or_skip(&p, &s, &j, PAGES, 30000000);
    drain_until_ended(s, &j, &t);
    nf_pmu_sampler_totals(s, &totals);
    nf_pmu_sampler_state(s, &st);
    assert_int_equal(totals.lost, 0);
    assert_int_equal(totals.undecoded, 0);
    assert_int_equal(t.early, 0);
    assert_int_equal(st.not_memory, 0);
    assert_true(st.ring_bytes > 0);
    print_message("clock by %s, error within %llu ns; %zu samples\n", st.by_tsc ? "its page" : "page faults",
                  (unsigned long long)st.clock_error_ns, t.samples.n);
    assert_true(st.clock_error_ns < 1000000);
    for (int i = 0; i < PMU_JOB_PARTS; i++)
        check_part(&t, &j.report->parts[i], st.clock_error_ns, names[i]);
    assert_true(j.report->parts[PMU_JOB_THREAD].tid != j.report->parts[PMU_JOB_MAIN].tid);
    assert_true(j.report->parts[PMU_JOB_CHILD].pid != j.report->parts[PMU_JOB_MAIN].pid);
    for (size_t i = 0; i < t.samples.n; i++) {
        ticks += t.samples.v[i].event == 2;
        assert_true(t.samples.v[i].event == 1 || t.samples.v[i].event == 2);
        if (t.samples.v[i].event == 2)
            assert_int_equal(t.samples.v[i].period, CLOCK_PERIOD_NS);
    }
    assert_true(ticks > 30); /* of 300 in 30 ms; a host that is busy delivers fewer */
    nf_array_free(&t.samples);
    nf_pmu_sampler_close(s);
    pmu_job_end(&j);
}

/* Nobody drains, the ring is small: what does not fit is counted, to the last one. */
static void test_lost(void **state)
{
    enum { MANY = 20000 };
    struct nf_source_totals totals;
    struct nf_pmu_plan p = {.ring_bytes = 4096};
    struct nf_source *s;
    struct take t = {0};
    struct pmu_job j;
    uint64_t start = nf_now_ns(), touched;

    add(&p, PERF_COUNT_SW_PAGE_FAULTS, 1, NF_RW_WRITE);
    open_or_skip(&p, &s, &j, MANY, 0);
    while (!pmu_job_ended(&j)) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        assert_true(nf_now_ns() - start < 20ull * PATIENCE_NS);
    }
    drain(s, &t);
    drain(s, &t);
    nf_pmu_sampler_totals(s, &totals);
    touched = 3 * MANY;
    print_message("%zu samples, %llu lost of at least %llu\n", t.samples.n, (unsigned long long)totals.lost,
                  (unsigned long long)touched);
    assert_true(totals.lost > 0);
    /* The program's own start-up faults too: a few hundred, thousands under a sanitizer. */
    assert_true(t.samples.n + totals.lost >= touched * 99 / 100);
    assert_true(t.samples.n + totals.lost <= touched + 30000);
    nf_array_free(&t.samples);
    nf_pmu_sampler_close(s);
    pmu_job_end(&j);
}

/* As IBS does: samples of instructions that touch no memory are left out and counted. */
static void test_not_memory(void **state)
{
    struct nf_pmu_sampler_state st;
    struct nf_pmu_plan p = {.ring_bytes = 1 << 20, .only_accesses = true};
    struct nf_source *s;
    struct take t = {0};
    struct pmu_job j;

    add(&p, PERF_COUNT_SW_CPU_CLOCK, CLOCK_PERIOD_NS, NF_SAMPLE_RW_UNKNOWN);
    add(&p, PERF_COUNT_SW_PAGE_FAULTS, 1, NF_SAMPLE_RW_UNKNOWN);
    p.attrs[0].sample_type &= ~(uint64_t)PERF_SAMPLE_ADDR;
    open_or_skip(&p, &s, &j, PAGES, 20000000);
    drain_until_ended(s, &j, &t);
    nf_pmu_sampler_state(s, &st);
    assert_true(st.not_memory > 20);
    assert_true(t.samples.n >= 3 * PAGES);
    for (size_t i = 0; i < t.samples.n; i++) {
        assert_int_equal(t.samples.v[i].event, 1);
        assert_true(t.samples.v[i].address);
        assert_int_equal(t.samples.v[i].rw, NF_SAMPLE_RW_UNKNOWN);
    }
    nf_array_free(&t.samples);
    nf_pmu_sampler_close(s);
    pmu_job_end(&j);
}

static void test_sink_refuses(void **state)
{
    struct nf_pmu_plan p = {.ring_bytes = 1 << 20};
    struct nf_source *s;
    struct take t = {.rc = -ENOSPC};
    struct pmu_job j;
    uint64_t complete = 77;

    add(&p, PERF_COUNT_SW_PAGE_FAULTS, 1, NF_RW_WRITE);
    open_or_skip(&p, &s, &j, PAGES, 0);
    while (!pmu_job_ended(&j))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(nf_pmu_sampler_drain(s, sink, &t, &complete), -ENOSPC);
    assert_int_equal(complete, 77);
    nf_array_free(&t.samples);
    nf_pmu_sampler_close(s);
    pmu_job_end(&j);
}

static unsigned open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* A plan for a CPU that is not here: attach says so, and leaves nothing open. */
static void test_no_such_pmu(void **state)
{
    unsigned before = open_files();
    struct nf_pmu_plan p;
    struct nf_source *s;
    struct pmu_job j;
    int rc;

    assert_int_equal(nf_pebs_plan(&(struct nf_pebs_options){0}, nf_pmu_uarch_find("spr"), NULL, &p), 0);
    assert_int_equal(nf_pmu_sampler_open(&p, &s), 0);
    pmu_job_start(&j, 1, 0);
    rc = nf_pmu_sampler_attach(s, j.pid);
    if (!rc) {
        print_message("this machine has the events\n");
    } else {
        assert_true(rc < 0);
        assert_true(strlen(nf_error_text(rc)) > 20);
        print_message("%s\n", nf_error_text(rc));
    }
    nf_pmu_sampler_close(s);
    pmu_job_end(&j);
    /* A process that is gone. */
    p = (struct nf_pmu_plan){.ring_bytes = 1 << 16};
    add(&p, PERF_COUNT_SW_PAGE_FAULTS, 1, NF_RW_WRITE);
    assert_int_equal(nf_pmu_sampler_open(&p, &s), 0);
    assert_true(nf_pmu_sampler_attach(s, j.pid) < 0);
    nf_pmu_sampler_close(s);
    assert_null(nf_pmu_sampler_close(NULL));
    assert_int_equal(open_files(), before);
}

static void test_killed(void **state)
{
    unsigned before = open_files();
    struct nf_pmu_plan p;
    struct nf_source *s;
    struct take t = {0};
    struct pmu_job j;

    substitute(&p, 1 << 20);
    open_or_skip(&p, &s, &j, PAGES, UINT64_MAX);
    for (int i = 0; i < 50; i++) {
        drain(s, &t);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    kill(j.pid, SIGKILL);
    drain_until_ended(s, &j, &t);
    drain(s, &t);
    assert_true(t.samples.n > 0);
    assert_int_equal(t.early, 0);
    nf_array_free(&t.samples);
    nf_pmu_sampler_close(s);
    pmu_job_end(&j);
    assert_int_equal(open_files(), before);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_and_children), cmocka_unit_test(test_lost), cmocka_unit_test(test_not_memory),
        cmocka_unit_test(test_sink_refuses), cmocka_unit_test(test_no_such_pmu), cmocka_unit_test(test_killed),
    };
    char why[256];

    pmu_job_main(argc, argv);
    if (nf_perf_probe(why, sizeof why)) {
        printf("%s\n", why);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
