/* The child process behind the counters of PCM: programs of that name that do as pcm-memory does, or do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "replay/counters.h"
#include "tests/unit/pmu-tree.h"

static struct pmu_tree tree;
static char *path_before;

#define HEADING "echo ',,SKT0,SKT0,SKT0,System'\necho 'Date,Time,Mem Read (MB/s),Mem Write (MB/s),Memory (MB/s),Read'\n"
#define ROW "echo \"2026-11-28,$(date +%H:%M:%S.%3N),1000.00,500.00,1500.00,1500\"\n"

static int setup(void **state)
{
    const char *path = getenv("PATH");
    char with[4096];

    pmu_tree_new(&tree);
    path_before = strdup(path ? path : "/usr/bin:/bin");
    snprintf(with, sizeof with, "%s/bin:%s", tree.root, path_before);
    setenv("PATH", with, 1);
    pmu_tree_put(&tree, "/dev/cpu/0/msr", "");
    pmu_tree_put(&tree, "/sys/devices/system/node/node0/cpulist", "0\n");
    pmu_tree_put(&tree, "/sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n");
    return 0;
}

static int teardown(void **state)
{
    setenv("PATH", path_before, 1);
    free(path_before);
    pmu_tree_delete(&tree);
    return 0;
}

static void full_path(char *out, size_t size, const char *path)
{
    snprintf(out, size, "%s%s", tree.root, path);
}

/* A pcm-memory that runs this; it insists on being called as the real one is. */
static void put_program(const char *script)
{
    char text[2048], path[128];

    snprintf(text, sizeof text, "#!/bin/sh\n[ \"$*\" = '0.1 -csv -nc' ] || exit 9\ncd %s || exit 9\n%s", tree.root, script);
    pmu_tree_put(&tree, "/bin/pcm-memory", text);
    full_path(path, sizeof path, "/bin/pcm-memory");
    assert_int_equal(chmod(path, 0755), 0);
}

static bool left(const char *path)
{
    char full[128];

    full_path(full, sizeof full, path);
    return access(full, F_OK) == 0;
}

static void no_child_is_left(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void refuses(const char *script, int rc, const char *why)
{
    void *state;

    put_program(script);
    assert_int_equal(nf_counter_pcm.open(tree.root, &state), rc);
    if (!strstr(nf_error_text(0), why))
        fail_msg("%s: %s", script, nf_error_text(0));
    assert_null(state);
    no_child_is_left();
}

static void says_why_there_is_none(void **state)
{
    char why[256], path[128];

    put_program("exit 0\n");
    assert_int_equal(nf_counter_pcm.probe(tree.root, why, sizeof why), 0);
    full_path(path, sizeof path, "/dev/cpu/0/msr");
    unlink(path);
    assert_int_equal(nf_counter_pcm.probe(tree.root, why, sizeof why), -ENOENT);
    assert_non_null(strstr(why, "pcm-memory reads /dev/cpu/0/msr: No such file or directory (modprobe msr, and be root)"));
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(nf_counter_pcm.probe(tree.root, why, sizeof why), -ENOENT);
    assert_non_null(strstr(why, "pcm-memory is not on PATH (package pcm)"));
}

/* Messages before the heading are no rows; what is summed grows; in the end it is asked to give the hardware back. */
static void good(void **unused)
{
    struct nf_counter_traffic before[NF_COUNTER_PLACES], after[NF_COUNTER_PLACES];
    void *state;

    put_program("trap 'touch given-back; exit 0' INT\necho 'Link 3 is disabled'\n" HEADING "while :; do\n" ROW "sleep 0.1\ndone\n");
    if (nf_counter_pcm.open(tree.root, &state))
        fail_msg("%s", nf_error_text(0));
    assert_int_equal(nf_counter_pcm.read(state, before), 1);
    usleep(600000);
    assert_int_equal(nf_counter_pcm.read(state, after), 1);
    assert_int_equal(after[0].nodes, 1);
    assert_true(after[0].has_read && after[0].has_write && after[0].write_bytes > before[0].write_bytes);
    assert_float_equal((double)(after[0].read_bytes - before[0].read_bytes) / (double)(after[0].write_bytes - before[0].write_bytes), 2, 0.01);
    nf_counter_pcm.close(state);
    assert_true(left("/given-back"));
    no_child_is_left();
}

/* From the source to a trial's columns: its memory alone, and long enough for readings that are 0.1 s old. */
static void a_trial_is_judged_by_it(void **state)
{
    static const struct nf_counter_ops *const sources[] = {&nf_counter_pcm, NULL};
    const struct nf_tier tiers[] = {{.name = "near", .facts.node = 0}, {.name = "far", .facts = {.node = -1, .target_node = -1}}};
    struct nf_trial t = {.wall_ns = 3900000000};
    struct nf_counters *c;

    for (int i = 0; i < 2; i++)
        t.tier[i].counter_read_bytes = t.tier[i].counter_write_bytes = NF_TRIAL_UNKNOWN;
    put_program("trap 'exit 0' INT\n" HEADING "while :; do\n" ROW "sleep 0.1\ndone\n");
    assert_int_equal(nf_counters_open(sources, tree.root, &c), 0);
    assert_string_equal(nf_counters_said(c), "pcm: usable");
    nf_counters_measuring(c, true);
    usleep(500000);
    nf_counters_measuring(c, false);
    nf_counters_judge(c, tiers, 2, &t);
    assert_true(t.tier[0].counter_read_bytes == NF_TRIAL_UNKNOWN);
    assert_non_null(strstr(t.tier[0].uncounted, "too old for a trial under 4 s"));
    assert_string_equal(t.tier[1].uncounted, "its memory is on no node that is known");
    t.wall_ns = 4100000000;
    nf_counters_judge(c, tiers, 2, &t);
    assert_true(t.tier[0].counter_read_bytes != NF_TRIAL_UNKNOWN && t.tier[0].counter_read_bytes > 0);
    assert_string_equal(t.tier[0].uncounted, "");
    assert_non_null(strstr(t.interference, "counters saw"));
    t.tier[0].read_bytes = t.tier[0].counter_read_bytes;
    t.tier[0].write_bytes = t.tier[0].counter_write_bytes;
    *t.interference = '\0';
    nf_counters_judge(c, tiers, 2, &t);
    assert_string_equal(t.interference, "");
    nf_counters_close(c);
    no_child_is_left();
}

static void dying(void **state)
{
    struct nf_counter_traffic out[NF_COUNTER_PLACES];
    void *opened;

    refuses("exit 1\n", -ENODEV, "ended without a row of figures");
    refuses("echo 'no such CPU'\nexit 0\n", -ENODEV, "ended without a row of figures");
    refuses(HEADING "exit 0\n", -ENODEV, "ended without a row of figures");
    /* In the middle of a replay. */
    put_program(HEADING ROW "until [ -e stop ]; do sleep 0.02; done\n");
    assert_int_equal(nf_counter_pcm.open(tree.root, &opened), 0);
    assert_int_equal(nf_counter_pcm.read(opened, out), 1);
    pmu_tree_put(&tree, "/stop", "");
    usleep(300000);
    assert_int_equal(nf_counter_pcm.read(opened, out), -EIO);
    assert_non_null(strstr(nf_error_text(0), "pcm-memory ended"));
    nf_counter_pcm.close(opened);
    no_child_is_left();
}

static void nonsense(void **state)
{
    struct nf_counter_traffic out[NF_COUNTER_PLACES];
    void *opened;

    refuses("echo ',,System'\necho 'Date,Time,Read'\n" ROW "exec sleep 60\n", -ENODEV, "wrote no figures of a socket's memory");
    put_program(HEADING ROW "echo '2026-11-28,10:00:00,many,few,1,1'\nexec sleep 60\n");
    assert_int_equal(nf_counter_pcm.open(tree.root, &opened), 0);
    usleep(200000);
    assert_int_equal(nf_counter_pcm.read(opened, out), -EBADMSG);
    nf_counter_pcm.close(opened);
    no_child_is_left();
}

/* One that says nothing is given up after some seconds; one that does not end when it is asked to is ended. */
static void silent_and_stubborn(void **state)
{
    uint64_t began = nf_now_ns();
    void *opened;

    refuses("exec sleep 60\n", -ENODEV, "wrote no figures of a socket's memory");
    assert_true(nf_now_ns() - began >= 10000000000);
    put_program("trap '' INT\n" HEADING ROW "while :; do sleep 0.1; done\n");
    assert_int_equal(nf_counter_pcm.open(tree.root, &opened), 0);
    nf_counter_pcm.close(opened);
    no_child_is_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(says_why_there_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(good, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trial_is_judged_by_it, setup, teardown),
        cmocka_unit_test_setup_teardown(dying, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(silent_and_stubborn, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
