#include "analyze/sampled.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/model/estimate.h"
#include "core/model/sampled-visits.h"
#include "core/store/samples.h"

const struct nf_column nf_sampled_columns[NF_SAMPLED_COLUMNS] = {
    {"source", "source", NF_COLUMN_TEXT},
    {"validated", "validated", NF_COLUMN_TEXT},
    {"op", "op", NF_COLUMN_INTEGER},
    {"op_name", "name", NF_COLUMN_TEXT},
    {"tensor", "tensor", NF_COLUMN_INTEGER},
    {"role", "role", NF_COLUMN_TEXT},
    {"bytes", "visited", NF_COLUMN_BYTES},
    {"samples", "samples", NF_COLUMN_INTEGER},
    {"detection", "detectable", NF_COLUMN_SHARE},
    {"missed_bytes", "past the LLC", NF_COLUMN_BYTES},
    {"missed_bytes_low", "from", NF_COLUMN_BYTES},
    {"missed_bytes_high", "to", NF_COLUMN_BYTES},
    {"touches", "touches", NF_COLUMN_REAL},
    {"touches_low", "from", NF_COLUMN_REAL},
    {"touches_high", "to", NF_COLUMN_REAL},
    {"parallelism", "k", NF_COLUMN_REAL},
    {"parallelism_low", "from", NF_COLUMN_REAL},
    {"parallelism_high", "to", NF_COLUMN_REAL},
    {"pattern", "pattern", NF_COLUMN_TEXT},
    {"pattern_confidence", "sure", NF_COLUMN_SHARE},
    {"stride", "stride", NF_COLUMN_INTEGER},
    {"accesses", "accesses", NF_COLUMN_REAL},
};

struct observation {
    int64_t id, pass;
    uint64_t samples, lost;
    char *source;
    bool validated;
};

struct work {
    struct nf_study *study;
    const struct nf_stream *stream;
    const struct nf_step_class *class;
    NF_ARRAY(struct observation) observations;
    /* of the observation at hand */
    NF_ARRAY(struct nf_visit_event) events;
    uint32_t steps; /* of the class */
    NF_ARRAY(struct nf_sample) samples;
};

static int load_observations(struct work *w, int64_t capture)
{
    struct nf_query *q;
    int rc = nf_study_query(w->study, "SELECT o.id, o.pass_id, o.samples, o.lost, o.source, o.validated FROM observation o "
                                      "JOIN pass p ON p.id = o.pass_id WHERE p.capture_id = ?1 AND o.evidence IN (?2, ?3) "
                                      "ORDER BY o.id", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, capture);
    nf_query_bind_i64(q, 2, NF_ACCESS_PEBS);
    nf_query_bind_i64(q, 3, NF_ACCESS_IBS);
    while ((rc = nf_query_step(q)) == 1) {
        struct observation o = {.id = nf_query_i64(q, 0), .pass = nf_query_i64(q, 1),
                                .samples = (uint64_t)nf_query_i64(q, 2), .lost = (uint64_t)nf_query_i64(q, 3),
                                .source = strdup(nf_query_text(q, 4)), .validated = nf_query_i64(q, 5)};

        if (!o.source || nf_array_push(&w->observations, o)) {
            free(o.source);
            rc = -ENOMEM;
            break;
        }
    }
    nf_query_done(q);
    return rc;
}

/* A study may come from anywhere: events are numbered as they like, up to a bound. */
enum { EVENTS_MAX = 256 };

static int load_events(struct work *w, const struct observation *o)
{
    struct nf_query *q;
    int rc = nf_study_query(w->study, "SELECT number, type, config, period FROM sample_event WHERE observation_id = ?1 "
                                      "ORDER BY number", &q);

    w->events.n = 0;
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, o->id);
    while ((rc = nf_query_step(q)) == 1) {
        int64_t number = nf_query_i64(q, 0);

        if (number < 0 || number >= EVENTS_MAX) {
            rc = nf_fail(-EBADMSG, "observation %lld has an event of number %lld", (long long)o->id, (long long)number);
            break;
        }
        /* Numbers that are left out count nothing. */
        while (w->events.n <= (size_t)number) {
            struct nf_visit_event e = {0};

            if (w->events.n == (size_t)number)
                e = (struct nf_visit_event){(uint32_t)nf_query_i64(q, 1), (uint64_t)nf_query_i64(q, 2),
                                            (uint64_t)nf_query_i64(q, 3)};
            if (nf_array_push(&w->events, e)) {
                nf_query_done(q);
                return -ENOMEM;
            }
        }
    }
    nf_query_done(q);
    return rc;
}

/* How many steps of the class the pass has. */
static int count_steps(struct work *w, const struct observation *o)
{
    struct nf_query *q;
    int rc = nf_study_query(w->study, "SELECT count(*) FROM step WHERE pass_id = ?1 AND class_id = ?2", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, o->pass);
    nf_query_bind_i64(q, 2, w->class->id);
    rc = nf_query_step(q);
    w->steps = rc == 1 ? (uint32_t)nf_query_i64(q, 0) : 0;
    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

static int keep(void *context, const struct nf_sample *samples, size_t n)
{
    struct work *w = context;

    for (size_t i = 0; i < n; i++)
        if (samples[i].op != NF_SAMPLE_NONE && nf_array_push(&w->samples, samples[i]))
            return nf_fail(-ENOMEM, "out of memory for %zu samples", w->samples.n);
    return 0;
}

static int most_missed(const void *a, const void *b)
{
    const struct nf_sampled_visit *x = a, *y = b;
    double mx = x->estimate.missed_bytes.value, my = y->estimate.missed_bytes.value;

    if (mx != my)
        return mx < my ? 1 : -1;
    if (x->samples != y->samples)
        return x->samples < y->samples ? 1 : -1;
    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

/* One number only where it means something; the interval wherever there is an event that tells. */
static void interval(struct nf_table *t, const struct nf_interval *i, bool whole)
{
    const double v[] = {i->samples >= NF_COUNT_POINT_SAMPLES ? i->value : NAN, i->low, i->high};

    for (int k = 0; k < 3; k++)
        if (!i->known || isnan(v[k]))
            nf_table_unknown(t);
        else if (whole)
            nf_table_integer(t, (int64_t)(v[k] + 0.5));
        else
            nf_table_number(t, v[k]);
}

static void row(struct nf_table *t, const struct work *w, const struct observation *o, const struct nf_sampled_visit *v)
{
    const struct nf_op *op = &w->class->ops[v->op];
    const struct nf_visit_estimate *e = &v->estimate;

    nf_table_text(t, o->source);
    nf_table_text(t, o->validated ? "yes" : "not validated on hardware");
    nf_table_integer(t, v->op);
    nf_table_text(t, w->stream->names[op->name]);
    nf_table_integer(t, v->tensor);
    nf_table_text(t, nf_role_name(w->class->tensors[v->tensor].role));
    nf_table_integer(t, (int64_t)v->bytes);
    nf_table_integer(t, v->samples);
    nf_table_number(t, e->detection);
    interval(t, &e->missed_bytes, true);
    interval(t, &e->touches, false);
    interval(t, &e->parallelism, false);
    if (e->pattern_confidence > 0) {
        nf_table_text(t, nf_pattern_name(e->pattern));
        nf_table_number(t, e->pattern_confidence);
        nf_table_integer(t, (int64_t)e->stride);
    } else {
        nf_table_unknown(t);
        nf_table_unknown(t);
        nf_table_unknown(t);
    }
    if (e->accesses.known && e->accesses.samples >= NF_COUNT_POINT_SAMPLES)
        nf_table_number(t, e->accesses.value);
    else
        nf_table_unknown(t);
}

static int fill_observation(struct work *w, const struct observation *o, double ghz, struct nf_table *t)
{
    struct nf_visit_sampling how = {.correction = nf_count_correction(o->samples, o->lost, 1), .cycles_per_ns = ghz,
                                    .level = 0.95};
    struct nf_sampled_visit *rows = NULL;
    size_t n = 0;
    int rc = load_events(w, o);

    if (!rc)
        rc = count_steps(w, o);
    w->samples.n = 0;
    if (!rc && w->steps)
        rc = nf_samples_of_class(w->study, o->id, w->class->id, keep, w);
    if (rc || !w->steps)
        return rc;
    how.events = w->events.v;
    how.n_events = (unsigned)w->events.n;
    rc = nf_sampled_visits(&how, w->class, w->samples.v, w->samples.n, w->steps, &rows, &n);
    if (rc)
        return nf_fail(rc, "out of memory");
    if (n)
        qsort(rows, n, sizeof *rows, most_missed);
    for (size_t i = 0; i < n; i++)
        row(t, w, o, &rows[i]);
    free(rows);
    return 0;
}

int nf_sampled_fill(struct nf_study *s, int64_t capture, const struct nf_stream *stream, const struct nf_step_class *c,
                    double ghz, struct nf_table *t)
{
    struct work w = {.study = s, .stream = stream, .class = c};
    int rc = load_observations(&w, capture);

    for (size_t i = 0; !rc && i < w.observations.n; i++)
        rc = fill_observation(&w, &w.observations.v[i], ghz, t);
    for (size_t i = 0; i < w.observations.n; i++)
        free(w.observations.v[i].source);
    nf_array_free(&w.observations);
    nf_array_free(&w.events);
    nf_array_free(&w.samples);
    return rc;
}
