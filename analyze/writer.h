#pragma once
/* Writers: what a report folder holds beside its figures. A writer prints what was computed before and computes
 * nothing a reader of another file would miss. */
#include <stddef.h>

#include "analyze/accesses.h"
#include "analyze/answer.h"
#include "analyze/curve.h"
#include "analyze/dataset.h"
#include "analyze/fidelity-view.h"
#include "analyze/fidelity.h"
#include "analyze/figure.h"
#include "analyze/recompute-view.h"
#include "analyze/rivals.h"
#include "analyze/trial-record.h"
#include "analyze/usage.h"

/* Everything computed from a study. */
struct nf_report {
    struct nf_dataset data;
    struct nf_curve curve;
    struct nf_fidelity fidelity;
    struct nf_rivals rivals;
    struct nf_stream *stream;
    const struct nf_step_class *class; /* the steady one; NULL when it cannot be read */
    struct nf_usage usage;
    char usage_problem[512]; /* why class and usage are unknown; empty when they are known */
    struct nf_accesses accesses;
    struct nf_recompute_view recompute;
    struct nf_trial_record record;
    struct nf_fidelity_view belief;
    struct nf_answer answer;
    struct nf_figure figures[NF_FIGURES_MAX];
    size_t n_figures;
};

struct nf_writer_ops {
    const char *name, *about;
    const char *const *files; /* names it writes, NULL-terminated: removed before a new report is written */
    /* Optional. 0, or -errno with why it cannot work here. */
    int (*probe)(char *why, size_t size);
    /* Required. Complete files or none. 0 or -errno (cause set). */
    int (*write)(const struct nf_report *report, const char *directory);
};

extern const struct nf_writer_ops nf_writer_html, nf_writer_markdown, nf_writer_csv, nf_writer_json;
extern const struct nf_writer_ops *const nf_writers[]; /* NULL-terminated */

/* directory/name as a whole file. 0 or -errno (cause set); b is emptied. */
struct nf_buf;
int nf_writer_file(const char *directory, const char *name, struct nf_buf *b);
