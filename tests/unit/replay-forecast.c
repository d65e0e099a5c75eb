/* No policy leaves less to far than the bounds say, used there or fetched: planners, and those that write back what they do not know
 * the next use of, on random steps, against the linear program where they keep parts of tensors and against the integer program
 * where they keep whole ones; and what never moves against its own. What a child process says that a policy comes to is believed only
 * where it can be so. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "pool/policy.h"
#include "replay/forecast-answer.h"
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
    {"lifetime-density", "", true, true},         {"gap-greedy", "", false, false},
    {"interval-lp", "", false, false},            {"lru", "", true, false},
    {"lru-drop", "", true, false},                {"clock", "", true, false},
    {"s3-fifo", "", true, false},                 {"g10", "", true, false},
    {"sentinel", "", true, false},                {"tiertrain", "", true, false},
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

static struct nf_forecast_wish wish_of(const struct nf_stream *stream, const char *policy, const char *options, double near_share,
                                       struct nf_forecast_bounds *bounds)
{
    return (struct nf_forecast_wish){.stream = stream, .policy = nf_policy_find(policy), .options = options, .near_share = near_share,
                                     .n_tiers = 2, .latency_ns = {100, 200}, .read_bps = {2e10, 1e10}, .seed = 1, .explain = UINT32_MAX,
                                     .whole_seconds = 60, .bounds = bounds};
}

static void no_policy_beats_its_bound(void **state)
{
    unsigned tight = 0, tried = 0;

    for (uint64_t seed = 1; seed <= TRIALS; seed++) {
        static struct random_step s;
        struct nf_forecast_bounds bounds = {0};
        struct nf_stream stream;

        make_stream(&s, &stream, seed);
        for (size_t i = 0; i < N_PLANNERS; i++) {
            const struct planner *p = &planners[i];
            struct nf_forecast_wish wish = wish_of(&stream, p->name, p->options, 0.1 + 0.1 * (double)(seed % 5), &bounds);
            struct nf_forecast f;
            double far, least;
            char why[128];

            if (wish.policy->probe && wish.policy->probe(why, sizeof why))
                continue;
            assert_int_equal(nf_forecast_init(&f, &wish), 0);
            assert_true(bounds.known);
            far = (double)(f.far_bytes + f.to_near_bytes);
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

/* --- answers --- */

static void takes_what_was_said(const struct nf_forecast *f, const struct nf_step_class *c, const struct nf_profile *profile,
                                const struct nf_buf *answer, const struct nf_forecast *begun)
{
    struct nf_forecast got = *begun;

    assert_int_equal(nf_forecast_take(&got, c, profile, answer), 0);
    assert_int_equal(got.demand_bytes, f->demand_bytes);
    assert_int_equal(got.far_bytes, f->far_bytes);
    assert_int_equal(got.moves, f->moves);
    assert_true(got.predicted_ns == f->predicted_ns && got.exposed_ns == f->exposed_ns);
    assert_memory_equal(got.role, f->role, sizeof got.role);
    assert_int_equal(got.events.n, f->events.n);
    for (size_t i = 0; i < got.events.n; i++) {
        assert_int_equal(got.events.v[i].what, f->events.v[i].what);
        assert_int_equal(got.events.v[i].op, f->events.v[i].op);
        assert_true(got.events.v[i].near == f->events.v[i].near && got.events.v[i].bytes == f->events.v[i].bytes);
        assert_false(got.events.v[i].after_gap);
        assert_int_equal(!got.events.v[i].why, !f->events.v[i].why);
        if (f->events.v[i].why)
            assert_string_equal(got.events.v[i].why, f->events.v[i].why);
    }
    nf_forecast_deinit(&got);
}

static void takes_no_nonsense(void **state)
{
    static struct random_step s;
    static char longest[NF_FORECAST_WHY_MAX + 1];
    const double nan = NAN;
    struct nf_forecast f, begun, got;
    struct nf_profile *profiles;
    struct nf_stream stream;
    struct nf_buf answer = {0}, spoilt = {0};

    make_stream(&s, &stream, 7);
    assert_int_equal(nf_profiles_new(&stream, 0, 0, &profiles), 0);
    {
        const struct nf_forecast_wish wish = {.stream = &stream, .policy = nf_policy_find("near-first"), .options = "", .near_share = 0.5,
                                              .profiles = profiles, .n_tiers = 2, .latency_ns = {100, 200}, .read_bps = {2e10, 1e10},
                                              .seed = 1, .explain = s.visits[0].tensor};

        assert_int_equal(nf_forecast_init(&f, &wish), 0);
    }
    assert_true(f.events.n > 1 && f.far_bytes > 0 && f.far_bytes < f.demand_bytes);
    f.events.v[1].why = strdup("for a reason");
    begun = (struct nf_forecast){.steady = f.steady, .peak_bytes = f.peak_bytes, .near_bytes = f.near_bytes};
    nf_forecast_add(&f, &answer);
    takes_what_was_said(&f, &s.c, profiles, &answer, &begun);
    {
        struct nf_forecast_role *r = f.role;

        while (!r->tensors)
            r++;
        memset(longest, 'x', sizeof longest - 1);
        const struct {
            void *at;
            const void *value;
            size_t size;
        } bad[] = {
            {&f.demand_bytes, &(uint64_t){f.demand_bytes + 1}, 8}, {&f.far_bytes, &(uint64_t){f.far_bytes - 1}, 8},
            {&f.near_peak_bytes, &(uint64_t){f.near_bytes + 1}, 8}, {&f.recomputed, &(uint32_t){1}, 4}, {&f.unheld_bytes, &(uint64_t){1}, 8},
            {&f.predicted_ns, &nan, 8}, {&f.predicted_ns, &(double){INFINITY}, 8}, {&f.predicted_ns, &(double){0}, 8},
            {&f.captured_ns, &(double){-1}, 8}, {&f.exposed_ns, &nan, 8}, {&f.recompute_ns, &nan, 8},
            {&r->born_near_bytes, &(uint64_t){r->bytes + 1}, 8}, {&r->far_bytes, &(uint64_t){r->demand_bytes + 1}, 8},
            {&r->demand_bytes, &(uint64_t){UINT64_MAX}, 8}, {&f.events.v[0].op, &s.c.n_ops, 4}, {&f.events.v[0].what, &(int){6}, 4},
            {&f.events.v[0].what, &(int){NF_FORECAST_AGAIN}, 4},
            {&f.events.v[0].what, &(int){-1}, 4}, {&f.events.v[0].near, &nan, 8}, {&f.events.v[0].near, &(double){1.5}, 8},
            {&f.events.v[1].why, &(char *){longest}, sizeof(char *)},
        };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            char before[8];

            memcpy(before, bad[i].at, bad[i].size);
            memcpy(bad[i].at, bad[i].value, bad[i].size);
            nf_buf_clear(&spoilt);
            nf_forecast_add(&f, &spoilt);
            got = begun;
            if (nf_forecast_take(&got, &s.c, profiles, &spoilt) != -EPROTO)
                fail_msg("case %zu is taken for a forecast", i);
            nf_forecast_deinit(&got);
            memcpy(bad[i].at, before, bad[i].size);
        }
    }
    for (size_t n = 0; n < answer.n; n++) { /* cut off; and where each byte is another one, it is a forecast or none */
        nf_buf_clear(&spoilt);
        nf_buf_add(&spoilt, answer.data, n);
        got = begun;
        assert_int_equal(nf_forecast_take(&got, &s.c, profiles, &spoilt), -EPROTO);
        nf_forecast_deinit(&got);
        nf_buf_add(&spoilt, answer.data + n, answer.n - n);
        spoilt.data[n] ^= (char)0x81;
        got = begun;
        nf_forecast_take(&got, &s.c, profiles, &spoilt);
        nf_forecast_deinit(&got);
    }
    nf_buf_deinit(&answer);
    nf_buf_deinit(&spoilt);
    nf_forecast_deinit(&f);
    nf_profiles_free(profiles, 1);
}

/* uses[o]: per op the storages of one page that it reads, "01"; the same twice: two visits. Born: from its first use to its last. */
static void make_by_hand(struct random_step *s, struct nf_stream *stream, const char *const *uses, uint32_t n_ops, uint32_t n, bool born)
{
    static uint32_t sequence[] = {0, 0};

    memset(s, 0, sizeof *s);
    s->c = (struct nf_step_class){.ops = s->ops, .visits = s->visits, .tensors = s->tensors, .n_ops = n_ops, .n_tensors = n, .n_steps = 2};
    for (uint32_t i = 0; i < n; i++)
        s->tensors[i] = (struct nf_tensor){.bytes = NF_PAGE_BYTES, .address = (i + 1ull) << 20, .birth = born ? INT32_MAX : NF_OP_BEFORE,
                                           .death = NF_OP_AFTER, .carry_in = born ? NF_CARRY_NONE : (int32_t)i,
                                           .carry_out = born ? NF_CARRY_NONE : (int32_t)i, .tracked = true};
    for (uint32_t o = 0; o < n_ops; o++) {
        s->ops[o] = (struct nf_op){.first_visit = s->c.n_visits, .n_visits = (uint32_t)strlen(uses[o]), .dur_ns = 1000, .regime = 1};
        for (const char *u = uses[o]; *u; u++) {
            struct nf_tensor *t = &s->tensors[*u - '0'];

            s->visits[s->c.n_visits++] = (struct nf_visit){.op = o, .tensor = (uint32_t)(*u - '0'), .bytes = t->bytes, .run = t->bytes,
                                                           .stride = t->bytes, .touches_q8 = 256, .rw = NF_RW_UPDATE};
            if (born) {
                t->birth = t->birth == INT32_MAX ? (int32_t)o : t->birth;
                t->death = (int32_t)o;
            }
        }
    }
    assert_int_equal(nf_step_class_peak(&s->c, &s->c.peak_live_bytes), 0);
    *stream = (struct nf_stream){.classes = &s->c, .n_classes = 1, .sequence = sequence, .n_sequence = 2, .n_carry = n,
                                 .names = (char **)random_step_names, .n_names = STEP_NAMES, .threads = 1};
}

/* LRU leaves so many pages with one near, and the bounds at least so many. */
static void leaves_pages(const struct nf_stream *stream, uint64_t lru, uint64_t least)
{
    uint64_t peak;
    struct nf_forecast_wish wish;
    struct nf_forecast f;

    assert_int_equal(nf_step_class_peak(&stream->classes[0], &peak), 0);
    wish = wish_of(stream, "lru", "", 1.01 * NF_PAGE_BYTES / (double)peak, NULL);
    assert_int_equal(nf_forecast_init(&f, &wish), 0);
    assert_int_equal(f.near_bytes, NF_PAGE_BYTES);
    assert_int_equal(f.far_bytes + f.to_near_bytes, lru * NF_PAGE_BYTES);
    assert_true(isnan(f.bounds.lp) || fabs(f.bounds.lp - (double)(least * NF_PAGE_BYTES)) < ROUNDING);
    assert_true(isnan(f.bounds.whole) || fabs(f.bounds.whole - (double)(least * NF_PAGE_BYTES)) < ROUNDING);
    assert_true(f.bounds.pfoo <= (double)(least * NF_PAGE_BYTES));
    nf_forecast_deinit(&f);
}

/* The first storage is written back for the birth of the second one, and fetched when that is gone: its birth was served, its second use
 * was not. */
static void a_birth_may_be_all_that_is_near(void **state)
{
    static struct random_step s;
    struct nf_stream stream;

    make_by_hand(&s, &stream, (const char *const[]){"0", "1", "", "", "1", "0"}, 6, 2, true);
    leaves_pages(&stream, 1, 1);
}

/* Where an op visits a storage three times, fetching it once is cheaper than three visits to far. */
static void a_use_costs_no_more_than_a_fetch(void **state)
{
    static struct random_step s;
    struct nf_stream stream;

    make_by_hand(&s, &stream, (const char *const[]){"000", "111", "222"}, 3, 3, false);
    leaves_pages(&stream, 3, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_policy_beats_its_bound), cmocka_unit_test(a_birth_may_be_all_that_is_near),
                                       cmocka_unit_test(a_use_costs_no_more_than_a_fetch),
                                       cmocka_unit_test(takes_no_nonsense)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
