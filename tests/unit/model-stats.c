/* Statistics against values computed by hand or printed in tables. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/stats.h"

#define N(v) (sizeof(v) / sizeof *(v))

static void assert_close(double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-9 * fmax(1, fabs(expected))))
        fail_msg("found %.17g, expected %.17g", found, expected);
}

static void test_quantile(void **state)
{
    double v[] = {9, 1, 4, 16}, one[] = {3};

    assert_close(nf_quantile(v, N(v), 0.5), 6.5);
    assert_close(nf_quantile(v, N(v), 0), 1);
    assert_close(nf_quantile(v, N(v), 1), 16);
    assert_close(nf_quantile(v, N(v), 0.25), 3.25); /* type 7: 0.75 of the way from 1 to 4 */
    assert_close(nf_quantile(v, N(v), 0.9), 9 + 0.7 * 7);
    assert_close(nf_quantile(one, 1, 0.3), 3);
}

static void test_median(void **state)
{
    const double v[] = {5, 1, 3}, ties[] = {2, 2, 8, 2};

    assert_close(nf_median(v, 3), 3);
    assert_close(v[0], 5);
    assert_close(nf_median(v, 2), 3);
    assert_close(nf_median(ties, 4), 2);
    assert_true(isnan(nf_median(v, 0)));
}

static void test_interval(void **state)
{
    const double same[] = {2, 2, 2, 2}, v[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    double low, high, low2, high2;
    double exact[9], below = 0;

    assert_int_equal(nf_median_interval(same, N(same), 0.95, 100, 1, &low, &high), 0);
    assert_close(low, 2);
    assert_close(high, 2);

    /* The bootstrap distribution of the median of nine is known: P(median <= v[k]) is the chance that at least five
     * of nine draws fall among the first k + 1. Its 2.5 % point is the second value, its 97.5 % point the eighth. */
    for (int k = 0; k < 9; k++) {
        exact[k] = 0;
        for (int j = 5; j <= 9; j++)
            exact[k] += tgamma(10) / tgamma(j + 1) / tgamma(10 - j) * pow((k + 1) / 9., j) * pow((8 - k) / 9., 9 - j);
    }
    for (int k = 0; exact[k] < 0.025; k++)
        below = v[k + 1];
    assert_close(below, 2);
    assert_int_equal(nf_median_interval(v, N(v), 0.95, 20000, 7, &low, &high), 0);
    assert_close(low, 2);
    assert_close(high, 8);
    assert_int_equal(nf_median_interval(v, N(v), 0.95, 20000, 7, &low2, &high2), 0);
    assert_true(low == low2 && high == high2);
    assert_int_equal(nf_median_interval(v, 1, 0.95, 50, 7, &low, &high), 0);
    assert_close(low, 1);
    assert_close(high, 1);
}

static void test_modified_z(void **state)
{
    const double v[] = {10, 11, 12, 13, 100}, flat[] = {4, 4, 4, 9};

    assert_close(nf_modified_z(v, N(v), 100), 0.6745 * 88 / 1);
    assert_close(nf_modified_z(v, N(v), 12), 0);
    assert_close(nf_modified_z(flat, N(flat), 9), 0);
}

static void test_signed_rank(void **state)
{
    /* Wilcoxon's table, two-sided: n = 6, T = 0 is 0.03125; n = 10, T = 8 is 0.048828125. */
    const double up[] = {1.1, 1.2, 1.3, 1.4, 1.5, 1.6};
    /* Ranks by |log|: 1 .. 10; 1 + 3 + 4 negative makes T = 8. */
    const double ten[] = {1 / 1.01, 1.02, 1 / 1.03, 1 / 1.04, 1.05, 1.06, 1.07, 1.08, 1.09, 1.10};
    const double five[] = {1.1, 1.2, 1.3, 1.4, 1.5}, equal[] = {1, 1, 1};
    const double balanced[] = {1.1, 1 / 1.1, 1.2, 1 / 1.2};
    double many[40], tied[25];

    assert_close(nf_signed_rank_p(up, N(up)), 0.03125);
    assert_close(nf_signed_rank_p(ten, N(ten)), 0.048828125);
    assert_close(nf_signed_rank_p(five, N(five)), 0.0625);
    assert_close(nf_signed_rank_p(equal, N(equal)), 1);
    assert_close(nf_signed_rank_p(balanced, N(balanced)), 1);
    assert_close(nf_signed_rank_p(equal, 0), 1);

    /* Beyond 20: all above, mean n(n+1)/4 = 410, variance n(n+1)(2n+1)/24 = 5535. */
    for (int i = 0; i < 40; i++)
        many[i] = 1.001 + 0.001 * i;
    assert_close(nf_signed_rank_p(many, 40), erfc((820 - 410 - 0.5) / sqrt(2 * 5535.)));
    /* 25 equal differences: one tie group takes (25^3 - 25) / 48 = 325 off the variance 1381.25. */
    for (int i = 0; i < 25; i++)
        tied[i] = 1.5;
    assert_close(nf_signed_rank_p(tied, 25), erfc((325 - 162.5 - 0.5) / sqrt(2 * (1381.25 - 325))));
}

/* Exact p against counting all sign patterns, ties included. */
static void test_signed_rank_enumerated(void **state)
{
    struct nf_rng rng = {.state = 3};

    for (int round = 0; round < 40; round++) {
        size_t n = 1 + nf_rng_below(&rng, 10), more = 0;
        double ratio[10], rank[10], plus = 0, total = 0, lesser;

        for (size_t i = 0; i < n; i++)
            ratio[i] = exp((double)(1 + nf_rng_below(&rng, 5)) * (nf_rng_below(&rng, 2) ? 0.1 : -0.1));
        for (size_t i = 0; i < n; i++) {
            rank[i] = 0.5;
            for (size_t j = 0; j < n; j++) {
                double difference = fabs(log(ratio[j])) - fabs(log(ratio[i]));

                rank[i] += difference < -1e-9 ? 1 : difference < 1e-9 ? 0.5 : 0;
            }
            plus += ratio[i] > 1 ? rank[i] : 0;
            total += rank[i];
        }
        lesser = fmin(plus, total - plus);
        for (unsigned signs = 0; signs < 1u << n; signs++) {
            double w = 0;

            for (size_t i = 0; i < n; i++)
                w += signs >> i & 1 ? rank[i] : 0;
            more += w <= lesser + 1e-9;
        }
        assert_close(nf_signed_rank_p(ratio, n), fmin(1, 2 * (double)more / (1u << n)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantile),    cmocka_unit_test(test_median),
        cmocka_unit_test(test_interval),    cmocka_unit_test(test_modified_z),
        cmocka_unit_test(test_signed_rank), cmocka_unit_test(test_signed_rank_enumerated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
