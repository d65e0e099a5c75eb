#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/show.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/fuse.h"
#include "core/store/samples.h"
#include "core/store/sightings.h"

struct fusing {
    const struct nf_step_class *class;
    struct nf_visit_samples *visits;
    size_t samples;
};

static int fuse(void *context, const struct nf_sample *samples, size_t n)
{
    struct fusing *f = context;

    f->samples += n;
    nf_fuse(f->class, samples, n, f->visits);
    return 0;
}

/* The visits that left at least one sample, as the source's. */
static int sampled_visits(const struct nf_show *s, int64_t observation, uint8_t evidence, struct nf_visit **out, uint32_t *n)
{
    const struct nf_step_class *c = s->class;
    struct fusing f = {c, calloc(c->n_visits + (size_t)1, sizeof *f.visits), 0};
    struct nf_visit *visits = calloc(c->n_visits + (size_t)1, sizeof *visits);
    uint8_t *seen = calloc(c->n_visits + (size_t)1, 1);
    int rc = f.visits && visits && seen ? 0 : nf_fail(-ENOMEM, "out of memory");

    *n = 0;
    if (!rc)
        rc = nf_samples_of_class(s->study, observation, c->id, fuse, &f);
    if (!rc && !f.samples)
        rc = nf_fail(-ENOENT, "the source %s left no sample in this step class", s->source);
    if (!rc) {
        nf_fuse_seen(c, f.visits, seen);
        for (uint32_t i = 0; i < c->n_visits; i++) {
            if (!seen[i])
                continue;
            visits[*n] = c->visits[i];
            visits[(*n)++].evidence = evidence;
        }
        nf_info("%u of %u visits left a sample of %s; the others are not in what follows, which is not to say that they touched "
                "nothing", *n, c->n_visits, s->source);
    }
    free(f.visits);
    free(seen);
    if (rc) {
        free(visits);
        return rc;
    }
    *out = visits;
    return 0;
}

static int64_t find_sampled(const struct nf_show *s, uint8_t *evidence)
{
    struct nf_query *q;
    int64_t id = 0;
    int rc = nf_study_query(s->study, "SELECT o.id, o.evidence FROM observation o JOIN pass p ON p.id = o.pass_id WHERE "
                                      "p.capture_id = ?1 AND o.source = ?2 AND EXISTS (SELECT 1 FROM sample_chunk k WHERE "
                                      "k.observation_id = o.id) ORDER BY o.id DESC LIMIT 1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->capture);
    nf_query_bind_text(q, 2, s->source);
    rc = nf_query_step(q);
    if (rc == 1) {
        id = nf_query_i64(q, 0);
        *evidence = (uint8_t)nf_query_i64(q, 1);
    }
    nf_query_done(q);
    return rc < 0 ? rc : id;
}

int nf_show_seen_by(const struct nf_show *s, struct nf_step_class *seen)
{
    struct nf_observation o;
    struct nf_visit *visits = NULL;
    uint8_t evidence = 0;
    int64_t id = find_sampled(s, &evidence);
    uint32_t n;
    int rc = id < 0 ? (int)id : 0;

    if (!rc && id) {
        rc = sampled_visits(s, id, evidence, &visits, &n);
    } else if (!rc) {
        id = nf_sightings_find(s->study, s->capture, s->class->id, s->source, &o);
        rc = id < 0 ? (int)id : nf_sightings_load(s->study, id, s->class, &visits, &n);
    }
    return rc ? rc : nf_step_class_seen_by(s->class, visits, n, seen);
}
