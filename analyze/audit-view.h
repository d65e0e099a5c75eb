#pragma once
/* What a source that sees everything saw of a step class, held against what the framework said, as sentences and tables:
 * the one account of it, for commands and reports. */
#include <stdint.h>

#include "core/base/table.h"
#include "core/model/audit.h"
#include "core/model/stream.h"
#include "core/store/samples.h"
#include "core/store/study.h"

struct nf_buf;

struct nf_audit_view {
    char source[64];                   /* its name, clean */
    struct nf_observation observation; /* its texts are static or empty */
    int64_t steps, equal_steps;        /* seen of the class; of them like the first, which is the one compared */
    struct nf_audit audit;
    uint64_t declared, seen, agreed; /* bytes over all ops, of tensors in the source's memory */
    const struct nf_stream *stream;  /* borrowed */
    const struct nf_step_class *class;
};

/* Of the latest observation of the capture that has sightings of the class. source: of that source; NULL: any. stream and
 * class must outlive the view. 0, -ENOENT when there is none (cause set), -EBADMSG, -ENOMEM, -errno (cause set); deinit in any
 * case. */
int nf_audit_view_init(struct nf_audit_view *v, struct nf_study *study, int64_t capture, const struct nf_stream *stream,
                       const struct nf_step_class *c, const char *source);
void nf_audit_view_deinit(struct nf_audit_view *v);

/* Bytes both declared and touched, of all that were either. NAN: nothing was. */
double nf_audit_view_agreement(const struct nf_audit_view *v);

/* Each appends one sentence without a full stop, or nothing where there is nothing to say. */
void nf_audit_view_say_source(const struct nf_audit_view *v, struct nf_buf *b);
void nf_audit_view_say_agreement(const struct nf_audit_view *v, struct nf_buf *b);
void nf_audit_view_say_steps(const struct nf_audit_view *v, struct nf_buf *b);
void nf_audit_view_say_unwatched(const struct nf_audit_view *v, struct nf_buf *b);
/* "declared read, seen written: 1.00 MiB, for example op 3 (aten::add_) on tensor 4 (...)" of one of the kinds but AGREE. */
void nf_audit_view_say_rw(const struct nf_audit_view *v, enum nf_audit_rw kind, struct nf_buf *b);

enum { NF_AUDIT_KIND_COLUMNS = 6, NF_AUDIT_OP_COLUMNS = 7, NF_AUDIT_RW_COLUMNS = 5, NF_AUDIT_TENSOR_COLUMNS = 8 };
extern const struct nf_column nf_audit_kind_columns[NF_AUDIT_KIND_COLUMNS], nf_audit_op_columns[NF_AUDIT_OP_COLUMNS],
    nf_audit_rw_columns[NF_AUDIT_RW_COLUMNS], nf_audit_tensor_columns[NF_AUDIT_TENSOR_COLUMNS];

/* A table's columns and what fills it; disagreement comes before agreement, more bytes before fewer. */
struct nf_audit_table {
    const struct nf_column *columns;
    size_t n_columns;
    int (*fill)(const struct nf_audit_view *v, struct nf_table *t); /* 0 or -ENOMEM (cause set) */
};
extern const struct nf_audit_table nf_audit_by_kind, nf_audit_by_op, nf_audit_by_rw;
/* In the order of their numbers; and those that disagree at all, most bytes of it first. */
extern const struct nf_audit_table nf_audit_by_tensor, nf_audit_worst_tensors;
