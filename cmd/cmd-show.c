#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/plot.h"
#include "analyze/trial-record.h"
#include "cmd/command.h"
#include "cmd/show.h"
#include "core/base/error.h"
#include "core/model/profile.h"
#include "core/store/records.h"
#include "core/store/samples.h"

enum { DEFAULT_PERIOD = 10007 };

struct arguments {
    uint64_t capture, step_class, llc_bytes, limit, tensor, block, period;
    const char *source, *by, *plot;
    double ghz;
    bool json, csv, reuse, mrc, heat;
};

static const struct nf_option options[] = {
    {"capture", 'c', NF_OPTION_U64, offsetof(struct arguments, capture), "ID", "which capture (default the latest)"},
    {"class", 'k', NF_OPTION_U64, offsetof(struct arguments, step_class), "N", "which step class (default the steady one)"},
    {"llc", 'l', NF_OPTION_BYTES, offsetof(struct arguments, llc_bytes), "BYTES", "effective LLC that separates bursts and filters misses (default: measured, else as the CPU reports)"},
    {"ghz", 0, NF_OPTION_F64, offsetof(struct arguments, ghz), "GHZ", "clock of the cores that were sampled, for k in the view 'sampled' (default: unknown)"},
    {"limit", 'n', NF_OPTION_U64, offsetof(struct arguments, limit), "ROWS", "at most so many rows (default 40 in text, all otherwise)"},
    {"source", 's', NF_OPTION_STRING, offsetof(struct arguments, source), "NAME", "audit: what this source saw (default the latest); --reuse, --mrc, --heat: of what it saw (default: of the framework's visits)"},
    {"reuse", 0, NF_OPTION_FLAG, offsetof(struct arguments, reuse), NULL, "reuse distances and times of one step class, instead of a view"},
    {"mrc", 0, NF_OPTION_FLAG, offsetof(struct arguments, mrc), NULL, "miss-ratio curves of one step class: exact, and every estimator's error"},
    {"heat", 0, NF_OPTION_FLAG, offsetof(struct arguments, heat), NULL, "what one step class touches, through the step"},
    {"by", 'b', NF_OPTION_STRING, offsetof(struct arguments, by), "WHAT", "role (--mrc, --reuse), tensor (--reuse, --heat) or address (--heat)"},
    {"tensor", 't', NF_OPTION_U64, offsetof(struct arguments, tensor), "N", "of --mrc and --reuse: one tensor alone"},
    {"block", 0, NF_OPTION_BYTES, offsetof(struct arguments, block), "BYTES", "of --mrc and --reuse: what is cached as one (default 64)"},
    {"period", 0, NF_OPTION_U64, offsetof(struct arguments, period), "N", "of --mrc: line accesses per simulated sample (default 10007)"},
    {"plot", 'p', NF_OPTION_STRING, offsetof(struct arguments, plot), "FILE", "draw it, too: FILE ends in .svg, .png or .pdf"},
    {"json", 'j', NF_OPTION_FLAG, offsetof(struct arguments, json), NULL, "rows as JSON objects"},
    {"csv", 0, NF_OPTION_FLAG, offsetof(struct arguments, csv), NULL, "rows as CSV"},
    {0},
};

#define COLUMNS(c) c, sizeof c / sizeof *c
#define VIEW_NAMES "classes, passes, steps, roles, regimes, tensors, ops, gaps, audit, audit-tensors, sampled, watches, trials, counters, sources, samples"

/* --- views made by SQL --- */

static const struct nf_column pass_columns[] = {
    {"kind", "pass", NF_COLUMN_TEXT},
    {"status", "status", NF_COLUMN_TEXT},
    {"exit_status", "exit", NF_COLUMN_INTEGER},
    {"steps", "steps", NF_COLUMN_INTEGER},
    {"ops", "ops", NF_COLUMN_INTEGER},
    {"wall_ns", "wall", NF_COLUMN_NS},
    {"cpu_ns", "cpu", NF_COLUMN_NS},
    {"allocator_peak_bytes", "allocator peak", NF_COLUMN_BYTES},
    {"tracked_peak_bytes", "tracked peak", NF_COLUMN_BYTES},
    {"untracked_peak_bytes", "of it never operand", NF_COLUMN_BYTES},
    {"lost_events", "lost", NF_COLUMN_INTEGER},
    {"unattributed_visits", "unattributed", NF_COLUMN_INTEGER},
    {"unmatched_steps", "unmatched", NF_COLUMN_INTEGER},
    {"parameter_sha256", "parameters SHA-256", NF_COLUMN_TEXT},
};
static const char pass_sql[] =
    "SELECT CASE kind WHEN 1 THEN 'bare' WHEN 2 THEN 'timing' ELSE 'access' END, status, exit_status, steps, ops, wall_ns, "
    "cpu_ns, allocator_peak_bytes, CASE kind WHEN 3 THEN tracked_peak_bytes END, CASE kind WHEN 3 THEN "
    "untracked_peak_bytes END, lost_events, unattributed_visits, unmatched_steps, parameter_sha256 FROM pass WHERE "
    "capture_id = ?1 ORDER BY id";

static const struct nf_column class_columns[] = {
    {"number", "class", NF_COLUMN_INTEGER},
    {"steps", "steps", NF_COLUMN_INTEGER},
    {"ops", "ops", NF_COLUMN_INTEGER},
    {"visits", "visits", NF_COLUMN_INTEGER},
    {"visited_bytes", "visited", NF_COLUMN_BYTES},
    {"peak_live_bytes", "peak live", NF_COLUMN_BYTES},
    {"bare_step_ns", "bare step", NF_COLUMN_NS},
    {"timing_step_ns", "timed step", NF_COLUMN_NS},
    {"timing_ops_ns", "its ops", NF_COLUMN_NS},
    {"correction_factor", "factor", NF_COLUMN_REAL},
    {"correction_gap_ns", "gap per op", NF_COLUMN_NS},
};
static const char class_sql[] =
    "SELECT c.number, (SELECT count(*) FROM step s JOIN pass p ON p.id = s.pass_id WHERE s.class_id = c.id AND p.kind = 3), "
    "c.ops, c.visits, c.visited_bytes, c.peak_live_bytes, nullif(c.bare_step_ns, 0), nullif(c.timing_step_ns, 0), "
    "nullif(c.timing_ops_ns, 0), nullif(c.correction_factor, 0), c.correction_gap_ns FROM step_class c WHERE "
    "c.capture_id = ?1 ORDER BY c.number";

static const struct nf_column step_columns[] = {
    {"pass", "pass", NF_COLUMN_TEXT},       {"number", "step", NF_COLUMN_INTEGER},
    {"class", "class", NF_COLUMN_INTEGER},  {"dur_ns", "time", NF_COLUMN_NS},
};
static const char step_sql[] =
    "SELECT CASE p.kind WHEN 1 THEN 'bare' WHEN 2 THEN 'timing' ELSE 'access' END, s.number, c.number, s.dur_ns FROM step s "
    "JOIN pass p ON p.id = s.pass_id LEFT JOIN step_class c ON c.id = s.class_id WHERE p.capture_id = ?1 ORDER BY p.id, "
    "s.number";

static const struct nf_column trial_columns[] = {
    {"replay", "replay", NF_COLUMN_INTEGER},
    {"block", "block", NF_COLUMN_INTEGER},
    {"policy", "policy", NF_COLUMN_TEXT},
    {"near_share", "near", NF_COLUMN_SHARE},
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"status", "status", NF_COLUMN_TEXT},
    {"step_ns", "per step", NF_COLUMN_NS},
    {"far_bytes", "far/step", NF_COLUMN_BYTES},
    {"charged_bytes", "of it charged", NF_COLUMN_BYTES},
    {"moved_bytes", "moved/step", NF_COLUMN_BYTES},
    {"floored_share", "floored", NF_COLUMN_SHARE},
    {"assumed_k_share", "assumed k", NF_COLUMN_SHARE},
    {"class_k_share", "by class", NF_COLUMN_SHARE},
    {"evidence", "evidence", NF_COLUMN_TEXT},
    {"message", "note", NF_COLUMN_TEXT},
};
static const char trial_sql[] =
    "SELECT t.replay_id, t.block, t.policy, t.near_share, CASE t.overlap WHEN 0 THEN 'asap' WHEN 1 THEN 'overlap=full' ELSE "
    "'overlap=none' END || CASE t.hog WHEN 1 THEN ', hog' ELSE '' END, t.status, CAST(t.wall_ns AS REAL) / "
    "nullif(t.steps, 0), (SELECT sum(read_bytes + write_bytes) / max(t.steps, 1) FROM trial_tier x WHERE x.trial_id = t.id "
    "AND x.tier_number > 0), (SELECT sum(charged_bytes) / max(t.steps, 1) FROM trial_tier x WHERE x.trial_id = t.id AND "
    "x.tier_number > 0), t.moved_bytes / max(t.steps, 1), t.floored_share, t.assumed_k_share, t.class_k_share, CASE t.evidence WHEN 1 THEN "
    "'measured-device' WHEN 2 THEN 'measured-proxy' WHEN 3 THEN 'emulated-machine' WHEN 4 THEN 'injected-delay' WHEN 5 THEN "
    "'modelled' WHEN 6 THEN 'assumed' ELSE 'unknown' END, t.message FROM trial t JOIN replay r ON r.id = t.replay_id WHERE "
    "r.capture_id = ?1 ORDER BY t.id";

static const struct nf_column counter_columns[] = {
    {"replay", "replay", NF_COLUMN_INTEGER},
    {"block", "block", NF_COLUMN_INTEGER},
    {"policy", "policy", NF_COLUMN_TEXT},
    {"near_share", "near", NF_COLUMN_SHARE},
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"tier", "tier", NF_COLUMN_TEXT},
    {"read_bytes", "read, moves too", NF_COLUMN_BYTES},
    {"counter_read_bytes", "counted", NF_COLUMN_BYTES},
    {"write_bytes", "written, moves too", NF_COLUMN_BYTES},
    {"counter_write_bytes", "counted", NF_COLUMN_BYTES},
    {"uncounted", "why not counted", NF_COLUMN_TEXT},
};
static const char counter_sql[] =
    "SELECT t.replay_id, t.block, t.policy, t.near_share, CASE t.overlap WHEN 0 THEN 'asap' WHEN 1 THEN 'overlap=full' ELSE "
    "'overlap=none' END, (SELECT name FROM tier WHERE testbed_id = r.testbed_id AND number = x.tier_number), x.read_bytes + "
    "x.moved_out_bytes, nullif(x.counter_read_bytes, -1), x.write_bytes + x.moved_in_bytes, nullif(x.counter_write_bytes, -1), "
    NF_RECORD_UNCOUNTED " FROM trial t JOIN replay r ON r.id = t.replay_id JOIN trial_tier x "
    "ON x.trial_id = t.id WHERE r.capture_id = ?1 ORDER BY t.id, x.tier_number";

static const struct nf_show_view classes = {"classes", "step classes: steps of the same structure", COLUMNS(class_columns),
                                            class_sql, NULL, false};
static const struct nf_show_view passes = {"passes", "the job's runs: bare, access, timing", COLUMNS(pass_columns), pass_sql,
                                           NULL, false};
static const struct nf_show_view steps = {"steps", "every step's time and class", COLUMNS(step_columns), step_sql, NULL, false};
static const struct nf_show_view trials = {"trials", "replayed trials", COLUMNS(trial_columns), trial_sql, NULL, false};
static const struct nf_show_view counters = {"counters", "bytes of each trial on each tier, by the replay and by hardware counters",
                                             COLUMNS(counter_columns), counter_sql, NULL, false};

static const struct nf_show_view *const views[] = {
    &classes,     &passes,       &steps,         &nf_show_roles,         &nf_show_regimes, &nf_show_tensors,
    &nf_show_ops, &nf_show_gaps, &nf_show_audit, &nf_show_audit_tensors, &nf_show_sampled, &nf_show_watches,
    &trials,      &counters,     &nf_show_sources, &nf_show_samples, NULL,
};

/* NULL: there is none of that name. */
static const struct nf_show_view *find_view(const char *name)
{
    for (size_t i = 0; views[i]; i++)
        if (!strcmp(views[i]->name, name))
            return views[i];
    return NULL;
}

static int fill_sql(const struct nf_show *s, const struct nf_show_view *v, struct nf_table *t)
{
    struct nf_query *q;
    int rc = nf_study_query(s->study, v->sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->capture);
    while ((rc = nf_query_step(q)) == 1) {
        for (int i = 0; i < (int)v->n_columns; i++) {
            if (nf_query_is_null(q, i))
                nf_table_unknown(t);
            else if (!nf_query_is_number(q, i))
                nf_table_text(t, nf_query_text(q, i));
            else if (v->columns[i].kind == NF_COLUMN_INTEGER || v->columns[i].kind == NF_COLUMN_BYTES)
                nf_table_integer(t, nf_query_i64(q, i));
            else
                nf_table_number(t, nf_query_f64(q, i));
        }
    }
    nf_query_done(q);
    return rc;
}

static int load_class(struct nf_show *s, uint64_t wanted)
{
    uint32_t number;
    int rc = nf_record_stream_load(s->study, s->capture, &s->stream);

    if (rc)
        return rc;
    number = wanted == UINT64_MAX ? nf_stream_steady_class(s->stream) : (uint32_t)wanted;
    if (wanted != UINT64_MAX && wanted >= s->stream->n_classes)
        return nf_fail(-EINVAL, "there is no step class %llu; the capture has %u", (unsigned long long)wanted,
                       s->stream->n_classes);
    s->class = &s->stream->classes[number];
    return 0;
}

static int load_profile(struct nf_show *s)
{
    int rc;

    s->profile = calloc(1, sizeof *s->profile);
    rc = s->profile ? nf_profile_init(s->profile, s->class, s->llc_bytes, 0) : -ENOMEM;
    return rc ? nf_fail(rc, "out of memory") : 0;
}

static void list_views(FILE *to)
{
    for (size_t i = 0; views[i]; i++)
        fprintf(to, "  %-14s%s\n", views[i]->name, views[i]->about);
}

/* The status of a capture or replay as the study has it; one left 'running' by a program that is gone was killed. */
static void print_status(const struct nf_show *s, const char *status, const char *message)
{
    long writer = strcmp(status, "running") ? 0 : nf_study_writer(s->study);

    if (writer)
        printf("running in process %ld", writer);
    else if (!strcmp(status, "running"))
        printf("partial: killed before its end");
    else
        printf("%s%s%s", status, *message ? ": " : "", message);
}

static void print_capture(const struct nf_show *s, const char *path)
{
    struct nf_query *q;

    if (nf_study_query(s->study, "SELECT c.id, c.status, c.message, c.framework, c.language, c.threads, c.job, m.cpu, "
                                 "m.host, ifnull((SELECT max(kind) FROM pass p WHERE p.capture_id = c.id AND p.status = "
                                 "'running'), 0), c.lifetimes, c.phases, c.durations FROM capture c JOIN invocation i ON i.id = c.invocation_id JOIN machine m "
                                 "ON m.id = i.machine_id WHERE c.id = ?1", &q))
        return;
    nf_query_bind_i64(q, 1, s->capture);
    if (nf_query_step(q) == 1) {
        printf("study %s, capture %lld (", path, (long long)nf_query_i64(q, 0));
        print_status(s, nf_query_text(q, 1), nf_query_text(q, 2));
        if (nf_query_i64(q, 9))
            printf(", in the %s pass", nf_pass_kind_name((unsigned)nf_query_i64(q, 9)));
        printf(")\n  job       %s\n  run by    %s, %s, %lld thread%s\n  machine   %s (%s)\n", nf_query_text(q, 6),
               nf_query_text(q, 3), nf_query_text(q, 4), (long long)nf_query_i64(q, 5), nf_query_i64(q, 5) == 1 ? "" : "s",
               nf_query_text(q, 8), nf_query_text(q, 7));
        /* Said where not all of it was seen by nearfar itself. */
        if (strcmp(nf_query_text(q, 10), "observed") || strcmp(nf_query_text(q, 12), "timed"))
            printf("  known     lifetimes %s, phases %s, durations %s\n", nf_query_text(q, 10), nf_query_text(q, 11),
                   nf_query_text(q, 12));
    }
    nf_query_done(q);
}

/* The latest replays, and captures that ended before their first step. */
static void print_others(const struct nf_show *s)
{
    struct nf_query *q;

    if (nf_study_query(s->study, "SELECT id, status, message, planned_trials, (SELECT count(*) FROM trial t WHERE "
                                 "t.replay_id = r.id) FROM replay r WHERE capture_id = ?1 ORDER BY id DESC LIMIT 5", &q))
        return;
    nf_query_bind_i64(q, 1, s->capture);
    while (nf_query_step(q) == 1) {
        printf("  replay %-2lld %lld of %lld trials, ", (long long)nf_query_i64(q, 0), (long long)nf_query_i64(q, 4),
               (long long)nf_query_i64(q, 3));
        print_status(s, nf_query_text(q, 1), nf_query_text(q, 2));
        printf("\n");
    }
    nf_query_done(q);
    if (nf_study_query(s->study, "SELECT id, status, message FROM capture c WHERE id > ?1 AND NOT EXISTS (SELECT 1 FROM "
                                 "step_class k WHERE k.capture_id = c.id) ORDER BY id DESC LIMIT 5", &q))
        return;
    nf_query_bind_i64(q, 1, s->capture);
    while (nf_query_step(q) == 1) {
        printf("  capture %lld holds no steps: ", (long long)nf_query_i64(q, 0));
        print_status(s, nf_query_text(q, 1), nf_query_text(q, 2));
        printf("\n");
    }
    nf_query_done(q);
}

static int show(struct nf_show *s, const struct nf_show_view *v, uint64_t step_class)
{
    struct nf_table *t = nf_table_new(v->columns, v->n_columns);
    int rc = t ? 0 : nf_fail(-ENOMEM, "out of memory");

    if (!rc && v->fill && !v->of_samples && !s->stream) {
        rc = load_class(s, step_class);
        if (!rc)
            rc = load_profile(s);
    }
    if (!rc)
        rc = v->fill ? v->fill(s, t) : fill_sql(s, v, t);
    if (!rc) {
        if (!nf_table_rows(t))
            fprintf(stderr, "no %s in this study yet\n", v->name);
        rc = nf_show_print(t, s, 40);
    }
    nf_table_free(t);
    return rc;
}

/* Without a view: what is in it, then the tables a newcomer wants first. */
static int show_overview(struct nf_show *s, const char *path, uint64_t step_class)
{
    const struct nf_show_view *const opening[] = {&passes, &classes, &nf_show_roles};
    bool text = s->format == NF_TABLE_TEXT;
    int rc = 0;

    if (!text)
        return show(s, &classes, step_class);
    print_capture(s, path);
    print_others(s);
    printf("\n");
    for (size_t i = 0; !rc && i < sizeof opening / sizeof *opening; i++) {
        rc = show(s, opening[i], step_class);
        printf("\n");
    }
    if (!rc) {
        fputs("views:\n", stderr);
        list_views(stderr);
    }
    return rc;
}

/* What the options leave unsaid or contradict; NULL: nothing. */
static const char *misuse(const struct arguments *a, int n_operands)
{
    int chosen = a->reuse + a->mrc + a->heat;

    if (chosen > 1)
        return "only one of --reuse, --mrc, --heat at a time";
    if (chosen && n_operands > 1)
        return "--reuse, --mrc and --heat stand in place of a view";
    if (!chosen && (a->by || a->plot || a->tensor != NF_TENSOR_ALL || a->block != NF_LINE_BYTES || a->period != DEFAULT_PERIOD))
        return "--by, --tensor, --block, --period and --plot belong to --reuse, --mrc or --heat";
    if (a->plot && nf_plot_check(a->plot))
        return nf_error_text(0);
    return NULL;
}

/* The capture to show: for samples one that has an observation, else one that has steps. Where there are samples alone, as
 * from a perf.data file, there is nothing to give an overview of: *v becomes their view. */
static int64_t find_capture(struct nf_study *study, int64_t wanted, const struct nf_show_view **v)
{
    int64_t capture = *v && (*v)->of_samples ? nf_observation_capture(study, wanted) : nf_record_capture_find(study, wanted);

    if (!*v && capture == -ENOENT) {
        int64_t observed = nf_observation_capture(study, wanted);

        if (observed > 0)
            *v = &nf_show_sources;
        capture = observed > 0 ? observed : nf_record_capture_find(study, wanted);
    }
    return capture;
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {
        .step_class = UINT64_MAX, .tensor = NF_TENSOR_ALL, .block = NF_LINE_BYTES, .period = DEFAULT_PERIOD};
    const struct nf_show_view *v = NULL;
    struct nf_step_class seen = {0};
    struct nf_show s = {0};
    const char *wrong;
    int first, n, code = NF_EXIT_OK, rc;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    if (n < 1 || n > 2)
        return nf_command_usage(self, "a study is wanted, and at most one view");
    wrong = misuse(&a, n);
    if (wrong)
        return nf_command_usage(self, wrong);
    if (n == 2 && !(v = find_view(argv[first + 1]))) {
        nf_fail(-EINVAL, "there is no view '%s'; there are: %s", argv[first + 1], VIEW_NAMES);
        return nf_command_usage(self, nf_error_text(0));
    }
    s = (struct nf_show){.format = a.json ? NF_TABLE_JSON : a.csv ? NF_TABLE_CSV : NF_TABLE_TEXT,
                         .limit = a.limit,
                         .source = a.source,
                         .ghz = a.ghz,
                         .by = a.by,
                         .tensor = a.tensor,
                         .block = a.block,
                         .period = a.period,
                         .plot = a.plot};
    rc = nf_study_open(argv[first], NF_STUDY_READ, &s.study);
    if (rc)
        return nf_command_fail(rc);
    s.llc_bytes = a.llc_bytes ? a.llc_bytes : nf_record_llc(s.study);
    s.capture = find_capture(s.study, (int64_t)a.capture, &v);
    rc = s.capture < 0 ? (int)s.capture : 0;
    if (!rc && (a.reuse || a.mrc || a.heat)) {
        rc = load_class(&s, a.step_class);
        if (!rc && a.source && strcmp(a.source, "framework")) {
            rc = nf_show_seen_by(&s, &seen);
            s.class = &seen;
        }
        if (!rc)
            rc = a.mrc ? nf_show_mrc(&s) : a.heat ? nf_show_heat(&s) : nf_show_reuse(&s);
    } else if (!rc) {
        rc = v ? show(&s, v, a.step_class) : show_overview(&s, argv[first], a.step_class);
    }
    if (rc == -EINVAL && (a.reuse || a.mrc || a.heat))
        code = nf_command_usage(self, nf_error_text(0));
    else if (rc)
        code = nf_command_fail(rc);
    if (s.profile)
        nf_profile_deinit(s.profile);
    free(s.profile);
    nf_step_class_seen_deinit(&seen);
    nf_stream_free(s.stream);
    nf_study_close(s.study);
    return code;
}

const struct nf_command nf_cmd_show = {
    .name = "show",
    .about = "print the profile in a study as tables",
    .usage = "show STUDY [VIEW] [OPTIONS]",
    .text = "views: " VIEW_NAMES ". Without one, an overview.\n"
            "--reuse, --mrc and --heat show how a step reuses memory.",
    .options = options,
    .examples = {"nearfar show demo.nf roles", "nearfar show demo.nf --mrc --by role --plot mrc.svg"},
    .run = run,
};
