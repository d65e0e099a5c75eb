#pragma once
/* What a study's sampling observations (pebs, ibs) say of the visits of a step class, as a table. */
#include <stddef.h>
#include <stdint.h>

#include "core/base/table.h"
#include "core/model/stream.h"
#include "core/store/study.h"

enum { NF_SAMPLED_COLUMNS = 22 };
extern const struct nf_column nf_sampled_columns[NF_SAMPLED_COLUMNS];

/* Rows of every sampling observation of the capture, the largest missed bytes first; visits of which nothing can be said
 * (not detectable, no sample) come last. ghz: the clock that latencies are counted in; 0: unknown, and so is k.
 * 0, -EBADMSG, -ENOMEM or -errno (cause set). */
int nf_sampled_fill(struct nf_study *s, int64_t capture, const struct nf_stream *stream, const struct nf_step_class *c,
                    double ghz, struct nf_table *t);
