/* The replay captured again: it runs once per source as a job of its own, captured into a study that nobody keeps, and is
 * compared with the stream it replayed. */
#include "cmd/again.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/job.h"
#include "capture/session.h"
#include "capture/source.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/table.h"
#include "core/base/units.h"
#include "core/model/recapture.h"
#include "core/store/records.h"
#include "core/store/sightings.h"
#include "replay/again.h"

enum { LINE = NF_LINE_BYTES, WORST_MAX = 5, HUGE_BYTES = 2 << 20 };
/* Memory beside the arena: none but the arena's where the MMU watches; the exact source keeps 48 bytes of every line of 64. */
static const double MEMORY_OF_MMU = 1, MEMORY_OF_EXACT = 2;

struct session {
    const struct nf_again_request *request;
    struct nf_study *study;
    int64_t invocation;
    struct nf_again again; /* as captured, scaled as it is replayed */
    const struct nf_step_class *captured;
    char folder[PATH_MAX], path[PATH_MAX + 16]; /* of the study nobody keeps */
    char moves[PATH_MAX + 16];                  /* where the job says how many it made */
};

/* What one source saw. */
struct seen {
    struct nf_stream *stream;
    const struct nf_step_class *class;
    struct nf_observation observation; /* id 0: the framework's own visits, as the threads issued them */
    struct nf_step_class sighted;
    bool is_sighted;
    int64_t steps, equal_steps;
    uint32_t *tensor_of;
    uint64_t moves; /* that the replay made in the steps that were watched */
};

static void seen_deinit(struct seen *s)
{
    if (s->is_sighted)
        nf_step_class_seen_deinit(&s->sighted);
    free(s->tensor_of);
    nf_stream_free(s->stream);
}

/* --- capturing it --- */

static int make_folder(struct session *s)
{
    const char *where = getenv("TMPDIR");

    snprintf(s->folder, sizeof s->folder, "%s/nearfar-again-XXXXXX", where && *where ? where : "/tmp");
    if (!mkdtemp(s->folder)) {
        *s->folder = '\0';
        return nf_fail(-errno, "cannot make a folder in %s: %s", where && *where ? where : "/tmp", strerror(errno));
    }
    snprintf(s->path, sizeof s->path, "%s/again.nf", s->folder);
    snprintf(s->moves, sizeof s->moves, "%s/moves", s->folder);
    return 0;
}

static void remove_folder(struct session *s)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char path[PATH_MAX + 32];

    for (size_t i = 0; *s->folder && i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s%s", s->path, ends[i]);
        unlink(path);
    }
    if (*s->folder) {
        unlink(s->moves);
        rmdir(s->folder);
    }
    *s->folder = '\0';
}

/* The source as it is captured with: the exact one gets room for the arena, and watches nothing else of the replay. */
static void complete_spec(const struct session *s, const char *given, char *spec, size_t size)
{
    if (!strcmp(given, "exact"))
        snprintf(spec, size, "exact:min=65536,reserve=%llu",
                 (unsigned long long)((s->again.arena_bytes + (64ull << 20)) / HUGE_BYTES * HUGE_BYTES));
    else
        snprintf(spec, size, "%s", given);
}

static int capture(struct session *s, const char *spec)
{
    const struct nf_again_request *r = s->request;
    char program[PATH_MAX], id[32], scale[32], threads[32], cpu[32], seed[32], near[32];
    char *job[20] = {program, "again-job", (char *)r->study, "--capture", id, "--scale", scale, "--threads", threads, "--seed", seed};
    int n_job = 11;
    struct nf_capture_options o = {.job = job, .sources = &spec, .n_sources = 1, .access = true, .quiet = true,
                                   .unannounced = true};
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    struct nf_study *study;
    int64_t invocation, into;
    int rc, status;

    if (n <= 0)
        return nf_fail(-ENOENT, "cannot find out which program this is");
    program[n] = '\0';
    snprintf(id, sizeof id, "%lld", (long long)s->again.capture);
    snprintf(scale, sizeof scale, "%.17g", s->again.scale);
    snprintf(threads, sizeof threads, "%u", r->threads);
    snprintf(cpu, sizeof cpu, "%d", r->cpu);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->seed);
    snprintf(near, sizeof near, "%.17g", r->near_share);
    if (r->cpu >= 0) {
        job[n_job++] = "--cpu";
        job[n_job++] = cpu;
    }
    if (r->policy) {
        job[n_job++] = "--policy";
        job[n_job++] = (char *)r->policy;
        job[n_job++] = "--near";
        job[n_job++] = near;
        job[n_job++] = "--moves";
        job[n_job++] = s->moves;
    }
    rc = nf_study_open(s->path, NF_STUDY_CREATE, &study);
    if (rc)
        return rc;
    invocation = nf_record_invocation(study, n_job, job);
    rc = invocation < 0 ? (int)invocation : nf_capture_run(study, invocation, &o, &into, &status);
    nf_study_close(study);
    return rc;
}

/* --- what it saw --- */

static const char *name_of(const struct nf_stream *s, const struct nf_tensor *t)
{
    return t->name < s->n_names ? s->names[t->name] : "";
}

/* Which captured tensor each of the replay's stands for, by the names that the job gave them. Several captured ones may share
 * a slot: what carries in stands for what carries in. */
static int match(struct seen *seen, const struct nf_step_class *captured)
{
    const struct nf_step_class *c = seen->class;
    uint64_t slots = 0, *by_slot;

    for (uint32_t i = 0; i < captured->n_tensors; i++) {
        int32_t in = captured->tensors[i].carry_in, out = captured->tensors[i].carry_out;

        slots = in >= (int64_t)slots ? (uint64_t)in + 1 : slots;
        slots = out >= (int64_t)slots ? (uint64_t)out + 1 : slots;
    }
    by_slot = malloc((2 * slots + 1) * sizeof *by_slot); /* carried in; born here and carried out */
    seen->tensor_of = malloc((c->n_tensors + (size_t)1) * sizeof *seen->tensor_of);
    if (!by_slot || !seen->tensor_of) {
        free(by_slot);
        return nf_fail(-ENOMEM, "out of memory for %u tensors", c->n_tensors);
    }
    memset(by_slot, 0xff, (2 * slots + 1) * sizeof *by_slot);
    for (uint32_t i = 0; i < captured->n_tensors; i++) {
        const struct nf_tensor *t = &captured->tensors[i];

        if (t->carry_in != NF_CARRY_NONE)
            by_slot[t->carry_out != NF_CARRY_NONE ? t->carry_out : t->carry_in] = i;
        else if (t->carry_out != NF_CARRY_NONE)
            by_slot[slots + (uint64_t)t->carry_out] = i;
    }
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const struct nf_tensor *t = &c->tensors[i];
        uint64_t number, found = UINT64_MAX;

        if (sscanf(name_of(seen->stream, t), "tensor %lu", &number) == 1)
            found = number;
        else if (sscanf(name_of(seen->stream, t), "slot %lu", &number) == 1 && number < slots)
            found = by_slot[t->carry_in != NF_CARRY_NONE ? number : slots + number];
        seen->tensor_of[i] = found < captured->n_tensors ? (uint32_t)found : NF_RECAPTURE_NOBODY;
    }
    free(by_slot);
    return 0;
}

static int load_sightings(struct nf_study *study, int64_t capture, const char *source, struct seen *seen)
{
    struct nf_visit *visits;
    struct nf_query *q;
    uint32_t n;
    int64_t id = nf_sightings_find(study, capture, seen->class->id, source, &seen->observation);
    int rc = id < 0 ? (int)id : nf_sightings_load(study, id, seen->class, &visits, &n);

    if (rc)
        return rc;
    rc = nf_step_class_seen_by(seen->class, visits, n, &seen->sighted);
    seen->is_sighted = !rc;
    if (!rc)
        rc = nf_study_query(study, "SELECT x.steps, x.equal_steps, o.notes FROM sighting x JOIN observation o ON o.id = "
                            "x.observation_id WHERE x.observation_id = ?1 AND x.class_id = ?2", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, id);
    nf_query_bind_i64(q, 2, seen->class->id);
    if (nf_query_step(q) == 1) {
        seen->steps = nf_query_i64(q, 0);
        seen->equal_steps = nf_query_i64(q, 1);
        if (strstr(nf_query_text(q, 2), "reads are seen at")) /* capture/observe.c: pages beside a read one go unseen */
            rc = nf_fail(NF_CAPTURE_E_UNAVAILABLE, "source %s cannot watch a replay here page by page: %s", source,
                         strstr(nf_query_text(q, 2), "reads are seen at"));
    }
    nf_query_done(q);
    return rc;
}

static int load_moves(const struct session *s, uint64_t *moves)
{
    FILE *f = fopen(s->moves, "re");
    unsigned long long n;
    bool there = f && fscanf(f, "%llu", &n) == 1;

    if (f)
        fclose(f);
    if (!there)
        return nf_fail(-EIO, "the replay did not say how many moves it made");
    *moves = n;
    return 0;
}

static int load(struct session *s, const char *source, struct seen *seen)
{
    struct nf_study *study;
    int64_t capture;
    int rc = nf_study_open(s->path, NF_STUDY_READ, &study);

    if (rc)
        return rc;
    capture = nf_record_capture_find(study, 0);
    rc = capture < 0 ? (int)capture : nf_record_stream_load(study, capture, &seen->stream);
    if (!rc && !seen->stream->n_classes)
        rc = nf_fail(-ENOENT, "no step of the replay was captured");
    if (!rc) {
        seen->class = &seen->stream->classes[nf_stream_steady_class(seen->stream)];
        seen->steps = seen->equal_steps = seen->class->n_steps;
        rc = match(seen, s->captured);
    }
    if (!rc && s->again.policy)
        rc = load_moves(s, &seen->moves);
    if (!rc && strcmp(source, "framework"))
        rc = load_sightings(study, capture, source, seen);
    nf_study_close(study);
    return rc;
}

/* --- telling it --- */

static const struct nf_column columns[] = {
    {"role", "role", NF_COLUMN_TEXT},
    {"tensors", "tensors", NF_COLUMN_INTEGER},
    {"equal", "equal", NF_COLUMN_INTEGER},
    {"not_equal", "not", NF_COLUMN_INTEGER},
    {"captured_bytes", "captured", NF_COLUMN_BYTES},
    {"replayed_bytes", "replayed", NF_COLUMN_BYTES},
    {"lost_bytes", "lost", NF_COLUMN_BYTES},
    {"stray_bytes", "stray", NF_COLUMN_BYTES},
    {"rw_bytes", "read for written", NF_COLUMN_BYTES},
    {"reuse_octaves", "reuse distance", NF_COLUMN_REAL},
};

struct sum {
    uint64_t tensors, same, captured, replayed, lost, stray, rw;
    double reuse, weight;
};

static void add_row(struct nf_table *t, const char *name, const struct sum *s)
{
    nf_table_text(t, name);
    nf_table_integer(t, (int64_t)s->tensors);
    nf_table_integer(t, (int64_t)s->same);
    nf_table_integer(t, (int64_t)(s->tensors - s->same));
    nf_table_number(t, (double)s->captured);
    nf_table_number(t, (double)s->replayed);
    nf_table_number(t, (double)s->lost);
    nf_table_number(t, (double)s->stray);
    nf_table_number(t, (double)s->rw);
    if (s->weight > 0)
        nf_table_number(t, s->reuse / s->weight);
    else
        nf_table_unknown(t);
}

static void add_up(struct sum *s, const struct nf_recapture_tensor *t)
{
    if (!t->captured_bytes && !t->replayed_bytes)
        return;
    s->tensors++;
    s->same += nf_recapture_is_same(t);
    s->captured += t->captured_bytes;
    s->replayed += t->replayed_bytes;
    s->lost += t->lost_bytes;
    s->stray += t->stray_bytes;
    s->rw += t->rw_bytes;
    if (!isnan(t->reuse_octaves)) {
        s->reuse += t->reuse_octaves * (double)t->captured_bytes;
        s->weight += (double)t->captured_bytes;
    }
}

static int print(const struct session *s, const struct nf_recapture *r)
{
    struct nf_table *t = nf_table_new(columns, sizeof columns / sizeof *columns);
    struct sum of[NF_ROLE_COUNT] = {{0}}, all = {0}, nobody = {0};
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory for a table");
    for (uint32_t i = 0; i < r->n_tensors; i++) {
        add_up(&of[s->captured->tensors[i].role], &r->tensors[i]);
        add_up(&all, &r->tensors[i]);
    }
    for (unsigned role = 0; role < NF_ROLE_COUNT; role++)
        if (of[role].tensors)
            add_row(t, nf_role_name(role), &of[role]);
    nobody.replayed = nobody.stray = r->nobodys_bytes;
    if (r->nobodys_bytes)
        add_row(t, "no tensor of the capture", &nobody);
    all.replayed += r->nobodys_bytes;
    all.stray += r->nobodys_bytes;
    add_row(t, "all", &all);
    rc = nf_table_print(t, NF_TABLE_TEXT, stdout);
    nf_table_free(t);
    return rc;
}

static bool differs_more(const struct nf_recapture_tensor *a, const struct nf_recapture_tensor *b)
{
    return a->lost_bytes + a->stray_bytes + a->rw_bytes > b->lost_bytes + b->stray_bytes + b->rw_bytes;
}

/* Those with most bytes that differ, worst first. Returns how many. */
static uint32_t worst(const struct nf_recapture *r, uint32_t out[WORST_MAX])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_tensors; i++) {
        uint32_t at = n;

        if (nf_recapture_is_same(&r->tensors[i]))
            continue;
        while (at && differs_more(&r->tensors[i], &r->tensors[out[at - 1]]))
            at--;
        if (at == WORST_MAX)
            continue;
        n += n < WORST_MAX;
        memmove(out + at + 1, out + at, (n - at - 1) * sizeof *out);
        out[at] = i;
    }
    return n;
}

static void name_tensor(const struct session *s, const struct nf_recapture *r, uint32_t i, char *text, size_t size)
{
    const struct nf_tensor *t = &s->captured->tensors[i];
    const struct nf_recapture_tensor *d = &r->tensors[i];
    char bytes[NF_UNITS_TEXT], lost[NF_UNITS_TEXT], stray[NF_UNITS_TEXT], rw[NF_UNITS_TEXT];

    snprintf(text, size, "tensor %u (%s, %s%s%s): %s lost, %s stray, %s read for written, first at op %u", i, nf_role_name(t->role),
             nf_format_bytes(bytes, (double)t->bytes), *name_of(s->again.stream, t) ? ", " : "", name_of(s->again.stream, t),
             nf_format_bytes(lost, (double)d->lost_bytes), nf_format_bytes(stray, (double)d->stray_bytes),
             nf_format_bytes(rw, (double)d->rw_bytes), d->first_op);
}

static void tell_worst(const struct session *s, const struct nf_recapture *r)
{
    uint32_t which[WORST_MAX], n = worst(r, which);
    char text[320];

    for (uint32_t i = 0; i < n; i++) {
        name_tensor(s, r, which[i], text, sizeof text);
        nf_info("  %s", text);
    }
    if (r->visited - r->same > n)
        nf_info("  and %u more", r->visited - r->same - n);
}

/* The tensor whose reuse differs most: mostly a small one that shared a line or page with its neighbours. */
static void tell_farthest(const struct session *s, const struct nf_recapture *r)
{
    char bytes[NF_UNITS_TEXT];

    for (uint32_t i = 0; i < r->n_tensors && r->reuse_most > 0; i++) {
        if (r->tensors[i].reuse_octaves != r->reuse_most)
            continue;
        nf_info("  farthest, %.3f octaves: tensor %u (%s, %s)", r->reuse_most, i, nf_role_name(s->captured->tensors[i].role),
                nf_format_bytes(bytes, (double)s->captured->tensors[i].bytes));
        return;
    }
}

/* What nobody could see is no agreement. */
static bool agrees(const struct nf_recapture *r, const struct seen *seen)
{
    return r->visited && r->same == r->visited && !r->nobodys_bytes && seen->equal_steps == seen->steps &&
           !seen->observation.lost && !seen->observation.unattributed;
}

static void tell(const struct session *s, const char *source, const struct seen *seen, const struct nf_recapture *r, char *message,
                 size_t size)
{
    char lost[NF_UNITS_TEXT], stray[NF_UNITS_TEXT];
    const struct nf_observation *o = &seen->observation;

    nf_info("%s: %u of %u tensors replayed the same extents in the same order; %s lost, %s stray, at %u byte%s", source, r->same,
            r->visited, nf_format_bytes(lost, (double)r->lost_bytes), nf_format_bytes(stray, (double)r->stray_bytes),
            o->id ? o->resolution_bytes : 1, o->id && o->resolution_bytes > 1 ? "s" : "");
    if (!isnan(r->reuse_mean))
        nf_info("  reuse-distance histograms lie %.3f octaves apart in the mean over tensors (earth mover's distance over log2 of "
                "stack distances in %u-byte blocks)", r->reuse_mean, o->id && o->resolution_bytes > LINE ? o->resolution_bytes : LINE);
    tell_farthest(s, r);
    if (s->again.policy)
        nf_info("  under policy %s at %g %% near; %llu moves in the watched steps", s->request->policy, 100 * s->again.near_share,
                (unsigned long long)seen->moves);
    *message = '\0';
    if (seen->equal_steps != seen->steps)
        snprintf(message, size, "%lld of %lld replayed steps differ from the first", (long long)(seen->steps - seen->equal_steps),
                 (long long)seen->steps);
    else if (o->lost)
        snprintf(message, size, "the kernel lost %llu samples", (unsigned long long)o->lost);
    else if (o->unattributed)
        snprintf(message, size, "%llu accesses were to no tensor", (unsigned long long)o->unattributed);
    if (*message)
        nf_info("  %s", message);
    tell_worst(s, r);
}

static int record(struct session *s, const char *source, const struct seen *seen, const struct nf_recapture *r, const char *message)
{
    uint32_t which[WORST_MAX];
    char text[320] = "";
    struct nf_query *q;
    int rc = nf_study_begin(s->study);

    if (worst(r, which))
        name_tensor(s, r, which[0], text, sizeof text);
    if (!rc)
        rc = nf_study_query(s->study, "INSERT INTO recapture(invocation_id, capture_id, class_id, source, tensors, same_extents, "
                            "captured_bytes, replayed_bytes, resolution_bytes, reuse_distance_emd, message, lost_bytes, "
                            "stray_bytes, rw_bytes, reuse_distance_most, scale, steps, equal_steps, lost_samples, unattributed, "
                            "worst, policy, near_share, moves) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, "
                            "?19, ?20, ?21, ?22, ?23, ?24)", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->invocation);
    nf_query_bind_i64(q, 2, s->again.capture);
    nf_query_bind_i64(q, 3, s->captured->id);
    nf_query_bind_text(q, 4, source);
    nf_query_bind_i64(q, 5, r->visited);
    nf_query_bind_i64(q, 6, r->same);
    nf_query_bind_i64(q, 7, (int64_t)r->captured_bytes);
    nf_query_bind_i64(q, 8, (int64_t)r->replayed_bytes);
    nf_query_bind_i64(q, 9, seen->observation.id ? seen->observation.resolution_bytes : 1);
    nf_query_bind_f64(q, 10, isnan(r->reuse_mean) ? -1 : r->reuse_mean);
    nf_query_bind_text(q, 11, message);
    nf_query_bind_i64(q, 12, (int64_t)r->lost_bytes);
    nf_query_bind_i64(q, 13, (int64_t)r->stray_bytes);
    nf_query_bind_i64(q, 14, (int64_t)r->rw_bytes);
    nf_query_bind_f64(q, 15, isnan(r->reuse_most) ? -1 : r->reuse_most);
    nf_query_bind_f64(q, 16, s->again.scale);
    nf_query_bind_i64(q, 17, seen->steps);
    nf_query_bind_i64(q, 18, seen->equal_steps);
    nf_query_bind_i64(q, 19, (int64_t)seen->observation.lost);
    nf_query_bind_i64(q, 20, (int64_t)seen->observation.unattributed);
    nf_query_bind_text(q, 21, text);
    nf_query_bind_text(q, 22, s->again.policy ? s->request->policy : "all-near");
    nf_query_bind_f64(q, 23, s->again.policy ? s->again.near_share : 1);
    nf_query_bind_i64(q, 24, (int64_t)seen->moves);
    rc = nf_query_run(q);
    return rc ? rc : nf_study_commit(s->study);
}

/* --- the command --- */

/* One source. 0, NF_CAPTURE_E_*, -errno (cause set). */
static int watch_with(struct session *s, const char *given, bool *agreed)
{
    const struct nf_source_ops *ops;
    void *options = NULL;
    struct nf_recapture r = {0};
    struct nf_recapture_options how;
    struct seen seen = {0};
    char spec[256], message[160];
    int rc = nf_source_parse(given, &ops, &options);

    free(options);
    if (!rc && ops->evidence != NF_ACCESS_FRAMEWORK && ops->evidence != NF_ACCESS_PAGE_FAULT && ops->evidence != NF_ACCESS_EXACT)
        rc = nf_fail(-EINVAL, "source %s sees a sample of the accesses; --again wants one that sees all: framework, page-fault, exact",
                     ops->name);
    if (!rc && s->again.policy && ops->evidence != NF_ACCESS_FRAMEWORK)
        rc = nf_fail(-EINVAL, "source %s tells storages by their addresses, which moves change, and sees the moves' own copies: with --policy "
                     "--again wants framework", ops->name);
    if (rc)
        return rc;
    complete_spec(s, given, spec, sizeof spec);
    rc = nf_again_check_memory(&s->again, !strcmp(ops->name, "exact") ? MEMORY_OF_EXACT : MEMORY_OF_MMU);
    if (!rc)
        rc = make_folder(s);
    if (!rc)
        rc = capture(s, spec);
    if (!rc)
        rc = load(s, ops->name, &seen);
    remove_folder(s);
    if (!rc && seen.observation.boundary_ops > 1)
        rc = nf_fail(-EINVAL, "source %s: extents are compared op by op, so every op has to be a boundary", ops->name);
    if (!rc) {
        how = (struct nf_recapture_options){
            .resolution_bytes = seen.observation.id ? seen.observation.resolution_bytes : 1,
            .block_bytes = seen.observation.id && seen.observation.resolution_bytes > LINE ? seen.observation.resolution_bytes : LINE,
        };
        how.ordered = !seen.is_sighted;
        how.rw = how.resolution_bytes == 1; /* a page that was written first may have been read as well */
        rc = nf_recapture_init(&r, s->captured, seen.is_sighted ? &seen.sighted : seen.class, seen.tensor_of, &how);
    }
    if (!rc) {
        *agreed = agrees(&r, &seen);
        tell(s, ops->name, &seen, &r, message, sizeof message);
        rc = print(s, &r);
    }
    if (!rc)
        rc = record(s, ops->name, &seen, &r, message);
    nf_recapture_deinit(&r);
    seen_deinit(&seen);
    return rc;
}

static int watch_all(struct session *s, bool *disagree)
{
    const struct nf_again_request *r = s->request;
    int rc = nf_again_load(&s->again, s->study, r->capture, r->scale);
    bool agreed = false;

    if (!rc && r->policy)
        rc = nf_again_take_policy(&s->again, r->policy, r->near_share);
    if (rc)
        return rc;
    s->captured = &s->again.stream->classes[s->again.steady];
    for (size_t i = 0; i < r->n_sources; i++) {
        if (!r->quiet)
            nf_info("replaying capture %lld once more, watched by %s", (long long)s->again.capture, r->sources[i]);
        rc = watch_with(s, r->sources[i], &agreed);
        if (rc)
            return nf_job_interrupted() ? nf_fail(-EINTR, "interrupted; the sources that were done are kept") : rc;
        *disagree |= !agreed;
    }
    return 0;
}

static int exit_code(int rc)
{
    switch (rc) {
    case -EINVAL: return NF_EXIT_USAGE;
    case -ENOMEM:
    case NF_CAPTURE_E_UNAVAILABLE: return NF_EXIT_CANNOT;
    default: return NF_EXIT_FAILED;
    }
}

int nf_again_command(const struct nf_again_request *r, int argc, char **argv)
{
    struct session s = {.request = r};
    bool disagree = false;
    char cause[512];
    int rc = nf_study_open(r->study, NF_STUDY_WRITE, &s.study);

    if (rc)
        return nf_command_fail(rc);
    s.invocation = nf_record_invocation(s.study, argc, argv);
    rc = s.invocation < 0 ? (int)s.invocation : watch_all(&s, &disagree);
    nf_progress_end();
    snprintf(cause, sizeof cause, "%s", rc ? nf_error_text(rc) : disagree ? "the replay and its capture disagree" : "");
    nf_study_rollback(s.study);
    if (s.invocation > 0)
        nf_record_invocation_end(s.study, s.invocation, rc || disagree ? "failed" : "complete", cause);
    nf_again_deinit(&s.again);
    nf_study_close(s.study);
    if (*cause)
        fprintf(stderr, "nearfar: %s\n", cause);
    return rc ? exit_code(rc) : disagree ? NF_EXIT_FAILED : NF_EXIT_OK;
}
