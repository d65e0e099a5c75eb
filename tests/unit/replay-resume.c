/* A replay that is taken up again is the same replay: on its CPU and its nodes, with the compute times it calibrated, on as many threads,
 * by the version that began it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "replay/ledger.h"
#include "replay/pin.h"
#include "tests/unit/replay-bed.h"

static const uint64_t pages[] = {16, 16};
static const struct replay_bed_shape shape = {.pages = pages, .n = 2};
static const char *const policies[] = {"all-far"}, *const tiers[2] = {"null", "emulated:latency-ns=100"};
static const enum nf_overlap none[] = {NF_OVERLAP_NONE};

/* A replay of two blocks of two trials that ended after its first trial. */
static struct nf_replay_options interrupted(struct nf_study *s)
{
    struct nf_replay_options o = replay_bed_options(policies, 1, tiers);

    replay_bed_know_tiers(s, tiers[1]);
    o.overlaps = none;
    replay_bed_run(s, &o);
    replay_bed_execute(s, "UPDATE replay SET status = 'partial'");
    replay_bed_execute(s, "DELETE FROM trial_tier WHERE trial_id > 1");
    replay_bed_execute(s, "DELETE FROM trial WHERE id > 1");
    o.reuse_testbed = false;
    o.resume = 1;
    o.resume_testbed = 1;
    return o;
}

static void refused(struct nf_study *s, const struct nf_replay_options *o, int expected, const char *word)
{
    struct nf_replay_result r;
    int rc = nf_replay_run(s, o, &r);

    if (rc != expected || !strstr(nf_error_text(rc), word))
        fail_msg("wanted %d with '%s', found %d: %s", expected, word, rc, nf_error_text(rc));
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial"), 1);
}

static void compute_times_are_taken_back(void **state)
{
    struct nf_study *s = replay_bed_study(&shape);
    struct nf_replay_options o = interrupted(s);
    struct nf_replay_result r;

    /* Nobody would calibrate 5 ms an op where the job took 2. */
    assert_int_equal(replay_bed_int(s, "SELECT length(op_ns) FROM residual"), 2 * sizeof(double));
    replay_bed_execute(s, "UPDATE residual SET op_ns = x'00000000D012534100000000D0125341'");
    replay_bed_execute(s, "UPDATE replay SET floored_share = 0.25");
    r = replay_bed_run(s, &o);
    assert_int_equal(r.kept, 1);
    assert_int_equal(r.done, 3);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE wall_ns >= 10000000 AND floored_share = 0.25 AND id > 1"), 3);
    assert_int_equal(replay_bed_int(s, "SELECT status = 'complete' AND resumed = 1 FROM replay"), 1);
    nf_study_close(s);
}

static void what_is_not_its_own_is_refused(void **state)
{
    struct nf_study *s = replay_bed_study(&shape);
    struct nf_replay_options o = interrupted(s);

    replay_bed_execute(s, "UPDATE replay SET threads = 3");
    refused(s, &o, -ENODEV, "3 threads");
    replay_bed_execute(s, "UPDATE replay SET threads = 1, captured_ns = -1");
    refused(s, &o, -ENODATA, "begin a new one");
    replay_bed_execute(s, "UPDATE replay SET captured_ns = 4e6");
    replay_bed_execute(s, "UPDATE residual SET op_ns = x'00000000D0125341'");
    refused(s, &o, -EBADMSG, "not those of its stream");
    replay_bed_execute(s, "UPDATE residual SET op_ns = x'000000000000F8FF000000000000F8FF'"); /* not a number */
    refused(s, &o, -EBADMSG, "no times");
    nf_study_close(s);
}

static void it_stays_on_its_cpu(void **state)
{
    struct nf_study *s = replay_bed_study(&shape);
    struct nf_replay_options o = interrupted(s);
    int other = nf_pin_other(sched_getcpu());
    char sql[96];

    replay_bed_execute(s, "UPDATE testbed SET cpu = 1000000");
    refused(s, &o, -ENODEV, "CPU 1000000");
    o.cpu = sched_getcpu();
    refused(s, &o, -EINVAL, "--cpu 1000000");
    o.cpu = -1;
    if (other < 0) {
        nf_study_close(s);
        print_message("one CPU: there is no other to be taken back to\n");
        skip();
    }
    snprintf(sql, sizeof sql, "UPDATE testbed SET cpu = %d", other);
    replay_bed_execute(s, sql);
    replay_bed_run(s, &o);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM trial WHERE id > 1 AND cpus = '%d'", other);
    assert_int_equal(replay_bed_int(s, sql), 3);
    nf_study_close(s);
}

static void it_stays_on_its_nodes(void **state)
{
    struct nf_study *s = replay_bed_study(&shape);
    struct nf_replay_options o = interrupted(s);

    replay_bed_execute(s, "UPDATE tier SET node = 63 WHERE number = 0");
    refused(s, &o, -EINVAL, "other nodes");
    nf_study_close(s);
}

static void another_version_is_refused(void **state)
{
    struct nf_study *s = replay_bed_study(&shape);
    struct nf_ledger_partial partial;

    interrupted(s);
    assert_int_equal(nf_ledger_find_partial(s, &partial), 0);
    assert_int_equal(partial.replay, 1);
    nf_buf_deinit(&partial.command);
    replay_bed_execute(s, "UPDATE invocation SET tool_version = '0.0.0-other'");
    assert_int_equal(nf_ledger_find_partial(s, &partial), -EPERM);
    assert_non_null(strstr(nf_error_text(0), "begun by nearfar 0.0.0-other"));
    assert_non_null(strstr(nf_error_text(0), "without --resume"));
    nf_buf_deinit(&partial.command);
    nf_study_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compute_times_are_taken_back), cmocka_unit_test(what_is_not_its_own_is_refused),
        cmocka_unit_test(it_stays_on_its_cpu),          cmocka_unit_test(it_stays_on_its_nodes),
        cmocka_unit_test(another_version_is_refused),
    };

    return cmocka_run_group_tests(tests, replay_bed_setup, replay_bed_teardown);
}
