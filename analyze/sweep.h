#pragma once
/* The best static interleave: of the ratios that were replayed, the fastest at each near share and mode. An oracle over the sweep: chosen
 * by the very trials that it is drawn from, as nobody could who had not run them all. */
#include "analyze/curve.h"

/* Adds one line for all `interleave` and `weighted` lines with a ratio, where there are two or more: its points are copies of the best
 * ones, its winners say which. Those lines are `swept` then: in tables, not in figures. Every point's figures are filled already.
 * 0 or -ENOMEM. */
int nf_sweep_add(struct nf_curve *c);
