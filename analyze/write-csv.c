/* trials.csv: every trial of the replay, also those in no curve. curve.csv: every point of every mode. What the accesses are
 * known from: a file per table. */
#include <math.h>

#include "analyze/print.h"
#include "analyze/writer.h"

static void put(struct nf_buf *b, double v)
{
    if (isfinite(v))
        nf_buf_printf(b, ",%.10g", v);
    else
        nf_buf_puts(b, ",unknown");
}

static void put_text(struct nf_buf *b, const char *text)
{
    nf_buf_puts(b, ",");
    nf_buf_csv(b, text);
}

static int write_trials(const struct nf_report *r, const char *directory)
{
    struct nf_buf b = {0};

    nf_buf_puts(&b, "trial,block,position,policy,policy_options,semantics,pages_by,near_share,near_bytes,overlap,hog,"
                    "parallelism_scale,status,left_out,warmup_steps,steps,wall_ns,memory_ns,injected_ns,compute_ns,stall_ns,fault_ns,policy_ns,move_ns,stolen_ns,late_ns,"
                    "saturated,floored_share,assumed_k_share,class_k_share,moves,moved_bytes,far_read_bytes,far_write_bytes,"
                    "far_charged_bytes,near_peak_bytes,far_latency_ns,far_bps,near_counter_read_bytes,"
                    "near_counter_write_bytes,far_counter_read_bytes,far_counter_write_bytes,uncounted,evidence\n");
    for (size_t i = 0; i < r->data.trials.n; i++) {
        const struct nf_trial_row *t = &r->data.trials.v[i];
        const double numbers[] = {(double)t->warmup_steps,
                                  (double)t->steps,
                                  t->wall_ns,
                                  t->memory_ns,
                                  t->injected_ns,
                                  t->compute_ns,
                                  t->stall_ns,
                                  t->fault_ns,
                                  t->policy_ns,
                                  t->move_ns,
                                  t->stolen_ns,
                                  t->late_ns,
                                  t->saturated,
                                  t->floored_share,
                                  t->assumed_k_share,
                                  t->class_k_share,
                                  (double)t->moves,
                                  t->moved_bytes,
                                  t->far_read_bytes,
                                  t->far_write_bytes,
                                  t->far_charged_bytes,
                                  t->near_peak_bytes,
                                  t->far_latency_ns,
                                  t->far_bps,
                                  t->near_counter_read_bytes,
                                  t->near_counter_write_bytes,
                                  t->far_counter_read_bytes,
                                  t->far_counter_write_bytes};

        nf_buf_printf(&b, "%lld,%lld,%lld", (long long)t->id, (long long)t->block, (long long)t->position);
        put_text(&b, t->policy);
        put_text(&b, t->options);
        put_text(&b, t->semantics);
        put_text(&b, t->pages_by);
        put(&b, t->near_share);
        put(&b, t->near_bytes);
        put_text(&b, nf_overlap_name(t->overlap));
        put(&b, t->hog);
        put(&b, t->parallelism_scale);
        put_text(&b, t->status);
        put_text(&b, t->left_out ? t->left_out : "");
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            put(&b, numbers[k]);
        put_text(&b, t->uncounted);
        put_text(&b, nf_evidence_name(t->evidence));
        nf_buf_puts(&b, "\n");
    }
    return nf_writer_file(directory, "trials.csv", &b);
}

static int write_curve(const struct nf_report *r, const char *directory)
{
    const struct nf_curve *c = &r->curve;
    struct nf_buf b = {0};

    nf_buf_puts(&b, "policy,near_share,near_bytes,overlap,hog,parallelism_scale,slowdown_median,slowdown_low,"
                    "slowdown_high,pairs,flagged,unpaired,reference,vs_ratio,vs_p,vs_pairs,step_ns,far_bytes,"
                    "charged_bytes,moved_bytes,policy_ns,move_ns,floored_share,assumed_k_share,class_k_share,late_ns,stolen_ns,"
                    "saturated,evidence\n");
    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];
        const struct nf_estimate *s = &p->slowdown;
        const double before[] = {p->hog,  p->parallelism_scale, s->median,           s->low,
                                 s->high, (double)s->n,         (double)s->outliers, (double)p->unpaired};
        const double after[] = {
            p->vs_ratio,        p->vs_p,        (double)p->vs_n, p->wall_ns,          p->far_bytes,
            p->charged_bytes,   p->moved_bytes, p->policy_ns,    p->move_ns,          p->floored_share,
            p->assumed_k_share, p->class_k_share, p->late_ns,    p->stolen_ns,        (double)p->saturated};

        nf_buf_csv(&b, c->policies.v[p->policy].label);
        put(&b, p->near_share);
        put(&b, p->near_bytes);
        put_text(&b, nf_overlap_name(p->overlap));
        for (size_t k = 0; k < sizeof before / sizeof *before; k++)
            put(&b, before[k]);
        put_text(&b, p->vs_n ? c->policies.v[c->reference].label : "none");
        for (size_t k = 0; k < sizeof after / sizeof *after; k++)
            put(&b, after[k]);
        nf_buf_puts(&b, ",");
        nf_print_evidence(&b, p->evidence);
        nf_buf_puts(&b, "\n");
    }
    return nf_writer_file(directory, "curve.csv", &b);
}

/* NULL: there is nothing of that kind. */
static int write_table(const struct nf_table *t, const char *directory, const char *name)
{
    struct nf_buf b = {0};
    int rc = t && name ? nf_table_format(t, NF_TABLE_CSV, &b) : 0;

    if (rc || !t || !name)
        nf_buf_deinit(&b);
    else
        rc = nf_writer_file(directory, name, &b);
    return rc;
}

static int write_csv(const struct nf_report *r, const char *directory)
{
    int rc = write_trials(r, directory);

    if (!rc)
        rc = write_curve(r, directory);
    for (int i = 0; i < NF_ACCESS_TABLES && !rc; i++)
        rc = write_table(r->accesses.tables[i], directory, nf_access_files[i]);
    for (int i = 0; i < NF_RECORD_TABLES && !rc; i++)
        rc = write_table(r->record.tables[i], directory, nf_record_files[i]);
    if (!rc)
        rc = write_table(r->rivals.rows, directory, "rivals.csv");
    if (!rc)
        rc = write_table(r->belief.rows, directory, "fidelity.csv");
    if (!rc)
        rc = write_table(r->belief.breakdown, directory, "breakdown.csv");
    if (!rc)
        rc = write_table(r->recompute.curve, directory, "recompute.csv");
    if (!rc)
        rc = write_table(r->recompute.crossover, directory, "crossover.csv");
    return rc;
}

const struct nf_writer_ops nf_writer_csv = {
    .name = "csv",
    .about = "trials.csv and curve.csv: every trial, every point; sources, audit, reuse, how trials ran, fidelity and the real job as tables",
    .files = (const char *const[]){"trials.csv", "curve.csv", "sources.csv", "audit.csv", "audit-ops.csv", "audit-rw.csv",
                                    "audit-tensors.csv", "sampled.csv", "mrc-errors.csv", "mrc.csv",
                                    "reuse-summary.csv", "reuse.csv", "trials-ran.csv", "counters.csv", "disturbed.csv",
                                    "contention.csv", "cold.csv", "stale.csv", "sensitivity.csv", "prediction.csv", "live.csv", "fidelity.csv",
                                    "breakdown.csv", "rivals.csv", "recompute.csv", "crossover.csv", NULL},
    .write = write_csv,
};
