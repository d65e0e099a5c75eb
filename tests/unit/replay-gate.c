/* The counters as a gate, in whole replays: a source that needs no PMU says what it is told, and the trials are marked where that is
 * not what they moved themselves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"
#include "core/model/stream.h"
#include "pool/tier-binding.h"
#include "replay/counters.h"
#include "replay/pin.h"
#include "tests/unit/replay-bed.h"

static const uint64_t two[] = {16, 16};
static const struct replay_bed_shape small = {.pages = two, .n = 2};
/* Of one step, all far: op 0 reads one tensor and writes the other, op 1 reads that and updates the first. */
enum { READ = 3 * 16 * NF_PAGE_BYTES, WRITTEN = 2 * 16 * NF_PAGE_BYTES };

/* --- a source that is told --- */

static struct {
    uint64_t read_step, write_step; /* what each reading has more than the one before */
    bool clock;                     /* bytes are nanoseconds instead */
    bool anew;                      /* every second reading begins at nothing */
    int fails;                      /* -errno of every reading */
    uint64_t readings;
} told;

static int told_probe(const char *root, char *why, size_t size)
{
    return 0;
}

static int told_absent(const char *root, char *why, size_t size)
{
    snprintf(why, size, "not here");
    return -ENOENT;
}

static int told_open(const char *root, void **state)
{
    *state = &told;
    return 0;
}

static int told_read(void *state, struct nf_counter_traffic *out)
{
    uint64_t n = ++told.readings;

    if (told.fails)
        return nf_fail(told.fails, "told to");
    *out = (struct nf_counter_traffic){.nodes = UINT64_MAX, .has_read = true, .has_write = true, .read_bytes = n * told.read_step,
                                       .write_bytes = n * told.write_step};
    if (told.clock)
        out->read_bytes = nf_now_ns();
    if (told.anew && n % 2 == 0)
        out->read_bytes = out->write_bytes = 0;
    return 1;
}

static void told_close(void *state)
{
}

static const struct nf_counter_ops source = {
    .name = "told", .about = "what a test says", .probe = told_probe, .open = told_open, .read = told_read, .close = told_close};
/* Averages over a second: of a trial of milliseconds it knows nothing. */
static const struct nf_counter_ops slow = {.name = "slow", .about = "what a test says", .resolution_ns = 1000000000, .probe = told_probe,
                                           .open = told_open, .read = told_read, .close = told_close};
static const struct nf_counter_ops absent = {
    .name = "absent", .about = "nothing", .probe = told_absent, .open = told_open, .read = told_read, .close = told_close};

/* --- replays --- */

static const char *const policies[] = {"all-far"}, *const tiers[2] = {"null", "emulated:latency-ns=100"};
static const struct nf_counter_ops *const one[] = {&absent, &source, NULL}, *const slow_one[] = {&slow, NULL}, *const none[] = {&absent, NULL};

/* Two blocks on tiers of which far alone is counted; no cache keeps anything from it. */
static struct nf_replay_options counted(struct nf_study *s, const char *const on[2])
{
    struct nf_replay_options o = replay_bed_options(policies, 1, on);

    memset(&told, 0, sizeof told);
    replay_bed_know_tiers(s, on[1]);
    o.counters = one;
    o.unfiltered = true;
    return o;
}

static int64_t of_last(struct nf_study *s, const char *sum)
{
    char sql[512];

    snprintf(sql, sizeof sql, "SELECT %s FROM trial JOIN trial_tier ON trial_id = trial.id WHERE policy = 'all-far' AND tier_number = 1 AND "
             "replay_id = (SELECT max(id) FROM replay)", sum);
    return replay_bed_int(s, sql);
}

static void needs_a_node(void)
{
    char why[256];

    if (!nf_binding_probe(why, sizeof why))
        return;
    print_message("no memory of a known node here: %s\n", why);
    skip();
}

/* Within a tenth of what the trial moved, the lines included that plain stores fetch, is agreement. */
static void what_agrees_passes(void **state)
{
    static const uint64_t reads[] = {READ, READ * 0.91, READ + WRITTEN, (READ + WRITTEN) * 1.09};
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = counted(s, tiers);

    needs_a_node();
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        told.read_step = reads[i];
        told.write_step = WRITTEN;
        told.readings = 0;
        replay_bed_run(s, &o);
        assert_int_equal(told.readings, 2 * 2 * 2); /* twice in each trial of two policies in two blocks, nowhere else */
        assert_int_equal(of_last(s, "sum(read_bytes = 196608 AND write_bytes = 131072)"), 2);
        assert_int_equal(of_last(s, "sum(interference LIKE '%counters saw%')"), 0);
        assert_int_equal(of_last(s, "min(counter_read_bytes)"), (int64_t)reads[i]);
        assert_int_equal(of_last(s, "max(counter_write_bytes)"), WRITTEN);
    }
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial_tier WHERE tier_number = 0 AND (counter_read_bytes <> -1 OR uncounted <> "
                                       "'its memory is on no node that is known')"), 0);
    assert_int_equal(of_last(s, "sum(uncounted <> '')"), 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM replay WHERE counters <> 'absent: not here; told: usable'"), 0);
    nf_study_close(s);
}

/* ... and what is off by more marks the trial, in words, and is counted. */
static void what_disagrees_is_marked(void **state)
{
    static const struct {
        uint64_t read, written;
        const char *what;
        uint64_t saw, moved; /* as the mark has them */
    } cases[] = {
        {READ * 0.89, WRITTEN, "read", READ * 0.89, READ},
        {(READ + WRITTEN) * 1.11, WRITTEN, "read", (READ + WRITTEN) * 1.11, READ + WRITTEN},
        {READ, WRITTEN * 0.89, "written", WRITTEN * 0.89, WRITTEN},
        {READ, WRITTEN * 1.11, "written", WRITTEN * 1.11, WRITTEN},
        {0, 0, "read", 0, READ},
        {0, 0, "written", 0, WRITTEN},
    };
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = counted(s, tiers);
    struct nf_replay_result r;

    needs_a_node();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char sum[256], saw[NF_UNITS_TEXT], moved[NF_UNITS_TEXT];

        told.read_step = cases[i].read;
        told.write_step = cases[i].written;
        r = replay_bed_run(s, &o);
        assert_true(r.disturbed >= 2);
        snprintf(sum, sizeof sum, "sum(interference LIKE '%%counters saw %s %s, the replay %s%%')",
                 nf_format_bytes(saw, (double)cases[i].saw), cases[i].what, nf_format_bytes(moved, (double)cases[i].moved));
        if (of_last(s, sum) != 2)
            fail_msg("case %zu: not %s", i, sum);
        assert_int_equal(of_last(s, "max(status <> 'ok')"), 0); /* a mark, which whoever reads the figures judges */
    }
    /* What moves where the replay has nothing is somebody else's, too. */
    told.read_step = told.write_step = READ;
    r = replay_bed_run(s, &o);
    assert_int_equal(r.disturbed, 4);
    assert_int_equal(replay_bed_int(s, "SELECT sum(interference LIKE '%written, the replay 0 B%') FROM trial WHERE policy = 'all-near' AND "
                                       "replay_id = (SELECT max(id) FROM replay)"), 2);
    nf_study_close(s);
}

/* What the caches keep passes no controller: with all of it cached anything up to what is issued is agreement, and more is not. */
static void caches_keep_bytes_from_it(void **state)
{
    static const struct {
        uint64_t read, written;
        int64_t marked;
    } cases[] = {{READ, WRITTEN, 0}, {READ / 100, WRITTEN / 100, 0}, {0, 0, 0}, {(READ + WRITTEN) * 1.11, WRITTEN, 2}, {READ, WRITTEN * 1.11, 2}};
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = counted(s, tiers);

    needs_a_node();
    o.unfiltered = false;
    o.llc_bytes = 64 << 20;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        told.read_step = cases[i].read;
        told.write_step = cases[i].written;
        replay_bed_run(s, &o);
        if (of_last(s, "sum(interference LIKE '%counters saw%')") != cases[i].marked)
            fail_msg("case %zu", i);
    }
    nf_study_close(s);
}

static void marks_nothing(struct nf_study *s, const struct nf_replay_options *o, const char *which, const char *why)
{
    char other[128];

    replay_bed_run(s, o);
    snprintf(other, sizeof other, "sum(uncounted <> '%s')", why);
    if (of_last(s, other))
        fail_msg("%s: not said: %s", which, why);
    if (of_last(s, "sum(interference LIKE '%counters saw%')") || of_last(s, "max(counter_read_bytes)") != -1)
        fail_msg("%s: judged all the same", which);
}

/* What is not known is no disagreement, and no agreement either. */
static void what_was_not_counted_is_unknown(void **state)
{
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = counted(s, tiers);

    needs_a_node();
    told.read_step = told.write_step = 1;
    told.fails = -EIO;
    marks_nothing(s, &o, "readings that fail", "told could not be read");
    told.fails = 0;
    told.anew = true;
    marks_nothing(s, &o, "a source that was started anew", "told was started anew meanwhile");
    told.anew = false;
    o.counters = slow_one;
    marks_nothing(s, &o, "a source too slow for the trial",
                  "its readings (slow) are up to 1.0 s old: too old for a trial under 40 s");
    o.counters = none;
    marks_nothing(s, &o, "no source", "no counter works here");
    nf_study_close(s);
}

/* Who contends moves bytes of its own. */
static void contention_is_not_judged(void **state)
{
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = counted(s, tiers);

    if (nf_pin_cpus() < 2) {
        print_message("no CPU for whoever contends\n");
        skip();
    }
    needs_a_node();
    told.read_step = told.write_step = 1;
    o.background = "read:20%@far";
    o.blocks = 1;
    replay_bed_run(s, &o);
    assert_int_equal(of_last(s, "sum((background <> '') <> (counter_read_bytes = -1))"), 0);
    assert_int_equal(of_last(s, "sum((background <> '') <> (uncounted LIKE 'whoever contends %'))"), 0);
    assert_int_equal(of_last(s, "sum((background = '') <> (interference LIKE '%counters saw%'))"), 0);
    assert_int_equal(of_last(s, "count(*)"), 2);
    nf_study_close(s);
}

/* The measured steps are counted, and neither those that warm up nor what surrounds them: of a source that counts time as much as they took. */
static void counts_the_measured_steps_alone(void **state)
{
    enum { TRIES = 6 };
    static const char *const far[2] = {"null", "emulated:latency-ns=20000"};
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = counted(s, far);
    int tries = 0;

    needs_a_node();
    told.clock = true;
    do
        replay_bed_run(s, &o);
    while (of_last(s, "min(counter_read_bytes > 1.5 * wall_ns)") && ++tries < TRIES);
    assert_true(tries < TRIES);
    assert_int_equal(of_last(s, "sum(counter_read_bytes < wall_ns)"), 0);
    nf_study_close(s);
}

/* What a dry run names is what the trials would be judged by. */
static void a_dry_run_names_them(void **state)
{
    struct nf_study *s = replay_bed_study(&small);
    struct nf_replay_options o = counted(s, tiers);
    struct nf_replay_result r;
    char text[4096] = "";

    o.dry_run = true;
    o.out = fmemopen(text, sizeof text, "w");
    assert_int_equal(nf_replay_run(s, &o, &r), 0);
    fclose(o.out);
    assert_non_null(strstr(text, "counter absent: not here\ncounter told: usable\n"));
    nf_study_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_agrees_passes),
        cmocka_unit_test(what_disagrees_is_marked),
        cmocka_unit_test(caches_keep_bytes_from_it),
        cmocka_unit_test(what_was_not_counted_is_unknown),
        cmocka_unit_test(contention_is_not_judged),
        cmocka_unit_test(counts_the_measured_steps_alone),
        cmocka_unit_test(a_dry_run_names_them),
    };

    return cmocka_run_group_tests(tests, replay_bed_setup, replay_bed_teardown);
}
