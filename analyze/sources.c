#include "analyze/sources.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "analyze/print.h"
#include "core/base/error.h"
#include "core/model/words.h"

static void row_deinit(struct nf_source_row *r)
{
    free(r->source);
    free(r->options);
    free(r->rw);
    free(r->notes);
    free(r->events);
}

/* NULL: no memory. */
static char *text(const struct nf_query *q, int column)
{
    struct nf_buf b = {0};

    nf_print_clean(&b, nf_query_text(q, column));
    if (b.failed)
        nf_buf_deinit(&b);
    return b.data;
}

/* Numbers beyond the vocabulary print as "invalid". */
static unsigned word(int64_t v)
{
    return v >= 0 && v < UINT16_MAX ? (unsigned)v : UINT16_MAX;
}

static int add(struct nf_sources *s, const struct nf_query *q)
{
    struct nf_source_row r = {
        .id = nf_query_i64(q, 0),
        .source = text(q, 1),
        .options = text(q, 2),
        .evidence = word(nf_query_i64(q, 3)),
        .validated = nf_query_i64(q, 4) != 0,
        .resolution_bytes = nf_query_i64(q, 5),
        .boundary_ops = nf_query_i64(q, 6),
        .rw = text(q, 7),
        .samples = nf_query_i64(q, 8),
        .attributed = nf_query_i64(q, 9),
        .between_ops = nf_query_i64(q, 10),
        .unattributed = nf_query_i64(q, 11),
        .out_of_arena = nf_query_i64(q, 12),
        .other_process = nf_query_i64(q, 13),
        .outside_steps = nf_query_i64(q, 14),
        .lost = nf_query_i64(q, 15),
        .throttled = nf_query_i64(q, 16),
        .undecoded = nf_query_i64(q, 17),
        .arena_bytes = nf_query_i64(q, 18),
        .notes = text(q, 19),
        .events = text(q, 20),
        .pass_kind = word(nf_query_i64(q, 21)),
    };

    if (!r.source || !r.options || !r.rw || !r.notes || !r.events || nf_array_push(&s->rows, r)) {
        row_deinit(&r);
        return nf_fail(-ENOMEM, "out of memory for the sources");
    }
    return 0;
}

int nf_sources_init(struct nf_sources *s, struct nf_study *study, int64_t capture)
{
    struct nf_query *q;
    int rc = nf_study_query(
        study,
        "SELECT o.id, o.source, o.options, o.evidence, o.validated, o.resolution_bytes, o.boundary_ops, o.rw, o.samples,"
        " o.attributed, o.between_ops, o.unattributed, o.out_of_arena, o.other_process, o.outside_steps, o.lost,"
        " o.throttled, o.undecoded, o.arena_bytes, o.notes,"
        " ifnull((SELECT group_concat(name, ', ') FROM sample_event e WHERE e.observation_id = o.id), ''), p.kind"
        " FROM observation o JOIN pass p ON p.id = o.pass_id WHERE p.capture_id = ?1 ORDER BY o.id",
        &q);

    *s = (struct nf_sources){0};
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, capture);
    while ((rc = nf_query_step(q)) == 1) {
        rc = add(s, q);
        if (rc)
            break;
    }
    nf_query_done(q);
    return rc;
}

void nf_sources_deinit(struct nf_sources *s)
{
    for (size_t i = 0; i < s->rows.n; i++)
        row_deinit(&s->rows.v[i]);
    nf_array_free(&s->rows);
}

double nf_source_lost_share(const struct nf_source_row *r)
{
    double all = (double)r->lost + (double)r->samples;

    return all > 0 ? (double)r->lost / all : NAN;
}

bool nf_source_lost_much(const struct nf_source_row *r)
{
    return nf_source_lost_share(r) > 0.01;
}

void nf_source_say_lost(const struct nf_source_row *r, struct nf_buf *b)
{
    nf_buf_printf(b, "%s: %.1f %% of the samples were lost", r->source, 100 * nf_source_lost_share(r));
}

const struct nf_column nf_source_columns[NF_SOURCE_COLUMNS] = {
    {"lost_share", "lost", NF_COLUMN_SHARE},
    {"source", "source", NF_COLUMN_TEXT},
    {"evidence", "evidence", NF_COLUMN_TEXT},
    {"validated", "tried on hardware", NF_COLUMN_TEXT},
    {"resolution_bytes", "resolution", NF_COLUMN_BYTES},
    {"boundary_ops", "ops per boundary", NF_COLUMN_INTEGER},
    {"rw", "read/write", NF_COLUMN_TEXT},
    {"samples", "samples", NF_COLUMN_INTEGER},
    {"attributed", "attributed", NF_COLUMN_INTEGER},
    {"between_ops", "of it between ops", NF_COLUMN_INTEGER},
    {"unattributed", "unattributed", NF_COLUMN_INTEGER},
    {"out_of_arena", "out of arena", NF_COLUMN_INTEGER},
    {"other_process", "other process", NF_COLUMN_INTEGER},
    {"outside_steps", "outside steps", NF_COLUMN_INTEGER},
    {"lost_samples", "lost samples", NF_COLUMN_INTEGER},
    {"throttled", "throttled", NF_COLUMN_INTEGER},
    {"undecoded", "undecoded", NF_COLUMN_INTEGER},
    {"events", "events", NF_COLUMN_TEXT},
    {"notes", "notes", NF_COLUMN_TEXT},
};

void nf_sources_fill(const struct nf_sources *s, struct nf_table *t)
{
    for (size_t i = 0; i < s->rows.n; i++) {
        const struct nf_source_row *r = &s->rows.v[i];
        const int64_t counts[] = {r->samples,       r->attributed,    r->between_ops, r->unattributed, r->out_of_arena,
                                  r->other_process, r->outside_steps, r->lost,        r->throttled,    r->undecoded};

        nf_table_number(t, nf_source_lost_share(r));
        nf_table_text(t, r->source);
        nf_table_text(t, nf_access_evidence_name(r->evidence));
        nf_table_text(t, r->validated ? "validated" : "not validated on hardware");
        nf_table_integer(t, r->resolution_bytes);
        if (r->boundary_ops)
            nf_table_integer(t, r->boundary_ops);
        else
            nf_table_text(t, "none");
        nf_table_text(t, r->rw);
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
            nf_table_integer(t, counts[k]);
        nf_table_text(t, r->events);
        nf_table_text(t, r->notes);
    }
}
