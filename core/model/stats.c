#include "core/model/stats.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double sorted_quantile(const double *v, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t below = (size_t)at;

    if (below + 1 >= n)
        return v[n - 1];
    return v[below] + (at - (double)below) * (v[below + 1] - v[below]);
}

double nf_quantile(double *v, size_t n, double q)
{
    qsort(v, n, sizeof *v, compare);
    return sorted_quantile(v, n, q);
}

double nf_median(const double *v, size_t n)
{
    double *copy = n ? malloc(n * sizeof *copy) : NULL, median;

    if (!copy)
        return NAN;
    memcpy(copy, v, n * sizeof *copy);
    median = nf_quantile(copy, n, 0.5);
    free(copy);
    return median;
}

int nf_median_interval(const double *v, size_t n, double level, unsigned rounds, uint64_t seed, double *low,
                       double *high)
{
    struct nf_rng rng = {.state = seed};
    double *sample = malloc(n * sizeof *sample), *medians = malloc((rounds ? rounds : 1) * sizeof *medians);

    if (!sample || !medians) {
        free(sample);
        free(medians);
        return -ENOMEM;
    }
    medians[0] = nf_median(v, n);
    for (unsigned r = 0; r < rounds; r++) {
        for (size_t i = 0; i < n; i++)
            sample[i] = v[nf_rng_below(&rng, n)];
        medians[r] = nf_quantile(sample, n, 0.5);
    }
    qsort(medians, rounds ? rounds : 1, sizeof *medians, compare);
    *low = sorted_quantile(medians, rounds ? rounds : 1, (1 - level) / 2);
    *high = sorted_quantile(medians, rounds ? rounds : 1, (1 + level) / 2);
    free(sample);
    free(medians);
    return 0;
}

double nf_modified_z(const double *v, size_t n, double x)
{
    double median = nf_median(v, n), mad;
    double *distance = n ? malloc(n * sizeof *distance) : NULL;

    if (!distance)
        return NAN;
    for (size_t i = 0; i < n; i++)
        distance[i] = fabs(v[i] - median);
    mad = nf_quantile(distance, n, 0.5);
    free(distance);
    return mad > 0 ? 0.6745 * fabs(x - median) / mad : 0;
}

/* P(W <= w2 / 2) of n ranks given doubled (ties make halves), every sign equally likely: Wilcoxon's exact null
 * distribution, conditional on the ties. */
enum { EXACT_MAX = 20, DOUBLED_SUM_MAX = EXACT_MAX * (EXACT_MAX + 1) };
static double exact_tail(const unsigned *doubled_rank, size_t n, unsigned w2)
{
    double ways[DOUBLED_SUM_MAX + 1] = {1}, tail = 0;
    unsigned reach = 0;

    for (size_t i = 0; i < n; i++) {
        reach += doubled_rank[i];
        for (unsigned s = reach; s >= doubled_rank[i]; s--)
            ways[s] += ways[s - doubled_rank[i]];
    }
    for (unsigned s = 0; s <= w2 && s <= reach; s++)
        tail += ways[s];
    return tail / exp2((double)n);
}

/* Ratios are compared on the log axis, where 2 and 1/2 lie equally far from 1; pairs without a difference are left
 * out (Wilcoxon 1945). Beyond EXACT_MAX the normal approximation with tie and continuity correction. */
double nf_signed_rank_p(const double *ratio, size_t n)
{
    struct difference {
        double size; /* first: sorted by it */
        double sign;
    } *d = n ? malloc(n * sizeof *d) : NULL;
    unsigned doubled[EXACT_MAX];
    double plus = 0, total, variance, p = 1;
    double ties = 0;
    size_t m = 0;

    if (!d)
        return n ? NAN : 1;
    for (size_t i = 0; i < n; i++) {
        double x = log(ratio[i]);

        if (x != 0)
            d[m++] = (struct difference){.size = fabs(x), .sign = x};
    }
    qsort(d, m, sizeof *d, compare);
    for (size_t i = 0, j; i < m; i = j) {
        double rank, run;

        /* Ratios that agree but for rounding (1.1 and 1/1.1) are ties. */
        for (j = i + 1; j < m && d[j].size - d[i].size <= 1e-12 * d[i].size; j++)
            ;
        rank = (double)(i + 1 + j) / 2;
        run = (double)(j - i);
        ties += run * run * run - run;
        for (size_t k = i; k < j; k++) {
            plus += d[k].sign > 0 ? rank : 0;
            if (m <= EXACT_MAX)
                doubled[k] = (unsigned)(i + 1 + j);
        }
    }
    free(d);
    if (!m)
        return 1;
    total = (double)m * (double)(m + 1) / 2;
    if (m <= EXACT_MAX) {
        p = 2 * exact_tail(doubled, m, (unsigned)lround(2 * fmin(plus, total - plus)));
    } else {
        variance = (double)m * (double)(m + 1) * (double)(2 * m + 1) / 24 - ties / 48;
        p = erfc(fmax(fabs(plus - total / 2) - 0.5, 0) / sqrt(2 * variance));
    }
    return p < 1 ? p : 1;
}
