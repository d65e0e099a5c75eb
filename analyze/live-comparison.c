#include "analyze/live-comparison.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

/* Two near shares are the same when they differ by less: half of what a share is printed to. */
#define SAME_SHARE 0.005
/* Of a job's memory, that which lies elsewhere although the rule puts all of it near: the loader's, and what is shared. */
static const double ALL_NEAR_SHARE = 0.99;

const struct nf_column nf_live_columns[NF_LIVE_COLUMNS] = {
    {"kind", "real job", NF_COLUMN_TEXT},
    {"evidence", "evidence", NF_COLUMN_TEXT},
    {"runs", "pairs", NF_COLUMN_INTEGER},
    {"real", "step / alone", NF_COLUMN_REAL},
    {"real_low", "low", NF_COLUMN_REAL},
    {"real_high", "high", NF_COLUMN_REAL},
    {"policy", "replayed as", NF_COLUMN_TEXT},
    {"predicted_full", "predicted, full", NF_COLUMN_REAL},
    {"predicted_none", "predicted, none", NF_COLUMN_REAL},
    {"verdict", "verdict", NF_COLUMN_TEXT},
};

typedef NF_ARRAY(double) numbers;

/* --- what a run is replayed as --- */

/* A replay that is the same as a live run; `policy` is empty when there is none, and `why` says why. */
struct replayed {
    char policy[64], options[96];
    double near_share;
    bool or_more; /* any larger share does the same: the policy does not fill it */
    char why[160];
};

__attribute__((format(printf, 2, 3))) static void no_replay(struct replayed *r, const char *format, ...)
{
    va_list args;

    *r->policy = '\0';
    va_start(args, format);
    vsnprintf(r->why, sizeof r->why, format, args);
    va_end(args);
}

/* "node" of "numa:page=thp,node=1": a number, or NULL where the spec does not name it. */
static const char *spec_node(const char *spec)
{
    for (const char *p = strchr(spec, ':'); p; p = strchr(p + 1, ',')) {
        if (!strncmp(p + 1, "node=", 5))
            return p + 6;
    }
    return NULL;
}

/* The nodes of the replay's tiers from `first` on, "0,2". False (and why) when a tier is not the memory of a named node. */
static bool replayed_nodes(const struct nf_dataset *d, size_t first, char *text, size_t size, struct replayed *r)
{
    size_t at = 0;

    *text = '\0';
    for (size_t i = 0; i < d->tiers.n; i++) {
        const struct nf_tier_row *t = &d->tiers.v[i];
        const char *node = spec_node(t->spec);

        if (t->target_latency_ns > 0 || t->target_read_bps > 0) {
            no_replay(r, "the replay's tier %s is injected, the job was on real memory: replay with --tier numa:node=N for each", t->name);
            return false;
        }
        if (strcmp(t->provider, "numa")) {
            no_replay(r, "the replay's tier %s is no memory node: replay with --tier numa:node=N for each", t->name);
            return false;
        }
        if (i < first)
            continue;
        if (!node) {
            no_replay(r, "the replay's tier %s does not name its node: replay with --tier numa:node=N for each", t->name);
            return false;
        }
        at += (size_t)snprintf(text + at, at < size ? size - at : 0, "%s%.*s", i > first ? "," : "", (int)strcspn(node, ","), node);
        if (at >= size)
            at = size - 1;
    }
    return true;
}

/* Binding text "RULE: node A,B by W:W": where the nodes begin, and how long they are; 0: it names none. */
static size_t bound_nodes(const char *binding, const char **nodes)
{
    *nodes = strstr(binding, "node ");
    if (!*nodes)
        return 0;
    *nodes += 5;
    return strcspn(*nodes, " ");
}

static bool same_nodes(const struct nf_dataset *d, const struct nf_live_row *l, bool last_only, struct replayed *r)
{
    const char *nodes;
    size_t n = bound_nodes(l->binding, &nodes);
    char replayed[160];

    if (!n) {
        no_replay(r, "the run does not say which nodes it was on: it is older, run it again");
        return false;
    }
    if (!replayed_nodes(d, last_only && d->tiers.n ? d->tiers.n - 1 : 0, replayed, sizeof replayed, r))
        return false;
    if (strlen(replayed) == n && !strncmp(replayed, nodes, n))
        return true;
    no_replay(r, "the job was on node %.*s, the replay on node %s", (int)n, nodes, replayed);
    return false;
}

static bool is_rule(const struct nf_live_row *l, const char *rule)
{
    size_t n = strlen(rule);

    return !strncmp(l->binding, rule, n) && l->binding[n] == ':';
}

static void replay_is(struct replayed *r, const char *policy, const char *options, double near_share, bool or_more)
{
    snprintf(r->policy, sizeof r->policy, "%s", policy);
    snprintf(r->options, sizeof r->options, "%s", options);
    r->near_share = near_share;
    r->or_more = or_more;
}

/* "weighted: node 0,1 by 5:3" deals every storage like the policy with these weights, wherever near has room for its part. */
static void as_weighted(const struct nf_live_row *l, struct replayed *r)
{
    const char *by = strstr(l->binding, " by ");
    double near = 0, sum = 0;
    char options[96], *end;

    if (!by) {
        no_replay(r, "the weights of the kernel's table are not known: --bind weighted:weights=A:B names them");
        return;
    }
    by += 4;
    snprintf(options, sizeof options, "weights=%.80s", by);
    for (const char *p = by; *p; p = *end == ':' ? end + 1 : "") {
        double weight = strtod(p, &end);

        if (end == p)
            break;
        near = p == by ? weight : near;
        sum += weight;
    }
    if (!(sum > 0))
        no_replay(r, "its weights '%.40s' are none", by);
    else
        replay_is(r, "weighted", options, near / sum, true);
}

static double count_nodes(const char *binding)
{
    const char *nodes;
    size_t n = bound_nodes(binding, &nodes);
    double found = 1;

    for (size_t i = 0; i < n; i++)
        found += nodes[i] == ',';
    return found;
}

static void bound_as(const struct nf_live_row *l, struct replayed *r)
{
    if (is_rule(l, "far"))
        replay_is(r, "all-far", "", 0, false);
    else if (is_rule(l, "interleave"))
        replay_is(r, "interleave", "", 1.0 / count_nodes(l->binding), true);
    else if (is_rule(l, "weighted"))
        as_weighted(l, r);
    else if (is_rule(l, "first-touch"))
        replay_is(r, "first-touch", "", l->near_share, false);
    else
        no_replay(r, "no policy does what this rule does");
}

/* Bound near, or by a rule that found room for everything there. */
static bool is_near(const struct nf_live_row *l)
{
    return is_rule(l, "near") || ((is_rule(l, "first-touch") || is_rule(l, "preferred-many")) && l->near_share >= ALL_NEAR_SHARE);
}

static void find_replayed(const struct nf_dataset *d, const struct nf_live_row *l, enum nf_live_kind kind, struct replayed *r)
{
    *r = (struct replayed){0};
    if (kind == NF_LIVE_BOUND)
        bound_as(l, r);
    else
        replay_is(r, l->policy, l->options, l->near_share, false);
    if (!*r->policy)
        return;
    if (l->machine_id != d->replay.testbed_machine_id)
        no_replay(r, "it ran on machine %lld of the study, the replay on machine %lld", (long long)l->machine_id,
                  (long long)d->replay.testbed_machine_id);
    else if (d->replay.scale != 1)
        no_replay(r, "the replay is at %g of the job's size", d->replay.scale);
    else
        same_nodes(d, l, is_rule(l, "far"), r);
}

/* --- what the replay says --- */

/* Slowdown of a replayed policy, paired with all-near within a block; n 0: not replayed. */
static int predict(struct nf_study *s, int64_t replay, const struct replayed *as, bool hog, enum nf_overlap overlap, struct nf_estimate *out)
{
    numbers ratios = {0};
    struct nf_query *q;
    int rc = nf_study_query(s,
                            "SELECT t.wall_ns * 1.0 / t.steps / (n.wall_ns * 1.0 / n.steps) FROM trial t JOIN trial n ON "
                            "n.replay_id = t.replay_id AND n.block = t.block AND n.overlap = t.overlap AND n.policy = 'all-near' "
                            "AND n.hog = t.hog AND n.parallelism_scale = 1 AND n.background = '' AND n.variant = '' AND n.cold = 0 WHERE "
                            "t.replay_id = ?1 AND t.policy = ?2 AND t.policy_options = ?3 AND t.near_share = (SELECT min(near_share) FROM "
                            "trial WHERE replay_id = ?1 AND policy = ?2 AND policy_options = ?3 AND hog = ?6 AND near_share > ?4 - ?8) AND "
                            "(?7 OR t.near_share < ?4 + ?8) AND t.overlap = ?5 AND t.hog = ?6 AND t.parallelism_scale = 1 AND t.background "
                            "= '' AND t.variant = '' AND t.cold = 0 AND t.status = 'ok' AND n.status = 'ok' AND t.steps > 0 AND "
                            "n.steps > 0 AND n.wall_ns > 0",
                            &q);

    *out = (struct nf_estimate){.median = NAN, .low = NAN, .high = NAN};
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, replay);
    nf_query_bind_text(q, 2, as->policy);
    nf_query_bind_text(q, 3, as->options);
    nf_query_bind_f64(q, 4, as->near_share);
    nf_query_bind_i64(q, 5, overlap);
    nf_query_bind_i64(q, 6, hog);
    nf_query_bind_i64(q, 7, as->or_more);
    nf_query_bind_f64(q, 8, SAME_SHARE);
    while ((rc = nf_query_step(q)) == 1) {
        if (nf_array_push(&ratios, nf_query_f64(q, 0))) {
            rc = nf_fail(-ENOMEM, "out of memory for pairs of trials");
            break;
        }
    }
    nf_query_done(q);
    if (!rc && ratios.n)
        rc = nf_estimate(ratios.v, ratios.n, 1, out);
    nf_array_free(&ratios);
    return rc;
}

/* What a prediction is held to: the band between full and no overlap, widened by this share of itself, which is how well
 * steps of one job agree with each other. */
static const double TOLERANCE = 0.05;

static void judge(struct nf_live_comparison *c, const struct replayed *as)
{
    double full = c->predicted[NF_OVERLAP_FULL].median, none = c->predicted[NF_OVERLAP_NONE].median;
    double low = fmin(full, none), high = fmax(full, none), real = c->real.median;

    if (c->evidence == NF_EVIDENCE_ASSUMED)
        snprintf(c->verdict, sizeof c->verdict, "placement only: far costs nothing here, so nothing is predicted");
    else if (c->near)
        snprintf(c->verdict, sizeof c->verdict, "nothing to predict: all of it was near, which a slowdown is measured against");
    else if (!*c->policy)
        snprintf(c->verdict, sizeof c->verdict, "not comparable: %s", as->why);
    else if (isnan(full) || isnan(none))
        snprintf(c->verdict, sizeof c->verdict, "not replayed%s",
                 c->kind == NF_LIVE_PLACED_HOG ? ": a replay has its hog beside all-near alone" : "");
    else if (real >= low * (1 - TOLERANCE) && real <= high * (1 + TOLERANCE))
        snprintf(c->verdict, sizeof c->verdict, "within the band");
    else
        snprintf(c->verdict, sizeof c->verdict, "the band misses it by %+.1f %%", 100 * ((real > high ? high : low) / real - 1));
}

static void name_policy(char *text, size_t size, const char *policy, const char *options)
{
    snprintf(text, size, "%s%s%s", policy, *options ? ":" : "", options);
}

static void name_run(struct nf_live_comparison *c, const struct nf_live_row *l)
{
    char policy[128];

    name_policy(policy, sizeof policy, l->policy, l->options);
    if (c->kind == NF_LIVE_BOUND)
        snprintf(c->label, sizeof c->label, "bound %s", l->binding);
    else
        snprintf(c->label, sizeof c->label, "%s at %g %% near%s", policy, 100 * l->near_share,
                 c->kind == NF_LIVE_PLACED_HOG ? ", beside a hog" : "");
}

/* The weakest evidence of a run and of the tiers it is held against. */
static unsigned weakest(const struct nf_dataset *d, const struct nf_live_row *l)
{
    unsigned evidence = l->evidence;

    for (size_t i = 0; i < d->tiers.n; i++)
        evidence = d->tiers.v[i].evidence > evidence ? d->tiers.v[i].evidence : evidence;
    return evidence;
}

static int compare(struct nf_live_comparisons *list, struct nf_study *s, const struct nf_dataset *d, const struct nf_live_row *l,
                   enum nf_live_kind kind, const double *ratios, size_t n)
{
    struct nf_live_comparison c = {.kind = kind, .evidence = l->evidence, .near_share = NAN, .near = kind == NF_LIVE_BOUND && is_near(l)};
    struct replayed as = {0};
    int rc = nf_estimate(ratios, n, 1, &c.real);

    if (!c.near && l->evidence != NF_EVIDENCE_ASSUMED)
        find_replayed(d, l, kind, &as);
    for (int overlap = 0; overlap < NF_OVERLAP_COUNT && !rc; overlap++) {
        c.predicted[overlap] = (struct nf_estimate){.median = NAN, .low = NAN, .high = NAN};
        if (*as.policy)
            rc = predict(s, d->replay.id, &as, kind == NF_LIVE_PLACED_HOG, (enum nf_overlap)overlap, &c.predicted[overlap]);
    }
    if (rc)
        return rc;
    if (*as.policy) {
        name_policy(c.policy, sizeof c.policy, as.policy, as.options);
        c.near_share = as.near_share;
        c.evidence = weakest(d, l);
    }
    name_run(&c, l);
    judge(&c, &as);
    return nf_array_push(&list->of, c) ? nf_fail(-ENOMEM, "out of memory for live runs") : 0;
}

/* --- the runs --- */

static const struct {
    const char *name, *against;
} kinds[NF_LIVE_KINDS] = {
    [NF_LIVE_BOUND] = {"bind", "alone"}, [NF_LIVE_PLACED] = {"policy", "alone"}, [NF_LIVE_PLACED_HOG] = {"policy-hog", "hog"}};

/* A plan's is what was asked for; what was seen of a rule varies from run to run. */
static bool same_share(const struct nf_live_row *a, const struct nf_live_row *b)
{
    return a->near_share == b->near_share || (!*a->policy && fabs(a->near_share - b->near_share) < SAME_SHARE);
}

/* Runs of one kind are told apart by everything a replay could be told, and by where they ran. */
static bool same_kind(const struct nf_live_row *a, const struct nf_live_row *b)
{
    return !strcmp(a->kind, b->kind) && !strcmp(a->binding, b->binding) && !strcmp(a->policy, b->policy) &&
           !strcmp(a->options, b->options) && same_share(a, b) && a->evidence == b->evidence && a->machine_id == b->machine_id;
}

static bool usable(const struct nf_live_row *l)
{
    return !l->exit_status && l->step_ns > 0;
}

/* The run of the other kind in the same repetition; NULL: none that ended well. */
static const struct nf_live_row *partner(const struct nf_dataset *d, const struct nf_live_row *l, const char *kind)
{
    for (size_t i = 0; i < d->live_runs.n; i++) {
        const struct nf_live_row *a = &d->live_runs.v[i];

        if (!strcmp(a->kind, kind) && usable(a) && a->invocation_id == l->invocation_id && a->repetition == l->repetition)
            return a;
    }
    return NULL;
}

static bool is_first(const struct nf_dataset *d, size_t i)
{
    for (size_t before = 0; before < i; before++)
        if (same_kind(&d->live_runs.v[before], &d->live_runs.v[i]))
            return false;
    return true;
}

static int compare_kind(struct nf_live_comparisons *list, struct nf_study *s, const struct nf_dataset *d, size_t first,
                        enum nf_live_kind kind)
{
    numbers ratios = {0};
    int rc = 0;

    for (size_t i = first; i < d->live_runs.n && !rc; i++) {
        const struct nf_live_row *l = &d->live_runs.v[i];
        const struct nf_live_row *other = same_kind(&d->live_runs.v[first], l) ? partner(d, l, kinds[kind].against) : NULL;

        if (other && usable(l) && nf_array_push(&ratios, l->step_ns / other->step_ns))
            rc = nf_fail(-ENOMEM, "out of memory for live runs");
    }
    if (!rc && ratios.n)
        rc = compare(list, s, d, &d->live_runs.v[first], kind, ratios.v, ratios.n);
    nf_array_free(&ratios);
    return rc;
}

int nf_live_comparisons_init(struct nf_live_comparisons *l, struct nf_study *study, const struct nf_dataset *d)
{
    int rc = 0;

    *l = (struct nf_live_comparisons){0};
    for (size_t i = 0; i < d->live_runs.n && !rc; i++) {
        for (int kind = 0; kind < NF_LIVE_KINDS && !rc; kind++)
            if (!strcmp(d->live_runs.v[i].kind, kinds[kind].name) && is_first(d, i))
                rc = compare_kind(l, study, d, i, (enum nf_live_kind)kind);
    }
    return rc;
}

void nf_live_comparisons_deinit(struct nf_live_comparisons *l)
{
    nf_array_free(&l->of);
}

static void real_cell(struct nf_table *t, double v)
{
    if (isnan(v))
        nf_table_unknown(t);
    else
        nf_table_number(t, v);
}

void nf_live_comparisons_table(const struct nf_live_comparisons *l, struct nf_table *t)
{
    for (size_t i = 0; i < l->of.n; i++) {
        const struct nf_live_comparison *c = &l->of.v[i];

        nf_table_text(t, c->label);
        nf_table_text(t, nf_evidence_name(c->evidence));
        nf_table_integer(t, (int64_t)c->real.n);
        nf_table_number(t, c->real.median);
        real_cell(t, c->real.low);
        real_cell(t, c->real.high);
        nf_table_text(t, *c->policy ? c->policy : "nothing comparable");
        real_cell(t, c->predicted[NF_OVERLAP_FULL].median);
        real_cell(t, c->predicted[NF_OVERLAP_NONE].median);
        nf_table_text(t, c->verdict);
    }
}
