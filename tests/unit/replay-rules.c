/* The rules of a session, one by one, on a study of a few pages: whoever breaks one is told here. Where times are compared, the
 * injected ones are so much longer than what the machine adds that one undisturbed step of several is enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/model/stream.h"
#include "replay/kernel.h"
#include "replay/pin.h"
#include "tests/unit/replay-bed.h"

/* A line takes 20 us alone: a step of the small study at ten in flight a millisecond, which somebody else disturbs now and then only. */
#define SLOW_FAR "emulated:latency-ns=20000"
static const char *const tiers[2] = {"null", SLOW_FAR};
static const uint64_t two[] = {2, 2};
static const struct replay_bed_shape small = {.pages = two, .n = 2};
static const double LINE_NS = 20000;
/* Of one step, all far and unfiltered: two visits of each of two tensors. */
enum { LINES = 4 * 2 * NF_PAGE_BYTES / NF_LINE_BYTES, TRIES = 20 };

static double best_step(struct nf_study *s, const char *where)
{
    char sql[256];

    snprintf(sql, sizeof sql, "SELECT min(1.0 * wall_ns / steps) FROM trial WHERE policy = 'all-far' AND %s", where);
    return replay_bed_real(s, sql);
}

/* Tensors of 1, 2, 4, ... pages: the bytes near say which of them are. */
static const uint64_t powers[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
static const struct replay_bed_shape many = {.pages = powers, .n = sizeof powers / sizeof *powers};

/* A random policy draws anew in each block, and draws the same again when told the same seed. */
static void every_block_draws_anew(void **state)
{
    static const char *const policies[] = {"random"}, *const cheap[2] = {"null", "emulated:latency-ns=100"};
    static const enum nf_overlap overlaps[] = {NF_OVERLAP_ASAP, NF_OVERLAP_NONE};
    struct nf_study *s = replay_bed_study(&many);
    struct nf_replay_options o = replay_bed_options(policies, 1, cheap);

    replay_bed_know_tiers(s, cheap[1]);
    o.overlaps = overlaps;
    o.n_overlaps = 2;
    o.blocks = 3;
    replay_bed_run(s, &o);
    replay_bed_run(s, &o);
    o.seed = 77;
    replay_bed_run(s, &o);
    replay_bed_execute(s, "CREATE VIEW drawn AS SELECT replay_id, block, overlap, read_bytes FROM trial JOIN trial_tier ON trial_id = "
                          "trial.id WHERE policy = 'random' AND tier_number = 0");
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM drawn"), 3 * 3 * 2);
    assert_true(replay_bed_int(s, "SELECT count(DISTINCT read_bytes) FROM drawn WHERE replay_id = 1") > 1);
    /* Trials of a block are pairs: what is drawn is the block's. */
    assert_int_equal(replay_bed_int(s, "SELECT max(n) FROM (SELECT count(DISTINCT read_bytes) n FROM drawn GROUP BY replay_id, block)"), 1);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM drawn a JOIN drawn b USING (block, overlap) WHERE a.replay_id = 1 AND "
                                       "b.replay_id = 2 AND a.read_bytes <> b.read_bytes"), 0);
    assert_true(replay_bed_int(s, "SELECT count(*) FROM drawn a JOIN drawn b USING (block, overlap) WHERE a.replay_id = 1 AND "
                                  "b.replay_id = 3 AND a.read_bytes <> b.read_bytes") > 0);
    nf_study_close(s);
}

/* Visits that do not know their parallelism take that of local memory, half of it and twice of it. */
static void unknown_parallelism_is_the_local_one(void **state)
{
    static const char *const policies[] = {"all-far"};
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = replay_bed_options(policies, 1, tiers);
    double plain = LINES * LINE_NS / 10, none = 0, half = 0, twice = 0;
    int tries = 0;

    replay_bed_know_tiers(s, SLOW_FAR);
    o.sensitivity = true;
    o.llc_bytes = NF_PAGE_BYTES; /* every visit is of more */
    do {
        replay_bed_run(s, &o);
        none = best_step(s, "variant = ''");
        half = best_step(s, "variant = 'k/2'");
        twice = best_step(s, "variant = '2k'");
        /* Nothing ends before it may. */
        assert_true(twice > 0.2 * plain);
    } while ((none > 1.5 * plain || half > 3 * plain || twice > 0.75 * none) && ++tries < TRIES);
    if (tries == TRIES)
        fail_msg("a step takes %.3g ms at k, %.3g at k/2, %.3g at 2k; asked: at most %.3g", none / 1e6, half / 1e6, twice / 1e6, plain / 1e6);
    assert_true(half > 1.2 * none);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE policy = 'all-far' AND parallelism_scale <> CASE variant WHEN "
                                       "'k/2' THEN 0.5 WHEN '2k' THEN 2 ELSE 1 END"), 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE policy = 'all-far' AND variant <> 'non-temporal' AND "
                                       "assumed_k_share <> 1"), 0);
    nf_study_close(s);
}

/* What the cache holds costs nothing; unfiltered, every line does, and a plain store twice; a store past the caches fetches nothing. */
static void factors_charge_what_they_say(void **state)
{
    static const char *const policies[] = {"all-far"}, *const cheap[2] = {"null", "emulated:latency-ns=100"};
    static const uint64_t in_cache[] = {4, 4};
    const struct replay_bed_shape cached = {.pages = in_cache, .n = 2};
    struct nf_study *s = replay_bed_study(&cached);
    struct nf_replay_options o = replay_bed_options(policies, 1, cheap);
    const int64_t visit = 4 * NF_PAGE_BYTES, all = (1 + 1 + 2 + 2) * visit, past = (1 + 1 + 1 + 2) * visit;

    replay_bed_know_tiers(s, cheap[1]);
    o.sensitivity = true;
    replay_bed_run(s, &o);
    replay_bed_execute(s, "CREATE VIEW far AS SELECT replay_id, variant, charged_bytes FROM trial JOIN trial_tier ON trial_id = trial.id "
                          "WHERE policy = 'all-far' AND tier_number = 1");
    assert_int_equal(replay_bed_int(s, "SELECT max(charged_bytes) FROM far WHERE variant = 'unfiltered'"), all);
    assert_int_equal(replay_bed_int(s, "SELECT min(charged_bytes) FROM far WHERE variant = 'unfiltered'"), all);
    assert_true(replay_bed_int(s, "SELECT max(charged_bytes) FROM far WHERE variant <> 'unfiltered'") < visit);
    o.sensitivity = false;
    o.unfiltered = true;
    replay_bed_run(s, &o);
    assert_int_equal(replay_bed_int(s, "SELECT min(charged_bytes) FROM far WHERE replay_id = 2"), all);
    o.store = NF_STORE_NON_TEMPORAL;
    replay_bed_run(s, &o);
    assert_int_equal(replay_bed_int(s, "SELECT min(charged_bytes) FROM far WHERE replay_id = 3"), past);
    assert_int_equal(replay_bed_int(s, "SELECT max(charged_bytes) FROM far WHERE replay_id = 3"), past);
    nf_study_close(s);
}

/* A part of the footprint is replayed against the same part of the cache: what did not fit still does not, and half of it is charged. */
static void scaled_footprints_meet_a_scaled_cache(void **state)
{
    static const char *const policies[] = {"all-far"}, *const cheap[2] = {"null", "emulated:latency-ns=100"};
    static const uint64_t pages[] = {12, 12}; /* of a cache of 16 */
    const struct replay_bed_shape shape = {.pages = pages, .n = 2};
    struct nf_study *s = replay_bed_study(&shape);
    struct nf_replay_options o = replay_bed_options(policies, 1, cheap);
    /* The write and the update, with their fetches; what is read was touched right before. */
    const int64_t step = (2 + 2) * 12 * NF_PAGE_BYTES;

    replay_bed_know_tiers(s, cheap[1]);
    replay_bed_execute(s, "CREATE VIEW far AS SELECT replay_id, charged_bytes, read_bytes FROM trial JOIN trial_tier ON trial_id "
                          "= trial.id WHERE policy = 'all-far' AND tier_number = 1");
    o.blocks = 1;
    replay_bed_run(s, &o);
    o.scale = 0.5;
    replay_bed_run(s, &o);
    assert_int_equal(replay_bed_int(s, "SELECT charged_bytes FROM far WHERE replay_id = 1"), step);
    assert_int_equal(replay_bed_int(s, "SELECT charged_bytes FROM far WHERE replay_id = 2"), step / 2);
    assert_int_equal(replay_bed_int(s, "SELECT read_bytes FROM far WHERE replay_id = 2"), 3 * 6 * NF_PAGE_BYTES);
    assert_int_equal(replay_bed_int(s, "SELECT llc_filter_bytes FROM replay WHERE id = 2"), 32768);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM replay WHERE scale <> 1.0 / id"), 0);
    nf_study_close(s);
}

/* Whoever is asked to contend does, and moves bytes: in trials of their own, beside the plain ones. */
static void contention_is_there_when_it_is_asked_for(void **state)
{
    static const char *const policies[] = {"all-far"}, *const cheap[2] = {"null", "emulated:latency-ns=100"};
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = replay_bed_options(policies, 1, cheap);

    if (nf_pin_cpus() < 2) {
        print_message("no CPU for whoever contends\n");
        skip();
    }
    replay_bed_know_tiers(s, cheap[1]);
    o.hog = true;
    o.background = "read:20%@far";
    replay_bed_run(s, &o);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE (hog OR background <> '') <> (background_bps > 0)"), 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE hog AND policy = 'all-near' AND background = ''"), 2);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE background = 'read:20%@far' AND NOT hog"), 4);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial"), 10);
    nf_study_close(s);
}

/* One step of a cold trial and no warm-up before it; the other warmed up until it was steady. A policy that moves what it needs has
 * more to move while nothing is where it wants it. */
static void cold_is_not_warm(void **state)
{
    static const char *const policies[] = {"lru"}, *const cheap[2] = {"null", "emulated:latency-ns=100"};
    static const uint64_t pages[] = {1, 2, 4, 8, 16, 32, 64, 128, 8};
    const struct replay_bed_shape shape = {.pages = pages, .n = sizeof pages / sizeof *pages};
    struct nf_study *s = replay_bed_study(&shape);
    struct nf_replay_options o = replay_bed_options(policies, 1, cheap);

    replay_bed_know_tiers(s, cheap[1]);
    o.cold = true;
    o.steps = 3;
    replay_bed_run(s, &o);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE cold AND warmup_steps = 0 AND steps = 1"), 4);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE NOT cold AND warmup_steps >= 2 AND steps = 3"), 4);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE policy = 'lru' AND cold AND moves = (SELECT w.moves / 3 FROM trial w "
                                       "WHERE w.policy = 'lru' AND NOT w.cold AND w.block = trial.block)"), 0);
    nf_study_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_draws_anew),
        cmocka_unit_test(unknown_parallelism_is_the_local_one),
        cmocka_unit_test(factors_charge_what_they_say),
        cmocka_unit_test(scaled_footprints_meet_a_scaled_cache),
        cmocka_unit_test(contention_is_there_when_it_is_asked_for),
        cmocka_unit_test(cold_is_not_warm),
    };

    return cmocka_run_group_tests(tests, replay_bed_setup, replay_bed_teardown);
}
