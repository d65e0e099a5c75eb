#include "core/store/sightings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/store/visit-rows.h"

/* The closed vocabulary of observation.rw, so that nothing has to be copied. */
static const char *rw_word(const char *text)
{
    return !strcmp(text, "observed") ? "observed" : !strcmp(text, "inferred") ? "inferred" : "unknown";
}

int64_t nf_sightings_find(struct nf_study *s, int64_t capture, int64_t class_id, const char *source,
                          struct nf_observation *out)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "SELECT o.id, o.pass_id, o.evidence, o.validated, o.resolution_bytes, o.boundary_ops, o.rw, "
                               "o.samples, o.attributed, o.between_ops, o.unattributed, o.lost, o.arena_base, o.arena_bytes "
                               "FROM observation o JOIN pass p ON p.id = o.pass_id JOIN sighting x ON x.observation_id = o.id "
                               "WHERE p.capture_id = ?1 AND x.class_id = ?2 AND (?3 IS NULL OR o.source = ?3) ORDER BY o.id "
                               "DESC LIMIT 1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, capture);
    nf_query_bind_i64(q, 2, class_id);
    nf_query_bind_text(q, 3, source);
    rc = nf_query_step(q);
    *out = (struct nf_observation){0};
    if (rc == 1) {
        int64_t resolution = nf_query_i64(q, 4), boundary = nf_query_i64(q, 5);

        out->id = nf_query_i64(q, 0);
        out->pass_id = nf_query_i64(q, 1);
        out->evidence = (uint8_t)nf_query_i64(q, 2);
        out->validated = nf_query_i64(q, 3) != 0;
        out->resolution_bytes = resolution > 0 && resolution <= UINT32_MAX ? (uint32_t)resolution : 1;
        out->boundary_ops = boundary > 0 && boundary <= UINT32_MAX ? (uint32_t)boundary : 0;
        out->rw = rw_word(nf_query_text(q, 6));
        out->samples = (uint64_t)nf_query_i64(q, 7);
        out->attributed = (uint64_t)nf_query_i64(q, 8);
        out->between_ops = (uint64_t)nf_query_i64(q, 9);
        out->unattributed = (uint64_t)nf_query_i64(q, 10);
        out->lost = (uint64_t)nf_query_i64(q, 11);
        out->arena_base = (uint64_t)nf_query_i64(q, 12);
        out->arena_bytes = (uint64_t)nf_query_i64(q, 13);
    }
    nf_query_done(q);
    if (rc == 1)
        return out->id;
    return rc ? rc : source ? nf_fail(-ENOENT, "nothing that the source %s saw of this step class is in the study", source)
                            : nf_fail(-ENOENT, "no source beside the framework saw this step class; capture with --source "
                                      "page-fault");
}

int nf_sightings_load(struct nf_study *s, int64_t observation, const struct nf_step_class *c, struct nf_visit **visits,
                      uint32_t *n)
{
    /* A chunk that claims more than it can hold is refused later; here it must not ask for memory. */
    struct nf_query *q;
    int rc = nf_study_query(s, "SELECT coalesce(sum(min(visits, 4096)), 0) FROM sighting_chunk WHERE observation_id = ?1 AND "
                               "class_id = ?2", &q);
    int64_t total;

    *visits = NULL;
    *n = 0;
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, observation);
    nf_query_bind_i64(q, 2, c->id);
    rc = nf_query_step(q);
    total = rc == 1 ? nf_query_i64(q, 0) : 0;
    nf_query_done(q);
    if (rc < 0)
        return rc;
    if (total < 0 || total > UINT32_MAX)
        return nf_fail(-EBADMSG, "sightings of step class %lld are too many", (long long)c->id);
    *visits = calloc((size_t)total + 1, sizeof **visits);
    if (!*visits)
        return nf_fail(-ENOMEM, "out of memory for %lld sightings", (long long)total);
    rc = nf_study_query(s, "SELECT visits, raw_bytes, crc32, data, codec FROM sighting_chunk WHERE observation_id = ?1 AND "
                           "class_id = ?2 ORDER BY number", &q);
    if (!rc) {
        nf_query_bind_i64(q, 1, observation);
        nf_query_bind_i64(q, 2, c->id);
        rc = nf_visit_rows_read(q, "sightings", c, *visits, (uint32_t)total);
    }
    if (rc) {
        free(*visits);
        *visits = NULL;
        return rc;
    }
    *n = (uint32_t)total;
    return 0;
}
