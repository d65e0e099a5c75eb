#include "analyze/sensitivity.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analyze/curve.h"
#include "analyze/print.h"
#include "core/base/array.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/words.h"

static const struct nf_column columns[] = {
    {"factor", "factor", NF_COLUMN_TEXT},
    {"policy", "policy", NF_COLUMN_TEXT},
    {"near_share", "near", NF_COLUMN_SHARE},
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"step", "step with it / without", NF_COLUMN_REAL},
    {"step_low", "low", NF_COLUMN_REAL},
    {"step_high", "high", NF_COLUMN_REAL},
    {"slowdown", "slowdown", NF_COLUMN_REAL},
    {"slowdown_with", "with it", NF_COLUMN_REAL},
    {"change", "with it / without", NF_COLUMN_REAL},
    {"change_low", "low", NF_COLUMN_REAL},
    {"change_high", "high", NF_COLUMN_REAL},
    {"pairs", "pairs", NF_COLUMN_INTEGER},
    {"assumed_k_share", "bytes under assumed k", NF_COLUMN_SHARE},
    {"evidence", "evidence", NF_COLUMN_TEXT},
};

typedef NF_ARRAY(double) numbers;

/* Trials of one factor, policy, share and mode. */
struct group {
    char factor[32], policy[96];
    double near_share, assumed;
    int64_t overlap, evidence;
    numbers steps, without, with, changes;
};

/* The median with its interval; NAN where there is nothing. */
static int estimate(const numbers *n, struct nf_estimate *e)
{
    *e = (struct nf_estimate){.median = NAN, .low = NAN, .high = NAN};
    return n->n ? nf_estimate(n->v, n->n, 1, e) : 0;
}

static int end_group(struct nf_table *t, struct group *g)
{
    struct nf_estimate steps, without, with, changes;
    int rc = estimate(&g->steps, &steps);

    if (!rc)
        rc = estimate(&g->without, &without);
    if (!rc)
        rc = estimate(&g->with, &with);
    if (!rc)
        rc = estimate(&g->changes, &changes);
    if (!rc && steps.n) {
        nf_table_text(t, g->factor);
        nf_table_text(t, g->policy);
        nf_table_number(t, g->near_share);
        nf_table_text(t, nf_overlap_name((unsigned)g->overlap));
        nf_table_number(t, steps.median);
        nf_table_number(t, steps.low);
        nf_table_number(t, steps.high);
        nf_table_number(t, without.median);
        nf_table_number(t, with.median);
        nf_table_number(t, changes.median);
        nf_table_number(t, changes.low);
        nf_table_number(t, changes.high);
        nf_table_integer(t, (int64_t)steps.n);
        nf_table_number(t, g->assumed);
        nf_table_text(t, nf_evidence_name((unsigned)g->evidence));
    }
    g->steps.n = g->without.n = g->with.n = g->changes.n = 0;
    return rc;
}

/* Text of a study may hold anything. */
static void clean(char *out, size_t size, const char *text)
{
    struct nf_buf b = {0};

    nf_print_clean(&b, text);
    snprintf(out, size, "%s", b.data ? b.data : "");
    nf_buf_deinit(&b);
}

static int add(struct group *g, struct nf_query *q)
{
    double plain = nf_query_f64(q, 4), varied = nf_query_f64(q, 5), near = nf_query_f64(q, 6), near_varied = nf_query_f64(q, 7);
    int rc = nf_array_push(&g->steps, varied / plain);

    if (!rc && near > 0 && near_varied > 0) {
        rc = nf_array_push(&g->without, plain / near);
        if (!rc)
            rc = nf_array_push(&g->with, varied / near_varied);
        if (!rc)
            rc = nf_array_push(&g->changes, varied / near_varied / (plain / near));
    }
    if (nf_query_f64(q, 8) > g->assumed)
        g->assumed = nf_query_f64(q, 8);
    return rc ? nf_fail(-ENOMEM, "out of memory for pairs of trials") : 0;
}

static bool same(const struct group *g, const char *factor, const char *policy, const struct nf_query *q)
{
    return !strcmp(g->factor, factor) && !strcmp(g->policy, policy) && g->near_share == nf_query_f64(q, 2) &&
           g->overlap == nf_query_i64(q, 3);
}

int nf_sensitivity(struct nf_study *s, int64_t replay, struct nf_table **out)
{
    struct group g = {0};
    struct nf_query *q;
    int rc;

    *out = nf_table_new(columns, sizeof columns / sizeof *columns);
    if (!*out)
        return nf_fail(-ENOMEM, "out of memory for the sensitivity");
    rc = nf_study_query(s,
                        "WITH good AS (SELECT *, wall_ns * 1.0 / steps AS step FROM trial WHERE replay_id = ?1 AND status = 'ok' AND "
                        "steps > 0 AND wall_ns > 0 AND hog = 0 AND background = '' AND cold = 0), "
                        "near AS (SELECT block, overlap, variant, step FROM good WHERE policy = 'all-near') "
                        "SELECT v.variant, v.policy || CASE v.policy_options WHEN '' THEN '' ELSE ' (' || v.policy_options || ')' END AS p, "
                        "v.near_share, v.overlap, a.step, v.step, coalesce(n.step, 0), coalesce(m.step, 0), v.assumed_k_share, v.evidence "
                        "FROM good v JOIN good a ON a.variant = '' AND a.block = v.block AND a.policy = v.policy AND a.policy_options = "
                        "v.policy_options AND a.near_share = v.near_share AND a.overlap = v.overlap "
                        "LEFT JOIN near n ON n.block = v.block AND n.overlap = v.overlap AND n.variant = '' "
                        "LEFT JOIN near m ON m.block = v.block AND m.overlap = v.overlap AND m.variant = v.variant "
                        "WHERE v.variant != '' ORDER BY CASE v.variant WHEN 'k/2' THEN 0 WHEN '2k' THEN 1 WHEN 'unfiltered' THEN 2 ELSE 3 "
                        "END, v.variant, p, 3, 4, v.block", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    while (!rc && (rc = nf_query_step(q)) == 1) {
        char factor[sizeof g.factor], policy[sizeof g.policy];

        clean(factor, sizeof factor, nf_query_text(q, 0));
        clean(policy, sizeof policy, nf_query_text(q, 1));
        rc = 0;
        if (!same(&g, factor, policy, q)) {
            rc = end_group(*out, &g);
            snprintf(g.factor, sizeof g.factor, "%s", factor);
            snprintf(g.policy, sizeof g.policy, "%s", policy);
            g.near_share = nf_query_f64(q, 2);
            g.overlap = nf_query_i64(q, 3);
            g.evidence = nf_query_i64(q, 9);
            g.assumed = 0;
        }
        if (!rc)
            rc = add(&g, q);
    }
    nf_query_done(q);
    if (!rc)
        rc = end_group(*out, &g);
    nf_array_free(&g.steps);
    nf_array_free(&g.without);
    nf_array_free(&g.with);
    nf_array_free(&g.changes);
    return rc;
}
