#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cmd/command.h"
#include "core/base/error.h"
#include "core/base/units.h"
#include "core/store/records.h"
#include "pool/guard.h"
#include "replay/forecast.h"

enum { WHOLE_SECONDS_MAX = 24 * 60 * 60 };

struct arguments {
    struct nf_option_list policies;
    const char *near;
    uint64_t capture, seed, explain, llc_bytes;
    double whole, policy_limit;
    bool json, csv, unfiltered, moves;
};

static const struct nf_option options[] = {
    {"policy", 'p', NF_OPTION_LIST, offsetof(struct arguments, policies), "NAME", "a policy, or 'name:key=value' (repeat for several; default gap-greedy)"},
    {"near", 'n', NF_OPTION_STRING, offsetof(struct arguments, near), "SHARE", "near capacity as a share of peak live (default 20%)"},
    {"explain", 'e', NF_OPTION_U64, offsetof(struct arguments, explain), "TENSOR", "the course of one tensor of the steady step, by its number, with the reasons"},
    {"moves", 'm', NF_OPTION_FLAG, offsetof(struct arguments, moves), NULL, "every move of the step in order, and what is made again"},
    {"llc", 'l', NF_OPTION_BYTES, offsetof(struct arguments, llc_bytes), "BYTES", "effective LLC of the cache filter (default as measured, else as the CPU reports it)"},
    {"unfiltered", 0, NF_OPTION_FLAG, offsetof(struct arguments, unfiltered), NULL, "count every visited byte, cached or not"},
    {"whole", 'w', NF_OPTION_F64, offsetof(struct arguments, whole), "SECONDS", "also the bound for tensors kept whole, which may take so long"},
    {"capture", 0, NF_OPTION_U64, offsetof(struct arguments, capture), "ID", "which capture (default the latest)"},
    {"policy-limit", 0, NF_OPTION_F64, offsetof(struct arguments, policy_limit), "SECONDS", "that a policy from a shared object may plan for (default 60)"},
    {"seed", 0, NF_OPTION_U64, offsetof(struct arguments, seed), "N", "of policies (default 1)"},
    {"json", 'j', NF_OPTION_FLAG, offsetof(struct arguments, json), NULL, "rows as JSON objects"},
    {"csv", 'c', NF_OPTION_FLAG, offsetof(struct arguments, csv), NULL, "rows as CSV"},
    {0},
};

static const struct nf_column plan_columns[] = {
    {"policy", "policy", NF_COLUMN_TEXT},
    {"near_share", "near", NF_COLUMN_SHARE},
    {"far_share", "far", NF_COLUMN_SHARE},
    {"fetched_share", "fetched", NF_COLUMN_SHARE},
    {"written_back_share", "written back", NF_COLUMN_SHARE},
    {"moves", "moves", NF_COLUMN_INTEGER},
    {"bound_lp_share", "bound, LP", NF_COLUMN_SHARE},
    {"bound_whole_share", "bound, whole", NF_COLUMN_SHARE},
    {"bound_static_share", "bound, static", NF_COLUMN_SHARE},
    {"bound_pfoo_share", "bound, PFOO-L", NF_COLUMN_SHARE},
    {"belady_share", "Belady", NF_COLUMN_SHARE},
    {"predicted_ns", "step, modelled", NF_COLUMN_NS},
    {"exposed_ns", "of it moves", NF_COLUMN_NS},
    {"recomputed", "made again", NF_COLUMN_INTEGER},
    {"unheld_bytes", "not held", NF_COLUMN_BYTES},
    {"recompute_ns", "running again", NF_COLUMN_NS},
    {"slowdown_modelled", "slowdown, modelled", NF_COLUMN_REAL},
};

static const struct nf_column role_columns[] = {
    {"policy", "policy", NF_COLUMN_TEXT},
    {"role", "role", NF_COLUMN_TEXT},
    {"tensors", "tensors", NF_COLUMN_INTEGER},
    {"bytes", "bytes", NF_COLUMN_BYTES},
    {"born_near_share", "born near", NF_COLUMN_SHARE},
    {"demand_bytes", "past the LLC", NF_COLUMN_BYTES},
    {"far_share", "of it far", NF_COLUMN_SHARE},
};

static const struct nf_column course_columns[] = {
    {"tensor", "tensor", NF_COLUMN_INTEGER}, {"role", "role", NF_COLUMN_TEXT},
    {"op", "op", NF_COLUMN_INTEGER}, {"name", "operator", NF_COLUMN_TEXT}, {"phase", "phase", NF_COLUMN_TEXT},
    {"event", "what", NF_COLUMN_TEXT}, {"near_share", "near", NF_COLUMN_SHARE}, {"bytes", "bytes", NF_COLUMN_BYTES},
    {"reason", "why", NF_COLUMN_TEXT},
};

/* As the latest testbed measured them; where there is none, a DRAM channel and half of it. True: measured. */
static int find_tiers(struct nf_study *study, struct nf_forecast_wish *w, bool *measured)
{
    struct nf_query *q;
    int rc = nf_study_query(study, "SELECT number, latency_ns, read_bps FROM tier WHERE testbed_id = (SELECT max(id) FROM testbed) "
                                   "ORDER BY number", &q);

    *measured = false;
    w->n_tiers = 0;
    if (rc)
        return rc;
    while ((rc = nf_query_step(q)) == 1) {
        int64_t number = nf_query_i64(q, 0);

        if (number != w->n_tiers || number >= NF_TIER_MAX || !(nf_query_f64(q, 2) > 0))
            continue;
        w->latency_ns[number] = nf_query_f64(q, 1);
        w->read_bps[number] = nf_query_f64(q, 2);
        w->n_tiers++;
    }
    nf_query_done(q);
    *measured = w->n_tiers >= 2;
    if (!*measured) {
        w->n_tiers = 2;
        w->latency_ns[0] = 100, w->latency_ns[1] = 200;
        w->read_bps[0] = 2e10, w->read_bps[1] = 1e10;
    }
    return rc;
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static void add_bound(struct nf_table *t, double bytes, const struct nf_forecast *f)
{
    if (isnan(bytes))
        nf_table_unknown(t);
    else
        nf_table_number(t, share(bytes, (double)f->demand_bytes));
}

static void add_plan(struct nf_table *t, const char *name, const struct nf_forecast_wish *w, const struct nf_forecast *f)
{
    nf_table_text(t, name);
    nf_table_number(t, w->near_share);
    nf_table_number(t, share((double)f->far_bytes, (double)f->demand_bytes));
    nf_table_number(t, share((double)f->to_near_bytes, (double)f->demand_bytes));
    nf_table_number(t, share((double)f->to_far_bytes, (double)f->demand_bytes));
    nf_table_integer(t, (int64_t)f->moves);
    add_bound(t, f->bounds.lp, f);
    add_bound(t, f->bounds.whole, f);
    add_bound(t, f->bounds.static_lp, f);
    add_bound(t, f->bounds.pfoo, f);
    add_bound(t, f->bounds.belady, f);
    nf_table_number(t, f->predicted_ns);
    nf_table_number(t, f->exposed_ns);
    nf_table_integer(t, f->recomputed);
    nf_table_integer(t, (int64_t)f->unheld_bytes);
    nf_table_number(t, f->recompute_ns);
    if (f->captured_ns > 0)
        nf_table_number(t, f->predicted_ns / f->captured_ns);
    else
        nf_table_unknown(t);
}

static void add_roles(struct nf_table *t, const char *name, const struct nf_forecast *f)
{
    for (int role = 0; role < NF_ROLE_COUNT; role++) {
        const struct nf_forecast_role *r = &f->role[role];

        if (!r->tensors)
            continue;
        nf_table_text(t, name);
        nf_table_text(t, nf_role_name((enum nf_role)role));
        nf_table_integer(t, r->tensors);
        nf_table_integer(t, (int64_t)r->bytes);
        nf_table_number(t, share((double)r->born_near_bytes, (double)r->bytes));
        nf_table_integer(t, (int64_t)r->demand_bytes);
        nf_table_number(t, share((double)r->far_bytes, (double)r->demand_bytes));
    }
}

/* Why it is as it is, in numbers that do not depend on the policy: what keeping it near would have saved, and how that compares. */
static void give_reason(char *text, size_t size, const struct nf_forecast *f, const struct nf_forecast_event *e)
{
    char ns[NF_UNITS_TEXT], far[NF_UNITS_TEXT];
    size_t at;

    *text = '\0';
    if (e->what == NF_FORECAST_BORN)
        snprintf(text, size, e->near >= 1 ? "near had room for it by this policy's rule" : e->near > 0 ? "near had room for a part" : "the rule gives near to others");
    if (e->what == NF_FORECAST_AGAIN && e->chain_ns > 0)
        snprintf(text, size, "the ops that make it again take %s (captured), a fetch would take %s", nf_format_ns(ns, e->chain_ns),
                 nf_format_ns(far, e->far_ns));
    else if (e->what == NF_FORECAST_AGAIN)
        snprintf(text, size, "on the way to another that is made again, and gone when that is there");
    if (e->what == NF_FORECAST_ENTERS)
        snprintf(text, size, "carried over from the step before");
    if (e->what == NF_FORECAST_TO_NEAR)
        snprintf(text, size, "moved for a coming use");
    if (e->what == NF_FORECAST_TO_FAR)
        snprintf(text, size, "makes room, or is not wanted for long enough");
    if (e->what != NF_FORECAST_USED || !e->after_gap)
        return;
    at = (size_t)snprintf(text, size, "near since its use before costs %u ops, %s: worth place %u of %u", e->gap_ops, nf_format_ns(ns, e->gap_ns), e->rank,
                          f->n_stays);
    if (!isnan(e->lp_share) && at < size)
        snprintf(text + at, size - at, "; the linear program keeps %.0f %%", 100 * e->lp_share);
}

static void add_course(struct nf_table *t, const struct nf_stream *s, const struct nf_forecast *f)
{
    static const char *const words[] = {"enters", "is born", "is made again", "is used", "comes near", "goes far"};

    for (size_t i = 0; i < f->events.n; i++) {
        const struct nf_forecast_event *e = &f->events.v[i];
        const struct nf_op *op = &s->classes[f->steady].ops[e->op];
        char why[256];

        give_reason(why, sizeof why, f, e);
        nf_table_integer(t, e->tensor);
        nf_table_text(t, nf_role_name(s->classes[f->steady].tensors[e->tensor].role));
        nf_table_integer(t, e->op);
        nf_table_text(t, s->names[op->name]);
        nf_table_text(t, nf_phase_name(e->again ? NF_PHASE_RECOMPUTE : op->phase));
        nf_table_text(t, words[e->what]);
        nf_table_number(t, e->near);
        nf_table_integer(t, (int64_t)e->bytes);
        nf_table_text(t, e->why ? e->why : why);
    }
}

static void introduce(const struct nf_forecast_wish *w, const struct nf_forecast *f, bool measured)
{
    char peak[NF_UNITS_TEXT], near[NF_UNITS_TEXT], demand[NF_UNITS_TEXT], step[NF_UNITS_TEXT];

    printf("peak live %s, near %s; a step moves %s past the LLC in %s (captured)\n", nf_format_bytes(peak, (double)f->peak_bytes),
           nf_format_bytes(near, (double)f->near_bytes), nf_format_bytes(demand, (double)f->demand_bytes),
           f->captured_ns > 0 ? nf_format_ns(step, f->captured_ns) : "unknown time");
    printf("LLC %s%s\n", w->llc_bytes ? nf_format_bytes(peak, (double)w->llc_bytes) : "not filtered", f->demand_bytes ? "" : ": everything stays in it, and nothing "
           "depends on where it lies; --llc says what is really had");
    printf("times are modelled, on tiers of");
    for (uint32_t i = 0; i < w->n_tiers; i++)
        printf("%s %.1f GB/s", i ? "," : "", w->read_bps[i] / 1e9);
    printf(measured ? " (as the study's latest testbed measured them)\n" : " (assumed: the study has no measured tiers)\n");
    if (isnan(f->bounds.lp))
        printf("no bound by linear program: %s\n", f->bounds.lp_why);
    if (*f->bounds.whole_why && isnan(f->bounds.whole))
        printf("no bound for whole tensors: %s\n", f->bounds.whole_why);
    if (!isnan(f->bounds.whole))
        printf("the bound for whole tensors is %s\n", f->bounds.whole_proved ? "what the best choice reaches" : "not reached: the time was over");
}

static int find_policy(const char *given, struct nf_forecast_wish *w, char *name, size_t size)
{
    size_t n = strcspn(given, ":");

    if (n >= size)
        return nf_fail(-EINVAL, "no policy has a name of %zu characters", n);
    memcpy(name, given, n);
    name[n] = '\0';
    w->options = given[n] ? given + n + 1 : "";
    w->policy = nf_policy_find(name);
    return w->policy ? 0 : -EINVAL;
}

struct tables {
    struct nf_table *plans, *roles, *course;
};

static int forecast_all(const struct arguments *a, struct nf_forecast_wish *w, struct tables *t, bool measured)
{
    static const char *const otherwise[] = {"gap-greedy"};
    const char *const *given = a->policies.n ? a->policies.v : otherwise;
    size_t n = a->policies.n ? a->policies.n : 1;
    bool people = !a->json && !a->csv;
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        struct nf_forecast f = {0};
        char name[128];

        rc = find_policy(given[i], w, name, sizeof name);
        if (!rc) {
            rc = nf_forecast_init(&f, w);
            if (!rc && !i && people)
                introduce(w, &f, measured);
            if (!rc && t->course)
                add_course(t->course, w->stream, &f);
            if (!rc) {
                add_plan(t->plans, given[i], w, &f);
                add_roles(t->roles, given[i], &f);
            }
            nf_forecast_deinit(&f);
        }
    }
    return rc;
}

static int print(const struct arguments *a, const struct tables *t)
{
    enum nf_table_format format = a->json ? NF_TABLE_JSON : a->csv ? NF_TABLE_CSV : NF_TABLE_TEXT;
    int rc;

    if (t->course)
        return nf_table_print(t->course, format, stdout);
    if (format != NF_TABLE_TEXT)
        return nf_table_print(t->plans, format, stdout);
    printf("\n");
    rc = nf_table_print(t->plans, format, stdout);
    printf("\n");
    return rc ? rc : nf_table_print(t->roles, format, stdout);
}

static int exit_code(int rc)
{
    return rc == -EINVAL ? NF_EXIT_USAGE : NF_EXIT_FAILED;
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {.seed = 1, .explain = UINT64_MAX, .policy_limit = NF_GUARD_LIMIT_S};
    struct nf_forecast_bounds bounds = {0};
    struct nf_forecast_wish w = {.bounds = &bounds};
    struct nf_stream *stream = NULL;
    struct nf_profile *profiles = NULL;
    struct nf_study *study;
    struct tables t = {0};
    double shares[2] = {0.2};
    size_t n_shares = 1;
    int64_t capture;
    bool measured = false;
    int first, n, code, rc;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    if (n != 1)
        return nf_command_usage(self, "one study is wanted");
    if (a.near && (nf_parse_shares(a.near, shares, sizeof shares / sizeof *shares, &n_shares) || n_shares != 1))
        return nf_command_usage(self, "--near wants one share: 20%");
    if (!(a.whole >= 0 && a.whole <= WHOLE_SECONDS_MAX))
        return nf_command_usage(self, "--whole wants seconds, at most a day");
    if (a.explain != UINT64_MAX && (a.policies.n > 1 || a.explain >= UINT32_MAX))
        return nf_command_usage(self, "--explain wants a tensor's number, and one policy");
    if (a.moves && (a.policies.n > 1 || a.explain != UINT64_MAX))
        return nf_command_usage(self, "--moves wants one policy, and no --explain");
    if (!(a.policy_limit > 0 && a.policy_limit <= NF_GUARD_LIMIT_MAX_S))
        return nf_command_usage(self, "--policy-limit wants seconds above 0");
    rc = nf_study_open(argv[first], NF_STUDY_READ, &study);
    if (rc)
        return nf_command_fail(rc);
    capture = nf_record_capture_find(study, (int64_t)a.capture);
    rc = capture < 0 ? (int)capture : nf_record_stream_load(study, capture, &stream);
    if (!rc && !stream->n_classes)
        rc = nf_fail(-ENOENT, "capture %lld has no steps to plan", (long long)capture);
    if (!rc)
        rc = find_tiers(study, &w, &measured);
    w.stream = stream;
    w.near_share = shares[0];
    w.llc_bytes = a.unfiltered ? 0 : a.llc_bytes ? a.llc_bytes : nf_record_llc(study);
    w.seed = a.seed;
    w.whole_seconds = a.whole;
    w.limit_s = a.policy_limit;
    w.explain = a.explain == UINT64_MAX ? UINT32_MAX : (uint32_t)a.explain;
    w.moves = a.moves;
    t.plans = nf_table_new(plan_columns, sizeof plan_columns / sizeof *plan_columns);
    t.roles = nf_table_new(role_columns, sizeof role_columns / sizeof *role_columns);
    t.course = a.explain == UINT64_MAX && !a.moves ? NULL : nf_table_new(course_columns, sizeof course_columns / sizeof *course_columns);
    if (!rc && (!t.plans || !t.roles || ((a.explain != UINT64_MAX || a.moves) && !t.course)))
        rc = nf_fail(-ENOMEM, "out of memory");
    if (!rc)
        rc = nf_profiles_new(stream, w.llc_bytes, w.llc_bytes, &profiles);
    w.profiles = profiles;
    if (!rc)
        rc = forecast_all(&a, &w, &t, measured);
    if (!rc)
        rc = print(&a, &t);
    nf_table_free(t.plans);
    nf_table_free(t.roles);
    nf_table_free(t.course);
    nf_profiles_free(profiles, stream ? stream->n_classes : 0);
    nf_stream_free(stream);
    nf_study_close(study);
    if (!rc)
        return NF_EXIT_OK;
    nf_command_fail(rc);
    return exit_code(rc);
}

const struct nf_command nf_cmd_plan = {
    .name = "plan",
    .about = "what a policy would do with a captured step, without replaying it: far bytes, moves, a modelled time, and the bound",
    .usage = "plan STUDY [OPTIONS]",
    .text = "Shares are of the bytes that pass the LLC in a step. far: used while far. The bounds: the least that any choice of\n"
            "what to keep near leaves to far, in place or by a fetch: in parts (LP), of whole tensors (whole, with --whole), of what never\n"
            "moves (static). Belady is what that rule leaves, no bound.",
    .options = options,
    .examples = {"nearfar plan demo.nf --policy gap-greedy --policy lru --near 20%",
                 "nearfar plan demo.nf --policy lifetime-density --near 20% --explain 12"},
    .run = run,
};
