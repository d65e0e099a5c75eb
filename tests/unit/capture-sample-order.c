/* Samples in the order of their time: rounds that keep their promise, a bound that is met, times that are equal or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "capture/sample-order.h"
#include "core/base/rng.h"

enum { CPUS = 4, N = 20000 };

struct got {
    size_t n, unordered;
    uint64_t last, sum;
    bool stop;
};

static int on_sample(void *context, const struct nf_sample *s)
{
    struct got *g = context;

    g->unordered += s->time_ns < g->last;
    g->last = s->time_ns;
    g->sum += s->address;
    g->n++;
    return g->stop ? -7 : 0;
}

/* As perf writes: each round empties one CPU's buffer after the other; what a CPU saw after its turn comes next round. */
static void run(size_t most, struct got *g, uint64_t *sum, uint64_t *late)
{
    static uint64_t times[CPUS][N];
    size_t n[CPUS] = {0}, at[CPUS] = {0};
    struct nf_rng r = {3};
    uint64_t now = 1000;
    struct nf_sample_order *o = nf_sample_order_new(most, on_sample, g);

    assert_non_null(o);
    *sum = 0;
    for (size_t i = 0; i < N; i++) {
        size_t cpu = nf_rng_below(&r, CPUS);

        times[cpu][n[cpu]++] = now += nf_rng_below(&r, 3);
        if (i % 500 != 499 && i != N - 1)
            continue;
        for (size_t c = 0; c < CPUS; c++) {
            size_t keep = nf_rng_below(&r, 20);

            for (; at[c] < n[c] && (i == N - 1 || n[c] - at[c] > keep); at[c]++) {
                struct nf_sample s = {.time_ns = times[c][at[c]], .address = times[c][at[c]] * (c + 1)};

                *sum += s.address;
                assert_int_equal(nf_sample_order_add(o, &s), 0);
            }
        }
        assert_int_equal(nf_sample_order_round(o), 0);
    }
    assert_int_equal(nf_sample_order_end(o), 0);
    *late = nf_sample_order_late(o);
    nf_sample_order_free(o);
}

static void rounds_put_all_in_order(void **state)
{
    struct got g = {0};
    uint64_t sum, late;

    run(N, &g, &sum, &late);
    assert_int_equal(g.n, N);
    assert_int_equal(g.sum, sum);
    assert_int_equal(g.unordered, 0);
    assert_int_equal(late, 0);
}

static void a_met_bound_loses_nothing_and_counts(void **state)
{
    struct got g = {0};
    uint64_t sum, late;

    run(100, &g, &sum, &late);
    assert_int_equal(g.n, N);
    assert_int_equal(g.sum, sum);
    assert_true(g.unordered > 0 && late >= g.unordered);
}

static void without_times_in_file_order(void **state)
{
    struct got g = {0};
    struct nf_sample_order *o = nf_sample_order_new(8, on_sample, &g);
    struct nf_sample s = {0};

    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(nf_sample_order_add(o, &s), 0);
    assert_int_equal(nf_sample_order_round(o), 0);
    assert_int_equal(nf_sample_order_end(o), 0);
    assert_int_equal(g.n, 100);
    assert_int_equal(nf_sample_order_late(o), 0);
    g.stop = true;
    assert_int_equal(nf_sample_order_add(o, &s), 0);
    assert_int_equal(nf_sample_order_end(o), -7); /* the receiver's error comes back */
    nf_sample_order_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_put_all_in_order),
        cmocka_unit_test(a_met_bound_loses_nothing_and_counts),
        cmocka_unit_test(without_times_in_file_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
