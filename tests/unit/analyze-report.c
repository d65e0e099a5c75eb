/* Reports of studies whose truth is known: every number is written into the study, and worked out by hand here. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "analyze/gnuplot.h"
#include "analyze/report.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/words.h"
#include "core/store/study.h"
#include "tests/unit/report-sample.h"

enum { BLOCKS = 11 };

/* Three ratios at two shares: each share's fastest is drawn as the best one, and nobody else's rival. */
static void test_sweep(void **state)
{
    static const struct {
        const char *options;
        double share, slowdown;
    } ratios[] = {{"ratio=10", 0.1, 1.4}, {"ratio=20", 0.1, 1.6}, {"ratio=40", 0.1, 1.8},
                  {"ratio=10", 0.2, 1.3}, {"ratio=20", 0.2, 1.1}, {"ratio=40", 0.2, 1.2}};
    struct report_sample m;

    report_known(&m, BLOCKS);
    for (int b = 0; b < BLOCKS; b++)
        for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++) {
            struct report_trial t = {.policy = "interleave", .options = ratios[i].options, .share = ratios[i].share, .block = b,
                                     .overlap = 1, .step_ns = 1e6 * (1 + b / 100.) * ratios[i].slowdown};

            report_add_trial(&m, &t);
        }
    report_made(&m);
    report_has(&m, "curve.csv", "\nbest interleave (oracle over 3 ratios),0.1,104857600,overlap=full,0,1,1.4,");
    report_has(&m, "curve.csv", "\nbest interleave (oracle over 3 ratios),0.2,209715200,overlap=full,0,1,1.1,");
    report_has(&m, "curve.csv", "\ninterleave (ratio=40),0.2,209715200,overlap=full,0,1,1.2,");
    report_has(&m, "summary.md", "| 20 % | overlap=full | interleave (ratio=20) | 3 |");
    report_has(&m, "summary.md", "| 10 % | overlap=full | interleave (ratio=10) | 3 |");
    report_has(&m, "policy-curve.gp", "best interleave");
    report_lacks(&m, "policy-curve.gp", "ratio=40");
    /* Neither the oracle nor what it was chosen from competes. */
    report_has(&m, "summary.md", "near, regime-plan is the fastest");
    report_has(&m, "summary.md", "best interleave (oracle over 3 ratios) reaches 1.10× (overlap=full only), regime-plan against it");
    report_deinit(&m);
}

/* One of two assumed points was made again at half and at twice k, another only at half; a failed trial is none. */
static void test_k_repeated(void **state)
{
    struct report_sample m;
    struct nf_query *q;

    report_known(&m, BLOCKS);
    /* How it was assumed stands in the answer and beside each point; the most of all. */
    q = report_query(m.s, "UPDATE trial SET class_k_share = CASE policy WHEN 'lru' THEN 0.625 ELSE 0.25 END");
    assert_int_equal(nf_query_run(q), 0);
    q = report_query(m.s, "CREATE TEMP TABLE again AS SELECT * FROM trial WHERE near_share = 0.2 AND overlap = 1 AND block = 0 AND "
                          "policy IN ('lru', 'regime-plan', 'near-first')");
    assert_int_equal(nf_query_run(q), 0);
    for (int twice = 0; twice < 2; twice++) {
        q = report_query(m.s, twice ? "UPDATE again SET id = id + 100000, parallelism_scale = 2, variant = '2k', status = CASE policy WHEN "
                                      "'near-first' THEN 'failed' ELSE status END"
                                    : "UPDATE again SET id = id + 100000, parallelism_scale = 0.5, variant = 'k/2'");
        assert_int_equal(nf_query_run(q), 0);
        q = report_query(m.s, twice ? "INSERT INTO trial SELECT * FROM again WHERE policy <> 'regime-plan'" : "INSERT INTO trial SELECT * FROM again");
        assert_int_equal(nf_query_run(q), 0);
    }
    assert_int_equal(report_write(&m), 0);
    report_has(&m, "summary.md", "% of far bytes (up to 62.5 % by the k measured of their class of access), k repeated at k/2 and 2k for 1 of ");
    report_has(&m, "curve.csv", "assumed_k_share,class_k_share,late_ns");
    report_has(&m, "curve.csv", ",0.9,0.625,");
    report_has(&m, "curve.csv", ",0.9,0.25,");
    report_has(&m, "policy-curve.svg", "; k repeated at k/2 and 2k for 1 of ");
    report_deinit(&m);
}

static void test_known(void **state)
{
    struct report_sample m;
    struct nf_query *q;

    report_known(&m, BLOCKS);
    /* The real job: 1.25 times slower beside the hog. Replayed: 1.20 (full), 1.30 (none). */
    q = report_query(m.s,
              "INSERT INTO live_run(invocation_id, capture_id, repetition, kind, exit_status, steps, step_ns, evidence)"
              " VALUES(1, 1, 0, 'alone', 0, 4, '[9999, 1000, 5, 2000]', 1), (1, 1, 0, 'hog', 0, 1, '[1250]', 1),"
              " (1, 1, 1, 'alone', 0, 1, '[1000]', 1), (1, 1, 1, 'hog', 0, 1, '[ 1250 ]', 1),"
              " (1, 1, 2, 'hog', 1, 1, '[9]', 1), (1, 1, 2, 'alone', 0, 1, 'garbage', 1)");
    report_insert(m.s, q);
    for (int b = 0; b < BLOCKS; b++) {
        for (int overlap = 1; overlap <= 2; overlap++) {
            struct report_trial hog = {.policy = "all-near",
                                .share = 1,
                                .block = b,
                                .overlap = overlap,
                                .hog = 1,
                                .step_ns = 1e6 * (1 + b / 100.) * (overlap == 1 ? 1.2 : 1.3)};

            report_add_trial(&m, &hog);
        }
    }
    report_made(&m);

    /* Medians are exact: the offsets are symmetric. 1.7 / 1.3 at the middle block; all eleven differences one way. */
    report_has(&m, "curve.csv", "\nnear-first,0.2,209715200,overlap=full,0,1,1.7,");
    report_has(&m, "curve.csv", "\nnear-first,0.2,209715200,overlap=none,0,1,1.56,");
    report_has(&m, "curve.csv", "\nregime-plan,0.2,209715200,overlap=full,0,1,1.3,1.2");
    report_has(&m, "curve.csv", ",11,0,0,near-first,0.7647058824,0.0009765625,11,"); /* 2 / 2^11 */
    report_has(&m, "curve.csv",
               "\nall-near,1,1048576000,overlap=full,0,1,1,1,1,11,0,0,none,unknown,unknown,0,1050000,0,0,0,");
    report_has(&m, "summary.md",
               "With 20 % of peak live bytes near, regime-plan is the fastest policy that does not see the future: "
               "1.30× (overlap=full) to 1.24× (overlap=none) the time of all-near, 95 % intervals 1.29");
    report_has(&m, "summary.md",
               "lru reaches 1.50× (overlap=full) to 1.40× (overlap=none), regime-plan against it: "
               "-13.3 % step time (overlap=full, p = 0.00098, significant), -11.4 %");
    report_has(&m, "summary.md",
               "Evidence: injected-delay (far = 2.0× local latency, 0.5× local read bandwidth), k assumed for up to 90 "
               "% of far bytes, k not repeated at k/2 and 2k; 11 blocks");
    report_lacks(&m, "summary.md", "not publishable");
    report_lacks(&m, "summary.md", "LLC-resident");
    /* Consistency: 1.05 ms at the middle block / 1 ms captured. Fidelity: 1.2 / 1.25 - 1 and 1.3 / 1.25 - 1. */
    report_has(&m, "fidelity.csv", "\nconsistency: all-near step / captured bare step,the captured step,overlap=full,1.05,");
    report_has(&m, "fidelity.csv", ",nothing,overlap=full,1.2,1.2,1.2,1.25,1.25,1.25,-0.04,11,");
    report_has(&m, "fidelity.csv", ",nothing,overlap=none,1.3,1.3,1.3,1.25,1.25,1.25,0.04,11,");
    report_has(&m, "summary.md", "| nothing | overlap=full | 1.2 | 1.2 | 1.2 | 1.25 | 1.25 | 1.25 | -4.0 % | 11 | ");
    report_has(&m, "summary.md", "2 runs alone (median step 1.00 us), 2 beside the hog (1.25 us), 2 failed");
    /* The profile: eight parameters of 4 MiB, read in forward and backward, updated: 3 × 32 MiB read. */
    report_has(&m, "summary.md", "| parameter | 8 | 8 | 32.00 MiB | 32.00 MiB | 32.00 MiB | 96.00 MiB | 32.00 MiB |");
    report_has(&m, "summary.md", "| saved activation | 8 | 0 | 64.00 MiB | 64.00 MiB |");
    report_has(&m, "provenance.json", "\"step_class_hash\": \"00000000000000ff\"");
    report_has(&m, "provenance.json", "\"study\": \"t.nf\"");
    if (!nf_gnuplot_probe()) {
        report_has(&m, "policy-curve.svg", "evidence: injected-delay (far = 2.0× local latency");
        report_has(&m, "far-demand.svg", "evidence: injected-delay");
        report_has(&m, "live-bytes.svg", "evidence: accesses framework 100 %");
        report_has(&m, "gaps.svg", "effective LLC 16.00 MiB");
        assert_true(report_exists(&m, "policy-curve.pdf"));
        assert_false(report_exists(&m, "policy-curve-asap.svg"));
    }
    report_deinit(&m);
}

/* Policies that see the profile against LRU and the interleave: faster, slower, not told apart, and from fewer than six blocks nothing;
 * and where the time goes. */
static void test_rivals(void **state)
{
    struct report_sample m;
    struct nf_query *q;

    report_known(&m, BLOCKS);
    /* 5 steps; of LRU's 1.47 ms in the middle block (20 % near, none) 0.4 are stalls, of regime-plan's 1.302 ms 0.2. */
    q = report_query(m.s, "UPDATE trial SET memory_ns = 5 * 300000, injected_ns = 5 * 50000, compute_ns = 5 * 650000, stall_ns = CASE policy WHEN "
                          "'lru' THEN 5 * 400000 ELSE 5 * 200000 END WHERE near_share = 0.2 AND overlap = 2");
    assert_int_equal(nf_query_run(q), 0);
    /* At half near belady loses to LRU, and is as often faster as slower than the interleave. */
    q = report_query(m.s, "UPDATE trial AS t SET wall_ns = (SELECT wall_ns * 11 / 10 FROM trial r WHERE r.policy = 'lru' AND r.block = t.block AND r.overlap = 1 "
                          "AND r.near_share = 0.5) WHERE policy = 'belady' AND near_share = 0.5 AND overlap = 1");
    assert_int_equal(nf_query_run(q), 0);
    q = report_query(m.s, "UPDATE trial AS t SET wall_ns = (SELECT wall_ns * (95 + t.block) / 100 FROM trial r WHERE r.policy = 'belady' AND r.block = t.block AND "
                          "r.overlap = 1 AND r.near_share = 0.5) WHERE policy = 'interleave' AND near_share = 0.5 AND overlap = 1");
    assert_int_equal(nf_query_run(q), 0);
    q = report_query(m.s, "DELETE FROM trial_tier WHERE trial_id IN (SELECT id FROM trial WHERE policy = 'regime-plan' AND near_share = 0.1 AND block > 4)");
    assert_int_equal(nf_query_run(q), 0);
    q = report_query(m.s, "DELETE FROM trial WHERE policy = 'regime-plan' AND near_share = 0.1 AND block > 4");
    assert_int_equal(nf_query_run(q), 0);
    report_made(&m);
    report_has(&m, "rivals.csv", "\n0.2,overlap=none,regime-plan,profile,lru,faster,0.8857142857,0.885");
    report_has(&m, "rivals.csv", "\n0.5,overlap=full,belady,profile and future,lru,slower,1.1,1.1,1.1,11,");
    report_has(&m, "rivals.csv", "\n0.5,overlap=full,belady,profile and future,interleave,not told apart,1,");
    report_has(&m, "rivals.csv", "\n0.1,overlap=full,regime-plan,profile,lru,too few blocks,");
    report_has(&m, "rivals.csv", "of the step (theirs): waits for far accesses 3.84 % (3.4 %), standing still for moves 15.4 % (27.2 %), ");
    report_has(&m, "rivals.csv", "they differ most in standing still for moves: 200.00 us less than with lru");
    report_has(&m, "rivals.csv", "unknown: older trials do not account for their time");
    report_has(&m, "summary.md", "20 % near, overlap=none: faster than LRU and the best interleave, as far as both were replayed: belady, regime-plan.");
    report_has(&m, "summary.md", "50 % near, overlap=full: faster than LRU and the best interleave, as far as both were replayed: regime-plan. "
                                 "Not so: belady (slower than lru, not told apart from interleave).");
    report_has(&m, "summary.md", "Not so: regime-plan (too few blocks with lru, too few blocks with interleave).");
    report_deinit(&m);
}

static void test_nothing(void **state)
{
    struct report_sample m;
    struct nf_report_options options = {.directory = m.report, .replay = 99};

    report_init(&m, "[]");
    assert_int_equal(report_write(&m), -ENOENT);
    assert_non_null(strstr(nf_error_text(-ENOENT), "holds no trials to report"));
    report_add_replay(&m, MIB);
    assert_int_equal(report_write(&m), -ENOENT);
    assert_int_equal(nf_report_write(m.s, &options), -ENOENT);
    assert_non_null(strstr(nf_error_text(-ENOENT), "replay 99"));
    assert_false(report_exists(&m, "index.html"));
    report_deinit(&m);
}

static void test_one_block(void **state)
{
    struct report_sample m;

    report_init(&m, "[]");
    report_add_replay(&m, 20 * MIB);
    report_add_blocks(&m, 1);
    report_made(&m);
    report_has(&m, "summary.md", "demo, not publishable (1 block)");
    report_has(&m, "summary.md", "LLC-resident (peak live 20.00 MiB &lt; 4 × 16.00 MiB effective LLC)");
    report_has(&m, "summary.md", "(overlap=full, p = 1, not significant)");
    report_has(&m, "summary.md", "## The captured profile\n\nunknown: ");
    report_has(&m, "summary.md", "prediction error beside a bandwidth hog: unknown");
    if (!nf_gnuplot_probe()) {
        report_has(&m, "policy-curve.svg", "demo, not publishable (1 block)");
        report_has(&m, "policy-curve.svg", "LLC-resident");
    }
    report_deinit(&m);
}

/* Trials that do not count, an informed policy that loses, and an outlier that is kept. */
static void test_left_out(void **state)
{
    struct report_sample m;
    struct report_trial odd[] = {
        {.policy = "lru",
         .share = 0.2,
         .block = 0,
         .overlap = 1,
         .step_ns = 1e9,
         .status = "unsteady",
         .message = "near residency still moves by 7 %"},
        {.policy = "lru", .share = 0.3, .block = 0, .overlap = 1, .step_ns = 1, .status = "failed"},
        {.policy = "lru",
         .share = 0.2,
         .block = 1,
         .overlap = 1,
         .step_ns = 1,
         .status = "discarded",
         .message = "by hand"},
        {.policy = "lru",
         .share = 0.2,
         .block = 2,
         .overlap = 1,
         .step_ns = 1,
         .evidence = NF_EVIDENCE_EMULATED_MACHINE},
        {.policy = "lru", .share = 0.2, .block = 3, .overlap = 1},
        {.policy = "alone", .share = 0.2, .block = 77, .overlap = 1, .step_ns = 5e6},
    };

    report_init(&m, "[]");
    report_add_replay(&m, 256 * MIB);
    for (int b = 0; b < 10; b++) {
        for (int overlap = 1; overlap <= 2; overlap++) {
            struct report_trial near = {.policy = "all-near", .share = 1, .step_ns = 1e6, .block = b, .overlap = overlap};
            struct report_trial lru = {.policy = "lru",
                                .share = 0.2,
                                .step_ns = b == 9 ? 9e6 : 1.2e6 + 100 * b,
                                .block = b,
                                .overlap = overlap};
            struct report_trial plan = {.policy = "plan",
                                 .semantics = "in-place; sees profile",
                                 .share = 0.2,
                                 .step_ns = 1.5e6 + 100 * b,
                                 .block = b,
                                 .overlap = overlap};

            report_add_trial(&m, &near);
            report_add_trial(&m, &lru);
            report_add_trial(&m, &plan);
        }
    }
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        report_add_trial(&m, &odd[i]);
    report_made(&m);
    report_has(&m, "summary.md", "lru is the fastest policy that does not see the future");
    report_has(&m, "summary.md", "seeing the profile did not win: the best policy that does, plan, against lru: +25");
    report_has(&m, "summary.md",
               "5 of 66 trials are in no curve: 1 unsteady, 1 failed, 3 for other reasons. 1 more had no");
    report_has(&m, "summary.md", "| lru | 20 % | 0 | overlap=full | unsteady | near residency still moves by 7 % |");
    report_has(&m, "summary.md", "an emulated machine is functional only: barred from curves");
    report_has(&m, "summary.md", "no measured step");
    report_has(&m, "curve.csv", "\nlru,0.2,209715200,overlap=full,0,1,1.20045,"); /* all ten, the outlier among them */
    report_has(&m, "curve.csv", ",10,1,0,");
    report_has(&m, "trials.csv", ",failed,no reason given,");
    report_deinit(&m);
}

/* A capture without durations has no slowdown, whatever was replayed of it. */
static void test_no_durations(void **state)
{
    struct report_sample m;

    report_init(&m, "[]");
    report_insert(m.s, report_query(m.s, "UPDATE capture SET durations = 'unknown', lifetimes = 'inferred', phases = 'inferred'"));
    report_add_replay(&m, 256 * MIB);
    for (int b = 0; b < 10; b++) {
        for (int overlap = 0; overlap <= 2; overlap++) {
            struct report_trial near = {.policy = "all-near", .share = 1, .step_ns = 1e6, .block = b, .overlap = overlap};
            struct report_trial lru = {.policy = "lru", .share = 0.2, .step_ns = 2e6, .block = b, .overlap = overlap};

            report_add_trial(&m, &near);
            report_add_trial(&m, &lru);
        }
    }
    report_made(&m);
    report_has(&m, "summary.md", "no slowdown of the job is stated");
    report_has(&m, "summary.md", "Lifetimes inferred, phases inferred, durations unknown.");
    report_has(&m, "provenance.json", "\"durations\": \"unknown\"");
    report_lacks(&m, "summary.md", "Slowdown against all-near");
    report_lacks(&m, "summary.md", "lru is the");
    assert_false(report_exists(&m, "policy-curve.gp"));
    assert_true(report_exists(&m, "policy-curve-asap.gp"));
    report_has(&m, "policy-curve-asap.gp", "time of the memory accesses alone");
    report_has(&m, "policy-curve-asap.gp", "this is no slowdown of the job");
    report_deinit(&m);
}

/* Beside the curves: what disturbed trials, contention in pairs, and the real job bound to a tier against its replay. */
static void test_record(void **state)
{
    struct report_sample m;

    report_init(&m, "[]");
    report_add_replay(&m, 256 * MIB);
    for (int b = 0; b < 10; b++) {
        for (int overlap = 1; overlap <= 2; overlap++) {
            struct report_trial near = {.policy = "all-near", .share = 1, .step_ns = 1e6, .block = b, .overlap = overlap};
            struct report_trial far = {.policy = "all-far", .step_ns = overlap == 1 ? 1.8e6 : 2.2e6, .block = b,
                                       .overlap = overlap};

            report_add_trial(&m, &near);
            report_add_trial(&m, &far);
            if (overlap == 1) { /* three times as long under contention, in a trial of its own */
                far.step_ns *= 3;
                report_add_trial(&m, &far);
                report_insert(m.s, report_query(m.s, "UPDATE trial SET background = 'read:50%@far', background_bps = 4e9 WHERE id = "
                                                     "(SELECT max(id) FROM trial)"));
            }
        }
    }
    report_insert(m.s, report_query(m.s, "UPDATE trial SET interference = 'preempted for 7.0 % of the time' WHERE id = 2"));
    report_insert(m.s, report_query(m.s, "UPDATE replay SET resumed = 2, until_width = 0.02, counters = 'imc: usable'"));
    report_insert(m.s, report_query(m.s, "UPDATE trial_tier SET uncounted = CASE tier_number WHEN 0 THEN 'no counter here counts node 0' ELSE "
                                         "'no figures' END"));
    report_insert(m.s, report_query(m.s, "UPDATE trial_tier SET uncounted = '', counter_read_bytes = read_bytes + 7, counter_write_bytes = "
                                         "write_bytes WHERE tier_number = 1 AND trial_id IN (SELECT id FROM trial WHERE policy = 'all-far' "
                                         "AND background = '')"));
    report_use_real_tiers(&m);
    /* Bound far the job takes twice as long: between the modes. */
    report_insert(m.s, report_query(m.s, "INSERT INTO live_run(invocation_id, capture_id, repetition, kind, exit_status, steps, step_ns, "
                                         "evidence, binding) SELECT 1, 1, value, 'alone', 0, 3, '[9,100,100]', 1, '' FROM "
                                         "json_each('[0,1,2]')"));
    report_insert(m.s, report_query(m.s, "INSERT INTO live_run(invocation_id, capture_id, repetition, kind, exit_status, steps, step_ns, "
                                         "evidence, binding) SELECT 1, 1, value, 'bind', 0, 3, '[9,200,200]', 1, 'far: node 1' FROM "
                                         "json_each('[0,1,2]')"));
    report_insert(m.s, report_query(m.s, "INSERT INTO live_run(invocation_id, capture_id, repetition, kind, exit_status, steps, step_ns, "
                                         "evidence, binding) SELECT 1, 1, value, 'bind', 0, 3, '[9,130,130]', 2, 'near: node 0' FROM "
                                         "json_each('[0,1]')"));
    report_insert(m.s, report_query(m.s, "UPDATE trial SET steal_ns = 2000 WHERE overlap = 1"));
    report_made(&m);
    report_has(&m, "trials-ran.csv", ",60000\noverlap=none"); /* of thirty trials; not told of the others */
    report_has(&m, "trials-ran.csv", ",unknown\n");
    report_has(&m, "live.csv", "\nbound far: node 1,measured-proxy,3,2,2,2,all-far,1.8,2.2,within the band");
    report_has(&m, "live.csv", "\nbound near: node 0,measured-proxy,2,1.3,1.3,1.3,nothing comparable,unknown,unknown,\"nothing to predict");
    report_has(&m, "contention.csv", "\nread:50%@far,4000000000,all-far,0,overlap=full,3,3,3,10");
    report_has(&m, "counters.csv", "\nlocal,50,0,unknown,0,unknown,no counter here counts node 0\n"
                                   "far,20,31457280000,31457280140,10485760000,10485760000,\n"
                                   "far,30,15728640000,unknown,5242880000,unknown,no figures\n");
    report_has(&m, "trials.csv", ",unknown,unknown,1572864007,524288000,near: no counter here counts node 0,");
    report_has(&m, "summary.md", "beside those that hardware counters saw");
    report_has(&m, "disturbed.csv", "\n2,0,all-far,0,overlap=full,ok,preempted for 7.0 % of the time");
    report_has(&m, "summary.md", "stopped and taken up again 2 times");
    report_has(&m, "summary.md", "within 2 % (95 % interval)");
    /* The curve does not know the trials under contention. */
    report_has(&m, "curve.csv", "\nall-far,0,0,overlap=full,0,1,1.8,1.8,1.8,10,");
    report_deinit(&m);
}

static void test_hostile(void **state)
{
    struct report_sample m;

    report_init(&m, report_hostile);
    report_add_replay(&m, 256 * MIB);
    for (int b = 0; b < 2; b++) {
        struct report_trial near = {.policy = "all-near", .share = 1, .step_ns = 1e6, .block = b, .overlap = 1};
        struct report_trial bad = {
            .policy = report_hostile, .semantics = report_hostile, .share = 0.2, .step_ns = 2e6, .block = b, .overlap = 1};
        struct report_trial worse = {
            .policy = report_hostile, .share = 0.3, .block = b, .overlap = 1, .status = "failed", .message = report_hostile};

        report_add_trial(&m, &near);
        report_add_trial(&m, &bad);
        report_add_trial(&m, &worse);
    }
    report_made(&m);
    report_has(&m, "index.html", "&lt;script&gt;alert('x')&lt;/script&gt;");
    report_lacks(&m, "index.html", "\x01");
    report_has(&m, "provenance.json", "\\\"q\\\" a,b");
    report_has(&m, "trials.csv", "\"<script>alert('x')</script> \"\"q\"\" a,b");
    if (!nf_gnuplot_probe()) {
        assert_true(report_exists(&m, "policy-curve.svg"));
        report_lacks(&m, "index.html", "not drawn");
    }
    report_deinit(&m);
}

/* Without gnuplot everything but the drawings is there, and the report says why they are not. */
static void test_no_gnuplot(void **state)
{
    struct report_sample m;
    char *path = strdup(getenv("PATH"));

    report_init(&m, "[]");
    report_add_replay(&m, 256 * MIB);
    report_add_blocks(&m, 2);
    assert_int_equal(report_write(&m), 0);
    setenv("PATH", "/nonexistent", 1);
    assert_int_equal(report_write(&m), 0);
    setenv("PATH", path, 1);
    free(path);
    assert_false(report_exists(&m, "policy-curve.svg")); /* the earlier one is gone */
    assert_true(report_exists(&m, "policy-curve.gp"));
    assert_true(report_exists(&m, "policy-curve.dat"));
    report_has(&m, "index.html", "gnuplot is not on PATH");
    report_has(&m, "summary.md", "gnuplot is not on PATH");
    report_parses(&m);
    report_deinit(&m);
}

static void test_gnuplot_fails(void **state)
{
    struct report_sample m;
    struct nf_buf path = {0};
    int rc;

    if (nf_gnuplot_probe())
        skip();
    report_init(&m, "[]");
    nf_buf_printf(&path, "%s/bad.gp", m.folder);
    assert_int_equal(nf_file_write(path.data, "plot nonsense(\n", 15), 0);
    rc = nf_gnuplot_run(m.folder, "bad.gp", 10000);
    assert_int_equal(rc, -EIO);
    assert_non_null(strstr(nf_error_text(rc), "gnuplot failed on bad.gp: "));
    assert_null(strchr(nf_error_text(rc), '\n'));
    assert_int_equal(nf_file_write(path.data, "pause 60\n", 9), 0);
    rc = nf_gnuplot_run(m.folder, "bad.gp", 200);
    assert_int_equal(rc, -ETIMEDOUT);
    nf_buf_deinit(&path);
    report_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_k_repeated), cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_rivals),          cmocka_unit_test(test_nothing), cmocka_unit_test(test_one_block),
        cmocka_unit_test(test_left_out),      cmocka_unit_test(test_record),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_no_gnuplot),
        cmocka_unit_test(test_gnuplot_fails),   cmocka_unit_test(test_no_durations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
