#include "analyze/trial-record.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analyze/curve.h"
#include "analyze/prediction.h"
#include "analyze/print.h"
#include "analyze/sensitivity.h"
#include "core/base/array.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/words.h"

#define COLUMNS(c) c, sizeof c / sizeof *c

const char *const nf_record_files[NF_RECORD_TABLES] = {"trials-ran.csv", "counters.csv", "disturbed.csv", "contention.csv", "cold.csv", "stale.csv",
                                                       "sensitivity.csv", "prediction.csv", "live.csv"};

static const struct nf_column ran_columns[] = {
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"start", "start", NF_COLUMN_TEXT},
    {"trials", "trials", NF_COLUMN_INTEGER},
    {"threads", "threads", NF_COLUMN_INTEGER},
    {"cpus", "CPUs", NF_COLUMN_TEXT},
    {"proofs", "fewest proofs", NF_COLUMN_INTEGER},
    {"deadlines", "deadlines", NF_COLUMN_INTEGER},
    {"late_p50_ns", "late, p50", NF_COLUMN_NS},
    {"late_p99_ns", "late, p99", NF_COLUMN_NS},
    {"late_max_ns", "late, most", NF_COLUMN_NS},
    {"saturated", "saturated", NF_COLUMN_INTEGER},
    {"disturbed", "disturbed", NF_COLUMN_INTEGER},
    {"forgiven_ns", "forgiven", NF_COLUMN_NS},
    {"wait_ns", "stood still for moves", NF_COLUMN_NS},
    {"movers_own_cpu", "mover on its own CPU", NF_COLUMN_INTEGER},
    {"movers_shared_cpu", "on a replay core", NF_COLUMN_INTEGER},
    {"preempted_share", "preempted", NF_COLUMN_SHARE},
    {"steal_ns", "taken by the host", NF_COLUMN_NS},
};
static const struct nf_column counted_columns[] = {
    {"tier", "tier", NF_COLUMN_TEXT},
    {"trials", "trials", NF_COLUMN_INTEGER},
    {"read_bytes", "read, moves too", NF_COLUMN_BYTES},
    {"counter_read_bytes", "counted", NF_COLUMN_BYTES},
    {"write_bytes", "written, moves too", NF_COLUMN_BYTES},
    {"counter_write_bytes", "counted", NF_COLUMN_BYTES},
    {"uncounted", "why not counted", NF_COLUMN_TEXT},
};
static const struct nf_column marked_columns[] = {
    {"trial", "trial", NF_COLUMN_INTEGER}, {"block", "block", NF_COLUMN_INTEGER}, {"policy", "policy", NF_COLUMN_TEXT},
    {"near_share", "near", NF_COLUMN_SHARE}, {"overlap", "mode", NF_COLUMN_TEXT}, {"status", "status", NF_COLUMN_TEXT},
    {"what", "what came between", NF_COLUMN_TEXT},
};
static const struct nf_column contention_columns[] = {
    {"background", "contention", NF_COLUMN_TEXT},
    {"reached_bytes_per_s", "reached/s", NF_COLUMN_BYTES},
    {"policy", "policy", NF_COLUMN_TEXT},
    {"near_share", "near", NF_COLUMN_SHARE},
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"slowdown", "step under it / without", NF_COLUMN_REAL},
    {"low", "low", NF_COLUMN_REAL},
    {"high", "high", NF_COLUMN_REAL},
    {"pairs", "pairs", NF_COLUMN_INTEGER},
};
static const struct nf_column cold_columns[] = {
    {"policy", "policy", NF_COLUMN_TEXT},
    {"near_share", "near", NF_COLUMN_SHARE},
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"slowdown", "cold step / steady step", NF_COLUMN_REAL},
    {"low", "low", NF_COLUMN_REAL},
    {"high", "high", NF_COLUMN_REAL},
    {"pairs", "pairs", NF_COLUMN_INTEGER},
};
static const struct nf_column stale_columns[] = {
    {"profile_from", "profile of", NF_COLUMN_TEXT},
    {"matched_share", "bytes found there", NF_COLUMN_SHARE},
    {"policy", "policy", NF_COLUMN_TEXT},
    {"near_share", "near", NF_COLUMN_SHARE},
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"slowdown", "step on that plan / on its own", NF_COLUMN_REAL},
    {"low", "low", NF_COLUMN_REAL},
    {"high", "high", NF_COLUMN_REAL},
    {"pairs", "pairs", NF_COLUMN_INTEGER},
};

typedef NF_ARRAY(double) numbers;

/* Text from a study may hold anything. */
static void text_cell(struct nf_table *t, const char *text)
{
    struct nf_buf b = {0};

    nf_print_clean(&b, text);
    nf_table_text(t, b.data ? b.data : "");
    nf_buf_deinit(&b);
}

static void real_cell(struct nf_table *t, double v)
{
    if (isnan(v))
        nf_table_unknown(t);
    else
        nf_table_number(t, v);
}

/* --- how they ran --- */

static int fill_ran(struct nf_table *t, struct nf_study *s, int64_t replay)
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT overlap, count(*), max(threads), group_concat(DISTINCT cpus), min(proofs), "
                            "sum(deadlines), max(late_p50_ns), max(late_p99_ns), max(late_max_ns), sum(saturated), "
                            "sum(interference != ''), sum(forgiven_ns), sum(wait_ns), sum(helper_cpu >= 0 AND NOT helper_shares), "
                            "sum(helper_shares), cold, sum(stolen_ns) * 1.0 / sum(wall_ns * max(threads, 1)), "
                            "CASE WHEN min(steal_ns) >= 0 THEN sum(steal_ns) END FROM trial WHERE replay_id = ?1 GROUP BY overlap, cold ORDER BY overlap, cold",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    while ((rc = nf_query_step(q)) == 1) {
        nf_table_text(t, nf_overlap_name((unsigned)nf_query_i64(q, 0)));
        nf_table_text(t, nf_query_i64(q, 15) ? "cold" : "warm");
        for (int i = 1; i < 15; i++) {
            if (i == 3)
                text_cell(t, nf_query_text(q, i));
            else if (i >= 6 && i <= 8 && !nf_query_i64(q, 5))
                nf_table_unknown(t); /* no deadlines, no lateness */
            else
                nf_table_integer(t, nf_query_i64(q, i));
        }
        for (int i = 16; i < 18; i++)
            real_cell(t, nf_query_f64_known(q, i));
    }
    nf_query_done(q);
    return rc;
}

static void bytes_cell(struct nf_table *t, int64_t bytes)
{
    if (bytes < 0)
        nf_table_unknown(t);
    else
        nf_table_integer(t, bytes);
}

/* Those that were counted, and those that were not for one reason, apart: sums over their trials. */
static int fill_counted(struct nf_table *t, struct nf_study *s, int64_t replay)
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT (SELECT name FROM tier WHERE testbed_id = r.testbed_id AND number = x.tier_number), count(*), "
                            "sum(x.read_bytes + x.moved_out_bytes), sum(x.counter_read_bytes), sum(x.write_bytes + x.moved_in_bytes), "
                            "sum(x.counter_write_bytes), " NF_RECORD_UNCOUNTED " AS why FROM trial_tier x JOIN trial t ON t.id = x.trial_id JOIN replay r ON r.id = "
                            "t.replay_id WHERE r.id = ?1 GROUP BY x.tier_number, why, x.counter_read_bytes < 0, x.counter_write_bytes < 0 "
                            "ORDER BY x.tier_number, why",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    while ((rc = nf_query_step(q)) == 1) {
        text_cell(t, nf_query_text(q, 0));
        nf_table_integer(t, nf_query_i64(q, 1));
        for (int i = 2; i < 6; i++)
            bytes_cell(t, nf_query_i64(q, i));
        text_cell(t, nf_query_text(q, 6));
    }
    nf_query_done(q);
    return rc;
}

static int fill_marked(struct nf_table *t, struct nf_study *s, int64_t replay)
{
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT id, block, policy, near_share, overlap, status, CASE WHEN interference = '' THEN message "
                            "WHEN status = 'ok' OR message = '' THEN interference ELSE message || '; ' || interference END FROM "
                            "trial WHERE replay_id = ?1 AND (status != 'ok' OR interference != '') ORDER BY id",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    while ((rc = nf_query_step(q)) == 1) {
        nf_table_integer(t, nf_query_i64(q, 0));
        nf_table_integer(t, nf_query_i64(q, 1));
        text_cell(t, nf_query_text(q, 2));
        nf_table_number(t, nf_query_f64(q, 3));
        nf_table_text(t, nf_overlap_name((unsigned)nf_query_i64(q, 4)));
        text_cell(t, nf_query_text(q, 5));
        text_cell(t, nf_query_text(q, 6));
    }
    nf_query_done(q);
    return rc;
}

/* --- contention --- */

/* One group of pairs: what they have in common, and their ratios. */
struct group {
    char background[96], policy[96];
    double near_share, bps;
    int64_t overlap;
    numbers ratios;
};

static int end_group(struct nf_table *t, struct group *g)
{
    struct nf_estimate e;
    int rc = g->ratios.n ? nf_estimate(g->ratios.v, g->ratios.n, 1, &e) : 0;

    if (g->ratios.n && !rc) {
        if (*g->background) {
            text_cell(t, g->background);
            nf_table_number(t, g->bps);
        }
        text_cell(t, g->policy);
        nf_table_number(t, g->near_share);
        nf_table_text(t, nf_overlap_name((unsigned)g->overlap));
        nf_table_number(t, e.median);
        nf_table_number(t, e.low);
        nf_table_number(t, e.high);
        nf_table_integer(t, (int64_t)e.n);
    }
    g->ratios.n = 0;
    return rc;
}

/* Rows of the query: contention or nothing, policy, near share, overlap, ratio, what the contention reached. */
static int fill_pairs(struct nf_table *t, struct nf_study *s, int64_t replay, const char *sql)
{
    struct group g = {0};
    struct nf_query *q;
    int rc = nf_study_query(s, sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    while ((rc = nf_query_step(q)) == 1) {
        if (strcmp(g.background, nf_query_text(q, 0)) || strcmp(g.policy, nf_query_text(q, 1)) ||
            g.near_share != nf_query_f64(q, 2) || g.overlap != nf_query_i64(q, 3)) {
            rc = end_group(t, &g);
            if (rc)
                break;
            snprintf(g.background, sizeof g.background, "%s", nf_query_text(q, 0));
            snprintf(g.policy, sizeof g.policy, "%s", nf_query_text(q, 1));
            g.near_share = nf_query_f64(q, 2);
            g.overlap = nf_query_i64(q, 3);
        }
        g.bps = nf_query_f64(q, 5);
        if (nf_array_push(&g.ratios, nf_query_f64(q, 4))) {
            rc = nf_fail(-ENOMEM, "out of memory for pairs of trials");
            break;
        }
    }
    nf_query_done(q);
    if (!rc)
        rc = end_group(t, &g);
    nf_array_free(&g.ratios);
    return rc;
}

static int fill_contention(struct nf_table *t, struct nf_study *s, int64_t replay)
{
    return fill_pairs(t, s, replay,
                      "SELECT c.background, c.policy || CASE c.policy_options WHEN '' THEN '' ELSE ' (' || "
                      "c.policy_options || ')' END AS p, c.near_share, c.overlap, c.wall_ns * 1.0 / c.steps / (a.wall_ns * "
                      "1.0 / a.steps), c.background_bps FROM trial c JOIN trial a ON a.replay_id = c.replay_id AND a.block = "
                      "c.block AND a.policy = c.policy AND a.policy_options = c.policy_options AND a.near_share = "
                      "c.near_share AND a.overlap = c.overlap AND a.variant = c.variant AND a.cold = c.cold AND a.hog = 0 AND "
                      "a.background = '' WHERE c.replay_id = ?1 AND c.background != '' AND c.status != 'failed' AND a.status "
                      "!= 'failed' AND a.steps > 0 AND c.steps > 0 AND a.wall_ns > 0 ORDER BY 1, p, 3, 4");
}

static int fill_cold(struct nf_table *t, struct nf_study *s, int64_t replay)
{
    return fill_pairs(t, s, replay,
                      "SELECT '', c.policy || CASE c.policy_options WHEN '' THEN '' ELSE ' (' || c.policy_options || ')' END AS p, "
                      "c.near_share, c.overlap, c.wall_ns * 1.0 / c.steps / (a.wall_ns * 1.0 / a.steps), 0 FROM trial c JOIN trial a "
                      "ON a.replay_id = c.replay_id AND a.block = c.block AND a.policy = c.policy AND a.policy_options = "
                      "c.policy_options AND a.near_share = c.near_share AND a.overlap = c.overlap AND a.variant = c.variant AND "
                      "a.cold = 0 AND a.hog = 0 AND a.background = '' WHERE c.replay_id = ?1 AND c.cold AND c.background = '' AND "
                      "c.status != 'failed' AND a.status != 'failed' AND a.steps > 0 AND c.steps > 0 AND a.wall_ns > 0 ORDER BY p, "
                      "3, 4");
}

static int fill_stale(struct nf_table *t, struct nf_study *s, int64_t replay)
{
    return fill_pairs(t, s, replay,
                      "SELECT c.profile_from, c.policy || CASE c.policy_options WHEN '' THEN '' ELSE ' (' || c.policy_options || ')' "
                      "END AS p, c.near_share, c.overlap, c.wall_ns * 1.0 / c.steps / (a.wall_ns * 1.0 / a.steps), c.profile_matched "
                      "FROM trial c JOIN trial a ON a.replay_id = c.replay_id AND a.block = c.block AND a.policy = c.policy AND "
                      "a.policy_options = c.policy_options AND a.near_share = c.near_share AND a.overlap = c.overlap AND a.variant = '' "
                      "AND a.cold = 0 AND a.hog = 0 AND a.background = '' WHERE c.replay_id = ?1 AND c.variant = 'stale-profile' AND "
                      "c.status != 'failed' AND a.status != 'failed' AND a.steps > 0 AND c.steps > 0 AND a.wall_ns > 0 ORDER BY 1, "
                      "p, 3, 4");
}

/* --- all --- */

static int load_rule(struct nf_trial_record *r, struct nf_study *s, int64_t replay)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "SELECT resumed, until_width FROM replay WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    rc = nf_query_step(q);
    if (rc == 1) {
        r->resumed = nf_query_i64(q, 0);
        r->until_width = nf_query_f64(q, 1);
    }
    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

int nf_trial_record_init(struct nf_trial_record *r, struct nf_study *study, const struct nf_dataset *d)
{
    int64_t replay = d->replay.id;
    int rc;

    *r = (struct nf_trial_record){0};
    r->tables[NF_RECORD_RAN] = nf_table_new(COLUMNS(ran_columns));
    r->tables[NF_RECORD_COUNTED] = nf_table_new(COLUMNS(counted_columns));
    r->tables[NF_RECORD_MARKED] = nf_table_new(COLUMNS(marked_columns));
    r->tables[NF_RECORD_CONTENTION] = nf_table_new(COLUMNS(contention_columns));
    r->tables[NF_RECORD_COLD] = nf_table_new(COLUMNS(cold_columns));
    r->tables[NF_RECORD_STALE] = nf_table_new(COLUMNS(stale_columns));
    r->tables[NF_RECORD_LIVE] = nf_table_new(COLUMNS(nf_live_columns));
    for (int i = 0; i < NF_RECORD_TABLES; i++) {
        if (!r->tables[i] && i != NF_RECORD_SENSITIVITY && i != NF_RECORD_PREDICTED)
            return nf_fail(-ENOMEM, "out of memory for the record of trials");
    }
    rc = load_rule(r, study, replay);
    if (!rc)
        rc = fill_ran(r->tables[NF_RECORD_RAN], study, replay);
    if (!rc)
        rc = fill_counted(r->tables[NF_RECORD_COUNTED], study, replay);
    if (!rc)
        rc = fill_marked(r->tables[NF_RECORD_MARKED], study, replay);
    if (!rc)
        rc = fill_contention(r->tables[NF_RECORD_CONTENTION], study, replay);
    if (!rc)
        rc = fill_cold(r->tables[NF_RECORD_COLD], study, replay);
    if (!rc)
        rc = fill_stale(r->tables[NF_RECORD_STALE], study, replay);
    if (!rc)
        rc = nf_sensitivity(study, replay, &r->tables[NF_RECORD_SENSITIVITY]);
    if (!rc)
        rc = nf_prediction(study, replay, &r->tables[NF_RECORD_PREDICTED]);
    if (!rc)
        rc = nf_live_comparisons_init(&r->live, study, d);
    if (!rc)
        nf_live_comparisons_table(&r->live, r->tables[NF_RECORD_LIVE]);
    for (int i = 0; i < NF_RECORD_TABLES && !rc; i++) {
        if (!nf_table_rows(r->tables[i]))
            r->tables[i] = nf_table_free(r->tables[i]);
    }
    return rc;
}

void nf_trial_record_deinit(struct nf_trial_record *r)
{
    for (int i = 0; i < NF_RECORD_TABLES; i++)
        r->tables[i] = nf_table_free(r->tables[i]);
    nf_live_comparisons_deinit(&r->live);
}
