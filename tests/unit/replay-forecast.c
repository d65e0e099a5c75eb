/* No planner leaves less to far than the bounds say: each planner that fetches nothing, on random steps, against the linear program
 * where it keeps parts of tensors and against the integer program where it keeps whole ones; and what never moves against its own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "pool/policy.h"
#include "replay/forecast.h"
#include "tests/unit/coin-leaks.h"
#include "tests/unit/random-step.h"

enum { TRIALS = 40, LAYERS = 4, ROUNDING = STEP_VISITS /* far bytes are rounded down visit by visit */ };

static const struct planner {
    const char *name, *options;
    bool whole, fixed; /* keeps tensors whole; never moves them */
} planners[] = {
    {"gap-greedy", "prefetch=no", false, false}, {"gap-greedy", "prefetch=no,parts=no", true, false},
    {"interval-lp", "prefetch=no", false, false}, {"interval-lp", "prefetch=no,parts=no", true, false},
    {"regime-plan", "", false, false},            {"regime-plan", "parts=no", true, false},
    {"lifetime-density", "", true, true},
};
enum { N_PLANNERS = sizeof planners / sizeof *planners };

static void make_stream(struct random_step *s, struct nf_stream *stream, uint64_t seed)
{
    static uint32_t sequence[] = {0, 0};
    struct nf_rng rng = {seed};

    random_step(s, &rng, LAYERS);
    s->c.n_steps = 2;
    for (uint32_t i = 0; i < s->c.n_visits; i++)
        s->visits[i].touches_q8 = 256;
    for (uint32_t i = 0; i < s->c.n_ops; i++)
        s->ops[i].regime = 1 + i / 4;
    *stream = (struct nf_stream){.classes = &s->c, .n_classes = 1, .sequence = sequence, .n_sequence = 2, .n_carry = s->c.n_tensors,
                                 .names = (char **)random_step_names, .n_names = STEP_NAMES, .threads = 1};
}

static void no_plan_beats_its_bound(void **state)
{
    unsigned tight = 0, tried = 0;

    for (uint64_t seed = 1; seed <= TRIALS; seed++) {
        static struct random_step s;
        struct nf_forecast_bounds bounds = {0};
        struct nf_stream stream;

        make_stream(&s, &stream, seed);
        for (size_t i = 0; i < N_PLANNERS; i++) {
            const struct planner *p = &planners[i];
            struct nf_forecast_wish wish = {.stream = &stream, .policy = nf_policy_find(p->name), .options = p->options, .near_share = 0.3,
                                            .n_tiers = 2, .latency_ns = {100, 200}, .read_bps = {2e10, 1e10}, .seed = 1, .explain = UINT32_MAX,
                                            .whole_seconds = 60, .bounds = &bounds};
            struct nf_forecast f;
            double far, least;
            char why[128];

            if (wish.policy->probe && wish.policy->probe(why, sizeof why))
                continue;
            assert_int_equal(nf_forecast_init(&f, &wish), 0);
            assert_true(bounds.known);
            far = (double)f.far_bytes;
            least = p->fixed ? f.bounds.static_lp : p->whole ? f.bounds.whole : f.bounds.lp;
            if (far < least - ROUNDING)
                print_message("seed %u: %s:%s leaves %.0f to far, at least %.0f\n", (unsigned)seed, p->name, p->options, far, least);
            assert_true(isnan(least) || far >= least - ROUNDING);
            assert_true(isnan(f.bounds.lp) || (f.bounds.lp <= f.bounds.static_lp + ROUNDING && f.bounds.pfoo <= f.bounds.lp + ROUNDING));
            assert_true(isnan(f.bounds.whole) || isnan(f.bounds.lp) || f.bounds.lp <= f.bounds.whole + ROUNDING);
            tight += far <= least + ROUNDING;
            tried++;
            nf_forecast_deinit(&f);
        }
    }
    print_message("%u of %u plans reach their bound\n", tight, tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_plan_beats_its_bound)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
