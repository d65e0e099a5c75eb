#pragma once
/* What the accesses of the steady step are known from, as a report says it: what each source saw, the audit of the framework's
 * word, and how the step reuses memory. */
#include <stdbool.h>
#include <stdint.h>

#include "analyze/audit-view.h"
#include "analyze/locality-view.h"
#include "analyze/sources.h"
#include "core/base/table.h"
#include "core/model/stream.h"
#include "core/store/study.h"

/* The tables, each a CSV file of its own. */
enum nf_access_table {
    NF_ACCESS_SOURCES,
    NF_ACCESS_AUDIT,
    NF_ACCESS_AUDIT_OPS,
    NF_ACCESS_AUDIT_RW,
    NF_ACCESS_AUDIT_TENSORS,
    NF_ACCESS_AUDIT_WORST, /* no file: tensors, in another order */
    NF_ACCESS_SAMPLED,
    NF_ACCESS_MRC_ERRORS,
    NF_ACCESS_MRC,
    NF_ACCESS_REUSE_SUMMARY,
    NF_ACCESS_REUSE,
    NF_ACCESS_TABLES
};
/* "audit.csv"; NULL: none. */
extern const char *const nf_access_files[NF_ACCESS_TABLES];

struct nf_accesses {
    struct nf_table *tables[NF_ACCESS_TABLES]; /* NULL: there is nothing of that kind */
    struct nf_audit_view audit;
    bool audited;
    char audit_problem[512]; /* why not, where a source took part */
    uint32_t block_bytes;    /* of the curves and histograms */
    uint64_t block_accesses; /* of such blocks, in one step */
    struct nf_tensor_groups roles;
    struct nf_mrc_set mrc;
    struct nf_reuse_set reuse;
    bool has_curves;
    char curves_problem[512];
    char evidence[128]; /* of the visits: "framework" */
    char step[192];     /* one line of what step this is */
};

/* stream and class: NULL when they could not be read; then only the sources are known. They must outlive a.
 * What is damaged is said in the problems, and the rest goes on. 0, -ENOMEM or -errno (cause set). Deinit in every case. */
int nf_accesses_init(struct nf_accesses *a, struct nf_study *study, int64_t capture, const struct nf_sources *sources,
                     const struct nf_stream *stream, const struct nf_step_class *c);
void nf_accesses_deinit(struct nf_accesses *a);
