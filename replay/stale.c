#include "replay/stale.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/store/records.h"
#include "replay/scale.h"

static int load(struct nf_stale *s, struct nf_study *study, const char *path, double scale, bool whole_sequence)
{
    const char *name = strrchr(path, '/');
    int64_t capture = nf_record_capture_find(study, 0);
    int rc = capture < 0 ? (int)capture : nf_record_stream_load(study, capture, &s->stream);

    if (!rc && !s->stream->n_classes)
        rc = nf_fail(-ENOENT, "capture %lld has no steps to plan on", (long long)capture);
    if (!rc)
        rc = nf_stream_scale(s->stream, scale);
    if (rc)
        return rc;
    snprintf(s->source, sizeof s->source, "%.60s, capture %lld", name ? name + 1 : path, (long long)capture);
    s->steady = nf_stream_steady_class(s->stream);
    for (uint32_t i = 0; i < s->stream->n_classes && !whole_sequence; i++)
        if (i != s->steady)
            nf_step_class_forget_visits(&s->stream->classes[i]);
    return 0;
}

int nf_stale_load(struct nf_stale *s, const char *path, double scale, bool whole_sequence)
{
    struct nf_study *study;
    int rc;

    *s = (struct nf_stale){0};
    rc = nf_study_open(path, NF_STUDY_READ, &study);
    if (rc)
        return rc < 0 ? rc : -EINVAL;
    rc = load(s, study, path, scale, whole_sequence);
    nf_study_close(study);
    return rc ? nf_fail_in(rc, "the profile of %s", path) : 0;
}

/* The class of the other capture that stands for one of these. */
static uint32_t counterpart(const struct nf_stale *s, const struct nf_stream *replayed, uint32_t i, uint32_t steady)
{
    for (uint32_t k = 0; k < s->stream->n_classes && i != steady; k++)
        if (s->stream->classes[k].hash == replayed->classes[i].hash)
            return k;
    return s->steady;
}

int nf_stale_match(struct nf_stale *s, const struct nf_stream *replayed, uint32_t steady, uint64_t llc_bytes, uint64_t burst_bytes)
{
    uint32_t n = replayed->n_classes;
    int rc;

    s->n_profiles = s->stream->n_classes;
    s->matches = calloc(n + (size_t)1, sizeof *s->matches);
    s->seen = calloc(n + (size_t)1, sizeof *s->seen);
    if (!s->matches || !s->seen)
        return nf_fail(-ENOMEM, "out of memory for %u step classes", n);
    s->n_classes = n;
    rc = nf_profiles_new(s->stream, llc_bytes, burst_bytes, &s->profiles);
    for (uint32_t i = 0; i < n && !rc; i++) {
        uint32_t k = counterpart(s, replayed, i, steady);

        rc = nf_match_init(&s->matches[i], &s->stream->classes[k], s->stream->names, &replayed->classes[i], replayed->names);
        s->seen[i] = (struct nf_seen_as){.step_class = k, .tensor = s->matches[i].tensor, .op = s->matches[i].op};
    }
    return rc;
}

void nf_stale_deinit(struct nf_stale *s)
{
    nf_profiles_free(s->profiles, s->n_profiles);
    for (uint32_t i = 0; i < s->n_classes; i++)
        nf_match_deinit(&s->matches[i]);
    free(s->matches);
    free(s->seen);
    nf_stream_free(s->stream);
    *s = (struct nf_stale){0};
}

double nf_stale_share(const struct nf_stale *s, uint32_t steady)
{
    const struct nf_match *m = &s->matches[steady];

    return m->bytes ? (double)m->matched_bytes / (double)m->bytes : 0;
}

void nf_stale_apply(const struct nf_stale *s, struct nf_engine_config *c)
{
    c->pool.profiles = s->profiles;
    c->pool.n_profiles = s->n_profiles;
    c->planned_class = s->steady;
    c->seen = s->seen;
}
