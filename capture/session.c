#include "capture/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "capture/classes.h"
#include "capture/job.h"
#include "capture/observe.h"
#include "capture/reduce.h"
#include "capture/ring-reader.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/records.h"

/* 16 MiB: some fifty steps of a small GPT, far more than the tool takes to write a new step class. */
enum { RING_SLOTS = 1 << 18 };
/* An idle reader looks again after this long; the ring holds hundreds of times as much. */
enum { IDLE_NS = 1000000 };
/* Steps are committed together up to this long; a kill loses no more. */
#define COMMIT_NS 200000000ull
/* Duration distributions are rewritten this often during the timing pass, so a kill keeps most of them. */
#define TIMES_NS 5000000000ull

struct session {
    struct nf_study *study;
    const struct nf_capture_options *options;
    struct nf_observe *observe;
    struct nf_ring ring;
    struct nf_classes *classes;
    int64_t capture_id, machine_id, bare_pass_id;
    bool complete; /* every wanted pass ended well */
    char missing[256];

    /* The running pass. */
    enum nf_pass_kind kind;
    int64_t pass_id;
    struct nf_reduce *reduce;
    uint32_t unmatched;
    bool in_transaction;
    uint64_t committed_ns, times_ns;
};

static int transaction(struct session *s)
{
    int rc = 0;

    if (!s->in_transaction) {
        rc = nf_study_begin(s->study);
        s->in_transaction = !rc;
        s->committed_ns = nf_now_ns();
    }
    return rc;
}

static int commit(struct session *s)
{
    if (!s->in_transaction)
        return 0;
    s->in_transaction = false;
    return nf_study_commit(s->study);
}

static int write_step(struct session *s, const struct nf_step *step, int64_t class_id)
{
    struct nf_query *q;
    int rc = nf_study_query(s->study, "INSERT INTO step(pass_id, rank, number, class_id, dur_ns, allocation_hash, "
                                      "host_id) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->pass_id);
    nf_query_bind_i64(q, 2, nf_reduce_totals(s->reduce)->rank);
    nf_query_bind_i64(q, 3, step->number);
    if (class_id > 0)
        nf_query_bind_i64(q, 4, class_id);
    nf_query_bind_i64(q, 5, (int64_t)step->dur_ns);
    nf_query_bind_i64(q, 6, (int64_t)step->allocation_hash);
    nf_query_bind_i64(q, 7, s->machine_id);
    return nf_query_run(q);
}

static int on_step(void *context, const struct nf_step *step)
{
    struct session *s = context;
    int64_t class_id = 0;
    int rc = transaction(s);

    if (rc)
        return rc;
    switch (s->kind) {
    case NF_PASS_BARE:
        rc = nf_classes_bare(s->classes, step->number, step->allocation_hash, step->dur_ns);
        break;
    case NF_PASS_TIMING: class_id = nf_classes_time(s->classes, step); break;
    case NF_PASS_ACCESS:
        class_id = nf_classes_put(s->classes, s->reduce, step, nf_reduce_totals(s->reduce)->rank);
        break;
    default: break;
    }
    if (class_id < 0)
        rc = (int)class_id;
    if (!rc)
        rc = write_step(s, step, class_id);
    if (!rc)
        rc = nf_observe_step(s->observe, step, class_id);
    if (s->kind == NF_PASS_TIMING && !class_id)
        s->unmatched++;
    nf_progress("%s pass: step %u, %u step class%s", nf_pass_kind_name(s->kind), step->number + 1,
                nf_classes_count(s->classes), nf_classes_count(s->classes) == 1 ? "" : "es");
    if (!rc && s->kind == NF_PASS_TIMING && nf_now_ns() - s->times_ns > TIMES_NS) {
        rc = nf_classes_write_times(s->classes, s->bare_pass_id);
        s->times_ns = nf_now_ns();
    }
    if (!rc && nf_now_ns() - s->committed_ns > COMMIT_NS) {
        rc = nf_observe_commit(s->observe, s->reduce);
        if (!rc)
            rc = commit(s);
    }
    return rc;
}

static int insert_pass(struct session *s)
{
    struct nf_query *q;
    int rc = transaction(s);

    if (!rc)
        rc = nf_study_query(s->study, "INSERT INTO pass(capture_id, kind, source, access_evidence) "
                                      "VALUES(?1, ?2, ?3, ?4)", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->capture_id);
    nf_query_bind_i64(q, 2, s->kind);
    nf_query_bind_text(q, 3, "framework");
    nf_query_bind_i64(q, 4, s->kind == NF_PASS_ACCESS ? NF_ACCESS_FRAMEWORK : NF_ACCESS_UNKNOWN);
    rc = nf_query_run(q);
    s->pass_id = nf_study_last_id(s->study);
    if (!rc && s->kind == NF_PASS_ACCESS)
        rc = nf_observe_begin(s->observe, s->study, s->pass_id, s->reduce);
    return rc ? rc : commit(s);
}

/* Leaves text as it is when the job did not say. */
static void parameter_sha256(const struct nf_reduce_totals *t, char text[65])
{
    for (int i = 0; t->has_parameter_sha256 && i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", t->parameter_sha256[i]);
}

static int update_pass(struct session *s, const struct nf_job *job)
{
    const struct nf_reduce_totals *t = nf_reduce_totals(s->reduce);
    const struct nf_ring_header *h = s->ring.header;
    char sha[65] = "unknown";
    struct nf_query *q;
    int rc = transaction(s);

    if (!rc && s->kind == NF_PASS_TIMING)
        rc = nf_classes_write_times(s->classes, s->bare_pass_id);
    if (!rc && s->kind == NF_PASS_ACCESS)
        rc = nf_observe_end(s->observe, s->reduce);
    if (!rc)
        rc = nf_study_query(
            s->study,
            "UPDATE pass SET status = ?2, exit_status = ?3, wall_ns = ?4, cpu_ns = ?5, allocator_peak_bytes = ?6, "
            "tracked_peak_bytes = ?7, untracked_peak_bytes = ?8, parameter_sha256 = ?9, events = ?10, lost_events = "
            "?11, unattributed_visits = ?12, unattributed_bytes = ?13, skipped_device_storages = ?14, other_processes = "
            "?15, ops = ?16, steps = ?17, unmatched_steps = ?18, notes = ?19 WHERE id = ?1",
            &q);
    if (rc)
        return rc;
    parameter_sha256(t, sha);
    nf_query_bind_i64(q, 1, s->pass_id);
    nf_query_bind_text(q, 2, job->exit_status ? "partial" : "complete");
    nf_query_bind_i64(q, 3, job->exit_status);
    nf_query_bind_i64(q, 4, (int64_t)job->wall_ns);
    nf_query_bind_i64(q, 5, (int64_t)job->cpu_ns);
    nf_query_bind_i64(q, 6, (int64_t)atomic_load(&h->peak_bytes));
    nf_query_bind_i64(q, 7, (int64_t)t->tracked_peak_bytes);
    nf_query_bind_i64(q, 8, (int64_t)t->untracked_peak_bytes);
    nf_query_bind_text(q, 9, sha);
    nf_query_bind_i64(q, 10, (int64_t)t->events);
    nf_query_bind_i64(q, 11, (int64_t)nf_ring_lost(&s->ring));
    nf_query_bind_i64(q, 12, (int64_t)t->unattributed_visits);
    nf_query_bind_i64(q, 13, (int64_t)t->unattributed_bytes);
    nf_query_bind_i64(q, 14, (int64_t)t->skipped_device_storages);
    nf_query_bind_i64(q, 15, atomic_load(&h->others));
    nf_query_bind_i64(q, 16, (int64_t)t->ops);
    nf_query_bind_i64(q, 17, (int64_t)t->steps);
    nf_query_bind_i64(q, 18, s->unmatched);
    nf_query_bind_text(q, 19, t->notes);
    rc = nf_query_run(q);
    if (!rc)
        rc = nf_study_query(s->study, "UPDATE capture SET framework = ?2, language = ?3, threads = ?4 WHERE id = ?1 AND "
                                      "?4 > 0", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->capture_id);
    nf_query_bind_text(q, 2, t->framework);
    nf_query_bind_text(q, 3, t->language);
    nf_query_bind_i64(q, 4, t->threads);
    rc = nf_query_run(q);
    return rc ? rc : commit(s);
}

/* Runs the job and reduces its events until it ends. The study's own troubles do not stop the job: it runs on unread, and
 * the first error is returned. */
static int follow(struct session *s, struct nf_job *job)
{
    const struct timespec idle = {.tv_nsec = IDLE_NS};
    int first = 0;

    for (;;) {
        bool ended = nf_job_poll(job);
        int rc = first ? 0 : nf_observe_drain(s->observe, &s->ring, s->reduce, ended);

        if (rc < 0 || rc > 1)
            first = rc;
        if (rc == 1)
            continue;
        if (ended)
            return first;
        if (nf_job_interrupted())
            nf_job_stop(job);
        else
            nanosleep(&idle, NULL);
    }
}

static int start_job(struct session *s, bool quiet, const struct nf_capture_time_options *with, struct nf_job *job)
{
    const char *environment[16] = {0};
    char **command;
    int rc;
    struct nf_job_options o = {.argv = s->options->job, .quiet = quiet, .cpus = s->options->cpus, .n_cpus = s->options->n_cpus, .environment = environment};

    if (s->kind == NF_PASS_ACCESS) {
        o.attach = nf_observe_attach;
        o.context = s->observe;
    } else if (with) {
        o.attach = with->attach;
        o.prepare = with->prepare;
        o.context = o.prepare_context = with->context;
    }
    rc = nf_observe_command(s->observe, s->kind, s->options->job, &command);
    if (rc)
        return rc;
    if (command)
        o.argv = command;
    nf_ring_reset(&s->ring);
    nf_observe_environment(s->observe, s->kind, s->ring.path, environment, sizeof environment / sizeof *environment - 1);
    rc = nf_job_start(&o, job);
    free(command);
    return rc;
}

static void missing(struct session *s, const char *what)
{
    size_t n = strlen(s->missing);

    s->complete = false;
    snprintf(s->missing + n, sizeof s->missing - n, "%s%s", n ? ", " : "", what);
}

static int run_pass(struct session *s, enum nf_pass_kind kind, bool quiet, int *job_status)
{
    struct nf_job job = {.output_fd = -1};
    int rc, later;

    s->kind = kind;
    s->unmatched = 0;
    s->times_ns = nf_now_ns();
    s->reduce = nf_reduce_new(kind == NF_PASS_ACCESS, on_step, s);
    if (!s->reduce)
        return nf_fail(-ENOMEM, "out of memory");
    rc = insert_pass(s);
    if (kind == NF_PASS_BARE)
        s->bare_pass_id = s->pass_id;
    if (!rc) {
        rc = start_job(s, quiet, NULL, &job);
        if (rc)
            rc = rc == NF_JOB_E_ATTACH ? NF_CAPTURE_E_UNAVAILABLE : NF_CAPTURE_E_JOB;
    }
    if (!rc) {
        rc = follow(s, &job);
        nf_progress_end();
        *job_status = job.exit_status;
        if (rc) {
            nf_study_rollback(s->study);
            s->in_transaction = false;
        }
        later = rc ? 0 : update_pass(s, &job);
        if (!rc)
            rc = later;
        if (!rc && nf_job_interrupted())
            rc = nf_fail(NF_CAPTURE_E_JOB, "interrupted in the %s pass; what was captured before is kept",
                         nf_pass_kind_name(kind));
        if (!rc && job.exit_status) {
            char tail[2048];

            nf_job_tail(&job, tail, sizeof tail);
            if (*tail)
                fprintf(stderr, "%s\n", tail);
            rc = job.exit_status > 128
                     ? nf_fail(NF_CAPTURE_E_JOB, "the job was killed by signal %d (%s) in the %s pass; what was captured "
                               "before is kept", job.exit_status - 128, strsignal(job.exit_status - 128),
                               nf_pass_kind_name(kind))
                     : nf_fail(NF_CAPTURE_E_JOB, "the job ended with exit status %d in the %s pass; what was captured "
                               "before is kept", job.exit_status, nf_pass_kind_name(kind));
        }
        if (!rc && !nf_reduce_totals(s->reduce)->steps)
            rc = nf_fail(NF_CAPTURE_E_NO_STEP, atomic_load(&s->ring.header->owner)
                         ? "the job took no optimizer step that nearfar could see"
                         : "no step was seen: the job never loaded PyTorch in a Python that nearfar can reach (python -I, -E and "
                           "env -i hide it; a job in C says its steps through nearfar_annotate.h)");
        if (!rc && kind == NF_PASS_ACCESS && nf_observe_wants_engine(s->observe) &&
            !atomic_load(&s->ring.header->exact_watching))
            rc = nf_fail(NF_CAPTURE_E_UNAVAILABLE, "source exact: nothing watched the job's accesses: for engine=tsan link it "
                         "with libnearfar-tsan, for engine=qemu see what the emulator said");
    }
    if (rc)
        missing(s, nf_pass_kind_name(kind));
    nf_job_deinit(&job);
    s->reduce = nf_reduce_free(s->reduce);
    return rc;
}

static int insert_capture(struct session *s, int64_t invocation)
{
    struct nf_buf job = {0};
    struct nf_query *q;
    int64_t id = 0;
    int rc;

    nf_buf_puts(&job, "[");
    for (char *const *a = s->options->job; *a; a++) {
        nf_buf_puts(&job, a == s->options->job ? "" : ",");
        nf_buf_json(&job, *a);
    }
    nf_buf_puts(&job, "]");
    rc = job.failed ? nf_fail(-ENOMEM, "out of memory") : transaction(s);
    if (!rc)
        rc = nf_study_query(s->study, "INSERT INTO capture(invocation_id, job, job_number) VALUES(?1, ?2, (SELECT "
                                      "1 + coalesce(max(id), 0) FROM capture) & 65535)", &q);
    if (!rc) {
        nf_query_bind_i64(q, 1, invocation);
        nf_query_bind_text(q, 2, job.data);
        rc = nf_query_run(q);
        id = nf_study_last_id(s->study);
    }
    nf_buf_deinit(&job);
    if (rc)
        return rc;
    s->machine_id = nf_record_machine(s->study);
    if (s->machine_id < 0)
        return (int)s->machine_id;
    s->capture_id = id;
    return commit(s);
}

static int finish_capture(struct session *s)
{
    char message[320] = "";
    struct nf_query *q;
    int rc = transaction(s);

    if (!s->complete)
        snprintf(message, sizeof message, "missing or incomplete passes: %s", s->missing);
    if (!rc)
        rc = nf_study_query(s->study, "UPDATE capture SET status = ?2, message = ?3 WHERE id = ?1", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->capture_id);
    nf_query_bind_text(q, 2, s->complete ? "complete" : "partial");
    nf_query_bind_text(q, 3, message);
    rc = nf_query_run(q);
    if (!rc)
        rc = nf_study_query(s->study, "UPDATE pass SET status = 'partial' WHERE capture_id = ?1 AND status = 'running'",
                            &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->capture_id);
    rc = nf_query_run(q);
    return rc ? rc : commit(s);
}

/* Whether the access pass can run this command is asked before the first pass runs it. */
static int check_command(const struct session *s)
{
    char **command = NULL;
    int rc = s->options->access ? nf_observe_command(s->observe, NF_PASS_ACCESS, s->options->job, &command) : 0;

    free(command);
    return rc == -ENOENT ? NF_CAPTURE_E_JOB : rc == -EINVAL ? NF_CAPTURE_E_UNAVAILABLE : rc;
}

static int open_sources(struct session *s)
{
    int rc = nf_observe_new(s->options->sources, s->options->n_sources, &s->observe);

    return rc == NF_OBSERVE_E_UNAVAILABLE ? NF_CAPTURE_E_UNAVAILABLE : rc ? rc : check_command(s);
}

int nf_capture_check(const struct nf_capture_options *o)
{
    struct session s = {.options = o};
    int rc = open_sources(&s);

    nf_observe_free(s.observe);
    return rc;
}

static int open_session(struct session *s)
{
    int rc = open_sources(s);

    if (!rc)
        rc = nf_ring_init(&s->ring, RING_SLOTS);
    if (rc)
        s->observe = nf_observe_free(s->observe);
    return rc;
}

/* Rows that a killed capture left 'running'. */
static int mend_killed(struct nf_study *study)
{
    static const char *const mends[] = {
        "UPDATE pass SET status = 'partial' WHERE status = 'running'",
        "UPDATE capture SET status = 'partial', message = 'the capture was killed' WHERE status = 'running'",
    };
    int rc = nf_study_begin(study);

    for (size_t i = 0; !rc && i < sizeof mends / sizeof *mends; i++) {
        struct nf_query *q;

        rc = nf_study_query(study, mends[i], &q);
        if (!rc)
            rc = nf_query_run(q);
    }
    return rc ? rc : nf_study_commit(study);
}

int nf_capture_run(struct nf_study *study, int64_t invocation, const struct nf_capture_options *o, int64_t *capture_id,
                   int *job_status)
{
    /* The access pass comes before the timing pass: it finds the step classes whose ops the other one times. */
    const struct {
        enum nf_pass_kind kind;
        bool wanted;
    } passes[] = {{NF_PASS_BARE, o->bare}, {NF_PASS_ACCESS, o->access}, {NF_PASS_TIMING, o->timing}};
    struct session s = {.study = study, .options = o, .complete = true};
    bool quiet = o->quiet;
    int rc = open_session(&s), last;

    *capture_id = 0;
    if (rc)
        return rc;
    rc = mend_killed(study);
    if (!rc)
        rc = insert_capture(&s, invocation);
    if (!rc) {
        s.classes = nf_classes_new(study, s.capture_id, (uint16_t)s.capture_id);
        if (!s.classes)
            rc = nf_fail(-ENOMEM, "out of memory");
    }
    *capture_id = s.capture_id;
    nf_job_catch_signals();
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
        if (!passes[i].wanted || rc) {
            if (s.capture_id)
                missing(&s, nf_pass_kind_name(passes[i].kind));
            continue;
        }
        if (!o->unannounced)
            nf_info("%s pass%s", nf_pass_kind_name(passes[i].kind),
                    quiet ? " (the job runs again; its output is not shown)" : "");
        rc = run_pass(&s, passes[i].kind, quiet, job_status);
        quiet = true;
    }
    if (s.capture_id) {
        char cause[512];

        /* The first failure is what the caller reports; the closing rows are written all the same. */
        snprintf(cause, sizeof cause, "%s", nf_error_text(rc));
        last = finish_capture(&s);
        if (last && !rc)
            rc = last;
        else if (rc)
            nf_fail(rc, "%s", cause);
    }
    nf_study_rollback(study);
    nf_classes_free(s.classes);
    nf_observe_free(s.observe);
    nf_ring_deinit(&s.ring);
    return rc;
}

/* --- timing a job without storing it --- */

struct step_times {
    NF_ARRAY(uint64_t) ns;
};

static int keep_time(void *context, const struct nf_step *step)
{
    struct step_times *t = context;

    return nf_array_push(&t->ns, step->dur_ns) ? nf_fail(-ENOMEM, "out of memory") : 0;
}

int nf_capture_time_job(const struct nf_capture_options *o, const struct nf_capture_time_options *with,
                        struct nf_capture_timing *out)
{
    struct session s = {.options = o, .kind = NF_PASS_BARE};
    struct step_times times = {0};
    struct nf_job job = {.output_fd = -1};
    int rc = open_session(&s);

    *out = (struct nf_capture_timing){.parameter_sha256 = "unknown"};
    if (rc)
        return rc;
    nf_job_catch_signals();
    s.reduce = nf_reduce_new(false, keep_time, &times);
    rc = s.reduce ? 0 : nf_fail(-ENOMEM, "out of memory");
    if (!rc && start_job(&s, o->quiet, with, &job))
        rc = NF_CAPTURE_E_JOB;
    if (!rc) {
        rc = follow(&s, &job);
        out->job_status = job.exit_status;
        out->boundaries = s.ring.header->op_boundaries;
        parameter_sha256(nf_reduce_totals(s.reduce), out->parameter_sha256);
        if (!rc && nf_job_interrupted())
            rc = nf_fail(NF_CAPTURE_E_JOB, "interrupted");
        else if (!rc && job.exit_status)
            rc = nf_fail(NF_CAPTURE_E_JOB, "the job ended with exit status %d", job.exit_status);
        else if (!rc && !times.ns.n)
            rc = nf_fail(NF_CAPTURE_E_NO_STEP, "the job took no optimizer step that nearfar could see");
    }
    out->step_ns = times.ns.v;
    out->n = (uint32_t)times.ns.n;
    nf_job_deinit(&job);
    nf_reduce_free(s.reduce);
    nf_observe_free(s.observe);
    nf_ring_deinit(&s.ring);
    return rc;
}
