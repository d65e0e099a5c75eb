/* Which k a visit is charged by: its own; that of its class of access, as a testbed measured it; that of a stream or a gather. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "replay/access-class.h"
#include "tests/unit/engine-bed.h"
#include "tests/unit/replay-bed.h"

enum { PAGE = NF_PAGE_BYTES };

/* --- one trial --- */

static struct nf_buf charged; /* k, in order */

static uint64_t note_parallelism(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    nf_buf_printf(&charged, "%g ", c->parallelism);
    return start_ns;
}

/* What a visit does not know of its parallelism is that of its pattern; known or not, the sensitivity's scale is on it. */
static void parallelism_is_the_visits_or_its_patterns(void **state)
{
    static const struct {
        uint8_t pattern, known;
    } visits[] = {{NF_PATTERN_STREAM, 0}, {NF_PATTERN_STRIDED, 0}, {NF_PATTERN_BLOCKED, 0}, {NF_PATTERN_GATHER, 0},
                  {NF_PATTERN_STREAM, 3}, {NF_PATTERN_GATHER, 3}};
    struct nf_tier_ops ops = bed_tier;
    struct step s;
    struct bed b;
    struct nf_trial t;

    ops.charge = note_parallelism;
    step_init(&s);
    step_tensor(&s, 4 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    for (size_t i = 0; i < sizeof visits / sizeof *visits; i++) {
        struct nf_visit *v;

        step_op(&s, 0);
        v = step_visit(&s, 0, 2 * PAGE, NF_RW_READ);
        v->parallelism = visits[i].known;
        v->pattern = visits[i].pattern;
        if (v->pattern == NF_PATTERN_STREAM)
            continue;
        v->run = v->pattern == NF_PATTERN_BLOCKED ? 1024 : 64;
        v->stride = 2 * v->run;
    }
    step_ready(&s);
    bed_place_all(100, false);
    bed_init(&b, &s, 1);
    b.tiers[1].ops = &ops;
    b.config.cold = true;
    b.config.cycles = 1;
    b.config.parallelism[1] = (struct nf_parallelism){.stream = 8, .gather = 2};
    for (int scale = 1; scale <= 2; scale++) {
        b.config.parallelism_scale = scale;
        nf_buf_clear(&charged);
        bed_run(&b, &t);
        assert_string_equal(charged.data, scale == 1 ? "8 2 8 2 3 3 " : "16 4 16 4 6 6 ");
        nf_trial_deinit(&t);
    }
    nf_buf_deinit(&charged);
    step_deinit(&s);
}

static void classes_are_found(void **state)
{
    for (unsigned i = 0; i < NF_ACCESS_CLASSES; i++) {
        const struct nf_access_class *c = &nf_access_classes[i];

        assert_int_equal(nf_access_class_of(c->pattern, c->rw), i);
        assert_int_equal(nf_access_class_named(c->name), i);
    }
    for (unsigned rw = 0; rw < NF_RW_COUNT; rw++)
        assert_int_equal(nf_access_class_of(NF_PATTERN_BLOCKED, rw), nf_access_class_of(NF_PATTERN_STREAM, rw));
    assert_int_equal(nf_access_class_named("blocked read"), NF_ACCESS_CLASSES);
}

/* A step of one op for each pattern and kind of access, each of two pages, that do not know their k. */
static void step_of_classes(struct step *s)
{
    step_init(s);
    step_tensor(s, 4 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    for (unsigned pattern = 0; pattern < NF_PATTERN_COUNT; pattern++)
        for (unsigned rw = 0; rw < NF_RW_COUNT; rw++) {
            struct nf_visit *v;

            step_op(s, 0);
            v = step_visit(s, 0, 2 * PAGE, rw);
            v->parallelism = 0;
            v->pattern = (uint8_t)pattern;
            if (pattern == NF_PATTERN_STREAM)
                continue;
            v->run = pattern == NF_PATTERN_BLOCKED ? 1024 : 64;
            v->stride = 2 * v->run;
        }
    step_ready(s);
}

/* Patterns come in the order of enum nf_pattern, each read, written, updated. A class that nobody measured falls back, and one line under way
 * is the least. */
static void each_class_of_access_has_its_k(void **state)
{
    static const struct {
        double scale;
        const char *charged;
    } cases[] = {{1, "10 11 12 20 21 22 30 2 1 10 11 12 "}, {0.5, "5 5.5 6 10 10.5 11 15 1 0.5 5 5.5 6 "}};
    struct nf_tier_ops ops = bed_tier;
    struct nf_parallelism p = {.stream = 8, .gather = 2};
    struct nf_trial t;
    struct step s;
    struct bed b;

    for (unsigned i = 0; i < NF_ACCESS_CLASSES; i++)
        p.of_class[i] = 10 * (1 + i / 3) + i % 3;
    p.of_class[nf_access_class_named("gather write")] = 0;
    p.of_class[nf_access_class_named("gather update")] = 0.25;
    ops.charge = note_parallelism;
    step_of_classes(&s);
    bed_place_all(100, false);
    bed_init(&b, &s, 1);
    b.tiers[1].ops = &ops;
    b.config.cold = true;
    b.config.cycles = 1;
    b.config.parallelism[1] = p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        b.config.parallelism_scale = cases[i].scale;
        nf_buf_clear(&charged);
        bed_run(&b, &t);
        assert_string_equal(charged.data, cases[i].charged);
        assert_true(t.assumed_k_share == 1);
        assert_float_equal(t.class_k_share, 18. / 20, 1e-9); /* a store counts twice; one pattern's was not measured */
        nf_trial_deinit(&t);
    }
    nf_buf_deinit(&charged);
    step_deinit(&s);
}

/* --- a session --- */

#define SLOW_FAR "emulated:latency-ns=20000"
static const char *const tiers[2] = {"null", SLOW_FAR};
static const char *const all_far[] = {"all-far"};
static const uint64_t two[] = {2, 2};
static const struct replay_bed_shape small = {.pages = two, .n = 2};
/* Two visits of each of two tensors of LINES: read, written, read, updated. */
enum { LINES = 2 * NF_PAGE_BYTES / NF_LINE_BYTES };
static const double LINE_NS = 20000;

/* A testbed of these tiers with as many of the nine as asked: a stream read 2, written 1, updated 4, whatever else 64. */
static void know_classes(struct nf_study *s, int testbed, unsigned n)
{
    if (testbed > 1) {
        replay_bed_execute(s, "INSERT INTO testbed(id, invocation_id, machine_id, llc_effective_bytes, page_bytes, conditions, cpu) SELECT 2, "
                              "invocation_id, machine_id, llc_effective_bytes, page_bytes, conditions, cpu FROM testbed WHERE id = 1");
        replay_bed_execute(s, "INSERT INTO tier(testbed_id, number, name, provider, spec, target_latency_ns, target_read_bps, latency_ns, "
                              "read_bps, write_bps, stream_parallelism, gather_parallelism, evidence) SELECT 2, number, name, provider, "
                              "spec, target_latency_ns, target_read_bps, latency_ns, read_bps, write_bps, stream_parallelism, "
                              "gather_parallelism, evidence FROM tier WHERE testbed_id = 1");
    }
    for (unsigned i = 0; i < n; i++) {
        const struct nf_access_class *c = &nf_access_classes[i];
        struct nf_query *q;

        assert_int_equal(nf_study_query(s, "INSERT INTO tier_figure(testbed_id, tier_number, what, value, unit, stable, traffic, threads, "
                                           "offered, traffic_bps, page, locality, working_set_bytes, llc_bytes, parallelism, cpu, governor, "
                                           "samples) VALUES(?1, 0, 'k', ?2, 'lines', 1, ?3, 1, 0, 0, '4k', '', 1, 1, 0, -1, 'unknown', '[]')",
                                        &q), 0);
        nf_query_bind_i64(q, 1, testbed);
        nf_query_bind_f64(q, 2, c->pattern != NF_PATTERN_STREAM ? 64 : c->rw == NF_RW_READ ? 2 : c->rw == NF_RW_WRITE ? 1 : 4);
        nf_query_bind_text(q, 3, c->name);
        assert_int_equal(nf_query_run(q), 0);
    }
}

static int64_t assumed_of(struct nf_study *s, int64_t replay)
{
    char sql[128];
    struct nf_query *q;
    int64_t id;

    snprintf(sql, sizeof sql, "SELECT coalesce(k_testbed_id, 0) FROM replay WHERE id = %lld", (long long)replay);
    assert_int_equal(nf_study_query_text(s, sql, &q), 0);
    assert_int_equal(nf_query_step(q), 1);
    id = nf_query_i64(q, 0);
    nf_query_done(q);
    return id;
}

/* Nothing ends before its class lets it: four times as long as a stream's k would take. */
static void a_measured_table_is_what_a_replay_assumes(void **state)
{
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = replay_bed_options(all_far, 1, tiers);
    const double least = LINES * LINE_NS * (2 / 2. + 1 / 1. + 1 / 4.);

    replay_bed_know_tiers(s, SLOW_FAR);
    know_classes(s, 1, NF_ACCESS_CLASSES);
    o.llc_bytes = NF_PAGE_BYTES; /* every visit is of more */
    o.sensitivity = true;
    replay_bed_run(s, &o);
    assert_true(replay_bed_real(s, "SELECT min(1.0 * wall_ns / steps) FROM trial WHERE policy = 'all-far' AND variant = ''") > 0.99 * least);
    assert_true(replay_bed_real(s, "SELECT min(1.0 * wall_ns / steps) FROM trial WHERE policy = 'all-far' AND variant = 'k/2'") > 1.98 * least);
    assert_true(replay_bed_real(s, "SELECT min(1.0 * wall_ns / steps) FROM trial WHERE policy = 'all-far' AND variant = '2k'") > 0.49 * least);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE policy = 'all-far' AND (assumed_k_share <> 1 OR class_k_share <> 1)"), 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE policy = 'all-near' AND class_k_share <> 0"), 0);
    assert_int_equal(assumed_of(s, 1), 1);
    nf_study_close(s);
}

/* One class short, on another near, or of another machine: then the two count, and the study says so. */
static void what_was_measured_elsewhere_is_not_assumed(void **state)
{
    static const struct {
        const char *change;
        int64_t assumed;
    } cases[] = {{"UPDATE tier_figure SET stable = 0", 2},
                 {"DELETE FROM tier_figure WHERE traffic = 'gather update'", 0},
                 {"UPDATE tier SET spec = 'numa:node=7' WHERE testbed_id = 2 AND number = 0", 0},
                 {"UPDATE testbed SET machine_id = (SELECT max(id) FROM machine) WHERE id = 2", 0}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_study *s = replay_bed_study(&small);
        struct nf_replay_options o = replay_bed_options(all_far, 1, tiers);

        replay_bed_know_tiers(s, SLOW_FAR);
        know_classes(s, 2, NF_ACCESS_CLASSES);
        replay_bed_execute(s, "INSERT INTO machine(host, cpu, kernel, facts, cpus, nodes, memory_bytes, llc_reported_bytes, hypervisor) SELECT "
                              "'elsewhere', cpu, kernel, facts, cpus, nodes, memory_bytes, llc_reported_bytes, hypervisor FROM machine");
        replay_bed_execute(s, "UPDATE testbed SET llc_effective_bytes = 0 WHERE id = 2"); /* its other numbers are not looked for */
        replay_bed_execute(s, cases[i].change);
        o.unfiltered = true; /* no cache holds it */
        replay_bed_run(s, &o);
        assert_int_equal(assumed_of(s, 1), cases[i].assumed);
        assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE class_k_share <> 0") > 0, cases[i].assumed > 0);
        nf_study_close(s);
    }
}

/* The latest that has one, whatever was measured since; a testbed that was asked for has its own or none; a replay goes on as it began. */
static void the_testbed_that_counts_is_kept(void **state)
{
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = replay_bed_options(all_far, 1, tiers);

    replay_bed_know_tiers(s, SLOW_FAR);
    o.blocks = 1;
    o.unfiltered = true; /* no cache holds it */
    replay_bed_run(s, &o);
    assert_int_equal(assumed_of(s, 1), 0);
    know_classes(s, 1, NF_ACCESS_CLASSES);
    know_classes(s, 2, 0);
    replay_bed_run(s, &o);
    assert_int_equal(assumed_of(s, 2), 1);
    o.resume_testbed = 2;
    replay_bed_run(s, &o);
    assert_int_equal(assumed_of(s, 3), 0);

    replay_bed_execute(s, "UPDATE replay SET status = 'partial'");
    replay_bed_execute(s, "DELETE FROM trial_tier");
    replay_bed_execute(s, "DELETE FROM trial");
    o.resume = 1;
    o.resume_testbed = 1;
    replay_bed_run(s, &o);
    o.resume = 2;
    replay_bed_run(s, &o);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE replay_id = 1 AND policy = 'all-far' AND class_k_share = 0"), 1);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE replay_id = 2 AND policy = 'all-far' AND class_k_share = 1"), 1);
    nf_study_close(s);
}

static int forget(void **state)
{
    bed_forget(state);
    return replay_bed_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parallelism_is_the_visits_or_its_patterns),
        cmocka_unit_test(classes_are_found),
        cmocka_unit_test(each_class_of_access_has_its_k),
        cmocka_unit_test(a_measured_table_is_what_a_replay_assumes),
        cmocka_unit_test(what_was_measured_elsewhere_is_not_assumed),
        cmocka_unit_test(the_testbed_that_counts_is_kept),
    };

    return cmocka_run_group_tests(tests, replay_bed_setup, forget);
}
