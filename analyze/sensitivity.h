#pragma once
/* How much hangs on what a replay assumes: trials made again with one factor changed (k/2, 2k, no cache filter, the other kind of
 * store, pages of the other size), paired with the plain trial of their block. */
#include <stdint.h>

#include "core/base/table.h"
#include "core/store/study.h"

/* Rows by factor, policy, near share and mode: the step with it over the step without, and what it does to the slowdown against
 * all-near, which is made with the factor too; medians of paired ratios with 95 % intervals. An empty table: none was made. 0 or
 * -errno (cause set); *out is the caller's in every case, NULL only for -ENOMEM. */
int nf_sensitivity(struct nf_study *s, int64_t replay, struct nf_table **out);
