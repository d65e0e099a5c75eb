#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/session.h"
#include "capture/source-framework.h"
#include "cmd/command.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/job-placer.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/model/stats.h"
#include "core/base/units.h"
#include "core/store/records.h"
#include "core/store/testbeds.h"
#include "live/binding.h"
#include "live/plan-file.h"
#include "live/plan.h"
#include "live/residence.h"
#include "live/spread.h"
#include "pool/guard.h"
#include "replay/background.h"
#include "replay/pin.h"
#include "replay/team.h"

struct arguments {
    struct nf_option_list tiers;
    const char *bind, *policy, *near;
    uint64_t repetitions, capture, cpu, seed;
    double policy_limit;
    bool hog;
};

static const struct nf_option options[] = {
    {"bind", 'b', NF_OPTION_STRING, offsetof(struct arguments, bind), "RULE", "bind the job's memory near, far, interleave, weighted, preferred-many or first-touch, alternately with the job alone"},
    {"policy", 'p', NF_OPTION_STRING, offsetof(struct arguments, policy), "NAME", "place the job's tensors by this policy's plan, alternately with the job alone ('name:key=value'; what it moves is moved as the job's blocks come and go)"},
    {"near", 'n', NF_OPTION_STRING, offsetof(struct arguments, near), "SHARE", "near capacity of the plan as a share of peak live: 20%"},
    {"policy-limit", 0, NF_OPTION_F64, offsetof(struct arguments, policy_limit), "SECONDS", "that a policy from a shared object may plan for (default 60)"},
    {"tier", 't', NF_OPTION_LIST, offsetof(struct arguments, tiers), "SPEC", "a tier to bind to or to place on, near first: numa:node=0 (repeat; default the local node, then the others)"},
    {"hog", 0, NF_OPTION_FLAG, offsetof(struct arguments, hog), NULL, "run the job alternately alone and beside a bandwidth hog on another CPU"},
    {"repetitions", 'r', NF_OPTION_U64, offsetof(struct arguments, repetitions), "N", "runs of each kind (default 3)"},
    {"capture", 0, NF_OPTION_U64, offsetof(struct arguments, capture), "ID", "the capture the runs are held against (default the latest)"},
    {"cpu", 'c', NF_OPTION_U64, offsetof(struct arguments, cpu), "N", "the first of the CPUs that the job may run on, one per thread of the capture (default that of the study's tiers, else the one this runs on)"},
    {"seed", 0, NF_OPTION_U64, offsetof(struct arguments, seed), "N", "of the order of runs (default 1)"},
    {0},
};

/* The last: under the plan beside a hog, to be held against the job beside one. */
enum kind { ALONE, HOG, BIND, POLICY, POLICY_HOG, KINDS };
static const char *const kind_names[KINDS] = {"alone", "hog", "bind", "policy", "policy-hog"};

/* What is placed, and where. */
struct placed {
    const struct nf_policy_ops *policy;
    const char *options;
    double near_share;
    struct nf_live_tiers tiers;
    struct nf_live_plan plan;
    struct nf_stream *stream; /* owned */
};

struct runs {
    struct nf_study *study;
    int64_t invocation, capture;
    const struct nf_capture_options *job;
    int cpus[NF_TEAM_MAX]; /* the job's */
    const struct nf_live_binding *binding; /* kind BIND */
    const struct placed *placed;           /* kinds POLICY */
    uint64_t llc_bytes, peak_bytes;        /* peak: of a job that is spread */
    double *median_ns[KINDS];              /* by repetition; 0: did not run */
    char alone_parameters[65];             /* hash after the last job alone; "": none yet */
    char placed_parameters[65];            /* the same of the last that was placed */
    unsigned parameters_compared;          /* runs whose parameters were set beside the other's */
    bool parameters_differ;                /* those of jobs alone: they say nothing about a plan */
    int status;                            /* of the last job */
};

/* One run of one kind, while it goes on. */
struct one {
    const struct nf_live_binding *binding; /* NULL: unbound */
    struct nf_live_placing *placing;       /* NULL: not placed */
    struct nf_live_spread *spread;         /* NULL: the kernel's rule places it */
    bool moves;                            /* its storages */
    struct nf_residence_watch *watch;
};

static int enter(void *context)
{
    const struct one *one = context;

    if (one->moves && setenv(NF_MOVES_ENV, "1", 1))
        return -errno;
    if (one->placing)
        return nf_live_placing_enter(one->placing);
    if (one->spread && nf_live_spread_enter(one->spread))
        return -errno;
    return one->binding ? nf_live_binding_enter(one->binding) : 0;
}

static int watch(void *context, pid_t pid)
{
    struct one *one = context;

    one->watch = one->binding ? nf_residence_watch_start(pid) : NULL;
    return one->binding && !one->watch ? -ENOMEM : 0;
}

struct row {
    unsigned repetition;
    enum kind kind;
    double hog_bps;
    double near_share;           /* of what a rule put where it found room: seen on the first node; 1: of any other */
    struct nf_live_placed where; /* kinds POLICY */
    char message[512];
    char deviation[256]; /* from the plan's step; "": none */
};

static bool is_placed(enum kind kind)
{
    return kind == POLICY || kind == POLICY_HOG;
}

/* Where a plan places, in the words of a binding: "plan: node 0,1"; "" on one node. */
static void describe_nodes(const struct nf_live_tiers *t, char *text, size_t size)
{
    size_t at = 0;

    *text = '\0';
    for (uint32_t i = 0; i < t->n && t->node[i] >= 0 && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%d", i ? "," : "plan: node ", t->node[i]);
}

static int record(const struct runs *r, const struct row *row, const struct nf_capture_timing *t)
{
    const struct nf_live_binding *b = row->kind == BIND ? r->binding : NULL;
    const struct placed *p = is_placed(row->kind) ? r->placed : NULL;
    const struct nf_live_early early = p && !t->boundaries ? p->plan.early : (struct nf_live_early){0};
    struct nf_buf steps = {0}, cpus = {0};
    char nodes[96] = "";
    struct nf_query *q;
    int rc;

    if (p)
        describe_nodes(&p->tiers, nodes, sizeof nodes);
    for (unsigned i = 0; i < r->job->n_cpus; i++)
        nf_buf_printf(&cpus, "%s%d", i ? "," : "", r->cpus[i]);
    nf_buf_puts(&steps, "[");
    for (uint32_t i = 0; i < t->n; i++)
        nf_buf_printf(&steps, "%s%llu", i ? "," : "", (unsigned long long)t->step_ns[i]);
    nf_buf_puts(&steps, "]");
    rc = steps.failed || cpus.failed ? nf_fail(-ENOMEM, "out of memory")
                      : nf_study_query(r->study, "INSERT INTO live_run(invocation_id, capture_id, repetition, kind, "
                                                 "exit_status, steps, step_ns, evidence, binding, background_bps, "
                                                 "parameter_sha256, message, policy, policy_options, near_share, near_bytes, "
                                                 "near_peak_bytes, placed, unplaced, moves, moved_bytes, boundaries, due_moves, "
                                                 "absent_moves, followed_steps, right_pages, wrong_pages, deviation, pages_by, early_moves, early_ops, early_ops_max, "
                                                 "early_ns, early_ns_max, cpus) VALUES(?1, ?2, ?3, "
                                                 "?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, "
                                                 "?23, ?24, ?25, ?26, ?27, ?28, ?29, "
                                                 "?30, ?31, ?32, ?33, ?34, ?35)", &q);
    if (!rc) {
        nf_query_bind_i64(q, 1, r->invocation);
        nf_query_bind_i64(q, 2, r->capture);
        nf_query_bind_i64(q, 3, row->repetition);
        nf_query_bind_text(q, 4, kind_names[row->kind]);
        nf_query_bind_i64(q, 5, t->job_status);
        nf_query_bind_i64(q, 6, t->n);
        nf_query_bind_text(q, 7, steps.data);
        nf_query_bind_i64(q, 8, b ? b->evidence : p ? p->tiers.evidence : nf_live_evidence());
        nf_query_bind_text(q, 9, b ? b->text : nodes);
        nf_query_bind_f64(q, 10, row->hog_bps);
        nf_query_bind_text(q, 11, t->parameter_sha256);
        nf_query_bind_text(q, 12, row->message);
        nf_query_bind_text(q, 13, p ? p->policy->name : "");
        nf_query_bind_text(q, 14, p ? p->options : "");
        nf_query_bind_f64(q, 15, p ? p->near_share : row->near_share);
        nf_query_bind_i64(q, 16, p ? (int64_t)p->plan.near_bytes : 0);
        nf_query_bind_i64(q, 17, (int64_t)row->where.near_peak_bytes);
        nf_query_bind_i64(q, 18, (int64_t)row->where.placed);
        nf_query_bind_i64(q, 19, (int64_t)row->where.unplaced);
        nf_query_bind_i64(q, 20, (int64_t)row->where.asked_moves);
        nf_query_bind_i64(q, 21, (int64_t)row->where.asked_bytes);
        nf_query_bind_i64(q, 22, (int64_t)t->boundaries);
        nf_query_bind_i64(q, 23, (int64_t)row->where.due_moves);
        nf_query_bind_i64(q, 24, (int64_t)row->where.absent_moves);
        nf_query_bind_i64(q, 25, row->where.followed_steps);
        nf_query_bind_i64(q, 26, (int64_t)row->where.right_pages);
        nf_query_bind_i64(q, 27, (int64_t)row->where.wrong_pages);
        nf_query_bind_text(q, 28, row->deviation);
        nf_query_bind_text(q, 29, p ? "plan" : b && *b->weights ? "spread" : "kernel");
        nf_query_bind_i64(q, 30, early.moves);
        nf_query_bind_f64(q, 31, early.ops_median);
        nf_query_bind_i64(q, 32, early.ops_max);
        nf_query_bind_f64(q, 33, early.ns_median);
        nf_query_bind_f64(q, 34, early.ns_max);
        nf_query_bind_text(q, 35, cpus.data);
        rc = nf_query_run(q);
    }
    nf_buf_deinit(&cpus);
    nf_buf_deinit(&steps);
    return rc;
}

/* Median step, the first left out: it builds the optimizer's state. */
static double median_step_ns(const uint64_t *step_ns, uint32_t n)
{
    double *v = malloc((n + 1) * sizeof *v), median;

    if (!v)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        v[i] = (double)step_ns[i];
    median = n > 1 ? nf_median(v + 1, n - 1) : n ? v[0] : 0;
    free(v);
    return median;
}

/* Where the job's memory really was: a rule is for new pages, and what the kernel could not place it spilled. */
static int judge_residence(const struct nf_live_binding *b, const struct nf_residence *r, char *text, size_t size)
{
    const double least = 0.9; /* the loader's pages and the stack were there before the rule */
    double share = nf_residence_share(r, b->nodes, b->n_nodes);
    char bytes[NF_UNITS_TEXT];
    size_t at;

    if (!r->total) {
        snprintf(text, size, "the job ended before it was seen where its memory is");
        return 0;
    }
    at = (size_t)snprintf(text, size, "%.1f %% of %s on its nodes", 100 * share, nf_format_bytes(bytes, (double)r->total));
    for (unsigned i = 0; b->n_nodes > 1 && i < b->n_nodes && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, ", %.1f %% on node %d", 100 * nf_residence_share(r, &b->nodes[i], 1), b->nodes[i]);
    return share >= least ? 0 : nf_fail(-EXDEV, "bound %s, but only %s", b->text, text);
}

/* Rules that put far what finds no room near: how much that is, the run tells. */
static bool fills_near(const struct nf_live_binding *b)
{
    return b->rule == NF_LIVE_FIRST_TOUCH || b->rule == NF_LIVE_PREFERRED_MANY;
}

/* The name of an operator of the capture. */
static const char *op_name(const struct nf_stream *s, uint64_t hash)
{
    for (uint32_t c = 0; c < s->n_classes; c++) {
        for (uint32_t i = 0; i < s->classes[c].n_ops; i++) {
            if (nf_job_name_hash(s->names[s->classes[c].ops[i].name]) == hash)
                return s->names[s->classes[c].ops[i].name];
        }
    }
    return "an operator the capture does not know";
}

static void describe_deviation(const struct placed *p, const struct nf_live_placed *w, char *text, size_t size)
{
    const struct nf_step_class *c = &p->stream->classes[nf_stream_steady_class(p->stream)];
    const char *planned = w->deviation_op < c->n_ops ? p->stream->names[c->ops[w->deviation_op].name] : "its end";
    unsigned step = w->deviation_step + 1;

    switch ((enum nf_plan_deviation)w->deviation) {
    case NF_PLAN_FOLLOWS: *text = '\0'; break;
    case NF_PLAN_OTHER_OP:
        snprintf(text, size, "operator %u of step %u is %s, planned was %s", w->deviation_op + 1, step, op_name(p->stream, w->deviation_name),
                 planned);
        break;
    case NF_PLAN_FEWER_OPS:
        snprintf(text, size, "step %u ended after %llu operators, planned were %u, next %s", step, (unsigned long long)w->deviation_count,
                 c->n_ops, planned);
        break;
    case NF_PLAN_MORE_OPS:
        snprintf(text, size, "step %u went on with %s after the %u operators that were planned", step, op_name(p->stream, w->deviation_name),
                 c->n_ops);
        break;
    case NF_PLAN_OTHER_BLOCKS:
        snprintf(text, size, "by operator %u of step %u, planned as %s, %llu of its allocations and frees had come otherwise or not at all",
                 w->deviation_op + 1, step, planned, (unsigned long long)w->deviation_count);
        break;
    case NF_PLAN_OTHER_SIZES:
        snprintf(text, size, "%llu moves of step %u found no storage of the planned size", (unsigned long long)w->deviation_count, step);
        break;
    }
}

/* What was moved, and whether the job went on as planned. */
static int judge_moves(const struct placed *p, uint64_t said_ops, struct row *row)
{
    const struct nf_live_early *early = &p->plan.early;
    const struct nf_live_placed *w = &row->where;
    size_t at = strlen(row->message), size = sizeof row->message;
    char bytes[NF_UNITS_TEXT], median[NF_UNITS_TEXT], most[NF_UNITS_TEXT];

    if (!p->plan.n_ops)
        return 0;
    describe_deviation(p, w, row->deviation, sizeof row->deviation);
    at += (size_t)snprintf(row->message + at, size - at, "; %llu of %llu moves asked for in %u steps, %s", (unsigned long long)w->asked_moves,
                           (unsigned long long)w->due_moves, w->followed_steps, nf_format_bytes(bytes, (double)w->asked_bytes));
    if (!said_ops && p->plan.n_moves && at < size)
        at += (size_t)snprintf(row->message + at, size - at, ", by blocks that come and go: %u of a step's %u moves before their operator, "
                               "median %g operators and %s, at most %u and %s", early->moves, p->plan.n_moves, early->ops_median,
                               nf_format_ns(median, early->ns_median), early->ops_max, nf_format_ns(most, early->ns_max));
    if (w->cancelled_bytes && at < size)
        at += (size_t)snprintf(row->message + at, size - at, ", %s no longer wanted when their turn came", nf_format_bytes(bytes, (double)w->cancelled_bytes));
    if (w->right_pages + w->wrong_pages && at < size)
        at += (size_t)snprintf(row->message + at, size - at, ", %llu of %llu pages on their node", (unsigned long long)w->right_pages,
                               (unsigned long long)(w->right_pages + w->wrong_pages));
    if (*row->deviation && at < size)
        snprintf(row->message + at, size - at, "; moving stopped: %s", row->deviation);
    if (*row->deviation)
        nf_warn("the job is not the step that was planned: %s; nothing was moved from there on", row->deviation);
    if (w->wrong_pages)
        return nf_fail(-EXDEV, "%llu pages are not on the node of their tier: %s", (unsigned long long)w->wrong_pages, row->message);
    return 0;
}

/* Whether the plan was followed. */
static int judge_placing(const struct placed *p, const struct nf_live_placed *w, char *text, size_t size)
{
    const double least = 0.9; /* of the bytes: what else the job allocates is not in the capture */
    uint64_t bytes = w->placed_bytes + w->unplaced_bytes;
    char peak[NF_UNITS_TEXT], near[NF_UNITS_TEXT], lost[NF_UNITS_TEXT];
    size_t at;

    if (!w->jobs)
        return nf_fail(-EPROTO, "the process that trained was not placed: it forked from one that was, or drops LD_PRELOAD");
    /* A job that allocates everything beforehand is told by what it has then. */
    at = (size_t)snprintf(text, size, "%llu of %llu blocks of %s placed by plan, near %s of %s", (unsigned long long)(bytes ? w->placed : w->early_placed),
                          (unsigned long long)(bytes ? w->placed + w->unplaced : w->early), bytes ? "its steady steps" : "the time before them", nf_format_bytes(peak, (double)w->near_peak_bytes),
                          nf_format_bytes(near, (double)p->plan.near_bytes));
    if (w->spilled_bytes && at < size)
        at += (size_t)snprintf(text + at, size - at, ", %s went far for want of room", nf_format_bytes(lost, (double)w->spilled_bytes));
    if (w->unbound_bytes)
        return nf_fail(-EXDEV, "the kernel refused to bind %s of the job's memory to its tier's node",
                       nf_format_bytes(lost, (double)w->unbound_bytes));
    if (!w->steady_steps)
        return nf_fail(-EPROTO, "the job took no step like the captured steady one: let it take as many as were captured");
    if (w->refused)
        return nf_fail(-ENOSPC, "the job needs more memory than the plan has addresses for: it is not the job that was captured");
    if (!bytes && !w->early_placed)
        return nf_fail(-EPROTO, "nothing of what the job allocated is in the plan: it is not the job that was captured");
    if ((double)w->placed_bytes < least * (double)bytes)
        return nf_fail(-EPROTO, "only %.0f %% of what its steady steps allocated is in the plan: it is not the job that was captured (%s)",
                       100 * (double)w->placed_bytes / (double)bytes, text);
    return 0;
}

/* The job must compute what it computes alone, bit by bit, whichever of the two ran first. */
static int judge_parameters(struct runs *r, enum kind kind, const char *sha256)
{
    bool alone = kind == ALONE;
    const char *other = alone ? r->placed_parameters : r->alone_parameters;

    if ((!alone && !is_placed(kind)) || !strcmp(sha256, "unknown"))
        return 0;
    if (alone && *r->alone_parameters && strcmp(r->alone_parameters, sha256) && !r->parameters_differ) {
        r->parameters_differ = true;
        nf_warn("the job alone ends with other parameters from run to run: what a plan does to them cannot be told");
    }
    snprintf(alone ? r->alone_parameters : r->placed_parameters, sizeof r->alone_parameters, "%s", sha256);
    if (r->parameters_differ || !*other)
        return 0;
    r->parameters_compared++;
    if (strcmp(r->alone_parameters, r->placed_parameters))
        return nf_fail(-EBADMSG, "under the plan the job's final parameters differ from those of the job alone (%.12s, %.12s)",
                       r->placed_parameters, r->alone_parameters);
    return 0;
}

static int run_once(struct runs *r, unsigned repetition, enum kind kind)
{
    struct nf_live_placing placing = {0};
    struct nf_live_spread spread = {0};
    struct one one = {.binding = kind == BIND ? r->binding : NULL, .placing = is_placed(kind) ? &placing : NULL,
                      .spread = kind == BIND && *r->binding->weights ? &spread : NULL,
                      .moves = is_placed(kind) && r->placed->plan.n_ops};
    const struct nf_capture_time_options with = {.prepare = enter, .attach = watch, .context = &one};
    struct row row = {.repetition = repetition, .kind = kind, .near_share = 1};
    struct nf_capture_timing timing = {0};
    struct nf_residence where = {0};
    struct nf_background *thief = NULL;
    int rc = kind == HOG || kind == POLICY_HOG ? nf_background_start_hog(r->cpus, r->job->n_cpus, r->llc_bytes, &thief) : 0, late = 0;

    if (!rc && one.placing)
        rc = nf_live_placing_init(&placing, &r->placed->plan, nf_source_library_folder());
    if (!rc && one.spread)
        rc = nf_live_spread_init(&spread, r->binding, r->peak_bytes, nf_source_library_folder());
    if (rc) {
        nf_background_stop(thief, &row.hog_bps);
        nf_live_placing_deinit(&placing);
        nf_live_spread_deinit(&spread);
        return rc;
    }
    rc = nf_capture_time_job(r->job, &with, &timing);
    r->status = timing.job_status;
    nf_background_stop(thief, &row.hog_bps);
    nf_residence_watch_stop(one.watch, &where);
    if (!rc && one.spread)
        rc = nf_live_spread_judge(&spread, r->binding, row.message, sizeof row.message);
    else if (!rc && kind == BIND)
        rc = judge_residence(r->binding, &where, row.message, sizeof row.message);
    if (kind == BIND && fills_near(r->binding))
        row.near_share = nf_residence_share(&where, r->binding->nodes, 1);
    if (one.placing)
        nf_live_placing_read(&placing, &row.where);
    if (!rc && one.placing)
        rc = judge_placing(r->placed, &row.where, row.message, sizeof row.message);
    if (!rc && one.placing)
        rc = judge_moves(r->placed, timing.boundaries, &row);
    if (!rc)
        rc = judge_parameters(r, kind, timing.parameter_sha256);
    nf_live_placing_deinit(&placing);
    nf_live_spread_deinit(&spread);
    if (timing.n && (!rc || kind == BIND || row.where.wrong_pages))
        late = record(r, &row, &timing);
    if (!rc)
        rc = late;
    if (!rc) {
        r->median_ns[kind][repetition] = median_step_ns(timing.step_ns, timing.n);
        fprintf(stderr, "  run %u, %-10s  %u steps, median %.1f ms", repetition + 1, kind_names[kind], timing.n,
                r->median_ns[kind][repetition] / 1e6);
        if (row.hog_bps > 0)
            fprintf(stderr, ", hog at %.1f GB/s", row.hog_bps / 1e9);
        fprintf(stderr, "%s%s\n", *row.message ? ", " : "", row.message);
    }
    free(timing.step_ns);
    return rc;
}

/* The ratio to the job alone (beside a hog: to the job beside one), repetition by repetition. */
static void conclude(const struct runs *r, enum kind kind, unsigned n)
{
    double *ratio = malloc((n + (size_t)1) * sizeof *ratio), low, high;
    enum kind against = kind == POLICY_HOG ? HOG : ALONE;
    char what[160] = "";
    size_t pairs = 0;

    for (unsigned i = 0; ratio && i < n; i++) {
        if (r->median_ns[kind][i] > 0 && r->median_ns[against][i] > 0)
            ratio[pairs++] = r->median_ns[kind][i] / r->median_ns[against][i];
    }
    if (kind == BIND)
        snprintf(what, sizeof what, " %s", r->binding->text);
    else if (is_placed(kind))
        snprintf(what, sizeof what, " %s at %g %% near", r->placed->policy->name, 100 * r->placed->near_share);
    if (pairs) {
        double middle = nf_median(ratio, pairs);

        low = nf_quantile(ratio, pairs, 0);
        high = nf_quantile(ratio, pairs, 1);
        fprintf(stderr, "  %s%s: %.3f x the job %s [%.3f .. %.3f] over %zu pairs\n", kind_names[kind], what, middle,
                against == HOG ? "beside a hog" : "alone", low, high, pairs);
    }
    if (kind == POLICY && r->placed->tiers.evidence == NF_EVIDENCE_ASSUMED)
        fprintf(stderr, "  this machine has one memory node: far is as fast as near, so this is what placing costs, not what far does%s\n",
                r->placed->plan.n_ops ? "; moves were asked for and counted, and no page went anywhere" : "");
    if (kind == POLICY && r->parameters_compared && !r->parameters_differ)
        fprintf(stderr, "  final parameters are bit for bit those of the job alone\n");
    free(ratio);
}

static int run_all(struct runs *r, const enum kind *kinds, unsigned n_kinds, unsigned repetitions, uint64_t seed)
{
    struct nf_rng rng = {.state = seed};
    enum kind order[KINDS];
    int rc = 0;

    for (unsigned k = 0; k < KINDS; k++) {
        r->median_ns[k] = calloc(repetitions, sizeof *r->median_ns[k]);
        if (!r->median_ns[k])
            return nf_fail(-ENOMEM, "out of memory");
    }
    for (unsigned i = 0; i < repetitions && !rc; i++) {
        nf_progress("run %u of %u", i + 1, repetitions);
        memcpy(order, kinds, n_kinds * sizeof *order);
        for (unsigned k = 0; k < n_kinds && !rc; k++) {
            unsigned pick = k + (unsigned)nf_rng_below(&rng, n_kinds - k);
            enum kind one = order[pick];

            order[pick] = order[k];
            order[k] = one;
            rc = run_once(r, i, one);
        }
    }
    nf_progress_end();
    for (unsigned k = 1; k < n_kinds && !rc; k++)
        conclude(r, kinds[k], repetitions);
    return rc;
}

/* As its replay: a CPU for each thread of the capture, the first being that of the tiers' numbers, and one more for a hog. */
static int choose_cpus(struct runs *r, int asked, bool hog, struct nf_capture_options *o)
{
    unsigned all = (unsigned)nf_pin_cpus(), most = all > hog ? all - hog : 1, threads = 1;
    struct nf_query *q;
    int rc = nf_study_query(r->study, "SELECT threads FROM capture WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, r->capture);
    rc = nf_query_step(q);
    if (rc == 1 && nf_query_i64(q, 0) > 1)
        threads = nf_query_i64(q, 0) < NF_TEAM_MAX ? (unsigned)nf_query_i64(q, 0) : NF_TEAM_MAX;
    nf_query_done(q);
    if (rc < 0)
        return rc;
    if (threads > most)
        nf_info("the job ran on %u threads, and may use %u CPU%s here%s", threads, most, most > 1 ? "s" : "", hog ? ": the hog has one" : "");
    o->n_cpus = nf_pin_team("", NULL, nf_pin_first(asked, nf_record_testbed_cpu(r->study, 0)), threads < most ? threads : most, r->cpus);
    o->cpus = r->cpus;
    return 0;
}

/* "name:key=value" and a share into a plan. */
static int make_plan(struct runs *r, const struct arguments *a, struct placed *p, char *name, size_t size)
{
    double shares[2];
    size_t n_shares = 0, n = strcspn(a->policy, ":");
    int rc;

    p->options = a->policy[n] ? a->policy + n + 1 : "";
    if (n >= size)
        return nf_fail(-EINVAL, "no policy has a name of %zu characters", n);
    memcpy(name, a->policy, n);
    name[n] = '\0';
    p->policy = nf_policy_find(name);
    if (!p->policy)
        return -EINVAL;
    rc = nf_parse_shares(a->near ? a->near : "100%", shares, sizeof shares / sizeof *shares, &n_shares);
    if (rc || n_shares != 1)
        return nf_fail(-EINVAL, "--near wants one share: 20%%");
    p->near_share = shares[0];
    rc = nf_live_tiers_find(r->study, a->tiers.v, a->tiers.n, &p->tiers);
    if (!rc)
        rc = nf_record_stream_load(r->study, r->capture, &p->stream);
    if (!rc && !p->stream->n_classes)
        rc = nf_fail(-ENOENT, "capture %lld has no steps to plan", (long long)r->capture);
    if (!rc) {
        const struct nf_live_plan_wish wish = {.stream = p->stream, .tiers = &p->tiers, .policy = p->policy, .options = p->options,
                                               .near_share = p->near_share, .llc_bytes = r->llc_bytes, .seed = a->seed,
                                               .limit_s = a->policy_limit};

        rc = nf_live_plan_init(&p->plan, &wish);
    }
    r->placed = p;
    return rc;
}

/* Of the captured steps, the largest. */
static int find_peak(struct runs *r)
{
    struct nf_stream *stream = NULL;
    int rc = nf_record_stream_load(r->study, r->capture, &stream);

    for (uint32_t i = 0; !rc && i < stream->n_classes; i++) {
        uint64_t peak;

        rc = nf_step_class_peak(&stream->classes[i], &peak);
        r->peak_bytes = !rc && peak > r->peak_bytes ? peak : r->peak_bytes;
    }
    nf_stream_free(stream);
    return rc;
}

static int exit_code(int rc)
{
    switch (rc) {
    case -EINVAL: return NF_EXIT_USAGE;
    case -ENODEV:
    case NF_CAPTURE_E_UNAVAILABLE: return NF_EXIT_CANNOT;
    case NF_CAPTURE_E_JOB: return NF_EXIT_JOB;
    default: return NF_EXIT_FAILED;
    }
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {.repetitions = 3, .seed = 1, .cpu = UINT64_MAX, .policy_limit = NF_GUARD_LIMIT_S};
    struct nf_capture_options o = NF_CAPTURE_OPTIONS_INIT;
    struct nf_live_binding binding = {0};
    struct placed placed = {0};
    struct runs r = {.job = &o, .binding = &binding};
    enum kind kinds[KINDS] = {ALONE};
    unsigned n_kinds = 1;
    int first, n, code = NF_EXIT_OK, rc;
    char message[512], name[128];

    if (nf_command_parse(self, argc, argv, &a, 0, &first, &n, &code))
        return code;
    if (n < 1)
        return nf_command_usage(self, "a study is wanted, then -- and the job's command");
    /* Options may stand on both sides of the study. */
    {
        char *path = argv[first];
        int more, rest;

        if (nf_command_parse(self, argc - first - 1, argv + first + 1, &a, 0, &more, &rest, &code))
            return code;
        o.job = argv + first + 1 + more;
        n = rest;
        argv[first] = path;
    }
    if (n < 1)
        return nf_command_usage(self, "the job's command is missing (after --)");
    if (!a.repetitions || a.repetitions > 1000)
        return nf_command_usage(self, "--repetitions wants 1 to 1000");
    if (a.tiers.n && !a.bind && !a.policy)
        return nf_command_usage(self, "--tier belongs to --bind or --policy");
    if (a.bind && a.policy)
        return nf_command_usage(self, "a job is bound or placed by a policy, not both");
    if (!(a.policy_limit > 0 && a.policy_limit <= NF_GUARD_LIMIT_MAX_S))
        return nf_command_usage(self, "--policy-limit wants seconds above 0");
    if (a.near && !a.policy)
        return nf_command_usage(self, "--near belongs to --policy");
    if (a.cpu != UINT64_MAX && (a.cpu > INT_MAX || !nf_pin_allows((int)a.cpu)))
        return nf_command_usage(self, "--cpu: there is no such CPU for this process (nproc, taskset -p $$)");
    if (a.hog && nf_background_probe(1, 1)) {
        fprintf(stderr, "nearfar: no hog here: %s\n", nf_error_text(0));
        return NF_EXIT_CANNOT;
    }
    if (a.hog)
        kinds[n_kinds++] = HOG;
    rc = a.bind ? nf_live_binding_init(&binding, a.bind, a.tiers.v, a.tiers.n) : 0;
    if (rc == -EINVAL)
        return nf_command_usage(self, nf_error_text(rc));
    if (rc) {
        nf_command_fail(rc);
        return exit_code(rc);
    }
    if (a.bind)
        kinds[n_kinds++] = BIND;
    o.quiet = true;
    rc = nf_study_open(argv[first], NF_STUDY_WRITE, &r.study);
    if (rc)
        return nf_command_fail(rc);
    r.capture = nf_record_capture_find(r.study, (int64_t)a.capture);
    r.invocation = r.capture < 0 ? r.capture : nf_record_invocation(r.study, argc + 2, argv - 2);
    if (r.invocation < 0) {
        code = nf_command_fail((int)r.invocation);
        nf_study_close(r.study);
        return code;
    }
    r.llc_bytes = nf_record_llc(r.study);
    rc = choose_cpus(&r, a.cpu == UINT64_MAX ? -1 : (int)a.cpu, a.hog, &o);
    if (!rc && a.bind && *binding.weights)
        rc = find_peak(&r);
    if (!rc && a.policy)
        rc = make_plan(&r, &a, &placed, name, sizeof name);
    if (a.policy)
        kinds[n_kinds++] = POLICY;
    if (a.policy && a.hog)
        kinds[n_kinds++] = POLICY_HOG;
    if (!rc)
        rc = run_all(&r, kinds, n_kinds, (unsigned)a.repetitions, a.seed);
    snprintf(message, sizeof message, "%s", rc ? nf_error_text(rc) : "");
    nf_record_invocation_end(r.study, r.invocation, rc ? "failed" : "complete", message);
    nf_study_close(r.study);
    nf_live_plan_deinit(&placed.plan);
    nf_stream_free(placed.stream);
    for (unsigned k = 0; k < KINDS; k++)
        free(r.median_ns[k]);
    if (!rc)
        return NF_EXIT_OK;
    fprintf(stderr, "nearfar: %s\n", message);
    return exit_code(rc);
}

const struct nf_command nf_cmd_run = {
    .name = "run",
    .about = "time the real job itself, alone, bound to a tier, placed by a policy or beside a bandwidth hog, for the replay to be held against",
    .usage = "run STUDY [OPTIONS] -- COMMAND...",
    .text = "The job's output is not shown. Its step times go into the study; the report sets the replay's\n"
            "prediction of the slowdown beside them.",
    .options = options,
    .examples = {"nearfar run demo.nf --hog -- python3 examples/finetune.py --lora",
                 "nearfar run demo.nf --policy lifetime-density --near 20% -- python3 examples/finetune.py --lora"},
    .run = run,
};
