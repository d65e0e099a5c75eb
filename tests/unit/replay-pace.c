/* Waiting for absolute deadlines, and the histogram of how late waits ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/model/stats.h"
#include "replay/pace.h"

/* The counter agrees with the clock to a few microseconds over a second's fraction. */
static void agrees_with_the_clock(void **state)
{
    struct nf_pace p;
    double off[21];

    nf_pace_init(&p);
    for (int i = 0; i < 21; i++) {
        uint64_t start = nf_now_ns(), a, b;

        while (nf_now_ns() < start + 2000000)
            ;
        a = nf_now_ns();
        b = nf_pace_now(&p);
        off[i] = (double)b - (double)a;
        off[i] = off[i] < 0 ? -off[i] : off[i];
    }
    assert_true(nf_quantile(off, 21, 0.1) < 20000); /* 42 ms at 500 ppm */
    nf_pace_sync(&p);
    for (int i = 0; i < 21; i++) {
        uint64_t a = nf_now_ns(), b = nf_pace_now(&p);

        off[i] = (double)b - (double)a;
        off[i] = off[i] < 0 ? -off[i] : off[i];
    }
    assert_true(nf_quantile(off, 21, 0.1) < 2000);
}

/* Deadlines 20 us apart, absolute: none ends early, and those that nothing disturbed (a tenth, on a machine that does
 * other things) end within a microsecond. */
static void holds_deadlines(void **state)
{
    enum { N = 2000, GAP = 20000 };
    static double late[N];
    struct nf_lateness l = {0};
    struct nf_pace p;
    uint64_t start;

    nf_pace_init(&p);
    start = nf_pace_now(&p);
    for (uint64_t i = 0; i < N; i++) {
        uint64_t deadline = start + (i + 1) * GAP, end = nf_pace_until(&p, deadline);

        assert_true(end >= deadline);
        late[i] = (double)(end - deadline);
        nf_lateness_add(&l, end - deadline);
    }
    assert_true(nf_quantile(late, N, 0.1) < 1000);
    assert_true(nf_pace_now(&p) - start >= (uint64_t)N * GAP);
    assert_int_equal(l.n, N);
    print_message("lateness p50 %llu p99 %llu max %llu ns, stolen %llu ns in %llu gaps\n",
                  (unsigned long long)nf_lateness_quantile(&l, 0.5), (unsigned long long)nf_lateness_quantile(&l, 0.99),
                  (unsigned long long)l.max_ns, (unsigned long long)p.stolen_ns, (unsigned long long)p.gaps);
    assert_true(nf_lateness_quantile(&l, 0.5) <= nf_lateness_quantile(&l, 0.99));
    assert_true(nf_lateness_quantile(&l, 0.99) <= l.max_ns);
}

static void the_past_returns_at_once(void **state)
{
    struct nf_pace p;
    uint64_t now;

    nf_pace_init(&p);
    now = nf_pace_now(&p);
    assert_true(nf_pace_until(&p, now - 1000) >= now);
    assert_int_equal(p.gaps, 0);
    assert_int_equal(p.stolen_ns, 0);
}

static void quantiles_are_within_a_bucket(void **state)
{
    struct nf_lateness l = {0};

    assert_int_equal(nf_lateness_quantile(&l, 0.5), 0);
    for (uint64_t i = 1; i <= 100000; i++)
        nf_lateness_add(&l, i);
    assert_int_equal(l.max_ns, 100000);
    for (double q = 0.01; q < 1; q += 0.07) {
        double found = (double)nf_lateness_quantile(&l, q), exact = q * 100000;

        assert_true(found >= exact * 0.999 && found <= exact * 1.13);
    }
    assert_int_equal(nf_lateness_quantile(&l, 1), 100000);
    nf_lateness_add(&l, UINT64_MAX); /* the last bucket takes what is beyond */
    assert_int_equal(nf_lateness_quantile(&l, 1), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_clock),
        cmocka_unit_test(holds_deadlines),
        cmocka_unit_test(the_past_returns_at_once),
        cmocka_unit_test(quantiles_are_within_a_bucket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
