#include "analyze/document.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "analyze/print.h"
#include "analyze/writer.h"
#include "core/base/error.h"
#include "core/base/version.h"

enum { SHARES_MAX = 64, ROWS_MAX = 1000 };

/* --- Building blocks. Out of memory is remembered, and said once at the end. --- */

static struct nf_block *add(struct nf_document *doc, enum nf_block_kind kind, char *text)
{
    if (!text || nf_array_push(&doc->blocks, (struct nf_block){.kind = kind, .text = text})) {
        free(text);
        doc->failed = true;
        return NULL;
    }
    return &doc->blocks.v[doc->blocks.n - 1];
}

void nf_document_say(struct nf_document *doc, enum nf_block_kind kind, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    add(doc, kind, text);
}

void nf_document_say_buf(struct nf_document *doc, enum nf_block_kind kind, struct nf_buf *b)
{
    add(doc, kind, b->failed ? NULL : b->data);
    *b = (struct nf_buf){0};
}

static void cell(struct nf_document *doc, struct nf_buf *b)
{
    struct nf_block *table = doc->blocks.n ? &doc->blocks.v[doc->blocks.n - 1] : NULL;

    nf_buf_puts(b, "");
    if (!table || b->failed || nf_array_push(&table->cells, b->data)) {
        nf_buf_deinit(b);
        doc->failed = true;
    }
    *b = (struct nf_buf){0};
}

static void word_cell(struct nf_document *doc, const char *text)
{
    struct nf_buf b = {0};

    nf_buf_puts(&b, *text ? text : "unknown");
    cell(doc, &b);
}

/* Like word_cell, where nothing is an answer too. */
static void note_cell(struct nf_document *doc, const char *text)
{
    struct nf_buf b = {0};

    nf_buf_puts(&b, text);
    cell(doc, &b);
}

#define PRINTED_CELL(name, type, print)                                                                                \
    static void name(struct nf_document *doc, type v)                                                                  \
    {                                                                                                                  \
        struct nf_buf b = {0};                                                                                         \
                                                                                                                       \
        print;                                                                                                         \
        cell(doc, &b);                                                                                                 \
    }

PRINTED_CELL(count_cell, int64_t, nf_buf_printf(&b, "%lld", (long long)v))
PRINTED_CELL(share_cell, double, nf_print_share(&b, v))
PRINTED_CELL(bytes_cell, double, nf_print_bytes(&b, v))
PRINTED_CELL(bps_cell, double, nf_print_bps(&b, v))
PRINTED_CELL(ns_cell, double, nf_print_ns(&b, v))
PRINTED_CELL(fixed_cell, double, nf_print_fixed(&b, v, 1))
PRINTED_CELL(estimate_cell, const struct nf_estimate *, nf_print_estimate(&b, v))
PRINTED_CELL(evidence_cell, unsigned, nf_print_evidence(&b, v))

static void table(struct nf_document *doc, const char *title, uint32_t left, const char *const *header, size_t columns)
{
    struct nf_block *block = add(doc, NF_BLOCK_TABLE, strdup(title));

    if (!block)
        return;
    block->columns = columns;
    block->left = left;
    for (size_t i = 0; i < columns; i++)
        note_cell(doc, header[i]);
}

void nf_document_table(struct nf_document *doc, const char *title, const struct nf_table *t, const char *const *columns,
                       size_t rows_max)
{
    const char *headings[NF_DOCUMENT_COLUMNS];
    const struct nf_column *all;
    size_t at[NF_DOCUMENT_COLUMNS], n = 0, n_all, rows = nf_table_rows(t);
    uint32_t left = 0;

    all = nf_table_columns(t, &n_all);
    for (size_t i = 0; columns ? columns[i] != NULL : i < n_all; i++) {
        size_t k = i;

        for (k = columns ? 0 : i; columns && k < n_all && strcmp(all[k].name, columns[i]) != 0; k++)
            ;
        if (k == n_all || n == NF_DOCUMENT_COLUMNS)
            continue;
        left |= (uint32_t)(all[k].kind == NF_COLUMN_TEXT) << n;
        headings[n] = all[k].heading;
        at[n++] = k;
    }
    table(doc, title, left, headings, n);
    for (size_t row = 0; row < rows && row < rows_max; row++) {
        for (size_t k = 0; k < n; k++) {
            struct nf_buf b = {0};

            nf_table_cell(t, row, at[k], &b);
            cell(doc, &b);
        }
    }
}

#define TABLE(doc, title, left, ...)                                                                                   \
    do {                                                                                                               \
        static const char *const header[] = {__VA_ARGS__};                                                             \
        table(doc, title, left, header, sizeof header / sizeof *header);                                               \
    } while (0)

void nf_document_figure(struct nf_document *doc, const struct nf_report *r, const char *name)
{
    for (size_t i = 0; i < r->n_figures; i++) {
        struct nf_block *block;

        if (strcmp(r->figures[i].name, name) != 0)
            continue;
        block = add(doc, NF_BLOCK_FIGURE, strdup(""));
        if (block)
            block->figure = &r->figures[i];
    }
}

/* --- The chapters. --- */

/* What is missing goes before what is said without it. */
static void losses(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_dataset *d = &r->data;

    for (size_t i = 0; i < d->passes.n; i++) {
        double lost = (double)d->passes.v[i].lost_events, all = lost + (double)d->passes.v[i].events;

        if (lost > 0.01 * all)
            nf_document_say(doc, NF_BLOCK_LEAD, "Read this first: %.1f %% of the events of the %s pass were lost.",
                            100 * lost / all, nf_pass_kind_name(d->passes.v[i].kind));
    }
    for (size_t i = 0; i < d->sources.rows.n; i++) {
        struct nf_buf b = {0};

        if (!nf_source_lost_much(&d->sources.rows.v[i]))
            continue;
        nf_buf_puts(&b, "Read this first: ");
        nf_source_say_lost(&d->sources.rows.v[i], &b);
        nf_buf_puts(&b, "; what it did not see is not what did not happen.");
        nf_document_say_buf(doc, NF_BLOCK_LEAD, &b);
    }
}

static void answer(struct nf_document *doc, const struct nf_report *r)
{
    losses(doc, r);
    for (int i = 0; i < 3; i++)
        nf_document_say(doc, NF_BLOCK_LEAD, "%s", r->answer.sentence[i]);
    nf_document_figure(doc, r, "policy-curve");
}

static void belief(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_fidelity *f = &r->fidelity;
    struct nf_buf b = {0};

    nf_document_say(doc, NF_BLOCK_HEADING, "Can it be believed?");
    nf_document_say(doc, NF_BLOCK_TEXT,
        "Consistency is not fidelity: the all-near replay was fitted to the captured step. Fidelity is the error of a "
        "prediction nothing was fitted to: the step time beside a bandwidth hog, on a real tier, under a live plan, replayed and "
        "real, each relative to the job alone. A replay captured again shows whether it touched what the capture says.");
    nf_document_table(doc, "Consistency and fidelity", r->belief.rows, NULL, ROWS_MAX);
    if (r->belief.breakdown)
        nf_document_table(doc, "Where the time of an all-near step goes: the parts add up to the consistency", r->belief.breakdown,
                          NULL, ROWS_MAX);
    nf_buf_puts(&b, "Captured bare step: ");
    nf_print_ns(&b, r->data.capture.bare_step_ns);
    nf_buf_printf(&b, ". Real job: %zu runs alone (median step ", f->alone_runs);
    nf_print_ns(&b, f->alone_ns);
    nf_buf_printf(&b, "), %zu beside the hog (", f->hog_runs);
    nf_print_ns(&b, f->hog_ns);
    nf_buf_printf(&b, "), %zu failed.", f->failed_runs);
    if (r->data.replay.scale != 1)
        nf_buf_printf(&b, " The replay ran at %.4g of the captured bytes: its step times are not those of the job.",
                      r->data.replay.scale);
    nf_document_say_buf(doc, NF_BLOCK_TEXT, &b);
}

static void versus_cell(struct nf_document *doc, const struct nf_point *p)
{
    struct nf_buf b = {0};

    if (!p || !p->vs_n)
        nf_buf_puts(&b, "—");
    else
        nf_buf_printf(&b, "%+.1f %% %s (p = %.2g)", (p->vs_ratio - 1) * 100,
                      p->vs_p < NF_CURVE_SIGNIFICANT_P ? "*" : "~", p->vs_p);
    cell(doc, &b);
}

static void slowdown_cells(struct nf_document *doc, const struct nf_point *p)
{
    static const struct nf_estimate nothing = {.median = NAN, .low = NAN, .high = NAN};

    estimate_cell(doc, p ? &p->slowdown : &nothing);
    count_cell(doc, p ? (int64_t)p->slowdown.n : 0);
    versus_cell(doc, p);
}

static void winners(struct nf_document *doc, const struct nf_curve *c)
{
    if (!c->winners.n)
        return;
    nf_document_say(doc, NF_BLOCK_TEXT,
        "“best interleave” is at each share and mode the fastest of the ratios that were replayed: an oracle, chosen by the "
        "trials it is drawn from, so its lead over single ratios is flattered by the choice. The ratios themselves stand in "
        "the tables.");
    TABLE(doc, "Which interleave was the best", 2, "near", "mode", "taken from", "ratios tried");
    for (size_t i = 0; i < c->winners.n; i++) {
        share_cell(doc, c->winners.v[i].near_share);
        word_cell(doc, nf_overlap_name(c->winners.v[i].overlap));
        word_cell(doc, c->policies.v[c->winners.v[i].policy].label);
        count_cell(doc, (int64_t)c->winners.v[i].tried);
    }
}

static void semantics(struct nf_document *doc, const struct nf_curve *c)
{
    TABLE(doc, "What each policy may do and see", 3, "policy", "declared semantics", "pages dealt by");
    for (size_t i = 0; i < c->policies.n; i++) {
        word_cell(doc, c->policies.v[i].label);
        word_cell(doc, c->policies.v[i].semantics);
        word_cell(doc, c->policies.v[i].pages_by);
    }
}

static void slowdowns(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_curve *c = &r->curve;
    const char *reference = c->reference >= 0 ? c->policies.v[c->reference].label : "no reference policy";
    double shares[SHARES_MAX + 2] = {0};
    size_t n = nf_curve_shares(c, shares + 1, SHARES_MAX);

    shares[n + 1] = 1;
    nf_document_say(doc, NF_BLOCK_HEADING, "Slowdowns");
    if (!r->data.capture.has_durations) {
        nf_document_say(doc, NF_BLOCK_TEXT,
            "None is stated: the capture holds no durations of its operators, so how much of the memory's time would hide "
            "behind compute is unknown. What was replayed is the memory accesses alone.");
        semantics(doc, c);
        nf_document_figure(doc, r, "policy-curve-asap");
        return;
    }
    nf_document_say(doc, NF_BLOCK_TEXT,
        "Medians of step times paired with all-near within a block, with 95 %% bootstrap intervals; n counts pairs. "
        "“vs” compares with %s in the same block and mode: * is significant, ~ is not (Wilcoxon signed-rank, "
        "two-sided, "
        "p < 0.05, not corrected for the number of comparisons; fewer than six pairs can never be significant). "
        "Flagged: pairs with a modified z-score above 14.826, which are kept.",
        reference);
    TABLE(doc, "Slowdown against all-near", 1, "policy", "near", "near bytes", "overlap=full", "n", "vs",
          "overlap=none", "n", "vs", "flagged");
    for (uint32_t i = 0; i < c->policies.n; i++) {
        for (size_t s = 0; s < n + 2; s++) {
            const struct nf_point *full, *none, *any;

            if (s == n + 1 && n && shares[n] == 1)
                break;
            if (!nf_curve_band(c, i, shares[s], &full, &none))
                continue;
            any = full ? full : none;
            word_cell(doc, c->policies.v[i].label);
            share_cell(doc, shares[s]);
            bytes_cell(doc, any->near_bytes);
            slowdown_cells(doc, full);
            slowdown_cells(doc, none);
            count_cell(doc, (int64_t)((full ? full->slowdown.outliers : 0) + (none ? none->slowdown.outliers : 0)));
        }
    }
    winners(doc, c);
    semantics(doc, c);
    nf_document_figure(doc, r, "policy-curve-asap");
}

/* Points beyond the headline: beside a hog, at other parallelisms, without compute time. */
static void other_modes(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_curve *c = &r->curve;
    size_t n = 0;

    for (size_t i = 0; i < c->points.n; i++)
        n += !nf_point_is_headline(&c->points.v[i]);
    if (!n)
        return;
    TABLE(doc, "Other modes: asap, beside a bandwidth hog, at other parallelisms", 5, "policy", "near", "mode",
          "time against all-near of the mode", "n");
    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];
        struct nf_buf b = {0};

        if (nf_point_is_headline(p))
            continue;
        word_cell(doc, c->policies.v[p->policy].label);
        share_cell(doc, p->near_share);
        nf_buf_printf(&b, "%s%s", nf_overlap_name(p->overlap), p->hog ? ", hog" : "");
        if (p->parallelism_scale != 1)
            nf_buf_printf(&b, ", k × %.3g", p->parallelism_scale);
        cell(doc, &b);
        estimate_cell(doc, &p->slowdown);
        count_cell(doc, (int64_t)p->slowdown.n);
    }
}

static void demand(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_curve *c = &r->curve;

    nf_document_say(doc, NF_BLOCK_HEADING, "Far demand, and what policies cost");
    nf_document_figure(doc, r, "far-demand");
    nf_document_say(doc, NF_BLOCK_TEXT,
        "Per measured step, medians over blocks. Shares of time are of the measured step. Floored: compute time whose "
        "residual was below zero. Assumed k: far bytes injected under an assumed parallelism, and of which class k: under the one measured "
        "of their class of access; the rest takes that of a stream or a gather. Late: past deadlines. "
        "Stolen: time in which threads of the replay did not run, as they noticed themselves. Saturated: trials that "
        "missed deadlines throughout.");
    TABLE(doc, "Far demand and shares", 5, "policy", "near", "mode", "step", "far visited", "far charged", "migrated",
          "moving", "policy CPU", "floored", "assumed k", "class k", "late", "stolen", "saturated");
    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];
        struct nf_buf b = {0};

        if (!nf_point_is_headline(p))
            continue;
        word_cell(doc, c->policies.v[p->policy].label);
        share_cell(doc, p->near_share);
        word_cell(doc, nf_overlap_name(p->overlap));
        ns_cell(doc, p->wall_ns);
        bytes_cell(doc, p->far_bytes);
        bytes_cell(doc, p->charged_bytes);
        bytes_cell(doc, p->moved_bytes);
        share_cell(doc, p->move_ns / p->wall_ns);
        share_cell(doc, p->policy_ns / p->wall_ns);
        share_cell(doc, p->floored_share);
        share_cell(doc, p->assumed_k_share);
        share_cell(doc, p->class_k_share);
        share_cell(doc, p->late_ns / p->wall_ns);
        share_cell(doc, p->stolen_ns / p->wall_ns);
        nf_buf_printf(&b, "%zu of %zu", p->saturated, p->blocks);
        cell(doc, &b);
    }
    other_modes(doc, r);
}

static void profile(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_usage *u = &r->usage;
    struct nf_buf b = {0};

    nf_document_say(doc, NF_BLOCK_HEADING, "The captured profile");
    if (*r->usage_problem) {
        nf_document_say(doc, NF_BLOCK_TEXT, "unknown: %s.", r->usage_problem);
        return;
    }
    nf_buf_printf(&b, "The steady of %u step classes: %u ops, %u tensors, %u visits, peak live ", u->n_classes,
                  u->n_ops, u->n_tensors, u->n_visits);
    nf_print_bytes(&b, (double)u->peak_live_bytes);
    nf_buf_puts(&b, ", ");
    nf_print_bytes(&b, (double)u->visited_bytes);
    nf_buf_printf(&b,
                  " visited a step; accesses known by %s. Bursts and gaps under the default parameter, the effective "
                  "LLC (",
                  r->answer.accesses);
    nf_print_bytes(&b, u->llc_bytes ? (double)u->llc_bytes : NAN);
    nf_buf_puts(&b, "): two uses with more other traffic between them lie in two bursts.");
    nf_document_say_buf(doc, NF_BLOCK_TEXT, &b);
    nf_document_figure(doc, r, "live-bytes");
    nf_document_figure(doc, r, "gaps");
    if (!r->recompute.known)
        nf_document_say(doc, NF_BLOCK_TEXT, "Nothing is said of recomputing: %s.", *r->recompute.why ? r->recompute.why : "the step is not known");
    nf_document_figure(doc, r, "recompute");
    nf_document_figure(doc, r, "crossover");
    TABLE(doc, "Roles", 1, "role", "tensors", "carried over", "bytes", "at the step's peak", "own peak", "read",
          "written", "past the LLC", "bursts", "gaps", "median gap", "90 % gap", "median gap of the step");
    for (unsigned i = 0; i < NF_ROLE_COUNT; i++) {
        const struct nf_role_usage *role = &u->roles[i];

        if (!role->tensors)
            continue;
        word_cell(doc, nf_role_name(i));
        count_cell(doc, role->tensors);
        count_cell(doc, role->carried);
        bytes_cell(doc, (double)role->bytes);
        bytes_cell(doc, (double)role->at_peak_bytes);
        bytes_cell(doc, (double)role->peak_bytes);
        bytes_cell(doc, (double)role->read_bytes);
        bytes_cell(doc, (double)role->write_bytes);
        bytes_cell(doc, u->llc_bytes ? (double)role->miss_bytes : NAN);
        count_cell(doc, role->bursts);
        count_cell(doc, role->gaps);
        if (role->gaps) {
            bytes_cell(doc, role->gap_bytes_p50);
            bytes_cell(doc, role->gap_bytes_p90);
            share_cell(doc, role->gap_share_p50);
        } else {
            for (int k = 0; k < 3; k++)
                note_cell(doc, "no gap");
        }
    }
}

static void machines(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_dataset *d = &r->data;
    struct nf_buf b = {0};

    nf_document_say(doc, NF_BLOCK_HEADING, "Machine and tiers");
    TABLE(doc, "Machines", 15, "host", "CPU", "kernel", "hypervisor", "CPUs", "nodes", "memory", "LLC as reported");
    for (size_t i = 0; i < d->machines.n; i++) {
        const struct nf_machine_row *m = &d->machines.v[i];

        word_cell(doc, m->host);
        word_cell(doc, m->cpu);
        word_cell(doc, m->kernel);
        word_cell(doc, m->hypervisor);
        count_cell(doc, m->cpus);
        count_cell(doc, m->nodes);
        bytes_cell(doc, m->memory_bytes);
        bytes_cell(doc, m->llc_reported_bytes);
    }
    nf_buf_puts(&b, "Effective LLC: ");
    nf_print_bytes(&b, d->replay.llc_effective_bytes);
    nf_buf_puts(&b, "; LLC filter of emulated tiers: ");
    if (d->replay.llc_filter_bytes > 0)
        nf_print_bytes(&b, d->replay.llc_filter_bytes);
    else
        nf_buf_puts(&b, "none, every visited byte is charged");
    nf_buf_puts(&b, "; page size ");
    nf_print_bytes(&b, d->replay.page_bytes);
    nf_buf_printf(&b, "; replayed with %lld threads; conditions of the measurement: %s", (long long)d->replay.threads,
                  *d->replay.conditions ? d->replay.conditions : "unknown");
    nf_document_say_buf(doc, NF_BLOCK_TEXT, &b);
    TABLE(doc, "Tiers: what was wanted and what was measured, injection included", 7, "tier", "provider", "evidence",
          "target latency", "measured latency", "target read", "measured read", "measured write", "stream k",
          "gather k");
    for (size_t i = 0; i < d->tiers.n; i++) {
        const struct nf_tier_row *t = &d->tiers.v[i];

        word_cell(doc, t->name);
        word_cell(doc, *t->spec ? t->spec : t->provider);
        evidence_cell(doc, t->evidence < NF_EVIDENCE_COUNT ? 1u << t->evidence : 0);
        if (t->target_latency_ns > 0)
            ns_cell(doc, t->target_latency_ns);
        else
            note_cell(doc, "as it is");
        ns_cell(doc, t->latency_ns);
        if (t->target_read_bps > 0)
            bps_cell(doc, t->target_read_bps);
        else
            note_cell(doc, "as it is");
        bps_cell(doc, t->read_bps);
        bps_cell(doc, t->write_bps);
        fixed_cell(doc, t->stream_parallelism);
        fixed_cell(doc, t->gather_parallelism);
    }
    if (!d->tiers.n)
        nf_document_say(doc, NF_BLOCK_TEXT, "The testbed's tiers are unknown.");
}

static void left_out(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_dataset *d = &r->data;
    size_t n = 0, unpaired = 0, unsteady = 0, failed = 0;

    for (size_t i = 0; i < d->trials.n; i++) {
        n += d->trials.v[i].left_out != NULL;
        unsteady += !strcmp(d->trials.v[i].status, "unsteady");
        failed += !strcmp(d->trials.v[i].status, "failed");
    }
    for (size_t i = 0; i < r->curve.points.n; i++)
        unpaired += r->curve.points.v[i].unpaired;
    nf_document_say(doc, NF_BLOCK_HEADING, "Left out");
    nf_document_say(doc, NF_BLOCK_TEXT,
        "%zu of %zu trials are in no curve: %zu unsteady, %zu failed, %zu for other reasons. %zu more had no usable "
        "all-near "
        "trial in their block. %lld trials were planned; the replay is %s%s%s.",
        n, d->trials.n, unsteady, failed, n - unsteady - failed, unpaired, (long long)d->replay.planned_trials,
        d->replay.status, *d->replay.message ? ": " : "", d->replay.message);
    if (!n)
        return;
    TABLE(doc, "Trials left out", 0x39, "policy", "near", "block", "mode", "status", "why");
    for (size_t i = 0; i < d->trials.n; i++) {
        const struct nf_trial_row *t = &d->trials.v[i];
        struct nf_buf b = {0};

        if (!t->left_out)
            continue;
        nf_buf_printf(&b, "%s%s%s%s", t->policy, *t->options ? " (" : "", t->options, *t->options ? ")" : "");
        cell(doc, &b);
        share_cell(doc, t->near_share);
        count_cell(doc, t->block);
        nf_buf_printf(&b, "%s%s", nf_overlap_name(t->overlap), t->hog ? ", hog" : "");
        cell(doc, &b);
        word_cell(doc, t->status);
        word_cell(doc, t->left_out);
    }
}

static void provenance(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_dataset *d = &r->data;

    nf_document_say(doc, NF_BLOCK_HEADING, "Provenance");
    nf_document_say(doc, NF_BLOCK_TEXT,
        "Study %s, replay %lld of %lld with trials, seed %lld, capture %lld (%s, %s %s), job %s. Step class %016llx, "
        "%lld "
        "steps. Lifetimes %s, phases %s, durations %s. Reported by nearfar %s; all of it, for programs: "
        "provenance.json.",
        d->study, (long long)d->replay.id, (long long)d->replays, (long long)d->replay.seed, (long long)d->capture.id,
        d->capture.status, d->capture.framework, d->capture.language, d->capture.job,
        (unsigned long long)d->capture.class_hash, (long long)d->capture.class_steps, d->capture.lifetimes,
        d->capture.phases, d->capture.durations, nf_version());
    TABLE(doc, "Commands", 63, "for", "started (UTC)", "nearfar", "status", "command", "message");
    for (size_t i = 0; i < d->invocations.n; i++) {
        const struct nf_invocation_row *v = &d->invocations.v[i];

        word_cell(doc, v->purpose);
        word_cell(doc, v->started_utc);
        word_cell(doc, v->tool_version);
        word_cell(doc, v->status);
        word_cell(doc, v->command);
        note_cell(doc, v->message);
    }
    TABLE(doc, "Passes of the capture", 0x307, "pass", "source", "accesses known by", "steps", "wall time",
          "allocator peak", "lost events", "unattributed", "final parameters (SHA-256)", "notes");
    for (size_t i = 0; i < d->passes.n; i++) {
        const struct nf_pass_row *p = &d->passes.v[i];

        word_cell(doc, nf_pass_kind_name(p->kind));
        word_cell(doc, p->source);
        word_cell(doc, nf_access_evidence_name(p->access_evidence));
        count_cell(doc, p->steps);
        ns_cell(doc, p->wall_ns);
        bytes_cell(doc, p->allocator_peak_bytes);
        count_cell(doc, p->lost_events);
        bytes_cell(doc, p->unattributed_bytes);
        word_cell(doc, p->parameter_sha256);
        note_cell(doc, p->notes);
    }
}

int nf_document_init(struct nf_document *doc, const struct nf_report *r)
{
    static void (*const chapters[])(struct nf_document *, const struct nf_report *) = {
        answer, belief, nf_chapter_live, slowdowns, nf_chapter_rivals, demand, profile, nf_chapter_accesses, nf_chapter_trials, machines,
        left_out, provenance};

    *doc = (struct nf_document){0};
    for (size_t i = 0; i < sizeof chapters / sizeof *chapters; i++)
        chapters[i](doc, r);
    return doc->failed ? nf_fail(-ENOMEM, "out of memory for the report") : 0;
}

void nf_document_deinit(struct nf_document *doc)
{
    for (size_t i = 0; i < doc->blocks.n; i++) {
        for (size_t k = 0; k < doc->blocks.v[i].cells.n; k++)
            free(doc->blocks.v[i].cells.v[k]);
        nf_array_free(&doc->blocks.v[i].cells);
        free(doc->blocks.v[i].text);
    }
    nf_array_free(&doc->blocks);
}
