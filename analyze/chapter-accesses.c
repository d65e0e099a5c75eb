/* The chapter "What the accesses are known from". */
#include <math.h>
#include <string.h>

#include "analyze/document.h"
#include "analyze/print.h"
#include "analyze/writer.h"

enum { WORST_ROWS = 12, ALL_ROWS = 1000 };

/* Ends a sentence and begins the next, where there was one. */
static void stop(struct nf_buf *b, size_t before)
{
    if (b->n > before)
        nf_buf_puts(b, ". ");
}

/* How the access pass was known when nothing else took part. */
static void no_source(struct nf_document *doc, const struct nf_report *r)
{
    const char *by = "framework";

    for (size_t i = 0; i < r->data.passes.n; i++)
        if (r->data.passes.v[i].kind == NF_PASS_ACCESS)
            by = r->data.passes.v[i].source;
    if (!strcmp(by, "framework"))
        nf_document_say(doc, NF_BLOCK_TEXT,
                        "Accesses rest on the framework's word; capture with --source page-fault to check them.");
    else
        nf_document_say(doc, NF_BLOCK_TEXT,
                        "Accesses rest on the word of what was imported (%s), which cannot be checked; the job itself can be, "
                        "captured with --source page-fault.",
                        by);
}

static void sources(struct nf_document *doc, const struct nf_report *r)
{
    static const char *const can[] = {"source", "evidence", "validated", "resolution_bytes", "boundary_ops", "rw", NULL};
    static const char *const went[] = {"source",        "samples",       "attributed",    "between_ops",  "unattributed",
                                       "out_of_arena",  "other_process", "outside_steps", "lost_samples", "lost_share",
                                       "throttled",     "undecoded",     NULL};
    const struct nf_table *t = r->accesses.tables[NF_ACCESS_SOURCES];

    nf_document_say(doc, NF_BLOCK_TEXT,
                    "Beside the framework, %zu source%s took part in the access pass. What each can tell, and where what it "
                    "delivered went: samples belong to the tensor that lived at their address at their time, and to the op "
                    "that ran then. Nothing is left out in silence.",
                    r->data.sources.rows.n, r->data.sources.rows.n == 1 ? "" : "s");
    nf_document_table(doc, "Sources: what they can tell", t, can, ALL_ROWS);
    nf_document_table(doc, "Sources: where their samples went", t, went, ALL_ROWS);
    for (size_t i = 0; i < r->data.sources.rows.n; i++) {
        const struct nf_source_row *s = &r->data.sources.rows.v[i];
        struct nf_buf b = {0};

        nf_buf_printf(&b, "%s", s->source);
        if (*s->options)
            nf_buf_printf(&b, " (%s)", s->options);
        nf_buf_puts(&b, s->validated ? ": " : ", not validated on hardware: ");
        nf_buf_printf(&b, "%s%s%s%s", *s->events ? "events " : "", s->events, *s->events && *s->notes ? "; " : "", s->notes);
        if (!*s->events && !*s->notes)
            nf_buf_puts(&b, "without notes");
        nf_buf_puts(&b, ".");
        nf_document_say_buf(doc, NF_BLOCK_TEXT, &b);
    }
}

static void reads_and_writes(struct nf_document *doc, const struct nf_accesses *a)
{
    const struct nf_audit_view *v = &a->audit;

    if (strcmp(v->observation.rw, "observed"))
        nf_document_say(doc, NF_BLOCK_TEXT,
                        "Reads and writes are not compared: this source %s. Run as root, page-fault observes them.",
                        !strcmp(v->observation.rw, "inferred") ? "infers them, partly from what the framework declared"
                                                               : "cannot tell them apart");
    else if (a->tables[NF_ACCESS_AUDIT_RW])
        nf_document_table(doc, "Reads and writes, of what both declared and touched", a->tables[NF_ACCESS_AUDIT_RW], NULL,
                          ALL_ROWS);
}

static void audit(struct nf_document *doc, const struct nf_accesses *a)
{
    const struct nf_audit_view *v = &a->audit;
    struct nf_buf b = {0};
    size_t before = 0;

    if (!a->audited) {
        nf_document_say(doc, NF_BLOCK_TEXT,
                        "No audit: %s. Only a source that sees everything (page-fault, exact) can be held against what the "
                        "framework says.",
                        a->audit_problem);
        return;
    }
    nf_audit_view_say_agreement(v, &b);
    stop(&b, before);
    before = b.n;
    nf_audit_view_say_unwatched(v, &b);
    stop(&b, before);
    before = b.n;
    nf_audit_view_say_steps(v, &b);
    stop(&b, before);
    nf_buf_puts(&b, "Both sides are rounded out to what the source can tell apart; ");
    nf_audit_view_say_source(v, &b);
    nf_buf_puts(&b, ".");
    nf_document_say_buf(doc, NF_BLOCK_TEXT, &b);
    if (a->tables[NF_ACCESS_AUDIT])
        nf_document_table(doc, "Audit: every byte declared or touched, by what was found of it", a->tables[NF_ACCESS_AUDIT],
                          NULL, ALL_ROWS);
    reads_and_writes(doc, a);
    if (a->tables[NF_ACCESS_AUDIT_WORST])
        nf_document_table(doc, "Tensors that disagree most", a->tables[NF_ACCESS_AUDIT_WORST], NULL, WORST_ROWS);
    else
        nf_document_say(doc, NF_BLOCK_TEXT, "No tensor disagrees.");
    nf_document_say(doc, NF_BLOCK_TEXT, "By operator: audit-ops.csv. All tensors: audit-tensors.csv.");
}

static void locality(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_accesses *a = &r->accesses;
    static const char *const errors[] = {"estimator", "mean_error", "largest_error", "largest_at_bytes", NULL};
    struct nf_buf b = {0};

    if (!a->has_curves) {
        nf_document_say(doc, NF_BLOCK_TEXT, "Miss-ratio curves and reuse: unknown: %s.",
                        *a->curves_problem ? a->curves_problem : "the step cannot be read");
        return;
    }
    nf_buf_printf(&b, "How the step reuses memory, in its steady state, from visits known by %s: a block of ", a->evidence);
    nf_print_bytes(&b, a->block_bytes);
    nf_buf_printf(&b, " is accessed once per visit that touches it, %.3g million accesses a step, in a fully associative LRU "
                      "cache.",
                  (double)a->block_accesses / 1e6);
    if (a->block_bytes > NF_LINE_BYTES)
        nf_buf_puts(&b, " The step is large: blocks of 64 B, as caches have them, would take too long here, and a block of "
                        "which a part is used again counts as used again whole. `nearfar show --mrc --block 64` takes the "
                        "time.");
    nf_document_say_buf(doc, NF_BLOCK_TEXT, &b);
    nf_document_figure(doc, r, "miss-ratio");
    nf_document_table(doc, "Miss-ratio curves: each estimator's absolute error against exact, over all cache sizes",
                      a->tables[NF_ACCESS_MRC_ERRORS], errors, ALL_ROWS);
    nf_document_figure(doc, r, "reuse");
    nf_document_table(doc, "Reuse by role: distance in other bytes touched, traffic, captured time",
                      a->tables[NF_ACCESS_REUSE_SUMMARY], NULL, ALL_ROWS);
}

void nf_chapter_accesses(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_accesses *a = &r->accesses;

    nf_document_say(doc, NF_BLOCK_HEADING, "What the accesses are known from");
    if (!r->data.sources.rows.n) {
        no_source(doc, r);
    } else {
        sources(doc, r);
        if (r->class)
            audit(doc, a);
        if (a->tables[NF_ACCESS_SAMPLED])
            nf_document_say(doc, NF_BLOCK_TEXT, "Visits as the CPU's samples show them, with intervals: sampled.csv.");
    }
    if (r->class)
        locality(doc, r);
}
