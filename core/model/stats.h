#pragma once
/* Robust statistics on small samples. All functions are pure; inputs are not modified unless said. */
#include <stddef.h>
#include <stdint.h>

/* Linear-interpolated quantile, q in [0, 1] (Hyndman and Fan type 7). n > 0. Sorts v in place. */
double nf_quantile(double *v, size_t n, double q);
/* Median without modifying v. NAN when n is 0 or memory is out. */
double nf_median(const double *v, size_t n);
/* Percentile bootstrap interval of the median (Efron 1979), `rounds` resamples, level e.g. 0.95. n > 0.
 * 0 or -ENOMEM. */
int nf_median_interval(const double *v, size_t n, double level, unsigned rounds, uint64_t seed, double *low,
                       double *high);
/* Modified z-score 0.6745·|x − median| / MAD above which a value is flagged (hyperfine: 14.826). MAD 0 flags none. */
double nf_modified_z(const double *v, size_t n, double x);
/* Two-sided Wilcoxon signed-rank p-value against 1.0 of n paired ratios (exact for n <= 20, normal beyond). */
double nf_signed_rank_p(const double *ratio, size_t n);
