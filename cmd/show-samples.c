/* What sources saw: their observations, their samples one by one, and the visits as sampling shows them. */
#include <stdio.h>
#include <string.h>

#include "analyze/print.h"
#include "analyze/sampled.h"
#include "analyze/sources.h"
#include "capture/data-src.h"
#include "cmd/show.h"
#include "core/base/buf.h"

#define COLUMNS(c) c, sizeof c / sizeof *c

/* Said before anything else where so much is missing that the rest must be read with it in mind. */
static void warn_lost(const struct nf_sources *sources)
{
    for (size_t i = 0; i < sources->rows.n; i++) {
        struct nf_buf b = {0};

        if (!nf_source_lost_much(&sources->rows.v[i]))
            continue;
        nf_source_say_lost(&sources->rows.v[i], &b);
        fprintf(stderr, "%s\n", b.data ? b.data : "samples were lost");
        nf_buf_deinit(&b);
    }
}

static int fill_sources(const struct nf_show *s, struct nf_table *t)
{
    struct nf_sources sources;
    int rc = nf_sources_init(&sources, s->study, s->capture);

    if (!rc) {
        warn_lost(&sources);
        nf_sources_fill(&sources, t);
    }
    nf_sources_deinit(&sources);
    return rc;
}

static const struct nf_column sample_columns[] = {
    {"source", "source", NF_COLUMN_TEXT},     {"event", "event", NF_COLUMN_TEXT},
    {"time_ns", "time", NF_COLUMN_INTEGER},   {"pid", "pid", NF_COLUMN_INTEGER},
    {"tid", "tid", NF_COLUMN_INTEGER},        {"cpu", "cpu", NF_COLUMN_INTEGER},
    {"address", "address", NF_COLUMN_HEX},    {"ip", "ip", NF_COLUMN_HEX},
    {"rw", "read/write", NF_COLUMN_TEXT},     {"level", "data source", NF_COLUMN_TEXT},
    {"weight", "cycles", NF_COLUMN_INTEGER},  {"period", "period", NF_COLUMN_INTEGER},
    {"step", "step", NF_COLUMN_INTEGER},      {"op", "op", NF_COLUMN_INTEGER},
    {"tensor", "tensor", NF_COLUMN_INTEGER},  {"offset", "offset", NF_COLUMN_INTEGER},
};
static const char sample_sql[] =
    "SELECT o.source, e.name, s.time_ns, s.pid, s.tid, s.cpu, s.address, s.ip, s.rw, s.data_src, s.weight, s.period, s.step, "
    "s.op, s.tensor, s.offset FROM observation o JOIN pass p ON p.id = o.pass_id JOIN samples(o.id) s LEFT JOIN sample_event "
    "e ON e.observation_id = o.id AND e.number = s.event WHERE p.capture_id = ?1 ORDER BY o.id LIMIT ?2";

static int fill_samples(const struct nf_show *s, struct nf_table *t)
{
    struct nf_sources sources;
    /* One more than is printed, so that it is known whether there are more. */
    uint64_t most = s->limit ? s->limit + 1 : s->format != NF_TABLE_TEXT ? INT64_MAX : 41;
    struct nf_query *q;
    int rc = nf_sources_init(&sources, s->study, s->capture);

    if (!rc)
        warn_lost(&sources);
    nf_sources_deinit(&sources);
    if (!rc)
        rc = nf_study_query(s->study, sample_sql, &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->capture);
    nf_query_bind_i64(q, 2, (int64_t)(most > INT64_MAX ? INT64_MAX : most));
    while ((rc = nf_query_step(q)) == 1) {
        for (int i = 0; i < (int)(sizeof sample_columns / sizeof *sample_columns); i++) {
            char text[NF_DATA_SRC_TEXT];

            if (nf_query_is_null(q, i))
                nf_table_unknown(t);
            else if (!strcmp(sample_columns[i].name, "level"))
                nf_table_text(t, nf_data_src_text((uint64_t)nf_query_i64(q, i), text, sizeof text));
            else if (nf_query_is_number(q, i))
                nf_table_integer(t, nf_query_i64(q, i));
            else
                nf_table_text(t, nf_query_text(q, i));
        }
    }
    nf_query_done(q);
    return rc;
}

static int fill_sampled(const struct nf_show *s, struct nf_table *t)
{
    return nf_sampled_fill(s->study, s->capture, s->stream, s->class, s->ghz, t);
}

const struct nf_show_view nf_show_sources = {"sources", "what each source saw and could not see", nf_source_columns,
                                             NF_SOURCE_COLUMNS, NULL, fill_sources, true};
const struct nf_show_view nf_show_samples = {"samples", "single samples, in the order of their time",
                                             COLUMNS(sample_columns), NULL, fill_samples, true};
const struct nf_show_view nf_show_sampled = {"sampled", "visits as the CPU's samples show them (pebs, ibs)",
                                             nf_sampled_columns, NF_SAMPLED_COLUMNS, NULL, fill_sampled, false};
