#include "capture/sighting-rows.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/store/visit-rows.h"

struct row {
    int64_t observation, class_id;
    uint64_t hash;
    uint32_t steps, equal_steps;
};

struct nf_sighting_rows {
    struct nf_study *study;
    struct nf_visit_codec *codec;
    NF_ARRAY(struct row) rows;
};

struct nf_sighting_rows *nf_sighting_rows_new(struct nf_study *study)
{
    struct nf_sighting_rows *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->study = study;
    r->codec = nf_visit_codec_new();
    return r->codec ? r : nf_sighting_rows_free(r);
}

struct nf_sighting_rows *nf_sighting_rows_free(struct nf_sighting_rows *r)
{
    if (!r)
        return NULL;
    nf_visit_codec_free(r->codec);
    nf_array_free(&r->rows);
    free(r);
    return NULL;
}

static int write_chunks(struct nf_sighting_rows *r, const struct row *row, const struct nf_step *step,
                        const struct nf_seen *seen)
{
    uint64_t *sizes = malloc((step->n_tensors + (size_t)1) * sizeof *sizes);
    const int64_t keys[] = {row->observation, row->class_id};
    int rc;

    if (!sizes)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t i = 0; i < step->n_tensors; i++)
        sizes[i] = step->tensors[i].bytes;
    rc = nf_visit_rows_write(r->study, "INSERT INTO sighting_chunk(observation_id, class_id, number, first_op, last_op, "
                                       "visits, codec, crc32, raw_bytes, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
                                       "?10)",
                             keys, 2, r->codec, seen->visits, seen->n_visits, sizes, step->n_tensors);
    free(sizes);
    return rc;
}

static int insert(struct nf_sighting_rows *r, const struct row *row, const struct nf_step *step, const struct nf_seen *seen)
{
    struct nf_query *q;
    int rc = nf_study_query(r->study, "INSERT INTO sighting(observation_id, class_id, sightings, hash, steps, equal_steps) "
                                      "VALUES(?1, ?2, ?3, ?4, 1, 1)", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, row->observation);
    nf_query_bind_i64(q, 2, row->class_id);
    nf_query_bind_i64(q, 3, seen->n_visits);
    nf_query_bind_i64(q, 4, (int64_t)row->hash);
    rc = nf_query_run(q);
    return rc ? rc : write_chunks(r, row, step, seen);
}

static int update(struct nf_sighting_rows *r, const struct row *row)
{
    struct nf_query *q;
    int rc = nf_study_query(r->study, "UPDATE sighting SET steps = ?3, equal_steps = ?4 WHERE observation_id = ?1 AND "
                                      "class_id = ?2", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, row->observation);
    nf_query_bind_i64(q, 2, row->class_id);
    nf_query_bind_i64(q, 3, row->steps);
    nf_query_bind_i64(q, 4, row->equal_steps);
    return nf_query_run(q);
}

int nf_sighting_rows_put(struct nf_sighting_rows *r, int64_t observation, int64_t class_id, const struct nf_step *step,
                         const struct nf_seen *seen)
{
    struct row fresh = {observation, class_id, seen->hash, 1, 1};

    for (size_t i = 0; i < r->rows.n; i++) {
        struct row *row = &r->rows.v[i];

        if (row->observation == observation && row->class_id == class_id) {
            row->steps++;
            row->equal_steps += row->hash == seen->hash;
            return update(r, row);
        }
    }
    if (nf_array_push(&r->rows, fresh))
        return nf_fail(-ENOMEM, "out of memory");
    return insert(r, &fresh, step, seen);
}
