/* The table of fidelity of studies whose truth is known: whole, with everything measured, some of it bad; and with nothing
 * measured but a replay, where each row says what would measure it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "analyze/live-comparison.h"
#include "core/model/words.h"
#include "tests/unit/report-sample.h"

enum { BLOCKS = 3 };

static void is(struct report_sample *m, const char *name, const char *wanted)
{
    char *found = report_file(m, name);

    assert_string_equal(found, wanted);
    free(found);
}

/* 1.05, 1.06, 1.07 ms a step against 1 ms captured, five steps each: 5.3 ms in the middle, of which accesses 0.5, compute 4.5,
 * policy 0.1, and 0.2 is left; each of two threads lost 0.05 to others while it waited. */
static void account(struct report_sample *m)
{
    struct nf_query *q = report_query(m->s, "UPDATE trial SET memory_ns = 500000, injected_ns = 0, compute_ns = 4500000, stall_ns = 0, "
                                            "policy_ns = 100000, stolen_ns = 100000, threads = 2 WHERE policy = 'all-near' "
                                            "AND overlap > 0 AND hog = 0");

    report_insert(m->s, q);
}

static void add_trials(struct report_sample *m, const char *policy, double share, int overlap, int hog, double step_ns)
{
    for (int b = 0; b < BLOCKS; b++) {
        struct report_trial t = {.policy = policy, .share = share, .block = b, .overlap = overlap, .hog = hog,
                                 .step_ns = step_ns * (1 + b * 1e4 / 1.05e6)};

        report_add_trial(m, &t);
    }
}

static void add_live(struct report_sample *m)
{
    /* Beside the hog 1.25 times slower; far 1.5; under lru at 20 % near 1.1. */
    report_insert(m->s, report_query(m->s,
        "INSERT INTO live_run(invocation_id, capture_id, repetition, kind, exit_status, steps, step_ns, evidence, binding, policy, "
        "near_share) VALUES(1, 1, 0, 'alone', 0, 2, '[5, 1000]', 1, '', '', 1), (1, 1, 0, 'hog', 0, 1, '[1250]', 1, '', '', 1), "
        "(1, 1, 0, 'bind', 0, 1, '[1500]', 2, 'far: node 1', '', 1), (1, 1, 0, 'policy', 0, 1, '[1100]', 2, 'plan: node 0,1', 'lru', 0.2), "
        "(1, 1, 0, 'bind', 0, 1, '[1000]', 1, 'near: node 0', '', 1), (1, 1, 0, 'policy', 0, 1, '[1000]', 6, '', 'all-far', 1)"));
}

static void add_recaptures(struct report_sample *m)
{
    report_insert(m->s, report_query(m->s,
        "INSERT INTO recapture(invocation_id, capture_id, class_id, source, tensors, same_extents, captured_bytes, replayed_bytes, "
        "resolution_bytes, reuse_distance_emd, reuse_distance_most, lost_bytes, stray_bytes, rw_bytes, message, worst, scale) VALUES"
        "(1, 1, 1, 'framework', 9, 1, 9, 9, 1, 9, 9, 9, 9, 9, 'an older one', '', 1), "
        "(1, 1, 1, 'framework', 20, 20, 1000, 1000, 1, 0.125, 2, 0, 0, 0, '', '', 1), "
        "(1, 1, 1, 'page-fault', 20, 18, 1048576, 1040384, 4096, -1, -1, 8192, 4096, 0, '1 of 3 replayed steps differ from the first', "
        "'tensor 3 (parameter, 8.00 KiB)', 0.25)"));
}

static void test_everything(void **state)
{
    struct report_sample m;

    report_known(&m, 0);
    report_use_real_tiers(&m);
    add_trials(&m, "all-near", 1, NF_OVERLAP_FULL, 0, 1.05e6);
    add_trials(&m, "all-near", 1, NF_OVERLAP_NONE, 0, 1.05e6);
    add_trials(&m, "all-near", 1, NF_OVERLAP_FULL, 1, 1.05e6 * 1.2);
    add_trials(&m, "all-near", 1, NF_OVERLAP_NONE, 1, 1.05e6 * 1.5);
    add_trials(&m, "all-far", 0, NF_OVERLAP_FULL, 0, 1.05e6 * 1.4);
    add_trials(&m, "all-far", 0, NF_OVERLAP_NONE, 0, 1.05e6 * 1.6);
    account(&m);
    add_live(&m);
    add_recaptures(&m);
    report_made(&m);
    is(&m, "fidelity.csv",
       "what,fitted,mode,replay,replay_low,replay_high,real,real_low,real_high,error,n,evidence,state,says\n"
       "consistency: all-near step / captured bare step,the captured step,overlap=full,1.06,1.05,1.07,1,unknown,unknown,"
       "0.06,3,measured-device,measured,accesses 10.0 % + compute waited out 90.0 % + policy 2.0 % + dispatch and the re"
       "st 4.0 % of the captured bare step; its threads were preempted for 1.0 %\n"
       "consistency: all-near step / captured bare step,the captured step,overlap=none,1.06,1.05,1.07,1,unknown,unknown,"
       "0.06,3,measured-device,measured,accesses 10.0 % + compute waited out 90.0 % + policy 2.0 % + dispatch and the re"
       "st 4.0 % of the captured bare step; its threads were preempted for 1.0 %\n"
       "fidelity: slowdown beside a bandwidth hog,nothing,overlap=full,1.2,1.2,1.2,1.25,1.25,1.25,-0.04,3,measured-devic"
       "e,measured,\"runs of the job: 1 beside it, 1 alone, 0 failed\"\n"
       "fidelity: slowdown beside a bandwidth hog,nothing,overlap=none,1.5,1.5,1.5,1.25,1.25,1.25,0.2,3,measured-device,"
       "measured,\"runs of the job: 1 beside it, 1 alone, 0 failed\"\n"
       "fidelity: the real job bound far: node 1,nothing,overlap=full,1.4,1.4,1.4,1.5,1.5,1.5,-0.06666666667,1,measured-"
       "proxy,measured,within the band\n"
       "fidelity: the real job bound far: node 1,nothing,overlap=none,1.6,1.6,1.6,1.5,1.5,1.5,0.06666666667,1,measured-p"
       "roxy,measured,within the band\n"
       "fidelity: the real job lru at 20 % near,nothing,overlap=full,unknown,unknown,unknown,1.1,1.1,1.1,unknown,1,measu"
       "red-proxy,not measured,not replayed: nearfar replay t.nf --policy lru --near 20% --tier numa:node=0 --tier numa:node=1\n"
       "fidelity: the real job lru at 20 % near,nothing,overlap=none,unknown,unknown,unknown,1.1,1.1,1.1,unknown,1,measu"
       "red-proxy,not measured,not replayed: nearfar replay t.nf --policy lru --near 20% --tier numa:node=0 --tier numa:node=1\n"
       "fidelity: the real job all-far at 100 % near,nothing,overlap=full,unknown,unknown,unknown,1,1,1,unknown,1,assumed,"
       "not measured,\"placement only: far costs nothing here, so nothing is predicted\"\n"
       "fidelity: the real job all-far at 100 % near,nothing,overlap=none,unknown,unknown,unknown,1,1,1,unknown,1,assumed,"
       "not measured,\"placement only: far costs nothing here, so nothing is predicted\"\n"
       "\"the replay captured again, by framework\",nothing,,unknown,unknown,unknown,unknown,unknown,unknown,0,20,framew"
       "ork,measured,\"20 of 20 tensors the same extents in the same order, 0 B lost, 0 B stray, at 1 B; reuse distances"
       " 0.12 octaves apart, 2.00 at most\"\n"
       "\"the replay captured again, by page-fault\",nothing,,unknown,unknown,unknown,unknown,unknown,unknown,0.01171875"
       ",20,page-fault,measured,\"18 of 20 tensors the same extents in the same order, 8.00 KiB lost, 4.00 KiB stray, at"
       " 4096 B; at 0.25 of the captured bytes; 1 of 3 replayed steps differ from the first; worst: tensor 3 (parameter,"
       " 8.00 KiB)\"\n"
       "\"the replay captured again, by exact\",nothing,,unknown,unknown,unknown,unknown,unknown,unknown,unknown,0,,not "
       "measured,nearfar replay t.nf --again exact\n");
    is(&m, "breakdown.csv",
       "overlap,trials,of,whole,memory,injected,compute,stall,policy,dispatch,preempted,floored\n"
       "overlap=full,3,the captured bare step,1.06,0.1,0,0.9,0,0.02,0.04,0.01,0.01\n"
       "overlap=none,3,the captured bare step,1.06,0.1,0,0.9,0,0.02,0.04,0.01,0.01\n");
    report_deinit(&m);
}

/* --- only what is alike is compared --- */

/* A live run 1.5 times slower than the job alone, and how the row of it ends: "replayed as,full,none,verdict". */
struct unlike {
    const char *kind, *binding, *policy, *options;
    double share;
    const char *change; /* of the study */
    const char *says;
};

static void add_replayed(struct report_sample *m)
{
    static const struct {
        const char *policy, *options;
        double share, full, none;
        int hog;
    } all[] = {{"all-near", "", 1, 1, 1, 0},
               {"all-near", "", 1, 2, 2, 1},
               {"all-far", "", 0, 1.4, 1.6, 0},
               {"interleave", "", 0.2, 1.8, 1.9, 0},
               {"interleave", "", 0.5, 1.2, 1.3, 0},
               {"interleave", "", 0.8, 1.2, 1.3, 0},
               {"interleave", "ratio=90", 0.5, 1.1, 1.1, 0},
               {"weighted", "", 1, 1.1, 1.1, 0},
               {"weighted", "weights=1:3", 0.8, 1.45, 1.55, 0},
               {"first-touch", "", 0.6, 1.5, 1.5, 0},
               {"lru", "", 0.2, 1.3, 1.4, 0},
               {"lru", "window=4", 0.2, 1.5, 1.7, 0},
               {"class", "", 0.2, 3.2, 2.8, 1}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        for (int b = 0; b < BLOCKS; b++) {
            for (int overlap = NF_OVERLAP_FULL; overlap <= NF_OVERLAP_NONE; overlap++) {
                struct report_trial t = {.policy = all[i].policy, .options = all[i].options, .share = all[i].share, .block = b,
                                         .overlap = overlap, .hog = all[i].hog,
                                         .step_ns = 1e6 * (overlap == NF_OVERLAP_FULL ? all[i].full : all[i].none)};

                report_add_trial(m, &t);
            }
        }
    }
}

static void add_run(struct report_sample *m, const char *kind, const char *binding, const char *policy, const char *options, double share,
                    int evidence, const char *step_ns)
{
    struct nf_query *q = report_query(m->s, "INSERT INTO live_run(invocation_id, capture_id, repetition, kind, exit_status, steps, "
                                            "step_ns, evidence, binding, policy, policy_options, near_share) VALUES(1, 1, 0, ?1, 0, 1, "
                                            "?2, ?3, ?4, ?5, ?6, ?7)");

    nf_query_bind_text(q, 1, kind);
    nf_query_bind_text(q, 2, step_ns);
    nf_query_bind_i64(q, 3, evidence);
    nf_query_bind_text(q, 4, binding);
    nf_query_bind_text(q, 5, policy);
    nf_query_bind_text(q, 6, options);
    nf_query_bind_f64(q, 7, share);
    report_insert(m->s, q);
}

static void add_other_machine(struct report_sample *m)
{
    report_insert(m->s, report_query(m->s, "INSERT INTO machine SELECT 2, 'other', cpu, cpus, nodes, memory_bytes, llc_reported_bytes, "
                                           "kernel, hypervisor, facts FROM machine"));
}

static void compare(const struct unlike *u)
{
    struct nf_table *t = nf_table_new(nf_live_columns, NF_LIVE_COLUMNS);
    struct nf_live_comparisons live;
    char found[2048] = "", *row;
    struct report_sample m;
    struct nf_dataset d;
    FILE *to = fmemopen(found, sizeof found, "w");

    report_known(&m, 0);
    report_use_real_tiers(&m);
    add_replayed(&m);
    add_run(&m, "alone", "", "", "", 1, 1, "[1000]");
    add_run(&m, "hog", "", "", "", 1, 1, "[3000]");
    add_run(&m, u->kind, u->binding, u->policy, u->options, u->share, 1, strcmp(u->kind, "policy-hog") ? "[1500]" : "[4500]");
    add_other_machine(&m);
    if (u->change)
        report_insert(m.s, report_query(m.s, u->change));
    assert_int_equal(nf_dataset_init(&d, m.s, 0, 0), 0);
    assert_int_equal(nf_live_comparisons_init(&live, m.s, &d), 0);
    assert_int_equal(live.of.n, 1);
    nf_live_comparisons_table(&live, t);
    assert_int_equal(nf_table_print(t, NF_TABLE_CSV, to), 0);
    fclose(to);
    row = strstr(found, ",1,1.5,1.5,1.5,");
    if (!row || strncmp(row + 15, u->says, strlen(u->says)))
        fail_msg("%s %s%s:%s at %g: wanted %s\nfound: %s", u->kind, u->binding, u->policy, u->options, u->share, u->says, found);
    nf_table_free(t);
    nf_live_comparisons_deinit(&live);
    nf_dataset_deinit(&d);
    report_deinit(&m);
}

static void test_only_what_is_alike(void **state)
{
    static const struct unlike all[] = {
        {"bind", "far: node 1", "", "", 1, NULL, "all-far,1.4,1.6,within the band"},
        {"bind", "near: node 0", "", "", 1, NULL, "nothing comparable,unknown,unknown,\"nothing to predict: all of it was near"},
        /* Options: neither pooled, nor taken for the policy without them. */
        {"bind", "interleave: node 0,1", "", "", 1, NULL, "interleave,1.2,1.3,the band misses it by -13.3 %"},
        {"policy", "plan: node 0,1", "lru", "", 0.2, NULL, "lru,1.3,1.4,the band misses it"},
        {"policy", "plan: node 0,1", "lru", "window=4", 0.2, NULL, "lru:window=4,1.5,1.7,within the band"},
        {"policy", "plan: node 0,1", "lru", "window=8", 0.2, NULL, "lru:window=8,unknown,unknown,not replayed"},
        {"policy", "plan: node 0,1", "lru", "", 0.3, NULL, "lru,unknown,unknown,not replayed"},
        /* Rules that have a policy of their own. */
        {"bind", "weighted: node 0,1 by 1:3", "", "", 1, NULL, "weighted:weights=1:3,1.45,1.55,within the band"},
        {"bind", "weighted: node 0,1 by 3:1", "", "", 1, NULL, "weighted:weights=3:1,unknown,unknown,not replayed"},
        {"bind", "weighted: node 0,1", "", "", 1, NULL, "nothing comparable,unknown,unknown,not comparable: the weights of the kernel's"},
        {"bind", "first-touch: node 0,1", "", "", 0.6, NULL, "first-touch,1.5,1.5,within the band"},
        {"bind", "first-touch: node 0,1", "", "", 1, NULL, "nothing comparable,unknown,unknown,\"nothing to predict"},
        {"bind", "preferred-many: node 0,1", "", "", 0.6, NULL, "nothing comparable,unknown,unknown,not comparable: no policy does"},
        /* Nodes. */
        {"bind", "far: node 2", "", "", 1, NULL, "nothing comparable,unknown,unknown,\"not comparable: the job was on node 2, the replay on node 1"},
        {"bind", "interleave: node 0,1,2", "", "", 1, NULL, "nothing comparable,unknown,unknown,\"not comparable: the job was on node 0,1,2, the"},
        {"policy", "plan: node 1,0", "lru", "", 0.2, NULL, "nothing comparable,unknown,unknown,\"not comparable: the job was on node 1,0, the"},
        {"policy", "", "lru", "", 0.2, NULL, "nothing comparable,unknown,unknown,\"not comparable: the run does not say which nodes"},
        {"bind", "far: node 1", "", "", 1, "UPDATE tier SET spec = 'numa' WHERE number = 1",
         "nothing comparable,unknown,unknown,not comparable: the replay's tier far does not name its node"},
        {"bind", "far: node 1", "", "", 1, "UPDATE tier SET provider = 'emulated', spec = 'emulated:node=1', target_latency_ns = 200 "
         "WHERE number = 1", "nothing comparable,unknown,unknown,\"not comparable: the replay's tier far is injected"},
        {"bind", "far: node 1", "", "", 1, "UPDATE tier SET provider = 'dax', spec = 'dax' WHERE number = 1",
         "nothing comparable,unknown,unknown,not comparable: the replay's tier far is no memory node"},
        /* Machine, size. */
        {"bind", "far: node 1", "", "", 1, "UPDATE testbed SET machine_id = 2",
         "nothing comparable,unknown,unknown,\"not comparable: it ran on machine 1 of the study, the replay on machine 2"},
        {"bind", "far: node 1", "", "", 1, "UPDATE replay SET scale = 0.5",
         "nothing comparable,unknown,unknown,not comparable: the replay is at 0.5 of"},
        {"bind", "far: node 1", "", "", 1, "UPDATE trial SET parallelism_scale = 2 WHERE policy = 'all-far'", "all-far,unknown,unknown,not replayed"},
        /* Beside a hog, against the job beside one and all-near beside one. */
        {"policy-hog", "plan: node 0,1", "class", "", 0.2, NULL, "class,1.6,1.4,within the band"},
        {"policy-hog", "plan: node 0,1", "lru", "", 0.2, NULL, "lru,unknown,unknown,not replayed: a replay has its hog beside all-near alone"},
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        compare(&all[i]);
}

/* What the far tier of the replay is worth, where it is worth less than the run's. */
static void test_evidence_is_the_weakest(void **state)
{
    struct report_sample m;

    report_known(&m, 0);
    report_use_real_tiers(&m);
    add_replayed(&m);
    add_run(&m, "alone", "", "", "", 1, 1, "[1000]");
    add_run(&m, "bind", "far: node 1", "", "", 1, 1, "[1500]");
    assert_int_equal(report_write(&m), 0);
    report_has(&m, "live.csv", "\nbound far: node 1,measured-proxy,1,");
    report_deinit(&m);
}

/* Runs beside a hog on another machine say nothing of this one's. */
static void test_hog_elsewhere(void **state)
{
    struct report_sample m;

    report_known(&m, 0);
    add_replayed(&m);
    add_run(&m, "alone", "", "", "", 1, 1, "[1000]");
    add_run(&m, "hog", "", "", "", 1, 1, "[3000]");
    add_other_machine(&m);
    report_insert(m.s, report_query(m.s, "UPDATE testbed SET machine_id = 2"));
    assert_int_equal(report_write(&m), 0);
    report_has(&m, "fidelity.csv", "hog,nothing,overlap=full,2,2,2,unknown,unknown,unknown,unknown,3,,not measured,not comparable: 2 runs were on "
                                   "another machine than the replay");
    report_deinit(&m);
}

static void test_nothing(void **state)
{
    struct report_sample m;

    report_known(&m, 0);
    add_trials(&m, "all-near", 1, NF_OVERLAP_ASAP, 0, 1e5);
    assert_int_equal(report_write(&m), 0);
    is(&m, "fidelity.csv",
       "what,fitted,mode,replay,replay_low,replay_high,real,real_low,real_high,error,n,evidence,state,says\n"
       "consistency: all-near step / captured bare step,the captured step,overlap=full,unknown,unknown,unknown,unknown,u"
       "nknown,unknown,unknown,0,,not measured,\"nearfar replay t.nf --mode full,none\"\n"
       "consistency: all-near step / captured bare step,the captured step,overlap=none,unknown,unknown,unknown,unknown,u"
       "nknown,unknown,unknown,0,,not measured,\"nearfar replay t.nf --mode full,none\"\n"
       "fidelity: slowdown beside a bandwidth hog,nothing,overlap=full,unknown,unknown,unknown,unknown,unknown,unknown,u"
       "nknown,0,,not measured,nearfar run t.nf --hog -- JOB; nearfar replay t.nf --hog\n"
       "fidelity: slowdown beside a bandwidth hog,nothing,overlap=none,unknown,unknown,unknown,unknown,unknown,unknown,u"
       "nknown,0,,not measured,nearfar run t.nf --hog -- JOB; nearfar replay t.nf --hog\n"
       "fidelity: the real job bound to a tier,nothing,,unknown,unknown,unknown,unknown,unknown,unknown,unknown,0,,not m"
       "easured,\"nearfar run t.nf --bind far -- JOB, where there is a second node\"\n"
       "fidelity: the real job under a live plan,nothing,,unknown,unknown,unknown,unknown,unknown,unknown,unknown,0,,not"
       " measured,nearfar run t.nf --policy lifetime-density --near 20% -- JOB\n"
       "\"the replay captured again, by framework\",nothing,,unknown,unknown,unknown,unknown,unknown,unknown,unknown,0,,"
       "not measured,nearfar replay t.nf --again framework\n"
       "\"the replay captured again, by page-fault\",nothing,,unknown,unknown,unknown,unknown,unknown,unknown,unknown,0,"
       ",not measured,nearfar replay t.nf --again page-fault\n"
       "\"the replay captured again, by exact\",nothing,,unknown,unknown,unknown,unknown,unknown,unknown,unknown,0,,not "
       "measured,nearfar replay t.nf --again exact\n");
    assert_false(report_exists(&m, "breakdown.csv"));
    report_has(&m, "summary.md", "| not measured | nearfar replay t.nf --again exact |");
    report_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_everything), cmocka_unit_test(test_only_what_is_alike),
                                       cmocka_unit_test(test_evidence_is_the_weakest), cmocka_unit_test(test_hog_elsewhere),
                                       cmocka_unit_test(test_nothing)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
