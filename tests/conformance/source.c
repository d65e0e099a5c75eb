/* One suite for every capture source in the table. What needs hardware that is not here is skipped with the source's own
 * reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capture/job.h"
#include "capture/ring-reader.h"
#include "capture/source.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "tests/unit/pmu-job.h"

enum { WHY = 256, ENVIRONMENT = 16, PAGES = 64, SLOTS = 1 << 12, ABOUT_MAX = 110, NAME_MAX_LENGTH = 16 };
/* A source that hangs fails the suite instead of the machine. */
enum { PATIENCE_S = 60 };
static const uint64_t spin_ns = 20000000;

static const struct nf_source_ops *source_of(void **state)
{
    return *state;
}

/* The source with its defaults, or the test is skipped with the reason of its probe. Freed by the caller. */
static void *options_or_skip(const struct nf_source_ops *ops)
{
    const struct nf_source_ops *found;
    char why[WHY] = "";
    void *options;

    if (ops->probe(why, sizeof why)) {
        print_message("%s: %s\n", ops->name, why);
        skip();
    }
    assert_int_equal(nf_source_parse(ops->name, &found, &options), 0);
    assert_ptr_equal(found, ops);
    return options;
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

static bool one_line(const char *text)
{
    return *text && !strpbrk(text, "\n\r\t");
}

static void test_declares(void **state)
{
    const struct nf_source_ops *ops = source_of(state);
    char why[WHY], larger[4 * WHY];
    int rc;

    assert_int_equal(ops->abi, NF_SOURCE_ABI);
    assert_true(ops->name && *ops->name && strlen(ops->name) <= NAME_MAX_LENGTH);
    assert_int_equal(strspn(ops->name, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(ops->name));
    assert_ptr_equal(nf_source_find(ops->name), ops);
    assert_true(ops->about && one_line(ops->about) && strlen(ops->about) <= ABOUT_MAX);
    assert_in_range(ops->evidence, NF_ACCESS_UNKNOWN + 1, NF_ACCESS_COUNT - 1);
    assert_true(ops->probe && ops->environment);
    /* All of them, or none for a source that only writes into the ring; one that writes there may still be opened. */
    assert_int_equal(!ops->attach, !ops->drain);
    assert_int_equal(!ops->open, !ops->close);
    if (ops->drain)
        assert_true(ops->open && ops->totals);
    if (ops->tick)
        assert_non_null(ops->drain);
    /* A reason is a sentence that fits, is the same each time, and says enough to go on with. */
    memset(why, '#', sizeof why);
    rc = ops->probe(why, sizeof why);
    assert_true(rc <= 0);
    if (rc) {
        assert_non_null(memchr(why, '\0', sizeof why));
        if (!one_line(why) || strlen(why) < 20)
            fail_msg("%s: '%s' ends nobody's question", ops->name, why);
        assert_int_equal(ops->probe(larger, sizeof larger), rc);
        if (strcmp(why, larger))
            fail_msg("%s: '%s' is cut off: '%s'", ops->name, why, larger);
        print_message("%s: %s\n", ops->name, why);
    }
}

static void refuse(const struct nf_source_ops *ops, const char *pairs, const char *says)
{
    const struct nf_source_ops *found;
    char spec[256];
    void *options = (void *)1;

    snprintf(spec, sizeof spec, "%s:%s", ops->name, pairs);
    assert_int_equal(nf_source_parse(spec, &found, &options), -EINVAL);
    assert_null(options);
    if (!strstr(nf_error_text(-EINVAL), ops->name) || !strstr(nf_error_text(-EINVAL), says))
        fail_msg("'%s' is refused with '%s', which does not say '%s'", spec, nf_error_text(-EINVAL), says);
}

static void test_options(void **state)
{
    const struct nf_source_ops *ops = source_of(state), *found;
    void *options;
    char pairs[128];

    assert_int_equal(nf_source_parse(ops->name, &found, &options), 0);
    assert_int_equal(!options, !ops->options);
    free(options);
    if (!ops->options) {
        refuse(ops, "any=1", "no options");
        return;
    }
    assert_true(ops->options_size > 0);
    refuse(ops, "no-such-option=1", "no-such-option");
    for (const struct nf_option *o = ops->options; o->name; o++) {
        assert_int_equal(strspn(o->name, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(o->name));
        assert_true(o->about && one_line(o->about));
        assert_true(o->offset < ops->options_size);
        assert_int_equal(!o->arg, o->kind == NF_OPTION_FLAG);
        for (const struct nf_option *other = ops->options; other != o; other++)
            assert_string_not_equal(other->name, o->name);
        if (o->kind == NF_OPTION_STRING || o->kind == NF_OPTION_LIST)
            continue; /* their words are open's to check */
        snprintf(pairs, sizeof pairs, "%s=rubbish", o->name);
        refuse(ops, pairs, o->name);
    }
}

static void test_environment(void **state)
{
    const struct nf_source_ops *ops = source_of(state), *found;
    const char *none[1] = {(const char *)0x1}, *all[ENVIRONMENT], *fewer[ENVIRONMENT];
    void *options;

    assert_int_equal(nf_source_parse(ops->name, &found, &options), 0);
    for (int pass = NF_PASS_BARE; pass < NF_PASS_COUNT; pass++) {
        size_t n = ops->environment(options, (enum nf_pass_kind)pass, "/proc/1/fd/3", all, ENVIRONMENT);

        assert_true(n < ENVIRONMENT);
        for (size_t i = 0; i < n; i++) {
            const char *equals = strchr(all[i], '=');

            assert_true(equals && equals > all[i] + 1);
        }
        assert_int_equal(ops->environment(options, (enum nf_pass_kind)pass, "/proc/1/fd/3", none, 0), 0);
        assert_ptr_equal(none[0], (const char *)0x1);
        if (n > 1)
            assert_int_equal(ops->environment(options, (enum nf_pass_kind)pass, "/proc/1/fd/3", fewer, 1), 1);
    }
    free(options);
}

static void test_opens(void **state)
{
    const struct nf_source_ops *ops = source_of(state);
    unsigned before = open_files();
    struct nf_source_facts facts;
    struct nf_source_totals totals;
    struct nf_source *s = NULL;
    void *options;

    if (ops->close)
        assert_null(ops->close(NULL));
    if (!ops->open)
        skip(); /* writes into the ring alone */
    options = options_or_skip(ops);
    memset(&facts, '#', sizeof facts);
    if (ops->open(options, &s, &facts))
        fail_msg("%s: %s", ops->name, nf_error_text(-1));
    assert_true(facts.resolution_bytes > 0);
    assert_true(!strcmp(facts.rw, "observed") || !strcmp(facts.rw, "inferred") || !strcmp(facts.rw, "unknown"));
    assert_true(facts.n_events <= NF_SOURCE_EVENTS_MAX);
    assert_non_null(memchr(facts.notes, '\0', sizeof facts.notes));
    for (unsigned i = 0; i < facts.n_events; i++) {
        const struct nf_source_event *e = &facts.events[i];

        assert_true(memchr(e->name, '\0', sizeof e->name) && one_line(e->name));
        assert_true(memchr(e->meaning, '\0', sizeof e->meaning) && one_line(e->meaning));
        assert_true(e->rw < NF_RW_COUNT || e->rw == NF_SAMPLE_RW_UNKNOWN);
    }
    if (!facts.validated)
        assert_true(strstr(facts.notes, "not validated on hardware") && strstr(ops->about, "not validated on hardware"));
    if (ops->totals) {
        ops->totals(s, &totals);
        assert_int_equal(totals.lost + totals.throttled + totals.undecoded, 0);
    }
    assert_null(ops->close(s));
    free(options);
    assert_int_equal(open_files(), before);
}

/* A source whose probe refuses does not open either, and says why. */
static void test_refuses(void **state)
{
    const struct nf_source_ops *ops = source_of(state), *found;
    struct nf_source_facts facts;
    struct nf_source *s = NULL;
    char why[WHY];
    void *options;
    int rc;

    if (!ops->open || !ops->probe(why, sizeof why))
        skip();
    assert_int_equal(nf_source_parse(ops->name, &found, &options), 0);
    nf_error_clear();
    rc = ops->open(options, &s, &facts);
    assert_true(rc < 0);
    assert_null(s);
    if (!strstr(nf_error_text(rc), ops->name))
        fail_msg("'%s' does not name source %s", nf_error_text(rc), ops->name);
    free(options);
}

/* --- a real job --- */

struct watch {
    const struct nf_source_ops *ops;
    struct nf_source *source; /* NULL: only in the ring */
    struct nf_source_totals totals;
    uint64_t complete_ns, samples, early;
    unsigned n_events;
    bool ended; /* and was drained once since */
};

static int sink(void *context, const struct nf_sample *samples, size_t n)
{
    struct watch *w = context;

    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        w->early += samples[i].time_ns < w->complete_ns;
        assert_true(samples[i].event < w->n_events);
        assert_true(samples[i].rw < NF_RW_COUNT || samples[i].rw == NF_SAMPLE_RW_UNKNOWN);
        assert_true(samples[i].step == NF_SAMPLE_NONE && samples[i].op == NF_SAMPLE_NONE &&
                    samples[i].tensor == NF_SAMPLE_NONE);
    }
    w->samples += n;
    return 0;
}

static void drain(struct watch *w)
{
    struct nf_source_totals t = w->totals;
    uint64_t complete_ns = 0;
    int rc;

    if (!w->source || !w->ops->drain)
        return;
    rc = w->ops->drain(w->source, sink, w, &complete_ns);
    if (rc)
        fail_msg("%s: %s", w->ops->name, nf_error_text(rc));
    assert_true(complete_ns >= w->complete_ns);
    assert_true(complete_ns <= nf_now_ns());
    w->complete_ns = complete_ns;
    w->ops->totals(w->source, &w->totals);
    /* While the job runs, what is on its way may count as lost; once it has ended, nothing is taken back. */
    if ((w->ended && w->totals.lost < t.lost) || w->totals.throttled < t.throttled || w->totals.undecoded < t.undecoded)
        fail_msg("%s: lost %llu, throttled %llu, undecoded %llu were %llu, %llu, %llu before", w->ops->name,
                 (unsigned long long)w->totals.lost, (unsigned long long)w->totals.throttled,
                 (unsigned long long)w->totals.undecoded, (unsigned long long)t.lost, (unsigned long long)t.throttled,
                 (unsigned long long)t.undecoded);
}

static int attach(void *context, pid_t pid)
{
    struct watch *w = context;

    return w->source && w->ops->attach ? w->ops->attach(w->source, pid) : 0;
}

/* The job as a capture runs it: the source's environment, attached before the program is executed. */
static void start(struct watch *w, const void *options, struct nf_ring *ring, struct pmu_job *report, struct nf_job *job)
{
    static char exe[512], fd[16], marker[] = "--pmu-job";
    char *argv[] = {exe, marker, fd, NULL};
    const char *environment[ENVIRONMENT + 1] = {0};
    struct nf_job_options o = {.argv = argv, .environment = environment, .attach = attach, .context = w};
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    int rc;

    assert_true(n > 0);
    exe[n] = '\0';
    snprintf(fd, sizeof fd, "%d", report->report_fd);
    w->ops->environment(options, NF_PASS_ACCESS, ring->path, environment, ENVIRONMENT);
    rc = nf_job_start(&o, job);
    if (rc)
        fail_msg("%s: %s", w->ops->name, nf_error_text(rc));
}

#if defined(__SANITIZE_ADDRESS__)
/* A sanitizer's runtime must be the first allocator of the process; the job here is this program itself. */
static bool preloads_an_allocator(const struct nf_source_ops *ops, const void *options)
{
    const char *changes[ENVIRONMENT];
    size_t n = ops->environment(options, NF_PASS_ACCESS, "", changes, ENVIRONMENT);

    while (n > 0 && strncmp(changes[n - 1], "LD_PRELOAD", 10))
        n--;
    return n > 0;
}
#else
static bool preloads_an_allocator(const struct nf_source_ops *ops, const void *options)
{
    return false;
}
#endif

static void run_job(const struct nf_source_ops *ops, bool killed)
{
    unsigned before = open_files();
    struct watch w = {.ops = ops};
    struct nf_source_facts facts = {0};
    struct pmu_job report;
    struct nf_job job;
    struct nf_ring ring;
    void *options = options_or_skip(ops);
    uint64_t start_ns = nf_now_ns();

    if (preloads_an_allocator(ops, options)) {
        free(options);
        printf("%s: its allocator cannot stand in front of the sanitizer's\n", ops->name);
        skip();
    }
    alarm(PATIENCE_S);
    assert_int_equal(nf_ring_init(&ring, SLOTS), 0);
    if (ops->open && ops->open(options, &w.source, &facts))
        fail_msg("%s: %s", ops->name, nf_error_text(-1));
    w.n_events = facts.n_events;
    pmu_job_share(&report, PAGES, killed ? UINT64_MAX : spin_ns);
    start(&w, options, &ring, &report, &job);
    while (!nf_job_poll(&job)) {
        drain(&w);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (killed && nf_now_ns() - start_ns > 100000000 && report.report->parts[PMU_JOB_CHILD].to_ns)
            kill(job.pid, SIGKILL);
    }
    drain(&w);
    w.ended = true;
    drain(&w);
    drain(&w);
    assert_int_equal(job.exit_status, killed ? 128 + SIGKILL : 0);
    /* The job did its work under the source. */
    assert_int_equal(report.report->parts[PMU_JOB_THREAD].pages, PAGES);
    assert_int_equal(report.report->parts[PMU_JOB_CHILD].pages, PAGES);
    assert_int_equal(w.early, 0);
    assert_int_equal(w.totals.undecoded, 0);
    if (ops->drain)
        print_message("%s: %llu samples, %llu lost\n", ops->name, (unsigned long long)w.samples,
                      (unsigned long long)w.totals.lost);
    if (ops->close)
        assert_null(ops->close(w.source));
    nf_job_deinit(&job);
    nf_ring_deinit(&ring);
    pmu_job_end(&report);
    free(options);
    alarm(0);
    assert_int_equal(open_files(), before);
}

static void test_job(void **state)
{
    run_job(source_of(state), false);
}

static void test_killed(void **state)
{
    run_job(source_of(state), true);
}

/* The process is gone before anybody attached. */
static void test_gone(void **state)
{
    const struct nf_source_ops *ops = source_of(state);
    unsigned before = open_files();
    struct nf_source_facts facts;
    struct nf_source *s;
    void *options;
    pid_t pid;
    int rc;

    if (!ops->attach)
        skip();
    options = options_or_skip(ops);
    pid = fork();
    if (!pid)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(ops->open(options, &s, &facts), 0);
    nf_error_clear();
    rc = ops->attach(s, pid);
    assert_true(rc < 0);
    assert_true(strlen(nf_error_text(rc)) > 0);
    assert_null(ops->close(s));
    free(options);
    assert_int_equal(open_files(), before);
}

/* --- not per source --- */

static void test_table(void **state)
{
    const struct nf_source_ops *found;
    void *options;

    assert_non_null(nf_sources[0]);
    assert_int_equal(nf_source_parse("no-such:x=1", &found, &options), -EINVAL);
    assert_null(options);
    assert_non_null(strstr(nf_error_text(-EINVAL), "no-such"));
    for (size_t i = 0; nf_sources[i]; i++) {
        if (!strstr(nf_error_text(-EINVAL), nf_sources[i]->name))
            fail_msg("'%s' does not list %s", nf_error_text(-EINVAL), nf_sources[i]->name);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(nf_sources[i]->name, nf_sources[k]->name);
    }
    assert_null(nf_source_find(""));
    assert_null(nf_source_find("framewor"));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void **);
    } each[] = {
        {"declares itself", test_declares}, {"options", test_options}, {"environment", test_environment},
        {"opens and closes", test_opens}, {"refuses where it cannot", test_refuses}, {"a job", test_job},
        {"a killed job", test_killed}, {"a job that is gone", test_gone},
    };
    enum { EACH = sizeof each / sizeof *each, SOURCES_MAX = 16 };
    static struct CMUnitTest tests[EACH * SOURCES_MAX + 1];
    static char names[EACH * SOURCES_MAX][64];
    size_t n = 0;

    pmu_job_main(argc, argv);
    for (size_t s = 0; nf_sources[s] && s < SOURCES_MAX; s++)
        for (size_t i = 0; i < EACH; i++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", nf_sources[s]->name, each[i].name);
            tests[n] = (struct CMUnitTest){.name = names[n], .test_func = each[i].run,
                                           .initial_state = (void *)nf_sources[s]};
        }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_table);
    return _cmocka_run_group_tests("sources", tests, n, NULL, NULL);
}
