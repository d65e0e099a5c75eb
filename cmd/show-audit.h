#pragma once
/* The views of `nearfar show` that hold what sources saw against what the framework said. */
#include <stdint.h>

#include "core/base/table.h"
#include "core/model/stream.h"
#include "core/store/study.h"

extern const struct nf_column nf_show_audit_columns[], nf_show_audit_tensor_columns[];
enum { NF_SHOW_AUDIT_COLUMNS = 7, NF_SHOW_AUDIT_TENSOR_COLUMNS = 8 };

/* By operator and kind of agreement, or by tensor; of the latest observation that has sightings of the class.
 * source: of that source; NULL: any. 0, -ENOENT when there is none (cause set), -errno. */
int nf_show_audit(struct nf_study *study, int64_t capture, const struct nf_stream *stream, const struct nf_step_class *c,
                  const char *source, struct nf_table *t);
int nf_show_audit_tensors(struct nf_study *study, int64_t capture, const struct nf_stream *stream,
                          const struct nf_step_class *c, const char *source, struct nf_table *t);
