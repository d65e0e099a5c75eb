#include "replay/predict.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "pool/guard.h"
#include "replay/forecast.h"
#include "replay/scale.h"

/* Why the session as a whole has none; NULL: it has. */
static const char *why_none(const struct nf_session *s)
{
    if (s->o->whole_sequence)
        return "the model is of the steady step, and all captured steps were replayed";
    if (nf_batches_needed(&s->batches))
        return "the stream is larger than memory and was read in batches";
    if (s->threads > 1)
        return "the model is of one thread";
    return NULL;
}

static int keep_prediction(const struct nf_session *s, double near_share, const struct nf_forecast_wish *w, const struct nf_forecast *f,
                           const char *why)
{
    struct nf_query *q;
    int rc = nf_study_query(s->study, "INSERT INTO prediction(replay_id, policy, policy_options, near_share, step_ns, exposed_ns, "
                                      "far_bytes, fetched_bytes, why) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->result->replay);
    nf_query_bind_text(q, 2, w->policy->name);
    nf_query_bind_text(q, 3, w->options);
    nf_query_bind_f64(q, 4, near_share);
    nf_query_bind_f64(q, 5, f ? f->predicted_ns : NAN);
    nf_query_bind_f64(q, 6, f ? f->exposed_ns : NAN);
    nf_query_bind_f64(q, 7, f ? (double)f->far_bytes : NAN);
    nf_query_bind_f64(q, 8, f ? (double)f->to_near_bytes : NAN);
    nf_query_bind_text(q, 9, why);
    return nf_query_run(q);
}

static int keep_bound(const struct nf_session *s, double near_share, const struct nf_forecast_bounds *b)
{
    struct nf_query *q;
    int rc = nf_study_query(s->study, "INSERT INTO far_bound(replay_id, near_share, lp_bytes, pfoo_bytes, static_lp_bytes, belady_bytes, "
                                      "why) VALUES(?, ?, ?, ?, ?, ?, ?)", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->result->replay);
    nf_query_bind_f64(q, 2, near_share);
    nf_query_bind_f64(q, 3, round(b->lp)); /* of a solver: what is nearly nothing is nothing */
    nf_query_bind_f64(q, 4, round(b->pfoo));
    nf_query_bind_f64(q, 5, round(b->static_lp));
    nf_query_bind_f64(q, 6, round(b->belady));
    nf_query_bind_text(q, 7, isnan(b->lp) ? b->lp_why : "");
    return nf_query_run(q);
}

/* 1: there is one; 0 or -errno. */
static int is_kept(const struct nf_session *s, const char *sql, double near_share, const struct nf_forecast_wish *w)
{
    struct nf_query *q;
    int rc = nf_study_query(s->study, sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->result->replay);
    nf_query_bind_f64(q, 2, near_share);
    if (w) {
        nf_query_bind_text(q, 3, w->policy->name);
        nf_query_bind_text(q, 4, w->options);
    }
    rc = nf_query_step(q);
    nf_query_done(q);
    return rc;
}

static int keep(struct nf_session *s, double near_share, const struct nf_forecast_wish *w, const struct nf_forecast *f, const char *why)
{
    int rc = nf_study_begin(s->study);

    if (rc)
        return rc;
    rc = keep_prediction(s, near_share, w, f, why);
    if (!rc && f && !w->unbounded)
        rc = keep_bound(s, near_share, &f->bounds);
    if (!rc)
        return nf_study_commit(s->study);
    nf_study_rollback(s->study);
    return rc;
}

static int predict_one(struct nf_session *s, double near_share, const char *late, struct nf_forecast_wish *w)
{
    int kept = is_kept(s, "SELECT 1 FROM prediction WHERE replay_id = ? AND near_share = ? AND policy = ? AND policy_options = ?",
                       near_share, w);
    int bounded = kept < 0 ? kept : is_kept(s, "SELECT 1 FROM far_bound WHERE replay_id = ? AND near_share = ?", near_share, NULL);
    struct nf_forecast f = {0};
    int rc;

    if (kept || bounded < 0)
        return kept < 0 ? kept : bounded < 0 ? bounded : 0;
    /* The bound is of the captured step: a policy that makes storages again plays another. */
    w->unbounded = bounded || w->policy->recompute || near_share <= 0;
    w->near_share = near_share > 0 ? near_share : 1; /* all-far uses none of it */
    if (!strcmp(w->policy->name, "trace"))
        return keep(s, near_share, w, NULL, "it says what it is told, and would say it again");
    if (*late)
        return keep(s, near_share, w, NULL, late);
    rc = nf_forecast_init(&f, w);
    if (rc == NF_GUARD_E_STOPPED)
        rc = NF_REPLAY_E_STOPPED;
    else if (rc != -ENOMEM)
        rc = rc ? keep(s, near_share, w, NULL, nf_error_text(rc)) : keep(s, near_share, w, &f, "");
    nf_forecast_deinit(&f);
    return rc;
}

static bool stopped(const struct nf_session *s)
{
    return s->o->stop && *s->o->stop;
}

int nf_session_predict(struct nf_session *s)
{
    struct nf_forecast_wish w = {
        .stream = s->stream, .profiles = s->profiles, .llc_bytes = s->o->unfiltered ? 0 : nf_scale_cache(s->testbed.llc_bytes, s->o->scale), .seed = s->o->seed,
        .n_tiers = s->testbed.n_tiers, .explain = UINT32_MAX,
        .limit_s = s->o->policy_limit_s, .stop = s->o->stop,
    };
    const char *why = why_none(s);
    int rc = 0;

    if (why) {
        nf_info("nothing is predicted: %s", why);
        return 0;
    }
    for (uint32_t i = 0; i < w.n_tiers; i++) {
        w.latency_ns[i] = s->testbed.measured[i].latency_ns;
        w.read_bps[i] = s->testbed.measured[i].read_bps;
        if (!(w.read_bps[i] > 0))
            return 0; /* tiers of no speed: nothing is modelled on them */
    }
    for (uint32_t i = 0; i < s->trials.n && !rc; i++) {
        const struct nf_trials_one *t = &s->trials.v[i];

        if (t->hog || t->background || t->cold || t->stale || t->variant)
            continue;
        w.policy = s->trials.policies[t->policy].ops;
        w.options = s->trials.policies[t->policy].options;
        if (!s->o->quiet)
            nf_progress("predicting %s at %.0f %% near", w.policy->name, 100 * t->near_share);
        rc = stopped(s) ? NF_REPLAY_E_STOPPED : predict_one(s, t->near_share, s->trials.policies[t->policy].late, &w);
    }
    return rc;
}
