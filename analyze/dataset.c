#include "analyze/dataset.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "analyze/print.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/stats.h"
#include "core/model/words.h"

static const char *text(struct nf_dataset *d, const struct nf_query *q, int column)
{
    struct nf_buf b = {0};

    nf_print_clean(&b, nf_query_text(q, column));
    if (b.failed || nf_array_push(&d->texts, b.data)) {
        nf_buf_deinit(&b);
        d->failed = true;
        return "";
    }
    return b.data;
}

/* 0 in the study means unknown. */
static double or_unknown(double v)
{
    return v > 0 ? v : NAN;
}

static unsigned word(int64_t v)
{
    return v >= 0 && v < UINT16_MAX ? (unsigned)v : UINT16_MAX; /* prints as "invalid" */
}

/* Median of a JSON array of step times, the first left out where there are more: it builds what later steps reuse. NAN
 * when it is anything else. */
static double json_median(const char *json)
{
    NF_ARRAY(double) v = {0};
    double median = NAN;
    bool good = false;

    json += strspn(json, " \n\t\r");
    for (bool first = true; *json == (first ? '[' : ','); first = false) {
        char *end;
        double x = strtod(json + 1, &end);

        if (end == json + 1 || !isfinite(x) || nf_array_push(&v, x))
            break;
        json = end + strspn(end, " \n\t\r");
        good = *json == ']';
    }
    if (good && v.n)
        median = v.n > 1 ? nf_median(v.v + 1, v.n - 1) : v.v[0];
    nf_array_free(&v);
    return median;
}

static int find_replay(struct nf_dataset *d, struct nf_study *s, int64_t replay, int64_t capture)
{
    struct nf_replay_row *r = &d->replay;
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT count(DISTINCT r.id) FROM replay r JOIN trial t ON t.replay_id = r.id"
                            " WHERE ?1 = 0 OR r.capture_id = ?1",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, capture);
    rc = nf_query_step(q);
    d->replays = rc == 1 ? nf_query_i64(q, 0) : 0;
    nf_query_done(q);
    if (rc < 0)
        return rc;
    rc = nf_study_query(s,
                        "SELECT r.id, r.invocation_id, r.capture_id, r.testbed_id, b.machine_id, b.invocation_id,"
                        " r.seed, r.planned_trials, r.blocks, r.threads, r.scale, r.peak_live_bytes,"
                        " r.llc_filter_bytes, b.llc_effective_bytes, b.page_bytes, r.status, r.message, b.conditions"
                        " FROM replay r LEFT JOIN testbed b ON b.id = r.testbed_id"
                        " WHERE (?1 = 0 OR r.id = ?1) AND (?2 = 0 OR r.capture_id = ?2)"
                        " AND EXISTS(SELECT 1 FROM trial WHERE replay_id = r.id) ORDER BY r.id DESC LIMIT 1",
                        &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    nf_query_bind_i64(q, 2, capture);
    rc = nf_query_step(q);
    if (rc == 1) {
        *r = (struct nf_replay_row){
            .id = nf_query_i64(q, 0),
            .invocation_id = nf_query_i64(q, 1),
            .testbed_id = nf_query_i64(q, 3),
            .testbed_machine_id = nf_query_i64(q, 4),
            .testbed_invocation_id = nf_query_i64(q, 5),
            .seed = nf_query_i64(q, 6),
            .planned_trials = nf_query_i64(q, 7),
            .blocks = nf_query_i64(q, 8),
            .threads = nf_query_i64(q, 9),
            .scale = nf_query_f64(q, 10),
            .peak_live_bytes = or_unknown(nf_query_f64(q, 11)),
            .llc_filter_bytes = nf_query_f64(q, 12),
            .llc_effective_bytes = or_unknown(nf_query_f64(q, 13)),
            .page_bytes = or_unknown(nf_query_f64(q, 14)),
            .status = text(d, q, 15),
            .message = text(d, q, 16),
            .conditions = text(d, q, 17),
        };
        d->capture.id = nf_query_i64(q, 2);
    }
    nf_query_done(q);
    if (rc)
        return rc < 0 ? rc : 0;
    if (replay)
        return nf_fail(-ENOENT, "%s has no trials of replay %lld", nf_study_path(s), (long long)replay);
    return nf_fail(-ENOENT, "%s holds no trials to report: run `nearfar replay` on it first", nf_study_path(s));
}

static int load_capture(struct nf_dataset *d, struct nf_study *s)
{
    struct nf_capture_row *c = &d->capture;
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT invocation_id, job, job_number, framework, language, threads, status, message,"
                            " lifetimes, phases, durations FROM capture WHERE id = ?",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->id);
    rc = nf_query_step(q);
    if (rc == 1) {
        c->invocation_id = nf_query_i64(q, 0);
        c->job = text(d, q, 1);
        c->job_number = nf_query_i64(q, 2);
        c->framework = text(d, q, 3);
        c->language = text(d, q, 4);
        c->threads = nf_query_i64(q, 5);
        c->status = text(d, q, 6);
        c->message = text(d, q, 7);
        c->lifetimes = text(d, q, 8);
        c->phases = text(d, q, 9);
        c->durations = text(d, q, 10);
        c->has_durations = strcmp(c->durations, "unknown") != 0;
    }
    nf_query_done(q);
    if (rc != 1)
        return rc < 0 ? rc : nf_fail(-EBADMSG, "%s: a replay belongs to no capture", nf_study_path(s));
    c->bare_step_ns = c->peak_live_bytes = NAN;
    rc = nf_study_query(s,
                        "SELECT c.hash, c.bare_step_ns, c.peak_live_bytes,"
                        " (SELECT count(*) FROM step t JOIN pass p ON p.id = t.pass_id"
                        "  WHERE t.class_id = c.id AND p.kind = 3) AS steps"
                        " FROM step_class c WHERE c.capture_id = ? ORDER BY steps DESC, c.number LIMIT 1",
                        &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->id);
    rc = nf_query_step(q);
    if (rc == 1) {
        c->class_hash = (uint64_t)nf_query_i64(q, 0);
        c->bare_step_ns = or_unknown(nf_query_f64(q, 1));
        c->peak_live_bytes = or_unknown(nf_query_f64(q, 2));
        c->class_steps = nf_query_i64(q, 3);
    }
    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

static int load_passes(struct nf_dataset *d, struct nf_study *s)
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT id, kind, source, access_evidence, status, exit_status, wall_ns, cpu_ns,"
                            " allocator_peak_bytes, tracked_peak_bytes, untracked_peak_bytes, parameter_sha256, events,"
                            " lost_events, unattributed_visits, unattributed_bytes, skipped_device_storages,"
                            " other_processes, ops, steps, unmatched_steps, notes"
                            " FROM pass WHERE capture_id = ? ORDER BY id",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, d->capture.id);
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_pass_row p = {
            .id = nf_query_i64(q, 0),
            .kind = word(nf_query_i64(q, 1)),
            .source = text(d, q, 2),
            .access_evidence = word(nf_query_i64(q, 3)),
            .status = text(d, q, 4),
            .exited = !nf_query_is_null(q, 5),
            .exit_status = nf_query_i64(q, 5),
            .wall_ns = or_unknown(nf_query_f64(q, 6)),
            .cpu_ns = or_unknown(nf_query_f64(q, 7)),
            .allocator_peak_bytes = or_unknown(nf_query_f64(q, 8)),
            .tracked_peak_bytes = or_unknown(nf_query_f64(q, 9)),
            .untracked_peak_bytes = nf_query_f64(q, 10),
            .parameter_sha256 = text(d, q, 11),
            .events = nf_query_i64(q, 12),
            .lost_events = nf_query_i64(q, 13),
            .unattributed_visits = nf_query_i64(q, 14),
            .unattributed_bytes = nf_query_f64(q, 15),
            .skipped_device_storages = nf_query_i64(q, 16),
            .other_processes = nf_query_i64(q, 17),
            .ops = nf_query_i64(q, 18),
            .steps = nf_query_i64(q, 19),
            .unmatched_steps = nf_query_i64(q, 20),
            .notes = text(d, q, 21),
        };

        if (nf_array_push(&d->passes, p)) {
            rc = -ENOMEM;
            break;
        }
    }
    nf_query_done(q);
    return rc;
}

static int load_sources(struct nf_dataset *d, struct nf_study *s)
{
    return nf_sources_init(&d->sources, s, d->capture.id);
}

static int load_tiers(struct nf_dataset *d, struct nf_study *s)
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT number, name, provider, spec, target_latency_ns, target_read_bps, latency_ns,"
                            " read_bps, write_bps, stream_parallelism, gather_parallelism, evidence"
                            " FROM tier WHERE testbed_id = ? ORDER BY number",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, d->replay.testbed_id);
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_tier_row t = {
            .number = nf_query_i64(q, 0),
            .name = text(d, q, 1),
            .provider = text(d, q, 2),
            .spec = text(d, q, 3),
            .target_latency_ns = nf_query_f64(q, 4),
            .target_read_bps = nf_query_f64(q, 5),
            .latency_ns = or_unknown(nf_query_f64(q, 6)),
            .read_bps = or_unknown(nf_query_f64(q, 7)),
            .write_bps = or_unknown(nf_query_f64(q, 8)),
            .stream_parallelism = or_unknown(nf_query_f64(q, 9)),
            .gather_parallelism = or_unknown(nf_query_f64(q, 10)),
            .evidence = word(nf_query_i64(q, 11)),
        };

        if (nf_array_push(&d->tiers, t)) {
            rc = -ENOMEM;
            break;
        }
    }
    nf_query_done(q);
    return rc;
}

/* Only an emulated tier counts what passes the filter: it is what is charged there. */
static bool any_injects(const struct nf_dataset *d)
{
    for (size_t i = 1; i < d->tiers.n; i++) {
        if (d->tiers.v[i].target_latency_ns > 0 || d->tiers.v[i].target_read_bps > 0)
            return true;
    }
    return false;
}

static int load_trials(struct nf_dataset *d, struct nf_study *s)
{
    bool charges = any_injects(d);
    struct nf_query *q;
    int rc = nf_study_query(
        s,
        "SELECT id, block, position, policy, policy_options, semantics, near_share, near_bytes, overlap, hog,"
        " parallelism_scale, status, message, warmup_steps, steps, wall_ns, policy_ns, move_ns, stolen_ns, late_ns,"
        " saturated, floored_share, assumed_k_share, moves, moved_bytes, evidence,"
        " (SELECT sum(read_bytes) FROM trial_tier WHERE trial_id = id AND tier_number > 0),"
        " (SELECT sum(write_bytes) FROM trial_tier WHERE trial_id = id AND tier_number > 0),"
        " (SELECT sum(charged_bytes) FROM trial_tier WHERE trial_id = id AND tier_number > 0),"
        " (SELECT peak_bytes FROM trial_tier WHERE trial_id = id AND tier_number = 0),"
        " (SELECT achieved_latency_ns FROM trial_tier WHERE trial_id = id AND tier_number = 1),"
        " (SELECT achieved_bps FROM trial_tier WHERE trial_id = id AND tier_number = 1),"
        " memory_ns, injected_ns, compute_ns, stall_ns, fault_ns, pages_by, repeated.both IS NOT NULL,"
        " (SELECT moved_in_bytes FROM trial_tier WHERE trial_id = id AND tier_number = 0), class_k_share,"
        " (SELECT nullif(counter_read_bytes, -1) FROM trial_tier WHERE trial_id = id AND tier_number = 0),"
        " (SELECT nullif(counter_write_bytes, -1) FROM trial_tier WHERE trial_id = id AND tier_number = 0),"
        " (SELECT sum(counter_read_bytes) FROM trial_tier WHERE trial_id = id AND tier_number > 0 HAVING min(counter_read_bytes) >= 0),"
        " (SELECT sum(counter_write_bytes) FROM trial_tier WHERE trial_id = id AND tier_number > 0 HAVING min(counter_write_bytes) >= 0),"
        " coalesce((SELECT group_concat(CASE tier_number WHEN 0 THEN 'near' WHEN 1 THEN 'far' ELSE 'tier ' || tier_number END || ': ' ||"
        "  uncounted, '; ') FROM trial_tier WHERE trial_id = id AND uncounted <> ''), '')"
        " FROM trial LEFT JOIN (SELECT t.policy AS p, t.policy_options AS po, t.near_share AS ns, t.overlap AS o, t.hog AS h, 1 AS both"
        "  FROM trial t JOIN replay r ON r.id = t.replay_id JOIN replay asked ON asked.id = ?1 AND asked.capture_id = r.capture_id AND"
        "  asked.testbed_id = r.testbed_id WHERE t.status = 'ok' AND t.background = '' AND t.cold = 0 AND t.variant IN ('', 'k/2', '2k')"
        "  AND t.parallelism_scale IN (0.5, 2) GROUP BY 1, 2, 3, 4, 5 HAVING count(DISTINCT t.parallelism_scale) = 2) repeated"
        "  ON p = policy AND po = policy_options AND ns = near_share AND o = overlap AND h = hog"
        " WHERE replay_id = ?1 AND background = '' AND variant = '' AND cold = 0 ORDER BY block, position, id",
        &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, d->replay.id);
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_trial_row t = {
            .id = nf_query_i64(q, 0),
            .block = nf_query_i64(q, 1),
            .position = nf_query_i64(q, 2),
            .policy = text(d, q, 3),
            .options = text(d, q, 4),
            .semantics = text(d, q, 5),
            .pages_by = text(d, q, 37),
            .near_share = nf_query_f64(q, 6),
            .near_bytes = nf_query_f64(q, 7),
            .overlap = word(nf_query_i64(q, 8)),
            .hog = nf_query_i64(q, 9) != 0,
            .parallelism_scale = nf_query_f64(q, 10),
            .status = text(d, q, 11),
            .message = text(d, q, 12),
            .warmup_steps = nf_query_i64(q, 13),
            .steps = nf_query_i64(q, 14),
            .wall_ns = nf_query_f64(q, 15),
            .policy_ns = nf_query_f64(q, 16),
            .move_ns = nf_query_f64(q, 17),
            .stolen_ns = nf_query_f64(q, 18),
            .late_ns = nf_query_f64(q, 19),
            .saturated = nf_query_i64(q, 20) != 0,
            .floored_share = nf_query_f64(q, 21),
            .assumed_k_share = nf_query_f64(q, 22),
            .class_k_share = nf_query_f64(q, 40),
            .moves = nf_query_i64(q, 23),
            .moved_bytes = nf_query_f64(q, 24),
            .evidence = word(nf_query_i64(q, 25)),
            .far_read_bytes = nf_query_f64_known(q, 26),
            .far_write_bytes = nf_query_f64_known(q, 27),
            .far_charged_bytes = charges ? nf_query_f64_known(q, 28) : NAN,
            .near_peak_bytes = nf_query_f64_known(q, 29),
            .far_latency_ns = or_unknown(nf_query_f64(q, 30)),
            .far_bps = or_unknown(nf_query_f64(q, 31)),
            .memory_ns = nf_query_f64(q, 32) < 0 ? NAN : nf_query_f64(q, 32),
            .injected_ns = nf_query_f64(q, 33) < 0 ? NAN : nf_query_f64(q, 33),
            .compute_ns = nf_query_f64(q, 34) < 0 ? NAN : nf_query_f64(q, 34),
            .stall_ns = nf_query_f64(q, 35) < 0 ? NAN : nf_query_f64(q, 35),
            .fault_ns = nf_query_f64(q, 36) < 0 ? NAN : nf_query_f64(q, 36),
            .fetched_bytes = nf_query_f64_known(q, 39),
            .near_counter_read_bytes = nf_query_f64_known(q, 41),
            .near_counter_write_bytes = nf_query_f64_known(q, 42),
            .far_counter_read_bytes = nf_query_f64_known(q, 43),
            .far_counter_write_bytes = nf_query_f64_known(q, 44),
            .uncounted = text(d, q, 45),
            .k_repeated = nf_query_i64(q, 38) != 0,
        };

        if (strcmp(t.status, "ok") != 0)
            t.left_out = *t.message ? t.message : "no reason given";
        else if (t.evidence == NF_EVIDENCE_EMULATED_MACHINE)
            t.left_out = "an emulated machine is functional only: barred from curves";
        else if (t.steps <= 0 || t.wall_ns <= 0)
            t.left_out = "no measured step";
        else if (t.overlap >= NF_OVERLAP_COUNT)
            t.left_out = "unknown overlap mode";
        else if (!(t.near_share >= 0 && t.near_share <= 1))
            t.left_out = "near share outside 0 % to 100 %";
        if (nf_array_push(&d->trials, t)) {
            rc = -ENOMEM;
            break;
        }
    }
    nf_query_done(q);
    return rc;
}

static int load_live_runs(struct nf_dataset *d, struct nf_study *s)
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT l.id, l.invocation_id, l.repetition, l.kind, l.exit_status, l.steps, l.step_ns, l.evidence, l.binding,"
                            " l.policy, l.near_share, l.policy_options, i.machine_id FROM live_run l LEFT JOIN invocation i ON"
                            " i.id = l.invocation_id WHERE l.capture_id = ? ORDER BY l.id",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, d->capture.id);
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_live_row l = {
            .id = nf_query_i64(q, 0),
            .invocation_id = nf_query_i64(q, 1),
            .repetition = nf_query_i64(q, 2),
            .kind = text(d, q, 3),
            .exit_status = nf_query_i64(q, 4),
            .steps = nf_query_i64(q, 5),
            .step_ns = or_unknown(json_median(nf_query_text(q, 6))),
            .evidence = word(nf_query_i64(q, 7)),
            .binding = text(d, q, 8),
            .policy = text(d, q, 9),
            .near_share = nf_query_f64(q, 10),
            .options = text(d, q, 11),
            .machine_id = nf_query_i64(q, 12),
        };

        if (nf_array_push(&d->live_runs, l)) {
            rc = -ENOMEM;
            break;
        }
    }
    nf_query_done(q);
    return rc;
}

static int load_bounds(struct nf_dataset *d, struct nf_study *s)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "SELECT near_share, lp_bytes FROM far_bound WHERE replay_id = ? AND lp_bytes IS NOT NULL ORDER BY near_share", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, d->replay.id);
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_far_bound_row b = {.near_share = nf_query_f64(q, 0), .lp_bytes = nf_query_f64(q, 1)};

        if (nf_array_push(&d->bounds, b)) {
            rc = -ENOMEM;
            break;
        }
    }
    nf_query_done(q);
    return rc;
}

static int load_provenance(struct nf_dataset *d, struct nf_study *s)
{
    struct nf_query *q;
    int rc = nf_study_query(
        s,
        "SELECT i.id, i.machine_id, i.started_utc, i.tool_version, i.command, i.status, i.message, p.purpose"
        " FROM invocation i JOIN (SELECT ?1 AS id, 'capture' AS purpose UNION SELECT ?2, 'testbed'"
        " UNION SELECT ?3, 'replay' UNION SELECT DISTINCT invocation_id, 'live run' FROM live_run"
        " WHERE capture_id = ?4 UNION SELECT DISTINCT invocation_id, 'replay captured again' FROM recapture"
        " WHERE capture_id = ?4) p ON p.id = i.id ORDER BY i.id, p.purpose",
        &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, d->capture.invocation_id);
    nf_query_bind_i64(q, 2, d->replay.testbed_invocation_id);
    nf_query_bind_i64(q, 3, d->replay.invocation_id);
    nf_query_bind_i64(q, 4, d->capture.id);
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_invocation_row i = {
            .id = nf_query_i64(q, 0),
            .machine_id = nf_query_i64(q, 1),
            .started_utc = text(d, q, 2),
            .tool_version = text(d, q, 3),
            .command = text(d, q, 4),
            .status = text(d, q, 5),
            .message = text(d, q, 6),
            .purpose = text(d, q, 7),
        };

        if (nf_array_push(&d->invocations, i)) {
            rc = -ENOMEM;
            break;
        }
    }
    nf_query_done(q);
    if (rc)
        return rc;
    rc = nf_study_query(s,
                        "SELECT id, host, cpu, kernel, hypervisor, facts, cpus, nodes, memory_bytes, llc_reported_bytes"
                        " FROM machine ORDER BY id",
                        &q);
    if (rc)
        return rc;
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_machine_row m = {
            .id = nf_query_i64(q, 0),
            .host = text(d, q, 1),
            .cpu = text(d, q, 2),
            .kernel = text(d, q, 3),
            .hypervisor = text(d, q, 4),
            .facts = text(d, q, 5),
            .cpus = nf_query_i64(q, 6),
            .nodes = nf_query_i64(q, 7),
            .memory_bytes = or_unknown(nf_query_f64(q, 8)),
            .llc_reported_bytes = or_unknown(nf_query_f64(q, 9)),
        };
        bool wanted = m.id == d->replay.testbed_machine_id;

        for (size_t i = 0; i < d->invocations.n; i++)
            wanted = wanted || d->invocations.v[i].machine_id == m.id;
        if (wanted && nf_array_push(&d->machines, m)) {
            rc = -ENOMEM;
            break;
        }
    }
    nf_query_done(q);
    return rc;
}

int nf_dataset_init(struct nf_dataset *d, struct nf_study *study, int64_t replay, int64_t capture)
{
    static int (*const loads[])(struct nf_dataset *, struct nf_study *) = {
        load_capture, load_passes, load_sources, load_tiers, load_trials, load_live_runs, load_bounds, load_provenance};
    const char *slash = strrchr(nf_study_path(study), '/');
    int rc;

    *d = (struct nf_dataset){.study = slash ? slash + 1 : nf_study_path(study)};
    rc = find_replay(d, study, replay, capture);
    for (size_t i = 0; i < sizeof loads / sizeof *loads && !rc; i++)
        rc = loads[i](d, study);
    if (!rc && d->failed)
        rc = -ENOMEM;
    return rc == -ENOMEM ? nf_fail(rc, "out of memory reading %s", d->study) : rc;
}

void nf_dataset_deinit(struct nf_dataset *d)
{
    for (size_t i = 0; i < d->texts.n; i++)
        free(d->texts.v[i]);
    nf_array_free(&d->texts);
    nf_array_free(&d->machines);
    nf_array_free(&d->invocations);
    nf_array_free(&d->passes);
    nf_sources_deinit(&d->sources);
    nf_array_free(&d->tiers);
    nf_array_free(&d->trials);
    nf_array_free(&d->live_runs);
    nf_array_free(&d->bounds);
    *d = (struct nf_dataset){0};
}
