/* The gates of a figure: what may stand as a measurement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replay/figures.h"

static void test_too_few(void **state)
{
    const double v[NF_GATE_WINDOW] = {100, 100, 100, 100, 100, 100, 100};

    for (unsigned n = 0; n < NF_GATE_WINDOW; n++)
        assert_false(nf_gate_passed(v, n));
    assert_true(nf_gate_passed(v, NF_GATE_WINDOW));
}

static void test_scatter(void **state)
{
    const double calm[] = {100, 103, 97, 100, 103, 97, 100}, wild[] = {100, 108, 92, 100, 108, 92, 100};

    assert_true(nf_gate_passed(calm, NF_GATE_WINDOW));
    assert_false(nf_gate_passed(wild, NF_GATE_WINDOW));
}

/* Little scatter, but it is going somewhere. */
static void test_trend(void **state)
{
    const double rising[] = {98, 98.7, 99.3, 100, 100.7, 101.3, 102}, falling[] = {102, 101.3, 100.7, 100, 99.3, 98.7, 98},
                 level[] = {99.5, 100.5, 99.5, 100.5, 99.5, 100.5, 99.5};

    assert_false(nf_gate_passed(rising, NF_GATE_WINDOW));
    assert_false(nf_gate_passed(falling, NF_GATE_WINDOW));
    assert_true(nf_gate_passed(level, NF_GATE_WINDOW));
}

/* Calm now, but on another level than a moment ago. */
static void test_drift(void **state)
{
    double v[2 * NF_GATE_WINDOW + 1];

    for (int i = 0; i < 2 * NF_GATE_WINDOW; i++)
        v[i] = i < NF_GATE_WINDOW ? 100 : 115;
    assert_false(nf_gate_passed(v, 2 * NF_GATE_WINDOW));
    for (int i = 0; i < NF_GATE_WINDOW; i++)
        v[i] = 108;
    assert_true(nf_gate_passed(v, 2 * NF_GATE_WINDOW));
}

static void test_nothing(void **state)
{
    const double zero[NF_GATE_WINDOW] = {0};

    assert_false(nf_gate_passed(zero, NF_GATE_WINDOW));
}

/* 1, 2, 4, ... and all that there are, once. */
static void test_threads(void **state)
{
    static const unsigned of_six[] = {1, 2, 4, 6}, of_eight[] = {1, 2, 4, 8}, of_one[] = {1};
    static const struct {
        const unsigned *want;
        unsigned n, most;
    } cases[] = {{of_six, 4, 6}, {of_eight, 4, 8}, {of_one, 1, 1}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned threads = 1;

        for (unsigned k = 0; k < cases[i].n; k++, threads = nf_figures_more_threads(threads, cases[i].most))
            assert_int_equal(threads, cases[i].want[k]);
        assert_int_equal(threads, 0);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_too_few), cmocka_unit_test(test_scatter), cmocka_unit_test(test_trend),
        cmocka_unit_test(test_drift), cmocka_unit_test(test_nothing), cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests_name("figures", tests, NULL, NULL);
}
