#include "analyze/accesses.h"

#include <errno.h>
#include <stdio.h>

#include "analyze/sampled.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"

enum { PERIOD = 10007 /* of the simulated samples, as in `show --mrc` */ };

const char *const nf_access_files[NF_ACCESS_TABLES] = {
    [NF_ACCESS_SOURCES] = "sources.csv",           [NF_ACCESS_AUDIT] = "audit.csv",
    [NF_ACCESS_AUDIT_OPS] = "audit-ops.csv",       [NF_ACCESS_AUDIT_RW] = "audit-rw.csv",
    [NF_ACCESS_AUDIT_TENSORS] = "audit-tensors.csv", [NF_ACCESS_SAMPLED] = "sampled.csv",
    [NF_ACCESS_MRC_ERRORS] = "mrc-errors.csv",     [NF_ACCESS_MRC] = "mrc.csv",
    [NF_ACCESS_REUSE_SUMMARY] = "reuse-summary.csv", [NF_ACCESS_REUSE] = "reuse.csv",
};

static struct nf_table *begin(struct nf_accesses *a, enum nf_access_table which, const struct nf_column *columns, size_t n)
{
    a->tables[which] = nf_table_new(columns, n);
    if (!a->tables[which])
        nf_fail(-ENOMEM, "out of memory for the report");
    return a->tables[which];
}

/* A table of nothing is none. */
static void end(struct nf_accesses *a, enum nf_access_table which)
{
    if (a->tables[which] && !nf_table_rows(a->tables[which]))
        a->tables[which] = nf_table_free(a->tables[which]);
}

static int audit_table(struct nf_accesses *a, enum nf_access_table which, const struct nf_audit_table *kind)
{
    struct nf_table *t = begin(a, which, kind->columns, kind->n_columns);
    int rc = t ? kind->fill(&a->audit, t) : -ENOMEM;

    end(a, which);
    return rc;
}

static int audit(struct nf_accesses *a, struct nf_study *study, int64_t capture, const struct nf_stream *stream,
                 const struct nf_step_class *c)
{
    static const struct {
        enum nf_access_table which;
        const struct nf_audit_table *kind;
    } tables[] = {{NF_ACCESS_AUDIT, &nf_audit_by_kind},
                  {NF_ACCESS_AUDIT_OPS, &nf_audit_by_op},
                  {NF_ACCESS_AUDIT_RW, &nf_audit_by_rw},
                  {NF_ACCESS_AUDIT_TENSORS, &nf_audit_by_tensor},
                  {NF_ACCESS_AUDIT_WORST, &nf_audit_worst_tensors}};
    int rc = nf_audit_view_init(&a->audit, study, capture, stream, c, NULL);

    if (rc == -ENOMEM)
        return rc;
    if (rc) {
        snprintf(a->audit_problem, sizeof a->audit_problem, "%s", nf_error_text(rc));
        return 0;
    }
    a->audited = true;
    for (size_t i = 0; i < sizeof tables / sizeof *tables && !rc; i++)
        rc = audit_table(a, tables[i].which, tables[i].kind);
    return rc;
}

/* The clock of the sampled cores is not in the study: k stays unknown here. */
static int sampled(struct nf_accesses *a, struct nf_study *study, int64_t capture, const struct nf_stream *stream,
                   const struct nf_step_class *c)
{
    struct nf_table *t = begin(a, NF_ACCESS_SAMPLED, nf_sampled_columns, NF_SAMPLED_COLUMNS);
    int rc = t ? nf_sampled_fill(study, capture, stream, c, 0, t) : -ENOMEM;

    if (rc && rc != -ENOMEM) {
        nf_warn("the samples are left out of the report: %s", nf_error_text(rc));
        a->tables[NF_ACCESS_SAMPLED] = nf_table_free(t);
        rc = 0;
    }
    end(a, NF_ACCESS_SAMPLED);
    return rc;
}

static int locality(struct nf_accesses *a, const struct nf_step_class *c)
{
    static const struct nf_tensor_groups whole = {0};
    struct nf_table *t;
    int rc;

    a->block_bytes = nf_locality_block(c, &a->block_accesses);
    if (!a->block_bytes) {
        snprintf(a->curves_problem, sizeof a->curves_problem,
                 "the step touches more blocks than a report takes the time for, whatever their size; `nearfar show --mrc "
                 "--block` does");
        return 0;
    }
    rc = nf_tensor_groups_init(&a->roles, c, "role", NF_TENSOR_ALL);
    if (!rc)
        rc = nf_mrc_set_init(&a->mrc, c, a->block_bytes, &a->roles, PERIOD);
    if (!rc)
        rc = nf_reuse_set_init(&a->reuse, c, a->block_bytes, &a->roles);
    nf_progress_end();
    if (rc)
        return rc;
    a->has_curves = a->mrc.curves[NF_MRC_EXACT][0].distances.total > 0;
    if (!a->has_curves) {
        snprintf(a->curves_problem, sizeof a->curves_problem, "nothing was accessed");
        return 0;
    }
    /* Times differ from run to run; a report of the same study does not. */
    if (!(t = begin(a, NF_ACCESS_MRC_ERRORS, nf_mrc_error_columns, NF_MRC_ERROR_UNTIMED)))
        return -ENOMEM;
    nf_mrc_set_errors(&a->mrc, &whole, false, t);
    if (!(t = begin(a, NF_ACCESS_MRC, nf_mrc_columns, NF_MRC_UNTIMED)))
        return -ENOMEM;
    nf_mrc_set_rows(&a->mrc, &a->roles, a->evidence, false, t);
    if (!(t = begin(a, NF_ACCESS_REUSE_SUMMARY, nf_reuse_summary_columns, NF_REUSE_SUMMARY_COLUMNS)))
        return -ENOMEM;
    nf_reuse_set_summary(&a->reuse, &a->roles, t);
    if (!(t = begin(a, NF_ACCESS_REUSE, nf_reuse_columns, NF_REUSE_COLUMNS)))
        return -ENOMEM;
    nf_reuse_set_octaves(&a->reuse, &a->roles, a->evidence, t);
    return 0;
}

int nf_accesses_init(struct nf_accesses *a, struct nf_study *study, int64_t capture, const struct nf_sources *sources,
                     const struct nf_stream *stream, const struct nf_step_class *c)
{
    struct nf_table *t;
    int rc = 0;

    *a = (struct nf_accesses){0};
    if (sources->rows.n) {
        if (!(t = begin(a, NF_ACCESS_SOURCES, nf_source_columns, NF_SOURCE_COLUMNS)))
            return -ENOMEM;
        nf_sources_fill(sources, t);
    }
    if (!c)
        return 0;
    nf_locality_evidence(c, a->evidence, sizeof a->evidence);
    nf_locality_step(c, a->step, sizeof a->step);
    if (sources->rows.n) {
        rc = audit(a, study, capture, stream, c);
        if (!rc)
            rc = sampled(a, study, capture, stream, c);
    }
    return rc ? rc : locality(a, c);
}

void nf_accesses_deinit(struct nf_accesses *a)
{
    for (int i = 0; i < NF_ACCESS_TABLES; i++)
        nf_table_free(a->tables[i]);
    nf_audit_view_deinit(&a->audit);
    nf_tensor_groups_deinit(&a->roles);
    nf_mrc_set_deinit(&a->mrc);
    nf_reuse_set_deinit(&a->reuse);
}
