#pragma once
/* The view of `nearfar show` on what watchpoints saw: a row a tensor. */
#include "core/base/table.h"
#include "core/model/stream.h"
#include "core/store/study.h"

enum { NF_WATCHES_COLUMNS = 18 };
extern const struct nf_column nf_watches_columns[NF_WATCHES_COLUMNS];

/* names: of the stream. 0 or -errno (cause set). */
int nf_watches_view(struct nf_study *study, int64_t capture, const struct nf_step_class *class, char *const *names,
                    struct nf_table *t);
