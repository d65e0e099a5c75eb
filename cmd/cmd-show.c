#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/plot.h"
#include "analyze/sampled.h"
#include "capture/data-src.h"
#include "cmd/command.h"
#include "cmd/show.h"
#include "cmd/show-audit.h"
#include "core/base/error.h"
#include "core/base/units.h"
#include "core/model/profile.h"
#include "core/model/stats.h"
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
    {"reuse", 0, NF_OPTION_FLAG, offsetof(struct arguments, reuse), NULL, "reuse distances and times of one step class, instead of a view"},
    {"mrc", 0, NF_OPTION_FLAG, offsetof(struct arguments, mrc), NULL, "miss-ratio curves of one step class: exact, and every estimator's error"},
    {"heat", 0, NF_OPTION_FLAG, offsetof(struct arguments, heat), NULL, "what one step class touches, through the step"},
    {"by", 'b', NF_OPTION_STRING, offsetof(struct arguments, by), "WHAT", "role (--mrc, --reuse), tensor (--reuse, --heat) or address (--heat)"},
    {"tensor", 't', NF_OPTION_U64, offsetof(struct arguments, tensor), "N", "of --mrc and --reuse: one tensor alone"},
    {"block", 0, NF_OPTION_BYTES, offsetof(struct arguments, block), "BYTES", "of --mrc and --reuse: what is cached as one (default 64)"},
    {"period", 0, NF_OPTION_U64, offsetof(struct arguments, period), "N", "of --mrc: line accesses per simulated sample (default 10007)"},
    {"plot", 'p', NF_OPTION_STRING, offsetof(struct arguments, plot), "FILE", "draw it, too: FILE ends in .svg, .png or .pdf"},
    {"source", 's', NF_OPTION_STRING, offsetof(struct arguments, source), "NAME", "audit: what this source saw (default the latest)"},
    {"json", 'j', NF_OPTION_FLAG, offsetof(struct arguments, json), NULL, "rows as JSON objects"},
    {"csv", 0, NF_OPTION_FLAG, offsetof(struct arguments, csv), NULL, "rows as CSV"},
    {0},
};

/* What a view works on. stream and profile are loaded only for views that ask for them. */
struct context {
    struct nf_study *study;
    const struct arguments *arguments;
    int64_t capture;
    struct nf_stream *stream;
    const struct nf_step_class *class;
    struct nf_profile profile;
    bool has_profile;
};

struct view {
    const char *name, *about;
    const struct nf_column *columns;
    size_t n_columns;
    const char *sql; /* ?1 = capture; columns as above, then fill is NULL */
    int (*fill)(struct context *c, struct nf_table *t);
    bool of_samples; /* needs an observation, and no steps */
};

#define COLUMNS(c) c, sizeof c / sizeof *c
#define VIEW_NAMES "classes, passes, steps, roles, regimes, tensors, ops, gaps, audit, audit-tensors, sampled, trials, sources, samples"

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
    {"evidence", "evidence", NF_COLUMN_TEXT},
    {"message", "note", NF_COLUMN_TEXT},
};
static const char trial_sql[] =
    "SELECT t.replay_id, t.block, t.policy, t.near_share, CASE t.overlap WHEN 0 THEN 'asap' WHEN 1 THEN 'overlap=full' ELSE "
    "'overlap=none' END || CASE t.hog WHEN 1 THEN ', hog' ELSE '' END, t.status, CAST(t.wall_ns AS REAL) / "
    "nullif(t.steps, 0), (SELECT sum(read_bytes + write_bytes) / max(t.steps, 1) FROM trial_tier x WHERE x.trial_id = t.id "
    "AND x.tier_number > 0), (SELECT sum(charged_bytes) / max(t.steps, 1) FROM trial_tier x WHERE x.trial_id = t.id AND "
    "x.tier_number > 0), t.moved_bytes / max(t.steps, 1), t.floored_share, t.assumed_k_share, CASE t.evidence WHEN 1 THEN "
    "'measured-device' WHEN 2 THEN 'measured-proxy' WHEN 3 THEN 'emulated-machine' WHEN 4 THEN 'injected-delay' WHEN 5 THEN "
    "'modelled' WHEN 6 THEN 'assumed' ELSE 'unknown' END, t.message FROM trial t JOIN replay r ON r.id = t.replay_id WHERE "
    "r.capture_id = ?1 ORDER BY t.id";

static const struct nf_column source_columns[] = {
    {"lost_share", "lost", NF_COLUMN_SHARE},
    {"source", "source", NF_COLUMN_TEXT},
    {"evidence", "evidence", NF_COLUMN_TEXT},
    {"validated", "tried on hardware", NF_COLUMN_TEXT},
    {"resolution_bytes", "resolution", NF_COLUMN_BYTES},
    {"rw", "read/write", NF_COLUMN_TEXT},
    {"samples", "samples", NF_COLUMN_INTEGER},
    {"attributed", "attributed", NF_COLUMN_INTEGER},
    {"between_ops", "of it between ops", NF_COLUMN_INTEGER},
    {"unattributed", "unattributed", NF_COLUMN_INTEGER},
    {"out_of_arena", "out of arena", NF_COLUMN_INTEGER},
    {"other_process", "other process", NF_COLUMN_INTEGER},
    {"outside_steps", "outside steps", NF_COLUMN_INTEGER},
    {"lost_samples", "lost samples", NF_COLUMN_INTEGER},
    {"throttled", "throttled", NF_COLUMN_INTEGER},
    {"undecoded", "undecoded", NF_COLUMN_INTEGER},
    {"events", "events", NF_COLUMN_TEXT},
    {"notes", "notes", NF_COLUMN_TEXT},
};
static const char source_sql[] =
    "SELECT CAST(o.lost AS REAL) / nullif(o.lost + o.samples, 0), o.source, CASE o.evidence WHEN 1 THEN 'framework' WHEN 2 "
    "THEN 'pebs' WHEN 3 THEN 'ibs' WHEN 4 THEN 'watchpoint' WHEN 5 THEN 'page-fault' WHEN 6 THEN 'exact' ELSE 'unknown' END, "
    "CASE o.validated WHEN 0 THEN 'not validated on hardware' ELSE 'validated' END, o.resolution_bytes, o.rw, o.samples, "
    "o.attributed, o.between_ops, o.unattributed, o.out_of_arena, o.other_process, o.outside_steps, o.lost, o.throttled, "
    "o.undecoded, ifnull((SELECT group_concat(name, ', ') FROM sample_event e WHERE e.observation_id = o.id), ''), o.notes "
    "FROM observation o JOIN pass p ON p.id = o.pass_id WHERE p.capture_id = ?1 ORDER BY o.id";

/* Said before anything else where so much is missing that the rest must be read with it in mind. */
static void warn_lost(struct context *c)
{
    struct nf_query *q;

    if (nf_study_query(c->study, "SELECT o.source, 100.0 * o.lost / (o.lost + o.samples) FROM observation o JOIN pass p ON "
                                 "p.id = o.pass_id WHERE p.capture_id = ?1 AND o.lost * 99 > o.samples ORDER BY o.id", &q))
        return;
    nf_query_bind_i64(q, 1, c->capture);
    while (nf_query_step(q) == 1)
        fprintf(stderr, "%s: %.1f %% of the samples were lost\n", nf_query_text(q, 0), nf_query_f64(q, 1));
    nf_query_done(q);
}

static const struct nf_column sample_columns[] = {
    {"source", "source", NF_COLUMN_TEXT},     {"event", "event", NF_COLUMN_TEXT},
    {"time_ns", "time", NF_COLUMN_INTEGER},   {"pid", "pid", NF_COLUMN_INTEGER},
    {"tid", "tid", NF_COLUMN_INTEGER},        {"cpu", "cpu", NF_COLUMN_INTEGER},
    {"address", "address", NF_COLUMN_HEX},    {"ip", "ip", NF_COLUMN_HEX},
    {"rw", "read/write", NF_COLUMN_TEXT},     {"level", "data source", NF_COLUMN_TEXT},
    {"weight", "cycles", NF_COLUMN_INTEGER},  {"period", "period", NF_COLUMN_INTEGER},
    {"step", "step", NF_COLUMN_INTEGER},      {"op", "op", NF_COLUMN_INTEGER},
    {"tensor", "tensor", NF_COLUMN_INTEGER},  {"offset", "offset", NF_COLUMN_INTEGER},
};
static const char sample_sql[] =
    "SELECT o.source, e.name, s.time_ns, s.pid, s.tid, s.cpu, s.address, s.ip, s.rw, s.data_src, s.weight, s.period, s.step, "
    "s.op, s.tensor, s.offset FROM observation o JOIN pass p ON p.id = o.pass_id JOIN samples(o.id) s LEFT JOIN sample_event "
    "e ON e.observation_id = o.id AND e.number = s.event WHERE p.capture_id = ?1 ORDER BY o.id LIMIT ?2";

static int fill_samples(struct context *c, struct nf_table *t)
{
    /* One more than is printed, so that it is known whether there are more. */
    uint64_t most = c->arguments->limit ? c->arguments->limit + 1 : c->arguments->json || c->arguments->csv ? INT64_MAX : 41;
    struct nf_query *q;
    int rc = nf_study_query(c->study, sample_sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->capture);
    nf_query_bind_i64(q, 2, (int64_t)(most > INT64_MAX ? INT64_MAX : most));
    while ((rc = nf_query_step(q)) == 1) {
        for (int i = 0; i < (int)(sizeof sample_columns / sizeof *sample_columns); i++) {
            char text[NF_DATA_SRC_TEXT];

            if (nf_query_is_null(q, i))
                nf_table_unknown(t);
            else if (!strcmp(sample_columns[i].name, "level"))
                nf_table_text(t, nf_data_src_text((uint64_t)nf_query_i64(q, i), text, sizeof text));
            else if (nf_query_is_number(q, i))
                nf_table_integer(t, nf_query_i64(q, i));
            else
                nf_table_text(t, nf_query_text(q, i));
        }
    }
    nf_query_done(q);
    return rc;
}

/* --- views made from the stream --- */

static const struct nf_column tensor_columns[] = {
    {"number", "tensor", NF_COLUMN_INTEGER},
    {"bytes", "size", NF_COLUMN_BYTES},
    {"role", "role", NF_COLUMN_TEXT},
    {"dtype", "dtype", NF_COLUMN_TEXT},
    {"shape", "shape", NF_COLUMN_TEXT},
    {"birth_op", "born", NF_COLUMN_INTEGER},
    {"death_op", "dies", NF_COLUMN_INTEGER},
    {"reads", "reads", NF_COLUMN_INTEGER},
    {"writes", "writes", NF_COLUMN_INTEGER},
    {"read_bytes", "read", NF_COLUMN_BYTES},
    {"miss_bytes", "past the LLC", NF_COLUMN_BYTES},
    {"bursts", "bursts", NF_COLUMN_INTEGER},
    {"longest_gap_ns", "longest gap", NF_COLUMN_NS},
    {"name", "name", NF_COLUMN_TEXT},
    {"module", "module", NF_COLUMN_TEXT},
};

/* dtype and shape are not part of the stream: they come from the study, in lifetime order. */
static const char tensor_sql[] =
    "SELECT d.text, s.text FROM lifetime l JOIN tensor t ON t.id = l.tensor_id JOIN name d ON d.id = t.dtype_id JOIN name s "
    "ON s.id = t.shape_id WHERE l.class_id = ?1 ORDER BY l.number";

static int fill_tensors(struct context *c, struct nf_table *t)
{
    const struct nf_step_class *k = c->class;
    struct nf_query *q;
    int rc = nf_study_query(c->study, tensor_sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, k->id);
    for (uint32_t i = 0; i < k->n_tensors && (rc = nf_query_step(q)) == 1; i++) {
        const struct nf_tensor *x = &k->tensors[i];
        const struct nf_tensor_profile *p = &c->profile.tensors[i];

        nf_table_integer(t, i);
        nf_table_integer(t, (int64_t)x->bytes);
        nf_table_text(t, nf_role_name(x->role));
        nf_table_text(t, nf_query_text(q, 0));
        nf_table_text(t, nf_query_text(q, 1));
        if (x->birth < 0)
            nf_table_text(t, "before");
        else
            nf_table_integer(t, x->birth);
        if (x->death == NF_OP_AFTER)
            nf_table_text(t, "after");
        else
            nf_table_integer(t, x->death);
        nf_table_integer(t, p->reads);
        nf_table_integer(t, p->writes);
        nf_table_integer(t, (int64_t)p->read_bytes);
        nf_table_integer(t, (int64_t)(p->miss_read_bytes + p->miss_write_bytes));
        nf_table_integer(t, p->n_bursts);
        nf_table_number(t, p->longest_gap_ns);
        nf_table_text(t, c->stream->names[x->name]);
        nf_table_text(t, c->stream->names[x->module]);
    }
    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

static const struct nf_column op_columns[] = {
    {"number", "op", NF_COLUMN_INTEGER},      {"name", "name", NF_COLUMN_TEXT},
    {"phase", "phase", NF_COLUMN_TEXT},       {"microbatch", "microbatch", NF_COLUMN_INTEGER},
    {"module", "module", NF_COLUMN_TEXT},     {"dur_ns", "corrected time", NF_COLUMN_NS},
    {"visits", "visits", NF_COLUMN_INTEGER},  {"bytes", "visited", NF_COLUMN_BYTES},
    {"regime", "regime", NF_COLUMN_HEX},
};

static int fill_ops(struct context *c, struct nf_table *t)
{
    for (uint32_t i = 0; i < c->class->n_ops; i++) {
        const struct nf_op *o = &c->class->ops[i];
        uint64_t bytes = 0;

        for (uint32_t v = 0; v < o->n_visits; v++)
            bytes += c->class->visits[o->first_visit + v].bytes;
        nf_table_integer(t, i);
        nf_table_text(t, c->stream->names[o->name]);
        nf_table_text(t, nf_phase_name(o->phase));
        nf_table_integer(t, o->microbatch);
        nf_table_text(t, c->stream->names[o->module]);
        nf_table_number(t, o->dur_ns > 0 ? o->dur_ns : NAN);
        nf_table_integer(t, o->n_visits);
        nf_table_integer(t, (int64_t)bytes);
        nf_table_integer(t, (int64_t)o->regime);
    }
    return 0;
}

static const struct nf_column regime_columns[] = {
    {"regime", "regime", NF_COLUMN_HEX},     {"name", "name", NF_COLUMN_TEXT},
    {"ops", "ops", NF_COLUMN_INTEGER},       {"dur_ns", "time", NF_COLUMN_NS},
    {"share", "of the step", NF_COLUMN_SHARE}, {"visited_bytes", "visited", NF_COLUMN_BYTES},
    {"born_bytes", "born", NF_COLUMN_BYTES},
};
static const char regime_sql[] =
    "SELECT n.text FROM regime r JOIN name n ON n.id = r.name_id WHERE r.capture_id = ?1 AND r.id = ?2";

static int fill_regimes(struct context *c, struct nf_table *t)
{
    const struct nf_step_class *k = c->class;
    double step_ns = 0;

    for (uint32_t i = 0; i < k->n_ops; i++)
        step_ns += k->ops[i].dur_ns + k->ops[i].gap_ns;
    for (uint32_t i = 0; i < k->n_ops; i++) {
        nf_regime id = k->ops[i].regime;
        uint64_t visited = 0, born = 0;
        uint32_t ops = 0, before = 0;
        struct nf_query *q;
        double ns = 0;
        int rc;

        while (before < i && k->ops[before].regime != id)
            before++;
        if (before < i)
            continue; /* printed at its first op */
        for (uint32_t j = i; j < k->n_ops; j++) {
            if (k->ops[j].regime != id)
                continue;
            ops++;
            ns += k->ops[j].dur_ns + k->ops[j].gap_ns;
            for (uint32_t v = 0; v < k->ops[j].n_visits; v++)
                visited += k->visits[k->ops[j].first_visit + v].bytes;
        }
        for (uint32_t j = 0; j < k->n_tensors; j++)
            if (k->tensors[j].birth >= 0 && k->ops[k->tensors[j].birth].regime == id)
                born += k->tensors[j].bytes;
        rc = nf_study_query(c->study, regime_sql, &q);
        if (rc)
            return rc;
        nf_query_bind_i64(q, 1, c->capture);
        nf_query_bind_i64(q, 2, (int64_t)id);
        rc = nf_query_step(q);
        nf_table_integer(t, (int64_t)id);
        nf_table_text(t, rc == 1 ? nf_query_text(q, 0) : "untagged");
        nf_query_done(q);
        nf_table_integer(t, ops);
        nf_table_number(t, step_ns > 0 ? ns : NAN);
        nf_table_number(t, step_ns > 0 ? ns / step_ns : NAN);
        nf_table_integer(t, (int64_t)visited);
        nf_table_integer(t, (int64_t)born);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const struct nf_column gap_columns[] = {
    {"tensor", "tensor", NF_COLUMN_INTEGER}, {"role", "role", NF_COLUMN_TEXT},
    {"bytes", "size", NF_COLUMN_BYTES},      {"from_op", "last op before", NF_COLUMN_INTEGER},
    {"to_op", "first op after", NF_COLUMN_INTEGER}, {"gap_ns", "gap", NF_COLUMN_NS},
    {"gap_bytes", "other traffic", NF_COLUMN_BYTES}, {"wraps", "over the step end", NF_COLUMN_TEXT},
    {"name", "name", NF_COLUMN_TEXT},        {"module", "module", NF_COLUMN_TEXT},
};

static int by_gap_cost(const void *a, const void *b, void *context)
{
    const struct nf_gap *x = a, *y = b;
    const struct nf_step_class *k = context;
    double cx = (double)k->tensors[x->tensor].bytes * (double)x->bytes;
    double cy = (double)k->tensors[y->tensor].bytes * (double)y->bytes;

    return (cx < cy) - (cx > cy);
}

static int fill_gaps(struct context *c, struct nf_table *t)
{
    /* Largest size × gap first: those are what a far tier could hold most cheaply. */
    if (c->profile.n_gaps)
        qsort_r(c->profile.gaps, c->profile.n_gaps, sizeof *c->profile.gaps, by_gap_cost, (void *)c->class);
    for (uint32_t i = 0; i < c->profile.n_gaps; i++) {
        const struct nf_gap *g = &c->profile.gaps[i];
        const struct nf_tensor *x = &c->class->tensors[g->tensor];

        nf_table_integer(t, g->tensor);
        nf_table_text(t, nf_role_name(x->role));
        nf_table_integer(t, (int64_t)x->bytes);
        nf_table_integer(t, g->from_op);
        nf_table_integer(t, g->to_op);
        nf_table_number(t, g->ns);
        nf_table_integer(t, (int64_t)g->bytes);
        nf_table_text(t, g->wraps ? "yes" : "no");
        nf_table_text(t, c->stream->names[x->name]);
        nf_table_text(t, c->stream->names[x->module]);
    }
    return 0;
}

static const struct nf_column role_columns[] = {
    {"role", "role", NF_COLUMN_TEXT},
    {"tensors", "tensors", NF_COLUMN_INTEGER},
    {"bytes", "size", NF_COLUMN_BYTES},
    {"read_bytes", "read/step", NF_COLUMN_BYTES},
    {"write_bytes", "written/step", NF_COLUMN_BYTES},
    {"reads_per_byte", "reads per byte", NF_COLUMN_REAL},
    {"miss_bytes", "past the LLC", NF_COLUMN_BYTES},
    {"median_gap_ns", "median longest gap", NF_COLUMN_NS},
    {"live_share", "mean lifetime", NF_COLUMN_SHARE},
};

static int fill_roles(struct context *c, struct nf_table *t)
{
    const struct nf_step_class *k = c->class;

    for (uint8_t role = 0; role < NF_ROLE_COUNT; role++) {
        uint64_t bytes = 0, reads = 0, writes = 0, miss = 0;
        double *gaps = malloc((k->n_tensors + 1) * sizeof *gaps), live = 0;
        size_t n = 0, n_gaps = 0;

        if (!gaps)
            return -ENOMEM;
        for (uint32_t i = 0; i < k->n_tensors; i++) {
            const struct nf_tensor_profile *p = &c->profile.tensors[i];

            if (k->tensors[i].role != role)
                continue;
            n++;
            bytes += k->tensors[i].bytes;
            reads += p->read_bytes;
            writes += p->write_bytes;
            miss += p->miss_read_bytes + p->miss_write_bytes;
            live += p->live_share;
            if (p->longest_gap_ns > 0)
                gaps[n_gaps++] = p->longest_gap_ns;
        }
        if (n) {
            nf_table_text(t, nf_role_name(role));
            nf_table_integer(t, (int64_t)n);
            nf_table_integer(t, (int64_t)bytes);
            nf_table_integer(t, (int64_t)reads);
            nf_table_integer(t, (int64_t)writes);
            nf_table_number(t, bytes ? (double)reads / (double)bytes : NAN);
            nf_table_integer(t, (int64_t)miss);
            nf_table_number(t, n_gaps ? nf_median(gaps, n_gaps) : NAN);
            nf_table_number(t, live / (double)n);
        }
        free(gaps);
    }
    return 0;
}

static int fill_audit(struct context *c, struct nf_table *t)
{
    return nf_show_audit(c->study, c->capture, c->stream, c->class, c->arguments->source, t);
}

static int fill_audit_tensors(struct context *c, struct nf_table *t)
{
    return nf_show_audit_tensors(c->study, c->capture, c->stream, c->class, c->arguments->source, t);
}

static int fill_sampled(struct context *c, struct nf_table *t)
{
    return nf_sampled_fill(c->study, c->capture, c->stream, c->class, c->arguments->ghz, t);
}

static const struct view views[] = {
    {"classes", "step classes: steps of the same structure", COLUMNS(class_columns), class_sql, NULL},
    {"passes", "the job's runs: bare, access, timing", COLUMNS(pass_columns), pass_sql, NULL},
    {"steps", "every step's time and class", COLUMNS(step_columns), step_sql, NULL},
    {"roles", "roles x bytes x reads of one step class", COLUMNS(role_columns), NULL, fill_roles},
    {"regimes", "recurring classes of work in one step class", COLUMNS(regime_columns), NULL, fill_regimes},
    {"tensors", "tensors of one step class", COLUMNS(tensor_columns), NULL, fill_tensors},
    {"ops", "operators of one step class", COLUMNS(op_columns), NULL, fill_ops},
    {"gaps", "gaps between bursts, largest size x gap first", COLUMNS(gap_columns), NULL, fill_gaps},
    {"audit", "what a source saw against what the framework said, by operator", nf_show_audit_columns,
     NF_SHOW_AUDIT_COLUMNS, NULL, fill_audit},
    {"audit-tensors", "the same by tensor", nf_show_audit_tensor_columns, NF_SHOW_AUDIT_TENSOR_COLUMNS, NULL,
     fill_audit_tensors},
    {"sampled", "visits as the CPU's samples show them (pebs, ibs)", nf_sampled_columns, NF_SAMPLED_COLUMNS, NULL, fill_sampled},
    {"trials", "replayed trials", COLUMNS(trial_columns), trial_sql, NULL},
    {"sources", "what each source saw and could not see", COLUMNS(source_columns), source_sql, NULL, true},
    {"samples", "single samples, in the order of their time", COLUMNS(sample_columns), NULL, fill_samples, true},
};

static int fill_sql(struct context *c, const struct view *v, struct nf_table *t)
{
    struct nf_query *q;
    int rc = nf_study_query(c->study, v->sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->capture);
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

static int load_class(struct context *c)
{
    const struct arguments *a = c->arguments;
    uint32_t number;
    int rc = nf_record_stream_load(c->study, c->capture, &c->stream);

    if (rc)
        return rc;
    number = a->step_class == UINT64_MAX ? nf_stream_steady_class(c->stream) : (uint32_t)a->step_class;
    if (a->step_class != UINT64_MAX && a->step_class >= c->stream->n_classes)
        return nf_fail(-EINVAL, "there is no step class %llu; the capture has %u", (unsigned long long)a->step_class,
                       c->stream->n_classes);
    c->class = &c->stream->classes[number];
    return 0;
}

static int load(struct context *c)
{
    uint64_t llc = c->arguments->llc_bytes ? c->arguments->llc_bytes : nf_record_llc(c->study);
    int rc = load_class(c);

    if (rc)
        return rc;
    rc = nf_profile_init(&c->profile, c->class, llc, 0);
    c->has_profile = !rc;
    return rc ? nf_fail(rc, "out of memory") : 0;
}

static void list_views(FILE *to)
{
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        fprintf(to, "  %-9s %s\n", views[i].name, views[i].about);
}

/* The status of a capture or replay as the study has it; one left 'running' by a program that is gone was killed. */
static void print_status(struct context *c, const char *status, const char *message)
{
    long writer = strcmp(status, "running") ? 0 : nf_study_writer(c->study);

    if (writer)
        printf("running in process %ld", writer);
    else if (!strcmp(status, "running"))
        printf("partial: killed before its end");
    else
        printf("%s%s%s", status, *message ? ": " : "", message);
}

static void print_capture(struct context *c, const char *path)
{
    struct nf_query *q;

    if (nf_study_query(c->study, "SELECT c.id, c.status, c.message, c.framework, c.language, c.threads, c.job, m.cpu, "
                                 "m.host, ifnull((SELECT max(kind) FROM pass p WHERE p.capture_id = c.id AND p.status = "
                                 "'running'), 0), c.lifetimes, c.phases, c.durations FROM capture c JOIN invocation i ON i.id = c.invocation_id JOIN machine m "
                                 "ON m.id = i.machine_id WHERE c.id = ?1", &q))
        return;
    nf_query_bind_i64(q, 1, c->capture);
    if (nf_query_step(q) == 1) {
        printf("study %s, capture %lld (", path, (long long)nf_query_i64(q, 0));
        print_status(c, nf_query_text(q, 1), nf_query_text(q, 2));
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
static void print_others(struct context *c)
{
    struct nf_query *q;

    if (nf_study_query(c->study, "SELECT id, status, message, planned_trials, (SELECT count(*) FROM trial t WHERE "
                                 "t.replay_id = r.id) FROM replay r WHERE capture_id = ?1 ORDER BY id DESC LIMIT 5", &q))
        return;
    nf_query_bind_i64(q, 1, c->capture);
    while (nf_query_step(q) == 1) {
        printf("  replay %-2lld %lld of %lld trials, ", (long long)nf_query_i64(q, 0), (long long)nf_query_i64(q, 4),
               (long long)nf_query_i64(q, 3));
        print_status(c, nf_query_text(q, 1), nf_query_text(q, 2));
        printf("\n");
    }
    nf_query_done(q);
    if (nf_study_query(c->study, "SELECT id, status, message FROM capture c WHERE id > ?1 AND NOT EXISTS (SELECT 1 FROM "
                                 "step_class k WHERE k.capture_id = c.id) ORDER BY id DESC LIMIT 5", &q))
        return;
    nf_query_bind_i64(q, 1, c->capture);
    while (nf_query_step(q) == 1) {
        printf("  capture %lld holds no steps: ", (long long)nf_query_i64(q, 0));
        print_status(c, nf_query_text(q, 1), nf_query_text(q, 2));
        printf("\n");
    }
    nf_query_done(q);
}

static int show(struct context *c, const struct view *v, enum nf_table_format format)
{
    struct nf_table *t = nf_table_new(v->columns, v->n_columns);
    int rc = t ? 0 : nf_fail(-ENOMEM, "out of memory");

    if (!rc && v->of_samples)
        warn_lost(c);
    if (!rc && v->fill && !v->of_samples && !c->stream)
        rc = load(c);
    if (!rc)
        rc = v->fill ? v->fill(c, t) : fill_sql(c, v, t);
    if (!rc) {
        size_t limit = c->arguments->limit ? c->arguments->limit : format == NF_TABLE_TEXT ? 40 : SIZE_MAX;
        size_t rows = nf_table_rows(t);

        nf_table_truncate(t, limit);
        rc = nf_table_print(t, format, stdout);
        if (rows > limit)
            fprintf(stderr, "%zu of %zu rows; --limit shows more\n", limit, rows);
        if (!rows)
            fprintf(stderr, "no %s in this study yet\n", v->name);
    }
    nf_table_free(t);
    return rc;
}

/* The views that are options, because they have options of their own. */
static int show_locality(struct context *c, enum nf_table_format format)
{
    const struct arguments *a = c->arguments;
    struct nf_show s = {.llc_bytes = a->llc_bytes ? a->llc_bytes : nf_record_llc(c->study),
                        .format = format,
                        .limit = a->limit,
                        .by = a->by,
                        .tensor = a->tensor,
                        .block = a->block,
                        .period = a->period,
                        .plot = a->plot};
    int rc = load_class(c);

    if (rc)
        return rc;
    s.stream = c->stream;
    s.class = c->class;
    return a->mrc ? nf_show_mrc(&s) : a->heat ? nf_show_heat(&s) : nf_show_reuse(&s);
}

/* What the options leave unsaid or contradict; NULL: nothing. */
static const char *misuse(const struct arguments *a, int n_operands)
{
    int chosen = a->reuse + a->mrc + a->heat;

    if (chosen > 1)
        return "only one of --reuse, --mrc, --heat at a time";
    if (chosen && n_operands > 1)
        return "--reuse, --mrc and --heat stand in place of a view";
    if (!chosen && (a->by || a->plot || a->tensor != UINT64_MAX || a->block != NF_LINE_BYTES || a->period != DEFAULT_PERIOD))
        return "--by, --tensor, --block, --period and --plot belong to --reuse, --mrc or --heat";
    if (a->plot && nf_plot_check(a->plot))
        return nf_error_text(0);
    return NULL;
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {
        .step_class = UINT64_MAX, .tensor = UINT64_MAX, .block = NF_LINE_BYTES, .period = DEFAULT_PERIOD};
    const char *wrong;
    struct context c = {.arguments = &a};
    enum nf_table_format format;
    const struct view *v = NULL;
    int first, n, code = NF_EXIT_OK, rc;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    if (n < 1 || n > 2)
        return nf_command_usage(self, "a study is wanted, and at most one view");
    wrong = misuse(&a, n);
    if (wrong)
        return nf_command_usage(self, wrong);
    for (size_t i = 0; n == 2 && i < sizeof views / sizeof *views; i++)
        if (!strcmp(views[i].name, argv[first + 1]))
            v = &views[i];
    if (n == 2 && !v) {
        nf_fail(-EINVAL, "there is no view '%s'; there are: %s", argv[first + 1], VIEW_NAMES);
        return nf_command_usage(self, nf_error_text(0));
    }
    format = a.json ? NF_TABLE_JSON : a.csv ? NF_TABLE_CSV : NF_TABLE_TEXT;
    rc = nf_study_open(argv[first], NF_STUDY_READ, &c.study);
    if (rc)
        return nf_command_fail(rc);
    c.capture = v && v->of_samples ? nf_observation_capture(c.study, (int64_t)a.capture)
                                   : nf_record_capture_find(c.study, (int64_t)a.capture);
    if (!v && !(a.reuse || a.mrc || a.heat) && c.capture == -ENOENT) {
        /* Samples alone, as from a perf.data file: there are no steps to give an overview of. */
        int64_t capture = nf_observation_capture(c.study, (int64_t)a.capture);

        for (size_t i = 0; i < sizeof views / sizeof *views && capture > 0; i++)
            if (!strcmp(views[i].name, "sources"))
                v = &views[i];
        if (capture > 0)
            c.capture = capture;
        else
            c.capture = nf_record_capture_find(c.study, (int64_t)a.capture);
    }
    rc = c.capture < 0 ? (int)c.capture : 0;
    if (!rc && (a.reuse || a.mrc || a.heat)) {
        rc = show_locality(&c, format);
    } else if (!rc && v) {
        rc = show(&c, v, format);
    } else if (!rc) {
        /* Without a view: what is in it, then the tables a newcomer wants first. */
        static const char *const opening[] = {"passes", "classes", "roles"};

        if (format == NF_TABLE_TEXT) {
            print_capture(&c, argv[first]);
            print_others(&c);
            printf("\n");
        }
        for (size_t o = 0; !rc && o < sizeof opening / sizeof *opening; o++) {
            for (size_t i = 0; i < sizeof views / sizeof *views; i++)
                if (!strcmp(views[i].name, opening[o]) && (format == NF_TABLE_TEXT || o == 1))
                    rc = show(&c, &views[i], format);
            if (format == NF_TABLE_TEXT)
                printf("\n");
        }
        if (!rc && format == NF_TABLE_TEXT) {
            fputs("views:\n", stderr);
            list_views(stderr);
        }
    }
    if (rc)
        code = nf_command_fail(rc);
    if (c.has_profile)
        nf_profile_deinit(&c.profile);
    nf_stream_free(c.stream);
    nf_study_close(c.study);
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
