#include "analyze/fidelity-view.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analyze/print.h"
#include "core/base/error.h"
#include "core/base/units.h"
#include "core/model/words.h"

#define COLUMNS(c) c, sizeof c / sizeof *c

static const struct nf_column row_columns[] = {
    {"what", "what is held against what", NF_COLUMN_TEXT},
    {"fitted", "fitted to", NF_COLUMN_TEXT},
    {"mode", "mode", NF_COLUMN_TEXT},
    {"replay", "replay", NF_COLUMN_REAL},
    {"replay_low", "low", NF_COLUMN_REAL},
    {"replay_high", "high", NF_COLUMN_REAL},
    {"real", "real", NF_COLUMN_REAL},
    {"real_low", "low", NF_COLUMN_REAL},
    {"real_high", "high", NF_COLUMN_REAL},
    {"error", "error", NF_COLUMN_SHARE},
    {"n", "n", NF_COLUMN_INTEGER},
    {"evidence", "evidence", NF_COLUMN_TEXT},
    {"state", "state", NF_COLUMN_TEXT},
    {"says", "in words, or what measures it", NF_COLUMN_TEXT},
};
static const struct nf_column breakdown_columns[] = {
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"trials", "trials", NF_COLUMN_INTEGER},
    {"of", "shares of", NF_COLUMN_TEXT},
    {"whole", "whole step", NF_COLUMN_SHARE},
    {"memory", "accesses", NF_COLUMN_SHARE},
    {"injected", "injected waits", NF_COLUMN_SHARE},
    {"compute", "compute waited out", NF_COLUMN_SHARE},
    {"stall", "moves", NF_COLUMN_SHARE},
    {"policy", "policy", NF_COLUMN_SHARE},
    {"dispatch", "dispatch and the rest", NF_COLUMN_SHARE},
    {"preempted", "of the waits: kept from running", NF_COLUMN_SHARE},
    {"floored", "captured time in ops that were faster than their accesses here", NF_COLUMN_SHARE},
};

static const struct nf_estimate NOTHING = {.median = NAN, .low = NAN, .high = NAN};
static const unsigned MODES[] = {NF_OVERLAP_FULL, NF_OVERLAP_NONE};
enum { N_MODES = sizeof MODES / sizeof *MODES };

static void number(struct nf_table *t, double v)
{
    if (isfinite(v))
        nf_table_number(t, v);
    else
        nf_table_unknown(t);
}

static void estimate(struct nf_table *t, const struct nf_estimate *e)
{
    number(t, e->median);
    number(t, e->low);
    number(t, e->high);
}

struct row {
    const char *what, *fitted, *mode, *evidence, *says;
    const struct nf_estimate *replay, *real;
    double error;
    int64_t n;
    bool measured;
};

static void add(struct nf_table *t, const struct row *r)
{
    nf_table_text(t, r->what);
    nf_table_text(t, r->fitted);
    nf_table_text(t, r->mode);
    estimate(t, r->replay ? r->replay : &NOTHING);
    estimate(t, r->real ? r->real : &NOTHING);
    number(t, r->error);
    nf_table_integer(t, r->n);
    nf_table_text(t, r->evidence);
    nf_table_text(t, r->measured ? "measured" : "not measured");
    nf_table_text(t, r->says);
}

/* --- where the time of an all-near step goes --- */

/* Sums over the all-near trials of a mode that account for their time; trials 0: none does. */
struct account {
    int64_t trials;
    double steps, wall, memory, injected, compute, stall, policy, floored, stolen;
};

static int load_accounts(struct nf_study *s, int64_t replay, struct account of[NF_OVERLAP_COUNT])
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT overlap, count(*), sum(steps), sum(wall_ns), sum(memory_ns), sum(injected_ns), sum(compute_ns), "
                            "sum(stall_ns), sum(policy_ns), max(floored_share), sum(stolen_ns * 1.0 / max(threads, 1)) FROM "
                            "trial WHERE replay_id = ?1 AND policy = 'all-near' AND hog = 0 AND background = '' AND variant = '' "
                            "AND cold = 0 AND parallelism_scale = 1 AND status = 'ok' AND steps > 0 AND wall_ns > 0 AND min(memory_ns, injected_ns, compute_ns, stall_ns) >= 0 "
                            "GROUP BY overlap",
                            &q);

    memset(of, 0, NF_OVERLAP_COUNT * sizeof *of);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    while ((rc = nf_query_step(q)) == 1) {
        int64_t overlap = nf_query_i64(q, 0);

        if (overlap < 0 || overlap >= NF_OVERLAP_COUNT)
            continue;
        of[overlap] = (struct account){
            .trials = nf_query_i64(q, 1),
            .steps = nf_query_f64(q, 2),
            .wall = nf_query_f64(q, 3),
            .memory = nf_query_f64(q, 4),
            .injected = nf_query_f64(q, 5),
            .compute = nf_query_f64(q, 6),
            .stall = nf_query_f64(q, 7),
            .policy = nf_query_f64(q, 8),
            .floored = nf_query_f64(q, 9),
            .stolen = nf_query_f64(q, 10),
        };
    }
    nf_query_done(q);
    return rc;
}

static double rest(const struct account *a)
{
    return a->wall - a->memory - a->injected - a->compute - a->stall - a->policy;
}

/* What the shares are of: the captured bare steps, where the replayed ones are as large; else the replay's own time. */
static double whole(const struct account *a, const struct nf_dataset *d, const char **name)
{
    bool bare = d->capture.bare_step_ns > 0 && d->replay.scale == 1;

    *name = bare ? "the captured bare step" : "the replayed step";
    return bare ? a->steps * d->capture.bare_step_ns : a->wall;
}

static int fill_breakdown(struct nf_fidelity_view *v, const struct nf_dataset *d, const struct account of[NF_OVERLAP_COUNT])
{
    for (unsigned o = 0; o < NF_OVERLAP_COUNT; o++) {
        const struct account *a = &of[o];
        const char *name;
        double all;

        if (!a->trials)
            continue;
        if (!v->breakdown)
            v->breakdown = nf_table_new(COLUMNS(breakdown_columns));
        if (!v->breakdown)
            return nf_fail(-ENOMEM, "out of memory for a table");
        all = whole(a, d, &name);
        nf_table_text(v->breakdown, nf_overlap_name(o));
        nf_table_integer(v->breakdown, a->trials);
        nf_table_text(v->breakdown, name);
        number(v->breakdown, a->wall / all);
        number(v->breakdown, a->memory / all);
        number(v->breakdown, a->injected / all);
        number(v->breakdown, a->compute / all);
        number(v->breakdown, a->stall / all);
        number(v->breakdown, a->policy / all);
        number(v->breakdown, rest(a) / all);
        number(v->breakdown, a->stolen / all);
        number(v->breakdown, a->floored);
    }
    return 0;
}

/* "accesses 12 % + compute 91 % + dispatch and the rest 1 % of the captured bare step" */
static void explain(const struct account *a, const struct nf_dataset *d, char *text, size_t size)
{
    const struct {
        const char *name;
        double ns;
    } parts[] = {{"accesses", a->memory}, {"injected waits", a->injected}, {"compute waited out", a->compute},
                 {"moves", a->stall}, {"policy", a->policy}, {"dispatch and the rest", rest(a)}};
    const char *of;
    double all;
    struct nf_buf b = {0};

    if (!a->trials) {
        snprintf(text, size, "where the time goes is not known: these trials do not account for it; replay again");
        return;
    }
    all = whole(a, d, &of);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].ns != 0)
            nf_buf_printf(&b, "%s%s %.1f %%", b.n ? " + " : "", parts[i].name, 100 * parts[i].ns / all);
    nf_buf_printf(&b, " of %s", of);
    if (a->stolen > 0)
        nf_buf_printf(&b, "; its threads were preempted for %.1f %%", 100 * a->stolen / all);
    nf_print_keep(text, size, &b);
    nf_buf_deinit(&b);
}

/* --- rows --- */

static void add_consistency(struct nf_table *t, const struct nf_dataset *d, const struct nf_fidelity *f,
                            const struct account of[NF_OVERLAP_COUNT])
{
    char says[320], command[200];
    const struct nf_estimate one = {.median = 1, .low = NAN, .high = NAN};
    const char *near = nf_evidence_name(d->tiers.n ? d->tiers.v[0].evidence : NF_EVIDENCE_UNKNOWN);

    for (int i = 0; i < N_MODES; i++) {
        const struct nf_estimate *e = &f->consistency[MODES[i]];
        struct row r = {.what = "consistency: all-near step / captured bare step", .fitted = "the captured step",
                        .mode = nf_overlap_name(MODES[i]), .evidence = near, .replay = e, .real = &one,
                        .error = e->median - 1, .n = (int64_t)e->n, .measured = e->n > 0, .says = says};

        explain(&of[MODES[i]], d, says, sizeof says);
        if (!r.measured) {
            snprintf(command, sizeof command, "nearfar replay %.120s --mode full,none", d->study);
            r.real = NULL;
            r.evidence = "";
            r.says = d->capture.has_durations ? command : "the capture holds no durations to be consistent with";
        } else if (d->replay.scale != 1) {
            r.says = "the replay is scaled: its step times are not those of the job";
        }
        add(t, &r);
    }
}

static void add_hog(struct nf_table *t, const struct nf_dataset *d, const struct nf_fidelity *f, unsigned evidence)
{
    char command[320], says[160];

    snprintf(command, sizeof command, "nearfar run %.120s --hog -- JOB; nearfar replay %.120s --hog", d->study, d->study);
    for (int i = 0; i < N_MODES; i++) {
        const struct nf_estimate *e = &f->predicted[MODES[i]];
        bool replayed = e->n > 0, real = f->hog_runs && f->alone_runs;
        struct row r = {.what = "fidelity: slowdown beside a bandwidth hog", .fitted = "nothing",
                        .mode = nf_overlap_name(MODES[i]), .evidence = real ? nf_evidence_name(evidence) : "",
                        .replay = e, .real = &f->real, .error = f->error[MODES[i]], .n = (int64_t)e->n,
                        .measured = replayed && real, .says = command};

        if (r.measured) {
            snprintf(says, sizeof says, "runs of the job: %zu beside it, %zu alone, %zu failed", f->hog_runs, f->alone_runs,
                     f->failed_runs);
            r.says = says;
        } else if (!real && f->elsewhere_runs) {
            snprintf(says, sizeof says, "not comparable: %zu runs were on another machine than the replay", f->elsewhere_runs);
            r.says = says;
        }
        add(t, &r);
    }
}

/* The replay that is missing, on the tiers that the others ran on. */
static void say_replay(const struct nf_dataset *d, const struct nf_live_comparison *c, char *text, size_t size)
{
    size_t at = (size_t)snprintf(text, size, "not replayed: nearfar replay %.120s --policy %s --near %g%%", d->study, c->policy,
                                 100 * (c->near_share > 0 ? c->near_share : 1));

    for (size_t i = 0; i < d->tiers.n && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, " --tier %s", d->tiers.v[i].spec);
}

static void add_live(struct nf_table *t, const struct nf_dataset *d, const struct nf_trial_record *record, bool bound)
{
    char what[240], command[320], says[640];
    size_t rows = 0;

    if (bound)
        snprintf(command, sizeof command, "nearfar run %.120s --bind far -- JOB, where there is a second node", d->study);
    else
        snprintf(command, sizeof command, "nearfar run %.120s --policy lifetime-density --near 20%% -- JOB", d->study);
    for (size_t i = 0; i < record->live.of.n; i++) {
        const struct nf_live_comparison *c = &record->live.of.v[i];

        /* What is near alone is predicted by all-near over all-near: no prediction that could fail. */
        if ((c->kind == NF_LIVE_BOUND) != bound || c->near)
            continue;
        rows++;
        snprintf(what, sizeof what, "fidelity: the real job %s", c->label);
        for (int k = 0; k < N_MODES; k++) {
            const struct nf_estimate *e = &c->predicted[MODES[k]];
            struct row r = {.what = what, .fitted = "nothing", .mode = nf_overlap_name(MODES[k]),
                            .evidence = nf_evidence_name(c->evidence), .replay = e, .real = &c->real,
                            .error = e->median / c->real.median - 1, .n = (int64_t)c->real.n,
                            .measured = e->n && c->real.n, .says = c->verdict};

            if (!e->n && *c->policy && c->kind != NF_LIVE_PLACED_HOG) {
                say_replay(d, c, says, sizeof says);
                r.says = says;
            }
            add(t, &r);
        }
    }
    if (!rows)
        add(t, &(struct row){.what = bound ? "fidelity: the real job bound to a tier" : "fidelity: the real job under a live plan",
                             .fitted = "nothing", .mode = "", .evidence = "", .error = NAN, .says = command});
}

/* --- the replay captured again --- */

static void say_recapture(const struct nf_query *q, struct nf_buf *b)
{
    char lost[NF_UNITS_TEXT], stray[NF_UNITS_TEXT], rw[NF_UNITS_TEXT];
    int64_t tensors = nf_query_i64(q, 1), same = nf_query_i64(q, 2);

    nf_buf_printf(b, "%lld of %lld tensors the same extents in the same order, %s lost, %s stray", (long long)same, (long long)tensors,
                  nf_format_bytes(lost, nf_query_f64(q, 4)), nf_format_bytes(stray, nf_query_f64(q, 5)));
    if (nf_query_i64(q, 6))
        nf_buf_printf(b, ", %s read for written", nf_format_bytes(rw, nf_query_f64(q, 6)));
    nf_buf_printf(b, ", at %lld B", (long long)nf_query_i64(q, 7));
    if (nf_query_f64(q, 8) >= 0)
        nf_buf_printf(b, "; reuse distances %.2f octaves apart, %.2f at most", nf_query_f64(q, 8), nf_query_f64(q, 9));
    if (nf_query_f64(q, 10) != 1)
        nf_buf_printf(b, "; at %.3g of the captured bytes", nf_query_f64(q, 10));
    if (nf_query_i64(q, 13))
        nf_buf_printf(b, "; %lld moves meanwhile", (long long)nf_query_i64(q, 13));
    if (*nf_query_text(q, 11)) {
        nf_buf_puts(b, "; ");
        nf_print_clean(b, nf_query_text(q, 11));
    }
    if (*nf_query_text(q, 12)) {
        nf_buf_puts(b, "; worst: ");
        nf_print_clean(b, nf_query_text(q, 12));
    }
}

/* The latest by this source under this policy. */
static int add_recapture(struct nf_table *t, struct nf_study *s, const struct nf_dataset *d, const char *source, const char *policy,
                         double near_share)
{
    char what[160], command[200];
    struct nf_buf b = {0};
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT id, tensors, same_extents, captured_bytes, lost_bytes, stray_bytes, rw_bytes, resolution_bytes, "
                            "reuse_distance_emd, reuse_distance_most, scale, message, worst, moves FROM recapture WHERE capture_id = ?1 AND "
                            "source = ?2 AND policy = ?3 AND near_share = ?4 ORDER BY id DESC LIMIT 1",
                            &q);
    struct row r = {.what = what, .fitted = "nothing", .mode = "", .evidence = "", .error = NAN, .says = command};

    if (rc)
        return rc;
    if (strcmp(policy, "all-near"))
        snprintf(what, sizeof what, "the replay captured again, by %s, under %.60s at %.3g %% near", source, policy, 100 * near_share);
    else
        snprintf(what, sizeof what, "the replay captured again, by %s", source);
    snprintf(command, sizeof command, "nearfar replay %.120s --again %s", d->study, source);
    nf_query_bind_i64(q, 1, d->capture.id);
    nf_query_bind_text(q, 2, source);
    nf_query_bind_text(q, 3, policy);
    nf_query_bind_f64(q, 4, near_share);
    rc = nf_query_step(q);
    if (rc == 1) {
        double captured = nf_query_f64(q, 3);

        say_recapture(q, &b);
        r.measured = true;
        r.evidence = source;
        r.error = captured > 0 ? (nf_query_f64(q, 4) + nf_query_f64(q, 5) + nf_query_f64(q, 6)) / captured : NAN;
        r.n = nf_query_i64(q, 1);
        r.says = b.failed || !b.data ? "" : b.data;
    }
    if (rc >= 0)
        add(t, &r);
    rc = b.failed ? nf_fail(-ENOMEM, "out of memory") : rc < 0 ? rc : 0;
    nf_buf_deinit(&b);
    nf_query_done(q);
    return rc;
}

/* Those under policies that were watched. */
static int add_recaptures_under(struct nf_table *t, struct nf_study *s, const struct nf_dataset *d)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "SELECT DISTINCT source, policy, near_share FROM recapture WHERE capture_id = ?1 AND policy != 'all-near' "
                            "ORDER BY policy, near_share", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, d->capture.id);
    while (!rc && (rc = nf_query_step(q)) == 1)
        rc = add_recapture(t, s, d, nf_query_text(q, 0), nf_query_text(q, 1), nf_query_f64(q, 2));
    nf_query_done(q);
    return rc;
}

/* --- all --- */

static unsigned live_evidence(const struct nf_dataset *d)
{
    for (size_t i = 0; i < d->live_runs.n; i++)
        if (!strcmp(d->live_runs.v[i].kind, "hog") && d->live_runs.v[i].machine_id == d->replay.testbed_machine_id)
            return d->live_runs.v[i].evidence;
    return NF_EVIDENCE_UNKNOWN;
}

int nf_fidelity_view_init(struct nf_fidelity_view *v, struct nf_study *study, const struct nf_dataset *d,
                          const struct nf_fidelity *f, const struct nf_trial_record *record)
{
    static const char *const sources[] = {"framework", "page-fault", "exact"};
    struct account of[NF_OVERLAP_COUNT];
    int rc;

    *v = (struct nf_fidelity_view){.rows = nf_table_new(COLUMNS(row_columns))};
    if (!v->rows)
        return nf_fail(-ENOMEM, "out of memory for the table of fidelity");
    rc = load_accounts(study, d->replay.id, of);
    if (!rc)
        rc = fill_breakdown(v, d, of);
    if (rc)
        return rc;
    add_consistency(v->rows, d, f, of);
    add_hog(v->rows, d, f, live_evidence(d));
    add_live(v->rows, d, record, true);
    add_live(v->rows, d, record, false);
    for (size_t i = 0; i < sizeof sources / sizeof *sources && !rc; i++)
        rc = add_recapture(v->rows, study, d, sources[i], "all-near", 1);
    return rc ? rc : add_recaptures_under(v->rows, study, d);
}

void nf_fidelity_view_deinit(struct nf_fidelity_view *v)
{
    v->rows = nf_table_free(v->rows);
    v->breakdown = nf_table_free(v->breakdown);
}
