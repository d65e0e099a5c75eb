#pragma once
/* What a model said of each policy (the tables prediction and far_bound of a replay) beside what was replayed. */
#include <stdint.h>

#include "core/base/table.h"
#include "core/store/study.h"

/* Rows by policy and near share: the modelled step and the median of the replayed ones (overlap=full; asap where a capture holds no
 * times), one over the other with a 95 % interval, bytes left to far and fetched, the bound and how far above it they are. An empty
 * table: nothing was predicted. 0 or -errno (cause set); *out is the caller's in every case, NULL only for -ENOMEM. */
int nf_prediction(struct nf_study *s, int64_t replay, struct nf_table **out);
