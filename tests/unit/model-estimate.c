/* What is said from sparse samples: known answers, and simulated runs whose truth is known. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/estimate.h"
#include "core/model/fuse.h"
#include "core/model/thin.h"

static void near(double found, double expected, double by)
{
    if (!(fabs(found - expected) <= by))
        fail_msg("found %.9g, expected %.9g within %g", found, expected, by);
}

static struct nf_count counted(uint64_t samples, uint64_t period)
{
    struct nf_count c = {0};

    for (uint64_t i = 0; i < samples; i++)
        nf_count_add(&c, period);
    return c;
}

/* Garwood's limits as tables print them (Fisher and Yates; Ulm 1990). */
static void test_interval(void **state)
{
    static const struct {
        uint64_t n;
        double low, high;
    } rows[] = {{0, 0, 3.6889},        {1, 0.0253, 5.5716},    {2, 0.2422, 7.2247},     {5, 1.6235, 11.6683},
                {10, 4.7954, 18.3904}, {50, 37.1110, 65.9188}, {100, 81.3640, 121.6268}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct nf_count c = counted(rows[i].n, 10007);
        struct nf_count_estimate e;

        nf_count_estimate(&c, 10007, 1, 0.95, &e);
        near(e.low / 10007, rows[i].low, 1e-4);
        near(e.high / 10007, rows[i].high, 1e-4);
        assert_true(isnan(e.value));
        nf_count_estimate(&c, 10007, 1.25, 0.95, &e);
        near(e.high / 10007, 1.25 * rows[i].high, 2e-4);
    }
}

static void test_point(void **state)
{
    struct nf_count c = counted(NF_COUNT_POINT_SAMPLES - 1, 1000), mixed = {0};
    struct nf_count_estimate e;

    nf_count_estimate(&c, 1000, 1, 0.95, &e);
    assert_true(isnan(e.value) && e.low < 399000 && e.high > 399000);
    nf_count_add(&c, 1000);
    nf_count_estimate(&c, 1000, 1, 0.95, &e);
    near(e.value, 400000, 1e-6);
    near(e.low, 361.76e3, 200); /* 400 -+ 1.96 sqrt(400), a little to the right */
    near(e.high, 441.17e3, 200);
    /* A few long periods make the count less sure than its number of samples says. */
    for (int i = 0; i < 1000; i++)
        nf_count_add(&mixed, i % 100 ? 10 : 10000);
    nf_count_estimate(&mixed, 10, 1, 0.95, &e);
    near(e.value, 109900, 1e-6);
    assert_true(e.high - e.low > 1.2 * 109900); /* it is the 10 long ones that count */
    c = counted(1000000, 10);
    nf_count_estimate(&c, 10, 1, 0.95, &e);
    near(e.low, 1e7 - 19600, 20);
    near(e.high, 1e7 + 19600, 60);
}

static void test_correction(void **state)
{
    near(nf_count_correction(1000, 0, 1), 1, 0);
    near(nf_count_correction(1000, 100, 1), 1.1, 1e-12);
    near(nf_count_correction(1000, 0, 0.5), 2, 1e-12);
    near(nf_count_correction(0, 17, 1), 1, 0);
    near(nf_count_correction(10, 0, 0), 1, 0); /* a share that cannot be is not believed */
}

static void test_detection(void **state)
{
    near(nf_detection(192.0 * 10007, 10007), 0.9502, 1e-4);
    near(nf_detection(64, 10007), 1.0 / 10007, 1e-7);
    near(nf_detection(0, 10007), 0, 0);
    assert_true(nf_detectable(192.0 * 10007, 10007));
    assert_false(nf_detectable(191.0 * 10007, 10007));
}

static void test_stride_confidence(void **state)
{
    near(nf_stride_confidence(0), 0, 0);
    near(nf_stride_confidence(1), 0, 0);
    near(nf_stride_confidence(2), 0.6079, 1e-4); /* 6 / pi^2 */
    near(nf_stride_confidence(3), 0.8319, 1e-4);
    near(nf_stride_confidence(5), 0.9644, 1e-4);
    near(nf_stride_confidence(8), 0.9959, 1e-4);
}

static struct nf_sample at(uint32_t op, uint32_t tensor, uint64_t ip, uint64_t offset)
{
    return (struct nf_sample){.op = op, .tensor = tensor, .ip = ip, .offset = offset, .period = 100};
}

static void test_strides(void **state)
{
    struct nf_sample samples[] = {at(3, 1, 7, 12 * 40),        at(1, 1, 7, 5000), at(3, 1, 7, 0),
                                  at(3, 1, 7, 20 * 40),        at(3, 1, 7, 480),  at(3, 2, 7, 8),
                                  at(NF_SAMPLE_NONE, 1, 7, 1), at(3, 1, 8, 24),   at(3, 1, 8, 64),
                                  at(3, NF_SAMPLE_NONE, 7, 3)};
    struct nf_stride *s;
    size_t n;

    assert_int_equal(nf_strides(samples, sizeof samples / sizeof *samples, &s, &n), 0);
    assert_int_equal(n, 4);
    assert_true(s[0].op == 1 && s[0].bytes == 0 && s[0].differences == 0 && s[0].confidence == 0);
    assert_true(s[1].op == 3 && s[1].tensor == 1 && s[1].ip == 7 && s[1].bytes == 160 && s[1].differences == 2);
    near(s[1].confidence, 0.6079, 1e-4);
    assert_true(s[2].ip == 8 && s[2].bytes == 40 && s[2].differences == 1 && s[2].confidence == 0);
    assert_true(s[3].tensor == 2);
    free(s);
    assert_int_equal(nf_strides(NULL, 0, &s, &n), 0);
    assert_int_equal(n, 0);
    free(s);
}

/* Random places of an array of stride 24: the divisor is the stride about as often as the confidence says. */
static void test_stride_chance(void **state)
{
    enum { ROUNDS = 4000 };
    struct nf_rng rng = {.state = 12};

    for (uint32_t differences = 2; differences <= 8; differences += 3) {
        int right = 0;

        for (int round = 0; round < ROUNDS; round++) {
            struct nf_sample samples[9];
            struct nf_stride *s;
            size_t n;

            for (uint32_t i = 0; i <= differences; i++)
                samples[i] = at(0, 0, 1, nf_rng_below(&rng, 1 << 20) * 24);
            assert_int_equal(nf_strides(samples, differences + 1, &s, &n), 0);
            assert_int_equal(s[0].bytes % 24, 0);
            right += s[0].bytes == 24;
            free(s);
        }
        near((double)right / ROUNDS, nf_stride_confidence(differences), 0.03);
    }
}

/* Ops of one read each, of sizes from a page to 16 MiB, some strided. */
enum { OPS = 60, TENSORS = 20 };
struct step {
    struct nf_op ops[OPS];
    struct nf_visit visits[OPS];
    struct nf_tensor tensors[TENSORS];
    struct nf_step_class c;
};

static void step_init(struct step *m, uint64_t seed)
{
    struct nf_rng rng = {.state = seed};

    *m = (struct step){.c = {.n_ops = OPS, .n_visits = OPS, .n_tensors = TENSORS}};
    for (uint32_t i = 0; i < TENSORS; i++)
        m->tensors[i] = (struct nf_tensor){
            .bytes = 4096ull << nf_rng_below(&rng, 13), .address = (i + 1ull) << 25, .birth = -1, .death = NF_OP_AFTER};
    for (uint32_t i = 0; i < OPS; i++) {
        uint32_t tensor = (uint32_t)nf_rng_below(&rng, TENSORS);
        uint64_t bytes = m->tensors[tensor].bytes;

        m->ops[i] = (struct nf_op){.first_visit = i, .n_visits = 1, .dur_ns = 1000, .gap_ns = 10};
        m->visits[i] = (struct nf_visit){
            .op = i, .tensor = tensor, .bytes = bytes, .run = bytes, .stride = bytes, .rw = (uint8_t)(i % 3)};
        if (i % 4 == 3) {
            m->visits[i].bytes = bytes / 2;
            m->visits[i].run = 128;
            m->visits[i].stride = 256;
        }
    }
    m->c.ops = m->ops;
    m->c.visits = m->visits;
    m->c.tensors = m->tensors;
}

/* Period 1 gives every line of every visit, in order; any period gives accesses / period of them, give or take one. */
static void test_thin(void **state)
{
    struct nf_thin_options o = {.period = 1, .steps = 1};
    uint64_t lines[OPS], all = 0;
    struct nf_sample *s;
    struct step *m = malloc(sizeof *m);
    size_t n, at_sample = 0;

    assert_non_null(m);
    step_init(m, 5);
    assert_int_equal(nf_thin(&m->c, &o, &s, &n), 0);
    for (uint32_t i = 0; i < OPS; i++) {
        lines[i] = m->visits[i].bytes / 64;
        all += lines[i];
    }
    assert_int_equal(n, all);
    for (uint32_t i = 0; i < OPS; i++) {
        for (uint64_t k = 0; k < lines[i]; k++, at_sample++) {
            uint64_t offset = m->visits[i].run == 128 ? k / 2 * 256 + k % 2 * 64 : k * 64;

            assert_int_equal(s[at_sample].op, i);
            assert_int_equal(s[at_sample].tensor, m->visits[i].tensor);
            assert_int_equal(s[at_sample].offset, offset);
            assert_int_equal(s[at_sample].address, m->tensors[m->visits[i].tensor].address + offset);
            assert_int_equal(s[at_sample].time_ns, i * 1010 + 10);
            assert_int_equal(s[at_sample].period, 1);
            assert_int_equal(s[at_sample].rw, m->visits[i].rw);
        }
    }
    free(s);
    for (o.seed = 0; o.seed < 30; o.seed++) {
        o.period = 997;
        o.jitter = o.seed % 2 ? 200 : 0;
        o.steps = 3;
        assert_int_equal(nf_thin(&m->c, &o, &s, &n), 0);
        near((double)n, 3.0 * (double)all / 997, o.jitter ? 0.02 * (double)n : 1);
        assert_int_equal(s[n - 1].step, 2);
        assert_true(s[n - 1].time_ns >= 2 * OPS * 1010);
        for (size_t i = 0; i < n; i++)
            assert_true(s[i].period >= 797 && s[i].period <= 1197 && (o.jitter || s[i].period == 997));
        free(s);
    }
    free(m);
}

/* The interval of each tensor's accesses, from samples alone, holds the truth in at least 93 of 100 simulated runs. */
static void test_coverage(void **state)
{
    struct nf_thin_options o = {.period = 4001, .jitter = 1500, .steps = 2};
    unsigned inside = 0, asked = 0, points = 0, undetected = 0, detectable = 0;
    struct step *m = malloc(sizeof *m);

    assert_non_null(m);
    for (o.seed = 0; o.seed < 150; o.seed++) {
        uint64_t truth[TENSORS] = {0};
        struct nf_count counts[TENSORS] = {0};
        struct nf_visit_samples visits[OPS] = {0};
        uint8_t seen[OPS];
        struct nf_sample *s;
        size_t n;

        step_init(m, o.seed);
        assert_int_equal(nf_thin(&m->c, &o, &s, &n), 0);
        for (uint32_t i = 0; i < OPS; i++)
            truth[m->visits[i].tensor] += o.steps * m->visits[i].bytes / 64;
        for (size_t i = 0; i < n; i++)
            nf_count_add(&counts[s[i].tensor], s[i].period);
        for (uint32_t t = 0; t < TENSORS; t++) {
            struct nf_count_estimate e;

            if (!truth[t])
                continue;
            nf_count_estimate(&counts[t], o.period, 1, 0.95, &e);
            asked++;
            inside += e.low <= (double)truth[t] && (double)truth[t] <= e.high;
            points += !isnan(e.value);
            assert_true(isnan(e.value) == (counts[t].samples < NF_COUNT_POINT_SAMPLES));
            if (nf_detectable((double)truth[t] * 64, (double)o.period)) {
                detectable++;
                undetected += counts[t].samples == 0;
            }
        }
        assert_int_equal(nf_fuse(&m->c, s, n, visits), 0);
        nf_fuse_seen(&m->c, visits, seen);
        for (uint32_t i = 0; i < OPS; i++)
            assert_int_equal(seen[i], visits[i].count.samples > 0);
        free(s);
    }
    assert_true(asked > 2000 && points > 20 && detectable > 1000);
    if (inside < 0.93 * asked)
        fail_msg("the interval held the truth in %u of %u runs", inside, asked);
    assert_true(undetected <= 0.05 * detectable);
    free(m);
}

static void test_fuse(void **state)
{
    struct nf_visit visits[] = {{.op = 0, .tensor = 0, .offset = 64, .bytes = 64, .run = 64, .stride = 64},
                                {.op = 0, .tensor = 0, .bytes = 256, .run = 256, .stride = 256, .rw = NF_RW_WRITE},
                                {.op = 1, .tensor = 1, .bytes = 64, .run = 64, .stride = 64, .rw = NF_RW_UPDATE}};
    struct nf_op ops[] = {{.first_visit = 0, .n_visits = 2}, {.first_visit = 2, .n_visits = 1}};
    struct nf_step_class c = {.ops = ops, .visits = visits, .n_ops = 2, .n_visits = 3};
    struct nf_sample samples[] = {at(0, 0, 1, 100), at(0, 0, 1, 100), at(0, 0, 1, 100),           at(1, 1, 1, 63),
                                  at(1, 1, 1, 64),  at(9, 1, 1, 0),   at(NF_SAMPLE_NONE, 0, 1, 0)};
    struct nf_visit_samples found[3] = {0};
    uint8_t seen[3];

    samples[0].rw = NF_RW_READ;
    samples[1].rw = NF_RW_WRITE;
    samples[2].rw = NF_SAMPLE_RW_UNKNOWN;
    samples[3].rw = NF_RW_READ;
    samples[3].weight = 250;
    assert_int_equal(nf_fuse(&c, samples, sizeof samples / sizeof *samples, found),
                     2); /* past the extent, no such op */
    assert_int_equal(found[0].count.samples, 2);
    assert_int_equal(found[1].count.samples, 2);
    assert_int_equal(found[2].count.samples, 1);
    near(found[2].latency_cycles, 25000, 0);
    near(nf_parallelism(found[2].latency_cycles, 10000), 2.5, 1e-12);
    assert_true(isnan(nf_parallelism(1, 0)));
    nf_fuse_seen(&c, found, seen);
    assert_true(seen[0] && seen[1] && seen[2]);
    memset(found, 0, sizeof found);
    nf_fuse_seen(&c, found, seen);
    assert_true(!seen[0] && !seen[1] && !seen[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interval),          cmocka_unit_test(test_point),
        cmocka_unit_test(test_correction),        cmocka_unit_test(test_detection),
        cmocka_unit_test(test_stride_confidence), cmocka_unit_test(test_strides),
        cmocka_unit_test(test_stride_chance),     cmocka_unit_test(test_thin),
        cmocka_unit_test(test_coverage),          cmocka_unit_test(test_fuse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
