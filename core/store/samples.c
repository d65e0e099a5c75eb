#include "core/store/samples.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/store/sample-codec.h"

/* --- observations --- */

static void bind_totals(struct nf_query *q, int at, const struct nf_observation *o)
{
    const uint64_t totals[] = {o->samples, o->attributed, o->between_ops, o->unattributed, o->out_of_arena,
                               o->other_process, o->outside_steps, o->lost, o->throttled, o->undecoded,
                               o->arena_base, o->arena_bytes};

    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++)
        nf_query_bind_i64(q, at++, (int64_t)totals[i]);
    nf_query_bind_text(q, at, o->notes ? o->notes : "");
}

int nf_observation_insert(struct nf_study *s, struct nf_observation *o)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "INSERT INTO observation(pass_id, source, options, evidence, validated, resolution_bytes, "
                               "boundary_ops, rw, samples, attributed, between_ops, unattributed, out_of_arena, "
                               "other_process, outside_steps, lost, throttled, undecoded, arena_base, arena_bytes, notes) "
                               "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, "
                               "?20, ?21)",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, o->pass_id);
    nf_query_bind_text(q, 2, o->source ? o->source : "");
    nf_query_bind_text(q, 3, o->options ? o->options : "");
    nf_query_bind_i64(q, 4, o->evidence);
    nf_query_bind_i64(q, 5, o->validated);
    nf_query_bind_i64(q, 6, o->resolution_bytes);
    nf_query_bind_i64(q, 7, o->boundary_ops);
    nf_query_bind_text(q, 8, o->rw ? o->rw : "unknown");
    bind_totals(q, 9, o);
    rc = nf_query_run(q);
    o->id = rc ? 0 : nf_study_last_id(s);
    return rc;
}

int nf_observation_update(struct nf_study *s, const struct nf_observation *o)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "UPDATE observation SET samples = ?2, attributed = ?3, between_ops = ?4, unattributed = ?5, "
                               "out_of_arena = ?6, other_process = ?7, outside_steps = ?8, lost = ?9, throttled = ?10, "
                               "undecoded = ?11, arena_base = ?12, arena_bytes = ?13, notes = ?14 WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, o->id);
    bind_totals(q, 2, o);
    return nf_query_run(q);
}

int nf_observation_event(struct nf_study *s, int64_t observation, uint16_t number, const struct nf_sample_event *e)
{
    const uint64_t numbers[] = {e->type, e->config, e->config1, e->config2, e->period, e->precise, e->rw};
    struct nf_query *q;
    int rc = nf_study_query(s, "INSERT INTO sample_event(observation_id, number, name, meaning, type, config, config1, "
                               "config2, period, precise, rw) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, observation);
    nf_query_bind_i64(q, 2, number);
    nf_query_bind_text(q, 3, e->name ? e->name : "");
    nf_query_bind_text(q, 4, e->meaning ? e->meaning : "");
    for (int i = 0; i < (int)(sizeof numbers / sizeof *numbers); i++)
        nf_query_bind_i64(q, 5 + i, (int64_t)numbers[i]);
    return nf_query_run(q);
}

/* The one number a statement yields, 0 when it has no row or NULL. Negative: -errno. */
static int64_t number_of(struct nf_study *s, const char *sql, int64_t key)
{
    struct nf_query *q;
    int64_t v = 0;
    int rc = nf_study_query(s, sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, key);
    rc = nf_query_step(q);
    if (rc == 1)
        v = nf_query_i64(q, 0);
    nf_query_done(q);
    return rc < 0 ? rc : v;
}

int64_t nf_observation_capture(struct nf_study *s, int64_t wanted)
{
    int64_t id = number_of(s, "SELECT max(p.capture_id) FROM observation o JOIN pass p ON p.id = o.pass_id WHERE ?1 = 0 OR "
                              "p.capture_id = ?1", wanted);

    if (id)
        return id;
    if (wanted)
        return nf_fail(-ENOENT, "%s holds no samples of capture %lld", nf_study_path(s), (long long)wanted);
    return nf_fail(-ENOENT, "%s holds no samples: capture with a source beside the framework, or import them",
                   nf_study_path(s));
}

/* --- writing --- */

struct nf_sample_writer {
    struct nf_study *study;
    int64_t observation, number;
    struct nf_sample_codec *codec;
    size_t n;
    struct nf_sample buffer[NF_SAMPLE_CHUNK];
};

struct nf_sample_writer *nf_sample_writer_new(struct nf_study *s, int64_t observation)
{
    struct nf_sample_writer *w = malloc(sizeof *w);

    if (!w)
        return NULL;
    w->study = s;
    w->observation = observation;
    w->number = -1;
    w->n = 0;
    w->codec = nf_sample_codec_new();
    return w->codec ? w : nf_sample_writer_free(w);
}

struct nf_sample_writer *nf_sample_writer_free(struct nf_sample_writer *w)
{
    if (!w)
        return NULL;
    nf_sample_codec_free(w->codec);
    free(w);
    return NULL;
}

static int write_chunk(struct nf_sample_writer *w, const struct nf_sample *samples, size_t n)
{
    size_t size, raw;
    const void *data;
    struct nf_query *q;
    uint32_t crc;
    int rc;

    if (w->number < 0) {
        int64_t next = number_of(w->study, "SELECT max(number) + 1 FROM sample_chunk WHERE observation_id = ?1",
                                 w->observation);

        if (next < 0)
            return (int)next;
        w->number = next;
    }
    rc = nf_sample_encode(w->codec, samples, n, &data, &size, &raw, &crc);
    if (!rc)
        rc = nf_study_query(w->study, "INSERT INTO sample_chunk(observation_id, number, samples, codec, crc32, raw_bytes, "
                                      "data) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, w->observation);
    nf_query_bind_i64(q, 2, w->number);
    nf_query_bind_i64(q, 3, (int64_t)n);
    nf_query_bind_i64(q, 4, NF_SAMPLE_CODEC);
    nf_query_bind_i64(q, 5, crc);
    nf_query_bind_i64(q, 6, (int64_t)raw);
    nf_query_bind_blob(q, 7, data, size);
    rc = nf_query_run(q);
    w->number += !rc;
    return rc;
}

int nf_sample_writer_flush(struct nf_sample_writer *w)
{
    int rc = w->n ? write_chunk(w, w->buffer, w->n) : 0;

    if (!rc)
        w->n = 0;
    return rc;
}

int nf_sample_writer_add(struct nf_sample_writer *w, const struct nf_sample *samples, size_t n)
{
    while (n) {
        size_t m = NF_SAMPLE_CHUNK - w->n < n ? NF_SAMPLE_CHUNK - w->n : n;
        int rc = 0;

        if (m == NF_SAMPLE_CHUNK) {
            rc = write_chunk(w, samples, m);
        } else {
            memcpy(w->buffer + w->n, samples, m * sizeof *samples);
            w->n += m;
            if (w->n == NF_SAMPLE_CHUNK)
                rc = nf_sample_writer_flush(w);
        }
        if (rc)
            return rc;
        samples += m;
        n -= m;
    }
    return 0;
}

/* --- reading --- */

struct nf_sample_reader {
    struct nf_study *study;
    int64_t observation, number;
    struct nf_sample_codec *codec;
    struct nf_sample samples[NF_SAMPLE_CHUNK];
};

int nf_sample_reader_new(struct nf_study *s, int64_t observation, struct nf_sample_reader **out)
{
    struct nf_sample_reader *r = malloc(sizeof *r);

    if (!r)
        return nf_fail(-ENOMEM, "out of memory");
    r->study = s;
    r->observation = observation;
    r->number = -1;
    r->codec = nf_sample_codec_new();
    if (!r->codec) {
        nf_sample_reader_free(r);
        return nf_fail(-ENOMEM, "out of memory");
    }
    *out = r;
    return 0;
}

struct nf_sample_reader *nf_sample_reader_free(struct nf_sample_reader *r)
{
    if (!r)
        return NULL;
    nf_sample_codec_free(r->codec);
    free(r);
    return NULL;
}

int nf_sample_reader_next(struct nf_sample_reader *r, const struct nf_sample **samples, size_t *n)
{
    struct nf_query *q;
    /* Asked for anew each time: several readers of one study may take turns, and share the statement. */
    int rc = nf_study_query(r->study, "SELECT number, samples, raw_bytes, crc32, data, codec FROM sample_chunk WHERE "
                                      "observation_id = ?1 AND number > ?2 ORDER BY number LIMIT 1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, r->observation);
    nf_query_bind_i64(q, 2, r->number);
    rc = nf_query_step(q);
    if (rc == 1) {
        size_t size, count = (size_t)nf_query_i64(q, 1);
        const void *data = nf_query_blob(q, 4, &size);
        int bad;

        r->number = nf_query_i64(q, 0);
        if (nf_query_i64(q, 5) != NF_SAMPLE_CODEC)
            bad = nf_fail(-EBADMSG, "it is coded in an unknown way");
        else
            bad = nf_sample_decode(r->codec, data, size, (size_t)nf_query_i64(q, 2), (uint32_t)nf_query_i64(q, 3),
                                   r->samples, count);
        if (bad)
            rc = nf_fail_in(bad, "%s: chunk %lld of observation %lld", nf_study_path(r->study), (long long)r->number,
                            (long long)r->observation);
        *samples = r->samples;
        *n = count;
    }
    nf_query_done(q);
    return rc;
}

/* --- the samples of one step class --- */

typedef NF_ARRAY(uint32_t) step_numbers; /* ascending */

static int load_steps(struct nf_study *s, int64_t observation, int64_t class_id, step_numbers *steps)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "SELECT t.number FROM step t JOIN observation o ON o.pass_id = t.pass_id WHERE o.id = ?1 AND "
                               "t.class_id = ?2 ORDER BY t.number", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, observation);
    nf_query_bind_i64(q, 2, class_id);
    while ((rc = nf_query_step(q)) == 1) {
        int64_t number = nf_query_i64(q, 0);

        if (number >= 0 && number < NF_SAMPLE_NONE && nf_array_push(steps, (uint32_t)number)) {
            rc = nf_fail(-ENOMEM, "out of memory");
            break;
        }
    }
    nf_query_done(q);
    return rc;
}

static bool has_step(const step_numbers *steps, uint32_t step)
{
    size_t low = 0, high = steps->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (steps->v[middle] < step)
            low = middle + 1;
        else
            high = middle;
    }
    return low < steps->n && steps->v[low] == step;
}

int nf_samples_of_class(struct nf_study *s, int64_t observation, int64_t class_id,
                        int (*each)(void *context, const struct nf_sample *samples, size_t n), void *context)
{
    struct nf_sample_reader *reader = NULL;
    step_numbers steps = {0};
    const struct nf_sample *v;
    size_t n;
    int rc = load_steps(s, observation, class_id, &steps);

    if (!rc && steps.n)
        rc = nf_sample_reader_new(s, observation, &reader);
    while (!rc && reader && (rc = nf_sample_reader_next(reader, &v, &n)) == 1) {
        rc = 0;
        for (size_t i = 0, from; i < n && !rc; i++) {
            for (from = i; i < n && has_step(&steps, v[i].step); i++)
                ;
            if (i > from)
                rc = each(context, v + from, i - from);
        }
    }
    nf_sample_reader_free(reader);
    nf_array_free(&steps);
    return rc;
}
