#include "analyze/prediction.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "analyze/curve.h"
#include "analyze/print.h"
#include "core/base/array.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/words.h"

static const struct nf_column columns[] = {
    {"policy", "policy", NF_COLUMN_TEXT},
    {"near_share", "near", NF_COLUMN_SHARE},
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"predicted_ns", "step, modelled", NF_COLUMN_NS},
    {"exposed_ns", "of it moves", NF_COLUMN_NS},
    {"replayed_ns", "step, replayed", NF_COLUMN_NS},
    {"ratio", "modelled / replayed", NF_COLUMN_REAL},
    {"ratio_low", "low", NF_COLUMN_REAL},
    {"ratio_high", "high", NF_COLUMN_REAL},
    {"trials", "trials", NF_COLUMN_INTEGER},
    {"far_bytes", "far, past the LLC", NF_COLUMN_BYTES},
    {"fetched_bytes", "fetched", NF_COLUMN_BYTES},
    {"bound_bytes", "least of both (LP)", NF_COLUMN_BYTES},
    {"over_bound", "over it", NF_COLUMN_REAL},
    {"evidence", "evidence", NF_COLUMN_TEXT},
    {"why", "why not", NF_COLUMN_TEXT},
};

/* Of one prediction: what stands in its rows of the query, whose last columns are a trial each. */
struct group {
    int64_t number, overlap;
    struct nf_buf policy, why;
    double near_share, predicted, exposed, far, fetched, bound;
    NF_ARRAY(double) steps;
};

static void begin(struct group *g, int64_t number, const struct nf_query *q)
{
    g->number = number;
    g->policy.n = g->why.n = 0;
    nf_print_clean(&g->policy, nf_query_text(q, 1));
    g->near_share = nf_query_f64(q, 2);
    g->predicted = nf_query_f64_known(q, 3);
    g->exposed = nf_query_f64_known(q, 4);
    g->far = nf_query_f64_known(q, 5);
    g->fetched = nf_query_f64_known(q, 6);
    nf_print_clean(&g->why, nf_query_text(q, 7));
    g->bound = nf_query_f64_known(q, 8);
    g->overlap = nf_query_i64(q, 9);
    g->steps.n = 0;
}

static int end(struct nf_table *t, const struct group *g)
{
    struct nf_estimate e = {.median = NAN, .low = NAN, .high = NAN};
    int rc = g->number && g->steps.n ? nf_estimate(g->steps.v, g->steps.n, 1, &e) : 0;

    if (!g->number || rc)
        return rc;
    nf_table_text(t, g->policy.data ? g->policy.data : "");
    nf_table_number(t, g->near_share);
    nf_table_text(t, nf_overlap_name((unsigned)g->overlap));
    nf_table_number(t, g->predicted);
    nf_table_number(t, g->exposed);
    nf_table_number(t, e.median);
    nf_table_number(t, g->predicted / e.median);
    nf_table_number(t, g->predicted / e.high);
    nf_table_number(t, g->predicted / e.low);
    nf_table_integer(t, (int64_t)g->steps.n);
    nf_table_number(t, g->far);
    nf_table_number(t, g->fetched);
    nf_table_number(t, g->bound);
    nf_table_number(t, g->bound > 0 ? (g->far + g->fetched) / g->bound : NAN);
    nf_table_text(t, nf_evidence_name(NF_EVIDENCE_MODELLED));
    nf_table_text(t, g->why.n ? g->why.data : "");
    return 0;
}

int nf_prediction(struct nf_study *s, int64_t replay, struct nf_table **out)
{
    struct group g = {0};
    struct nf_query *q;
    int rc;

    *out = nf_table_new(columns, sizeof columns / sizeof *columns);
    if (!*out)
        return nf_fail(-ENOMEM, "out of memory for the predictions");
    rc = nf_study_query(
        s,
        "WITH good AS (SELECT *, wall_ns * 1.0 / steps AS step FROM trial WHERE replay_id = ?1 AND status = 'ok' AND steps > 0 AND "
        "wall_ns > 0 AND hog = 0 AND background = '' AND cold = 0 AND variant = '' AND evidence != ?4), "
        "mode AS (SELECT CASE WHEN EXISTS (SELECT 1 FROM good WHERE overlap = ?2) THEN ?2 ELSE ?3 END AS overlap), "
        "p AS (SELECT *, row_number() OVER (ORDER BY policy, policy_options, near_share) AS number FROM prediction WHERE replay_id = ?1) "
        "SELECT p.number, p.policy || CASE p.policy_options WHEN '' THEN '' ELSE ' (' || p.policy_options || ')' END, p.near_share, p.step_ns, "
        "p.exposed_ns, p.far_bytes, p.fetched_bytes, p.why, b.lp_bytes, mode.overlap, good.step FROM p CROSS JOIN mode "
        "LEFT JOIN far_bound b ON b.replay_id = p.replay_id AND b.near_share = p.near_share "
        "LEFT JOIN good ON good.policy = p.policy AND good.policy_options = p.policy_options AND good.near_share = p.near_share AND "
        "good.overlap = mode.overlap ORDER BY p.number, good.block", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    nf_query_bind_i64(q, 2, NF_OVERLAP_FULL);
    nf_query_bind_i64(q, 3, NF_OVERLAP_ASAP);
    nf_query_bind_i64(q, 4, NF_EVIDENCE_EMULATED_MACHINE);
    while (!rc && (rc = nf_query_step(q)) == 1) {
        rc = 0;
        if (nf_query_i64(q, 0) != g.number) {
            rc = end(*out, &g);
            begin(&g, nf_query_i64(q, 0), q);
        }
        if (!rc && !nf_query_is_null(q, 10) && nf_array_push(&g.steps, nf_query_f64(q, 10)))
            rc = nf_fail(-ENOMEM, "out of memory for the predictions");
    }
    nf_query_done(q);
    if (!rc)
        rc = end(*out, &g);
    nf_buf_deinit(&g.policy);
    nf_buf_deinit(&g.why);
    nf_array_free(&g.steps);
    return rc;
}
