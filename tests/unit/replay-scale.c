/* A footprint replayed at a half and at a quarter is the same footprint: what is placed, moved, filtered and charged
 * shrinks by that factor, exactly, and the policy curve stays where it is. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "pool/policy.h"
#include "replay/engine.h"
#include "replay/scale.h"

enum { LAYERS = 10, OPS = 2 * LAYERS, TENSORS = 2 * LAYERS, VISITS = 2 * OPS, SCALES = 3, PAGE = NF_PAGE_BYTES };
static const uint64_t BYTES = 32 * PAGE; /* of every tensor: 20 and 50 % of the peak are whole tensors at each scale */
static const uint64_t LLC_BYTES = 3 * BYTES;
static const double OP_NS = 125e3;
static const double factors[SCALES] = {1, 0.5, 0.25};

static const struct {
    const char *policy;
    double near_share;
} points[] = {{"all-near", 1},   {"near-first", 0.2},       {"near-first", 0.5},      {"lru", 0.2},
              {"lru", 0.5},      {"lifetime-density", 0.2}, {"lifetime-density", 0.5}};
enum { POINTS = sizeof points / sizeof *points };

/* --- a step: parameters read forward and updated backward, activations kept from one to the other --- */

struct step {
    struct nf_op ops[OPS];
    struct nf_visit visits[VISITS];
    struct nf_tensor tensors[TENSORS];
    struct nf_step_class c;
    uint32_t sequence[1];
    struct nf_stream stream;
    struct nf_profile profile;
    struct nf_script script;
};

static void visit(struct step *s, uint32_t op, uint32_t tensor, enum nf_rw rw)
{
    s->visits[s->c.n_visits++] = (struct nf_visit){.op = op, .tensor = tensor, .bytes = BYTES, .run = BYTES, .stride = BYTES,
                                                   .touches_q8 = 256, .rw = rw, .parallelism = 16};
}

static void step_init(struct step *s, double factor, bool scale_cache)
{
    uint64_t cache = scale_cache ? nf_scale_cache(LLC_BYTES, factor) : LLC_BYTES;

    memset(s, 0, sizeof *s);
    s->c = (struct nf_step_class){.ops = s->ops, .visits = s->visits, .tensors = s->tensors, .n_ops = OPS,
                                  .n_tensors = TENSORS, .bare_step_ns = OPS * OP_NS};
    for (uint32_t i = 0; i < LAYERS; i++) {
        s->tensors[i] = (struct nf_tensor){.bytes = BYTES, .address = (i + 1) * 2 * BYTES, .birth = NF_OP_BEFORE,
                                           .death = NF_OP_AFTER, .carry_in = (int32_t)i, .carry_out = (int32_t)i};
        s->tensors[LAYERS + i] = (struct nf_tensor){.bytes = BYTES, .address = (LAYERS + i + 1) * 2 * BYTES,
                                                    .birth = (int32_t)i, .death = (int32_t)(OPS - 1 - i),
                                                    .carry_in = NF_CARRY_NONE, .carry_out = NF_CARRY_NONE};
    }
    for (uint32_t op = 0; op < OPS; op++) {
        uint32_t layer = op < LAYERS ? op : OPS - 1 - op;

        s->ops[op] = (struct nf_op){.first_visit = s->c.n_visits, .n_visits = 2, .dur_ns = OP_NS, .regime = 1 + op};
        visit(s, op, layer, op < LAYERS ? NF_RW_READ : NF_RW_UPDATE);
        visit(s, op, LAYERS + layer, op < LAYERS ? NF_RW_WRITE : NF_RW_READ);
    }
    s->stream = (struct nf_stream){.classes = &s->c, .n_classes = 1, .sequence = s->sequence, .n_sequence = 1,
                                   .n_carry = LAYERS, .threads = 1};
    assert_int_equal(nf_step_class_peak(&s->c, &s->c.peak_live_bytes), 0);
    assert_int_equal(nf_stream_scale(&s->stream, factor), 0);
    assert_true((double)s->c.peak_live_bytes == factor * TENSORS * (double)BYTES);
    assert_int_equal(nf_profile_init(&s->profile, &s->c, cache, cache), 0);
    assert_int_equal(nf_script_init(&s->script, &s->profile, 1), 0);
}

static void step_deinit(struct step *s)
{
    nf_script_deinit(&s->script);
    nf_profile_deinit(&s->profile);
}

/* --- trials --- */

struct result {
    double best_ns; /* of a step */
    bool undisturbed; /* at least one trial ran without being preempted */
    uint64_t bytes[2], charged_lines, moved_bytes, moves_charged_bytes, near_peak_bytes;
};

/* Far is far slower than any machine's memory, so that the machine's own speed hardly shows. */
static void open_tiers(struct nf_tier *tiers)
{
    const struct nf_tier_local local = {.latency_ns = 100, .read_bps = 2e9, .write_bps = 2e9};

    assert_int_equal(nf_tier_open("near", "null", NULL, &tiers[0]), 0);
    assert_int_equal(nf_tier_open("far", "emulated", &local, &tiers[1]), 0);
}

static void run_trial(const struct step *s, struct nf_tier *tiers, int point, unsigned cycles, struct result *r)
{
    struct nf_engine_config config = NF_ENGINE_CONFIG_INIT;
    uint64_t peak = s->c.peak_live_bytes;
    struct rusage before, after;
    struct nf_trial t;
    int rc;

    config.stream = &s->stream;
    config.scripts = &s->script;
    config.pool = (struct nf_pool_config){
        .tiers = tiers, .n_tiers = 2, .capacity = {(uint64_t)(points[point].near_share * (double)peak), UINT64_MAX},
        .arena_bytes = {2 * peak, 2 * peak}, .policy = nf_policy_find(points[point].policy), .policy_options = "",
        .profiles = &s->profile, .n_profiles = 1};
    config.overlap = NF_OVERLAP_FULL;
    config.cycles = cycles;
    getrusage(RUSAGE_THREAD, &before);
    rc = nf_trial_run(&config, &t);
    getrusage(RUSAGE_THREAD, &after);
    if (rc || t.status != NF_TRIAL_OK)
        fail_msg("%s: %d %s %s", points[point].policy, rc, nf_error_text(rc), t.message);
    r->undisturbed = r->undisturbed || after.ru_nivcsw == before.ru_nivcsw;
    r->bytes[0] = t.tier[0].read_bytes + t.tier[0].write_bytes;
    r->bytes[1] = t.tier[1].read_bytes + t.tier[1].write_bytes;
    r->charged_lines = t.tier[1].charged_lines;
    r->moved_bytes = t.pool.moved_bytes;
    r->moves_charged_bytes = t.pool.tier[1].charged_bytes;
    r->near_peak_bytes = t.pool.tier[0].peak_bytes;
    for (unsigned i = 0; i < t.steps; i++)
        r->best_ns = r->best_ns > 0 && r->best_ns < t.step_ns[i] ? r->best_ns : t.step_ns[i];
    nf_trial_deinit(&t);
}

static void same_scaled(const char *what, int point, double factor, uint64_t full, uint64_t small, uint64_t by)
{
    if (fabs((double)small - factor * (double)full) > (double)by)
        fail_msg("%s at %g %% near: %s %llu at full size, %llu at %g", points[point].policy, 100 * points[point].near_share,
                 what, (unsigned long long)full, (unsigned long long)small, factor);
}

static double slowdown(struct result r[SCALES][POINTS], int scale, int point)
{
    return r[scale][point].best_ns / r[scale][0].best_ns;
}

/* The farthest that a slowdown at a scale is from the one at full size, relative to it. */
static double worst(struct result r[SCALES][POINTS])
{
    double most = 0;

    for (int i = 1; i < SCALES; i++) {
        for (int p = 1; p < POINTS; p++)
            most = fmax(most, fabs(slowdown(r, i, p) / slowdown(r, 0, p) - 1));
    }
    return most;
}

static bool all_undisturbed(struct result r[SCALES][POINTS])
{
    for (int i = 0; i < SCALES; i++) {
        for (int p = 0; p < POINTS; p++) {
            if (!r[i][p].undisturbed)
                return false;
        }
    }
    return true;
}

/* Steps that were disturbed are longer: of each point the shortest over all tries counts. What takes no time must agree in
 * any case; where others never let a trial run through, the times say nothing, and the test says so. */
static void curves_agree(void **state)
{
    const double tolerance = 0.05;
    static struct step s[SCALES];
    struct result r[SCALES][POINTS] = {0};
    static struct nf_tier tiers[2];
    int tries = 0;

    open_tiers(tiers);
    for (int i = 0; i < SCALES; i++)
        step_init(&s[i], factors[i], true);
    do {
        for (int i = 0; i < SCALES; i++) {
            for (int p = 0; p < POINTS; p++)
                run_trial(&s[i], tiers, p, 4, &r[i][p]);
        }
    } while (worst(r) > tolerance && ++tries < 8);
    for (int i = 1; i < SCALES; i++) {
        for (int p = 0; p < POINTS; p++) {
            same_scaled("bytes near", p, factors[i], r[0][p].bytes[0], r[i][p].bytes[0], 0);
            same_scaled("bytes far", p, factors[i], r[0][p].bytes[1], r[i][p].bytes[1], 0);
            same_scaled("moved bytes", p, factors[i], r[0][p].moved_bytes, r[i][p].moved_bytes, 0);
            same_scaled("charged for moves", p, factors[i], r[0][p].moves_charged_bytes, r[i][p].moves_charged_bytes, 0);
            same_scaled("near peak", p, factors[i], r[0][p].near_peak_bytes, r[i][p].near_peak_bytes, 0);
            /* A fraction of a line is carried over from visit to visit, and lost at the end. */
            same_scaled("charged lines", p, factors[i], r[0][p].charged_lines, r[i][p].charged_lines, 1);
        }
    }
    for (int p = 1; p < POINTS; p++)
        assert_true(r[0][p].charged_lines + r[0][p].moved_bytes > 0 && slowdown(r, 0, p) > 1.1);
    if (worst(r) > tolerance) {
        for (int p = 1; p < POINTS; p++)
            print_message("%-16s %3.0f %%: %.3f %.3f %.3f\n", points[p].policy, 100 * points[p].near_share,
                          slowdown(r, 0, p), slowdown(r, 1, p), slowdown(r, 2, p));
        if (!all_undisturbed(r)) {
            print_message("preempted in every one of %d tries: slowdowns were not compared\n", tries);
            skip();
        }
        fail_msg("slowdowns differ by %.1f %%", 100 * worst(r));
    }
    for (int i = 0; i < SCALES; i++)
        step_deinit(&s[i]);
    for (int i = 0; i < 2; i++)
        nf_tier_close(&tiers[i]);
}

/* Through the cache as it is, a smaller footprint is another one. */
static void the_filter_scales_too(void **state)
{
    static struct step s[2];
    struct result r[2] = {0};
    static struct nf_tier tiers[2];

    open_tiers(tiers);
    for (int i = 0; i < 2; i++) {
        step_init(&s[i], 0.25, i);
        run_trial(&s[i], tiers, 1, 1, &r[i]);
        step_deinit(&s[i]);
    }
    for (int i = 0; i < 2; i++)
        nf_tier_close(&tiers[i]);
    assert_true(r[0].charged_lines < r[1].charged_lines);
    assert_int_equal(nf_scale_cache(0, 0.5), 0);
    assert_int_equal(nf_scale_cache(1, 0.1), 1);
    assert_int_equal(nf_scale_cache(1 << 20, 0.25), 1 << 18);
}

/* Gathers and strided visits become fewer runs of the same length: their bytes shrink by the factor up to half a run, and
 * the part of the storage that they cover stays the same part, up to a stride. */
static void runs_become_fewer(void **state)
{
    enum { RUN = 256, STRIDE = 1024 };

    for (uint64_t runs = 2; runs < 300; runs += runs / 8 + 1) {
        for (double factor = 1; factor > 0.05; factor *= 0.8) {
            struct nf_op op = {.n_visits = 1, .dur_ns = 1000, .gap_ns = 10};
            struct nf_tensor t = {.bytes = runs * STRIDE, .address = 1 << 30, .birth = 0, .death = 0,
                                  .carry_in = NF_CARRY_NONE, .carry_out = NF_CARRY_NONE};
            struct nf_visit v = {.bytes = runs * RUN, .run = RUN, .stride = STRIDE, .touches_q8 = 512, .parallelism = 7,
                                 .pattern = runs % 2 ? NF_PATTERN_GATHER : NF_PATTERN_STRIDED};
            struct nf_step_class c = {.ops = &op, .visits = &v, .tensors = &t, .n_ops = 1, .n_visits = 1, .n_tensors = 1,
                                      .bare_step_ns = 1010};
            struct nf_stream s = {.classes = &c, .n_classes = 1};
            double want = factor * (double)runs * RUN;

            assert_int_equal(nf_stream_scale(&s, factor), 0);
            if (t.bytes < RUN) /* not even one run is left of it */
                continue;
            assert_int_equal(v.run, RUN);
            assert_int_equal(v.bytes % RUN, 0);
            if (fabs((double)v.bytes - want) > RUN / 2.0 && v.bytes != RUN)
                fail_msg("%llu runs by %g: %llu bytes, not %g", (unsigned long long)runs, factor, (unsigned long long)v.bytes,
                         want);
            if (v.bytes > RUN)
                assert_int_equal(v.stride, STRIDE);
            assert_true(nf_visit_span(&v) <= t.bytes);
            assert_true(v.touches_q8 == 512 && v.parallelism == 7); /* neither depends on how much there is */
            assert_true(fabs(op.dur_ns - 1000 * factor) < 1e-9 && fabs(op.gap_ns - 10 * factor) < 1e-9);
            assert_true(fabs(c.bare_step_ns - 1010 * factor) < 1e-9);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_agree),
        cmocka_unit_test(the_filter_scales_too),
        cmocka_unit_test(runs_become_fewer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
