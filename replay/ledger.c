#include "replay/ledger.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/version.h"

/* Ends the transaction that rc was reached in. */
static int conclude(struct nf_study *s, int rc)
{
    if (!rc)
        return nf_study_commit(s);
    nf_study_rollback(s);
    return rc;
}

int nf_ledger_mark_dead(struct nf_study *s)
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "UPDATE replay SET status = 'partial', message = 'the program ended before the replay "
                            "did' WHERE status = 'running'",
                            &q);

    return rc ? rc : nf_query_run(q);
}

static int add_residual(struct nf_study *s, int64_t replay, int64_t class_id, const double *op_ns, uint32_t n)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "INSERT INTO residual(replay_id, class_id, op_ns) VALUES(?1, ?2, ?3)", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    nf_query_bind_i64(q, 2, class_id);
    nf_query_bind_blob(q, 3, op_ns, n * sizeof *op_ns);
    return nf_query_run(q);
}

static bool any_time(const double *v, uint32_t n)
{
    while (n && v[n - 1] == 0)
        n--;
    return n;
}

static int64_t add_replay(struct nf_study *s, const struct nf_ledger_replay *r, const struct nf_residual *residual)
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "INSERT INTO replay(invocation_id, capture_id, testbed_id, seed, scale, peak_live_bytes, "
                            "planned_trials, blocks, threads, llc_filter_bytes, until_width, batch_bytes, captured_ns, asap_ns, "
                            "floored_share, k_testbed_id, counters) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, "
                            "nullif(?16, 0), ?17)",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, r->invocation);
    nf_query_bind_i64(q, 2, r->capture);
    nf_query_bind_i64(q, 3, r->testbed);
    nf_query_bind_i64(q, 4, (int64_t)r->seed);
    nf_query_bind_f64(q, 5, r->scale);
    nf_query_bind_i64(q, 6, (int64_t)r->peak_live_bytes);
    nf_query_bind_i64(q, 7, r->planned_trials);
    nf_query_bind_i64(q, 8, r->blocks);
    nf_query_bind_i64(q, 9, r->threads);
    nf_query_bind_i64(q, 10, (int64_t)r->llc_filter_bytes);
    nf_query_bind_f64(q, 11, r->until_width);
    nf_query_bind_i64(q, 12, (int64_t)r->batch_bytes);
    nf_query_bind_f64(q, 13, residual->captured_ns);
    nf_query_bind_f64(q, 14, residual->asap_ns);
    nf_query_bind_f64(q, 15, residual->floored_share);
    nf_query_bind_i64(q, 16, r->k_testbed);
    nf_query_bind_text(q, 17, r->counters ? r->counters : "");
    rc = nf_query_run(q);
    return rc ? rc : nf_study_last_id(s);
}

int64_t nf_ledger_begin(struct nf_study *s, const struct nf_ledger_replay *r, const struct nf_residual *residual,
                        const struct nf_stream *stream)
{
    int64_t id = nf_study_begin(s);
    int rc;

    if (id)
        return id;
    id = add_replay(s, r, residual);
    rc = id < 0 ? (int)id : 0;
    for (uint32_t i = 0; i < residual->n_classes && !rc; i++) {
        const struct nf_step_class *c = &stream->classes[i];

        if (any_time(residual->op_ns[i], c->n_ops))
            rc = add_residual(s, id, c->id, residual->op_ns[i], c->n_ops);
    }
    rc = conclude(s, rc);
    return rc ? rc : id;
}

static int step_times(const struct nf_trial *trial, struct nf_buf *json)
{
    nf_buf_puts(json, "[");
    for (unsigned i = 0; i < trial->steps; i++)
        nf_buf_printf(json, "%s%.0f", i ? "," : "", trial->step_ns[i]);
    nf_buf_puts(json, "]");
    return json->failed ? nf_fail(-ENOMEM, "out of memory") : 0;
}

static int add_trial(struct nf_study *s, int64_t replay, const struct nf_ledger_trial *t, const struct nf_trial *trial)
{
    char semantics[256];
    struct nf_buf json = {0};
    struct nf_query *q;
    int rc = step_times(trial, &json);

    if (!rc)
        rc = nf_study_query(s,
                            "INSERT INTO trial(replay_id, block, position, policy, policy_options, semantics, "
                            "near_share, near_bytes, overlap, hog, parallelism_scale, status, message, warmup_steps, "
                            "steps, wall_ns, step_ns, policy_ns, move_ns, stolen_ns, late_ns, saturated, "
                            "floored_share, assumed_k_share, moves, moved_bytes, evidence, class_k_share) VALUES(?1, ?2, ?3, ?4, "
                            "?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, "
                            "?23, ?24, ?25, ?26, ?27, ?28)",
                            &q);
    if (!rc) {
        nf_query_bind_i64(q, 1, replay);
        nf_query_bind_i64(q, 2, t->block);
        nf_query_bind_i64(q, 3, t->position);
        nf_query_bind_text(q, 4, t->policy->ops->name);
        nf_query_bind_text(q, 5, t->policy->options);
        nf_query_bind_text(q, 6, nf_policy_semantics_text(&t->policy->ops->semantics, semantics, sizeof semantics));
        nf_query_bind_f64(q, 7, t->plan->near_share);
        nf_query_bind_i64(q, 8, (int64_t)t->near_bytes);
        nf_query_bind_i64(q, 9, t->plan->overlap);
        nf_query_bind_i64(q, 10, t->plan->hog);
        nf_query_bind_f64(q, 11, t->parallelism_scale);
        nf_query_bind_text(q, 12, nf_trial_status_name(trial->status));
        nf_query_bind_text(q, 13, trial->message);
        nf_query_bind_i64(q, 14, trial->warmup_steps);
        nf_query_bind_i64(q, 15, trial->steps);
        nf_query_bind_i64(q, 16, (int64_t)trial->wall_ns);
        nf_query_bind_text(q, 17, json.data);
        nf_query_bind_i64(q, 18, (int64_t)trial->pool.policy_ns);
        nf_query_bind_i64(q, 19, (int64_t)trial->pool.move_ns);
        nf_query_bind_i64(q, 20, (int64_t)trial->stolen_ns);
        nf_query_bind_i64(q, 21, (int64_t)trial->late_ns);
        nf_query_bind_i64(q, 22, trial->saturated);
        nf_query_bind_f64(q, 23, t->floored_share);
        nf_query_bind_f64(q, 24, trial->assumed_k_share);
        nf_query_bind_i64(q, 25, (int64_t)trial->pool.moves);
        nf_query_bind_i64(q, 26, (int64_t)trial->pool.moved_bytes);
        nf_query_bind_i64(q, 27, t->evidence);
        nf_query_bind_f64(q, 28, trial->class_k_share);
        rc = nf_query_run(q);
    }
    nf_buf_deinit(&json);
    return rc;
}

/* What makes a trial believable, beside its times: a statement of its own, as the columns came later. */
static int add_conditions(struct nf_study *s, int64_t id, const struct nf_ledger_trial *t, const struct nf_trial *trial)
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "UPDATE trial SET threads = ?2, cpus = ?3, variant = ?4, cold = ?5, page = ?6, store = ?7, "
                            "scheduled_ns = ?8, deadlines = ?9, late_p50_ns = ?10, late_p99_ns = ?11, late_max_ns = ?12, "
                            "wait_ns = ?13, forgiven_ns = ?14, helper_cpu = ?15, helper_shares = ?16, proofs = ?17, "
                            "batches = ?18, page_faults = ?19, switches = ?20, moved_pages = ?21, interference = ?22, "
                            "background = ?23, background_bps = ?24, before = ?25, after = ?26, memory_ns = ?27, "
                            "injected_ns = ?28, compute_ns = ?29, stall_ns = ?30, "
                            "fault_ns = ?31, despite = ?32, pages_by = ?33, steal_ns = ?34 WHERE id = ?1",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, id);
    nf_query_bind_i64(q, 2, trial->threads);
    nf_query_bind_text(q, 3, *trial->cpus ? trial->cpus : "unknown");
    nf_query_bind_text(q, 4, t->variant);
    nf_query_bind_i64(q, 5, trial->cold);
    nf_query_bind_text(q, 6, t->page);
    nf_query_bind_text(q, 7, nf_store_name(trial->store));
    nf_query_bind_f64(q, 8, trial->scheduled_ns);
    nf_query_bind_i64(q, 9, (int64_t)trial->lateness.n);
    nf_query_bind_i64(q, 10, (int64_t)nf_lateness_quantile(&trial->lateness, 0.5));
    nf_query_bind_i64(q, 11, (int64_t)nf_lateness_quantile(&trial->lateness, 0.99));
    nf_query_bind_i64(q, 12, (int64_t)trial->lateness.max_ns);
    nf_query_bind_i64(q, 13, (int64_t)trial->pool.wait_ns);
    nf_query_bind_i64(q, 14, (int64_t)(trial->pool.move_forgiven_ns + trial->forgiven_ns));
    nf_query_bind_i64(q, 15, trial->helper_cpu);
    nf_query_bind_i64(q, 16, trial->helper_shares);
    nf_query_bind_i64(q, 17, trial->proofs);
    nf_query_bind_i64(q, 18, trial->batches);
    nf_query_bind_i64(q, 19, (int64_t)trial->page_faults);
    nf_query_bind_i64(q, 20, (int64_t)trial->switches);
    nf_query_bind_i64(q, 21, (int64_t)trial->moved_pages); /* NF_TRIAL_UNKNOWN is -1 */
    nf_query_bind_text(q, 22, trial->interference);
    nf_query_bind_text(q, 23, t->background);
    nf_query_bind_f64(q, 24, trial->background_bps);
    nf_query_bind_text(q, 25, t->before);
    nf_query_bind_text(q, 26, t->after);
    nf_query_bind_i64(q, 27, (int64_t)trial->memory_ns);
    nf_query_bind_i64(q, 28, (int64_t)trial->injected_ns);
    nf_query_bind_i64(q, 29, (int64_t)trial->compute_ns);
    nf_query_bind_i64(q, 30, (int64_t)trial->pool.stall_ns);
    nf_query_bind_i64(q, 31, (int64_t)trial->pool.fault_ns);
    nf_query_bind_text(q, 32, t->despite);
    nf_query_bind_text(q, 33, t->policy->ops->semantics.mover == NF_MOVER_KERNEL ? "kernel" : "pool");
    nf_query_bind_i64(q, 34, (int64_t)trial->steal_ns); /* NF_TRIAL_UNKNOWN is -1 */
    return nf_query_run(q);
}

/* What was made again instead of held; nothing for most policies. */
static int add_recomputed(struct nf_study *s, int64_t id, const struct nf_trial *trial)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "UPDATE trial SET recomputed = ?2, recomputed_ops = ?3, unheld_bytes = ?4, unheld_byte_ns = ?5, "
                               "reissued_bytes = ?6, recompute_ns = ?7, recompute_captured_ns = ?8, variant_peak_bytes = ?9 WHERE "
                               "id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, id);
    nf_query_bind_i64(q, 2, trial->recomputed);
    nf_query_bind_i64(q, 3, trial->recomputed_ops);
    nf_query_bind_i64(q, 4, (int64_t)trial->unheld_bytes);
    nf_query_bind_f64(q, 5, trial->unheld_byte_ns);
    nf_query_bind_i64(q, 6, (int64_t)trial->reissued_bytes);
    nf_query_bind_i64(q, 7, (int64_t)trial->recompute_ns);
    nf_query_bind_f64(q, 8, trial->recompute_captured_ns);
    nf_query_bind_i64(q, 9, (int64_t)trial->variant_peak_bytes);
    return nf_query_run(q);
}

static int add_profile(struct nf_study *s, int64_t id, const struct nf_ledger_trial *t)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "UPDATE trial SET profile_from = ?2, profile_matched = ?3 WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, id);
    nf_query_bind_text(q, 2, t->profile_from);
    nf_query_bind_f64(q, 3, t->profile_matched);
    return nf_query_run(q);
}

static int add_tier(struct nf_study *s, int64_t trial_id, uint32_t number, const struct nf_trial *trial)
{
    const struct nf_trial_tier *t = &trial->tier[number];
    const struct nf_pool_tier_stats *pool = &trial->pool.tier[number];
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "INSERT INTO trial_tier(trial_id, tier_number, read_bytes, write_bytes, charged_bytes, "
                            "moved_in_bytes, moved_out_bytes, peak_bytes, achieved_latency_ns, achieved_bps, "
                            "moves_charged_bytes, counter_read_bytes, counter_write_bytes, uncounted) VALUES(?1, ?2, ?3, "
                            "?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, trial_id);
    nf_query_bind_i64(q, 2, number);
    nf_query_bind_i64(q, 3, (int64_t)t->read_bytes);
    nf_query_bind_i64(q, 4, (int64_t)t->write_bytes);
    nf_query_bind_i64(q, 5, (int64_t)t->charged_bytes);
    nf_query_bind_i64(q, 6, (int64_t)pool->moved_in_bytes);
    nf_query_bind_i64(q, 7, (int64_t)pool->moved_out_bytes);
    nf_query_bind_i64(q, 8, (int64_t)pool->peak_bytes);
    nf_query_bind_f64(q, 9, t->achieved_latency_ns);
    nf_query_bind_f64(q, 10, t->achieved_bps);
    nf_query_bind_i64(q, 11, (int64_t)pool->charged_bytes);
    nf_query_bind_i64(q, 12, (int64_t)t->counter_read_bytes); /* NF_TRIAL_UNKNOWN is -1 */
    nf_query_bind_i64(q, 13, (int64_t)t->counter_write_bytes);
    nf_query_bind_text(q, 14, t->uncounted);
    return nf_query_run(q);
}

int nf_ledger_add(struct nf_study *s, int64_t replay, const struct nf_ledger_trial *t, const struct nf_trial *trial)
{
    int64_t id;
    int rc = nf_study_begin(s);

    if (rc)
        return rc;
    rc = add_trial(s, replay, t, trial);
    id = nf_study_last_id(s);
    if (!rc)
        rc = add_conditions(s, id, t, trial);
    if (!rc && trial->variant_peak_bytes)
        rc = add_recomputed(s, id, trial);
    if (!rc && t->profile_from && *t->profile_from)
        rc = add_profile(s, id, t);
    for (uint32_t i = 0; i < t->n_tiers && !rc; i++)
        rc = add_tier(s, id, i, trial);
    return conclude(s, rc);
}

int nf_ledger_find_partial(struct nf_study *s, struct nf_ledger_partial *out)
{
    struct nf_query *q;
    int rc = nf_ledger_mark_dead(s);

    *out = (struct nf_ledger_partial){0};
    if (!rc)
        rc = nf_study_query(s, "SELECT r.id, r.capture_id, r.testbed_id, i.command, r.status, i.tool_version FROM replay r JOIN invocation i ON "
                               "i.id = r.invocation_id ORDER BY r.id DESC LIMIT 1", &q);
    if (rc)
        return rc;
    rc = nf_query_step(q);
    if (rc == 1 && !strcmp(nf_query_text(q, 4), "partial") && strcmp(nf_query_text(q, 5), nf_version())) {
        rc = nf_fail(-EPERM, "replay %lld was begun by nearfar %.40s, and this is %s: its trials would be those of two programs; go on with "
                             "that one, or begin a new replay, without --resume", (long long)nf_query_i64(q, 0), nf_query_text(q, 5),
                     nf_version());
    } else if (rc == 1 && !strcmp(nf_query_text(q, 4), "partial")) {
        out->replay = nf_query_i64(q, 0);
        out->capture = nf_query_i64(q, 1);
        out->testbed = nf_query_i64(q, 2);
        nf_buf_puts(&out->command, nf_query_text(q, 3));
        rc = out->command.failed ? nf_fail(-ENOMEM, "out of memory") : 0;
    } else if (rc >= 0) {
        rc = nf_fail(-ENOENT, rc ? "the latest replay is whole: there is nothing to go on with" : "the study has no replay yet");
    }
    nf_query_done(q);
    return rc;
}

int64_t nf_ledger_k_testbed(struct nf_study *s, int64_t replay)
{
    struct nf_query *q;
    int64_t id;
    int rc = nf_study_query(s, "SELECT coalesce(k_testbed_id, 0) FROM replay WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    rc = nf_query_step(q);
    id = rc == 1 ? nf_query_i64(q, 0) : 0;
    nf_query_done(q);
    return rc < 0 ? rc : id;
}

static int take_residual(struct nf_query *q, const struct nf_stream *stream, struct nf_residual *r)
{
    uint32_t i = 0;
    size_t size;
    const double *ns = nf_query_blob(q, 1, &size);

    while (i < stream->n_classes && stream->classes[i].id != nf_query_i64(q, 0))
        i++;
    if (i == stream->n_classes || size != stream->classes[i].n_ops * sizeof *ns)
        return nf_fail(-EBADMSG, "the compute times that it kept are not those of its stream");
    memcpy(r->op_ns[i], ns, size);
    for (uint32_t op = 0; op < stream->classes[i].n_ops; op++) {
        if (!(r->op_ns[i][op] >= 0 && isfinite(r->op_ns[i][op])))
            return nf_fail(-EBADMSG, "the compute times that it kept are no times");
    }
    return 0;
}

int nf_ledger_residual(struct nf_study *s, int64_t replay, const struct nf_stream *stream, struct nf_residual *residual, unsigned *threads)
{
    struct nf_query *q;
    int rc = nf_residual_zero(residual, stream);

    if (!rc)
        rc = nf_study_query(s, "SELECT captured_ns, asap_ns, floored_share, threads FROM replay WHERE id = ?1 AND captured_ns >= 0", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    rc = nf_query_step(q);
    if (rc == 1) {
        residual->captured_ns = nf_query_f64(q, 0);
        residual->asap_ns = nf_query_f64(q, 1);
        residual->floored_share = nf_query_f64(q, 2);
        residual->timed = residual->captured_ns > 0;
        *threads = (unsigned)nf_query_i64(q, 3);
    }
    nf_query_done(q);
    if (rc != 1)
        return rc ? rc : nf_fail(-ENODATA, "replay %lld kept no compute times, so that its other trials would spend others: begin a new one, "
                                           "without --resume", (long long)replay);
    rc = nf_study_query(s, "SELECT class_id, op_ns FROM residual WHERE replay_id = ?1", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    while ((rc = nf_query_step(q)) == 1) {
        rc = take_residual(q, stream, residual);
        if (rc)
            break;
    }
    nf_query_done(q);
    return rc;
}

int nf_ledger_resume(struct nf_study *s, int64_t replay)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "UPDATE replay SET status = 'running', message = '', resumed = resumed + 1 WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    return nf_query_run(q);
}

int nf_ledger_done(struct nf_study *s, int64_t replay, void (*each)(void *context, uint32_t block, uint32_t position, double step_ns),
                   void *context)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "SELECT block, position, CASE WHEN status = 'failed' OR steps = 0 THEN 0 ELSE wall_ns * 1.0 / "
                               "steps END FROM trial WHERE replay_id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    while ((rc = nf_query_step(q)) == 1)
        each(context, (uint32_t)nf_query_i64(q, 0), (uint32_t)nf_query_i64(q, 1), nf_query_f64(q, 2));
    nf_query_done(q);
    return rc;
}

int nf_ledger_end(struct nf_study *s, int64_t replay, const char *status, const char *message)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "UPDATE replay SET status = ?2, message = ?3 WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    nf_query_bind_text(q, 2, status);
    nf_query_bind_text(q, 3, message);
    return nf_query_run(q);
}
