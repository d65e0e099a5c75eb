#include "capture/import-et.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/classes.h"
#include "capture/et-plan.h"
#include "capture/json.h"
#include "capture/kineto.h"
#include "capture/reduce.h"
#include "capture/ring.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/base/units.h"
#include "core/store/records.h"

/* Text numbers of the events: devices come first, as a tensor's event holds their number in 16 bits. */
enum { DEVICES_MAX = 64, TEXTS_MAX = 1 << 22 };
/* Made-up clock: an op begins a tick after the one before ended, so that a free between them is between them. */
enum { TICK_NS = 2 };
/* Made-up addresses: one place for each storage id, as large as its largest lifetime, whole pages. */
#define ADDRESS_FIRST (1ull << 20)
#define ADDRESS_MAX (1ull << 55)
enum { PAGE = 4096 };

struct nf_import {
    char *path;
    struct nf_et_trace trace;
    struct nf_et_plan plan;
    struct nf_kineto kineto;
    struct nf_reduce_totals reduced;
    uint32_t classes;
    uint64_t touched_bytes, read_bytes, written_bytes;
};

/* The events of the plan, on their way into the reducer. */
struct feed {
    struct nf_import *im;
    struct nf_study *study;
    struct nf_reduce *reduce;
    struct nf_classes *classes;
    int64_t capture, access_pass, timing_pass, machine;
    uint64_t now_ns, step_ns, allocation_hash;
    uint32_t *sent;     /* text of the trace -> text number of the events, 0: not sent yet */
    uint32_t n_sent;
    uint32_t devices[DEVICES_MAX]; /* number - 1 -> text of the trace */
    uint32_t n_devices;
    uint64_t *address;  /* per slot */
};

static int out_of_memory(void)
{
    return nf_fail(-ENOMEM, "out of memory");
}

static int send(struct feed *f, struct nf_event *e)
{
    int rc;

    e->time_ns = f->now_ns;
    rc = nf_reduce_event(f->reduce, e);
    return rc == -ENOMEM ? out_of_memory() : rc;
}

/* --- texts --- */

static int send_text(struct feed *f, uint32_t number, const char *text)
{
    size_t length = strlen(text);

    for (size_t at = 0; at < length; at += NF_RING_TEXT) {
        struct nf_event e = {.kind = NF_EVENT_TEXT, .id = number, .name = (uint32_t)length, .module = (uint32_t)at};
        int rc;

        memcpy(e.text, text + at, length - at < NF_RING_TEXT ? length - at : NF_RING_TEXT);
        rc = send(f, &e);
        if (rc)
            return rc;
    }
    return 0;
}

static int text_number(struct feed *f, uint32_t text, uint32_t *out)
{
    *out = 0;
    if (!text)
        return 0;
    if (!f->sent[text]) {
        int rc;

        if (f->n_sent >= TEXTS_MAX)
            return nf_fail(-EBADMSG, "%s: more than %d names", f->im->path, TEXTS_MAX);
        rc = send_text(f, f->n_sent, nf_texts_get(&f->im->trace.texts, text));
        if (rc)
            return rc;
        f->sent[text] = f->n_sent++;
    }
    *out = f->sent[text];
    return 0;
}

/* 0 for the CPU. The last number stands for all devices there is no number left for. */
static int device_number(struct feed *f, uint32_t text, uint16_t *out)
{
    const char *name = nf_texts_get(&f->im->trace.texts, text);

    *out = 0;
    if (!strcmp(name, "cpu") || !*name)
        return 0;
    for (uint32_t i = 0; i < f->n_devices; i++)
        if (f->devices[i] == text) {
            *out = (uint16_t)(i + 1);
            return 0;
        }
    if (f->n_devices == DEVICES_MAX) {
        *out = DEVICES_MAX;
        return 0;
    }
    f->devices[f->n_devices++] = text;
    *out = (uint16_t)f->n_devices;
    return send_text(f, *out, name);
}

/* --- storages --- */

static int lay_out(struct feed *f)
{
    const struct nf_et_plan *p = &f->im->plan;
    uint64_t at = ADDRESS_FIRST;

    for (size_t i = 0; i < p->lifetimes.n; i++) {
        const struct nf_et_lifetime *l = &p->lifetimes.v[i];

        if (l->first != NF_ET_NONE && l->bytes > f->address[l->slot])
            f->address[l->slot] = l->bytes;
    }
    for (uint32_t i = 0; i < f->im->trace.n_slots; i++) {
        uint64_t bytes = (f->address[i] + PAGE - 1) / PAGE * PAGE;

        if (bytes > ADDRESS_MAX - at)
            return nf_fail(-EBADMSG, "%s: its storages are larger than any memory", f->im->path);
        f->address[i] = at;
        at += bytes;
    }
    return 0;
}

static int begin(struct feed *f, const struct nf_et_lifetime *l)
{
    struct nf_event alloc = {.kind = NF_EVENT_ALLOC, .address = f->address[l->slot], .a = l->bytes};
    struct nf_event tensor = {.kind = NF_EVENT_TENSOR, .address = alloc.address, .a = l->bytes, .b = l->role};
    uint32_t shape;
    int rc = text_number(f, l->dtype, &tensor.id);

    if (!rc)
        rc = text_number(f, l->shape, &shape);
    if (!rc)
        rc = device_number(f, l->device, &tensor.n);
    if (rc)
        return rc;
    tensor.c = shape;
    f->allocation_hash = nf_hash_add(f->allocation_hash, l->bytes);
    rc = send(f, &alloc);
    return rc ? rc : send(f, &tensor);
}

static int begin_carried(struct feed *f)
{
    const struct nf_et_plan *p = &f->im->plan;
    struct nf_event mark = {.kind = NF_EVENT_MARK, .id = NF_MARK_CARRIED};
    int rc = 0;

    for (size_t i = 0; !rc && i < p->lifetimes.n; i++)
        if (p->lifetimes.v[i].carried_in)
            rc = begin(f, &p->lifetimes.v[i]);
    /* Of the first step's own, as of any other's. */
    f->allocation_hash = 0;
    return rc ? rc : send(f, &mark);
}

/* --- operators --- */

static int send_visit(struct feed *f, const struct nf_et_operand *o)
{
    struct nf_et_touch v = nf_et_plan_touch(o);
    struct nf_event e = {.kind = NF_EVENT_VISIT, .rw = o->rw, .pattern = o->pattern};

    e.address = f->address[f->im->plan.lifetimes.v[o->lifetime].slot] + v.offset;
    e.a = v.bytes;
    e.b = v.run;
    e.c = v.stride;
    f->im->touched_bytes += v.bytes;
    f->im->read_bytes += o->rw != NF_RW_WRITE ? v.bytes : 0;
    f->im->written_bytes += o->rw != NF_RW_READ ? v.bytes : 0;
    return send(f, &e);
}

/* What begins with the op comes before it, what ends with it after. */
static int send_op(struct feed *f, uint32_t number)
{
    const struct nf_et_plan *p = &f->im->plan;
    const struct nf_et_exec *x = &p->execs.v[number];
    const struct nf_et_node *n = &f->im->trace.nodes.v[x->node];
    const struct nf_et_operand *o = f->im->trace.operands.v + n->first_operand;
    uint64_t dur_ns = f->im->kineto.op_ns ? f->im->kineto.op_ns[number] : 0;
    struct nf_event op = {.kind = NF_EVENT_OP, .phase = x->phase, .microbatch = x->microbatch, .thread = n->thread};
    int rc = text_number(f, n->name, &op.id);

    if (!rc)
        rc = text_number(f, x->module, &op.module);
    for (uint32_t i = 0; !rc && i < n->n_operands; i++) {
        struct nf_et_lifetime *l = o[i].lifetime == NF_ET_NONE ? NULL : &p->lifetimes.v[o[i].lifetime];

        /* began marks the begun from here on: a lifetime may be several operands of the op. */
        if (l && l->first == number && !l->carried_in && l->began != NF_ET_NONE) {
            rc = begin(f, l);
            l->began = NF_ET_NONE;
        }
    }
    if (rc)
        return rc;
    op.a = f->now_ns;
    op.b = dur_ns;
    f->now_ns += dur_ns + TICK_NS / 2;
    f->step_ns += dur_ns;
    rc = send(f, &op);
    for (uint32_t i = 0; !rc && i < n->n_operands; i++)
        if (o[i].lifetime != NF_ET_NONE)
            rc = send_visit(f, &o[i]);
    for (uint32_t i = 0; !rc && i < n->n_operands; i++) {
        struct nf_event end = {.kind = NF_EVENT_FREE};
        struct nf_et_lifetime *l = o[i].lifetime == NF_ET_NONE ? NULL : &p->lifetimes.v[o[i].lifetime];

        if (!l || l->last != number || l->outlives)
            continue;
        end.address = f->address[l->slot];
        rc = send(f, &end);
    }
    f->now_ns += TICK_NS - TICK_NS / 2;
    return rc;
}

static int send_all(struct feed *f)
{
    const struct nf_et_plan *p = &f->im->plan;
    int rc = lay_out(f);

    if (!rc)
        rc = begin_carried(f);
    for (uint32_t i = 0; !rc && i < p->execs.n; i++) {
        rc = send_op(f, i);
        if (!rc && (i + 1 == p->execs.n || p->execs.v[i + 1].step != p->execs.v[i].step)) {
            struct nf_event step = {.kind = NF_EVENT_STEP, .a = f->step_ns, .b = f->allocation_hash};

            rc = send(f, &step);
            f->step_ns = f->allocation_hash = 0;
        }
    }
    return rc;
}

/* --- rows --- */

static int write_step(struct feed *f, int64_t pass, const struct nf_step *step, int64_t class_id)
{
    struct nf_query *q;
    int rc = nf_study_query(f->study, "INSERT INTO step(pass_id, rank, number, class_id, dur_ns, allocation_hash, host_id) "
                                      "VALUES(?1, 0, ?2, ?3, ?4, ?5, ?6)", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, pass);
    nf_query_bind_i64(q, 2, step->number);
    nf_query_bind_i64(q, 3, class_id);
    nf_query_bind_i64(q, 4, (int64_t)step->dur_ns);
    nf_query_bind_i64(q, 5, (int64_t)step->allocation_hash);
    nf_query_bind_i64(q, 6, f->machine);
    return nf_query_run(q);
}

static int on_step(void *context, const struct nf_step *step)
{
    struct feed *f = context;
    int64_t class_id = nf_classes_put(f->classes, f->reduce, step, 0), timed = 0;
    int rc;

    if (class_id < 0)
        return (int)class_id;
    rc = write_step(f, f->access_pass, step, class_id);
    if (!rc && f->timing_pass) {
        timed = nf_classes_time(f->classes, step);
        rc = timed < 0 ? (int)timed : write_step(f, f->timing_pass, step, class_id);
    }
    nf_progress("importing: step %u of %u", step->number + 1, f->im->plan.n_steps);
    return rc;
}

static int64_t insert_pass(struct feed *f, enum nf_pass_kind kind, const char *source)
{
    struct nf_query *q;
    int rc = nf_study_query(f->study, "INSERT INTO pass(capture_id, kind, source, access_evidence) VALUES(?1, ?2, ?3, ?4)",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, f->capture);
    nf_query_bind_i64(q, 2, kind);
    nf_query_bind_text(q, 3, source);
    nf_query_bind_i64(q, 4, kind == NF_PASS_ACCESS ? NF_ACCESS_FRAMEWORK : NF_ACCESS_UNKNOWN);
    rc = nf_query_run(q);
    return rc ? rc : nf_study_last_id(f->study);
}

static int insert_capture(struct feed *f, int64_t invocation)
{
    struct nf_import *im = f->im;
    struct nf_buf job = {0};
    char framework[96];
    struct nf_query *q;
    int rc;

    f->machine = nf_record_machine(f->study);
    if (f->machine < 0)
        return (int)f->machine;
    nf_buf_puts(&job, "[");
    nf_buf_json(&job, im->path);
    nf_buf_puts(&job, "]");
    snprintf(framework, sizeof framework, "pytorch execution trace %.63s", im->trace.schema);
    rc = job.failed ? out_of_memory()
                    : nf_study_query(f->study, "INSERT INTO capture(invocation_id, job, job_number, framework, "
                                               "lifetimes, phases, durations) VALUES(?1, ?2, (SELECT 1 + "
                                               "coalesce(max(id), 0) FROM capture) & 65535, ?3, 'inferred', "
                                               "'inferred', ?4)", &q);
    if (!rc) {
        nf_query_bind_i64(q, 1, invocation);
        nf_query_bind_text(q, 2, job.data);
        nf_query_bind_text(q, 3, framework);
        /* Its threads are those that call operators, one after another; into how many an operator was split it does not say. */
        nf_query_bind_text(q, 4, im->kineto.op_ns ? "imported" : "unknown");
        rc = nf_query_run(q);
        f->capture = nf_study_last_id(f->study);
    }
    nf_buf_deinit(&job);
    return rc;
}

static int finish_pass(struct feed *f, int64_t pass, const char *notes)
{
    const struct nf_reduce_totals *t = &f->im->reduced;
    struct nf_query *q;
    int rc = nf_study_query(f->study, "UPDATE pass SET status = 'complete', tracked_peak_bytes = ?2, events = ?3, "
                                      "unattributed_visits = ?4, unattributed_bytes = ?5, ops = ?6, steps = ?7, notes = "
                                      "?8 WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, pass);
    nf_query_bind_i64(q, 2, (int64_t)t->tracked_peak_bytes);
    nf_query_bind_i64(q, 3, (int64_t)t->events);
    nf_query_bind_i64(q, 4, (int64_t)t->unattributed_visits);
    nf_query_bind_i64(q, 5, (int64_t)t->unattributed_bytes);
    nf_query_bind_i64(q, 6, (int64_t)t->ops);
    nf_query_bind_i64(q, 7, (int64_t)t->steps);
    nf_query_bind_text(q, 8, notes);
    return nf_query_run(q);
}

static int finish_capture(struct feed *f)
{
    struct nf_query *q;
    int rc = nf_study_query(f->study, "UPDATE capture SET status = 'complete' WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, f->capture);
    return nf_query_run(q);
}

static int finish(struct feed *f)
{
    const struct nf_import *im = f->im;
    char notes[512], times[128];
    int rc;

    f->im->reduced = *nf_reduce_totals(f->reduce);
    f->im->classes = nf_classes_count(f->classes);
    snprintf(notes, sizeof notes,
             "imported: lifetimes are from first to last touch, %llu of them behind reused storage ids; phases, roles and "
             "steps (by %s) are inferred%s", (unsigned long long)im->plan.totals.splits, im->plan.totals.boundary,
             im->plan.totals.cut_step ? "; the last step is cut off" : "");
    rc = finish_pass(f, f->access_pass, notes);
    if (!rc && f->timing_pass) {
        snprintf(times, sizeof times, "%llu operators without a time", (unsigned long long)im->kineto.totals.unmatched);
        rc = finish_pass(f, f->timing_pass, im->kineto.totals.unmatched ? times : "");
        if (!rc)
            rc = nf_classes_write_times(f->classes, 0);
    }
    return rc ? rc : finish_capture(f);
}

static int run(struct feed *f, int64_t invocation)
{
    int rc = insert_capture(f, invocation);

    if (rc)
        return rc;
    f->access_pass = insert_pass(f, NF_PASS_ACCESS, "pytorch-et");
    f->timing_pass = f->access_pass > 0 && f->im->kineto.op_ns ? insert_pass(f, NF_PASS_TIMING, "kineto") : 0;
    if (f->access_pass < 0 || f->timing_pass < 0)
        return (int)(f->access_pass < 0 ? f->access_pass : f->timing_pass);
    f->classes = nf_classes_new(f->study, f->capture, (uint16_t)f->capture);
    f->reduce = nf_reduce_new(true, on_step, f);
    f->sent = calloc(f->im->trace.texts.v.n + 1, sizeof *f->sent);
    f->address = calloc((size_t)f->im->trace.n_slots + 1, sizeof *f->address);
    if (!f->classes || !f->reduce || !f->sent || !f->address)
        return out_of_memory();
    f->n_sent = DEVICES_MAX + 1;
    f->now_ns = TICK_NS;
    rc = send_all(f);
    return rc ? rc : finish(f);
}

/* --- the plug-in --- */

static int probe(char *why, size_t size)
{
    return nf_json_probe(why, size);
}

static struct nf_import *close_import(struct nf_import *im)
{
    if (!im)
        return NULL;
    nf_kineto_deinit(&im->kineto);
    nf_et_plan_deinit(&im->plan);
    nf_et_trace_deinit(&im->trace);
    free(im->path);
    free(im);
    return NULL;
}

static int open_import(const char *path, const struct nf_import_options *o, struct nf_import **out)
{
    struct nf_import *im = calloc(1, sizeof *im);
    int rc = -ENOMEM;

    *out = NULL;
    if (im)
        im->path = strdup(path);
    if (!im || !im->path) {
        close_import(im);
        return out_of_memory();
    }
    rc = nf_et_trace_init(&im->trace, path);
    if (!rc) {
        rc = nf_et_plan_init(&im->plan, &im->trace);
        if (rc == -ENODATA || rc == -EBADMSG)
            rc = nf_fail_in(rc, "%s", path);
    }
    if (!rc && o->kineto)
        rc = nf_kineto_init(&im->kineto, o->kineto, &im->plan);
    if (rc)
        close_import(im);
    else
        *out = im;
    return rc;
}

/* All in one transaction: half an import is no capture. */
static int store(struct nf_import *im, struct nf_study *study, int64_t invocation, int64_t *capture_id)
{
    struct feed f = {.im = im, .study = study};
    int rc = nf_study_begin(study);

    *capture_id = 0;
    if (rc)
        return rc;
    rc = run(&f, invocation);
    if (!rc)
        rc = nf_study_commit(study);
    if (rc) {
        char cause[512];

        snprintf(cause, sizeof cause, "%s", nf_error_text(rc));
        nf_study_rollback(study);
        nf_fail(rc, "%s", cause);
    } else {
        *capture_id = f.capture;
    }
    nf_reduce_free(f.reduce);
    nf_classes_free(f.classes);
    free(f.sent);
    free(f.address);
    return rc;
}

static void line(FILE *to, const char *what, uint64_t n)
{
    if (n)
        fprintf(to, "  %10llu %s\n", (unsigned long long)n, what);
}

static void summarize(const struct nf_import *im, FILE *to)
{
    const struct nf_et_totals *t = &im->plan.totals;
    const struct nf_kineto_totals *k = &im->kineto.totals;
    char touched[NF_UNITS_TEXT], read[NF_UNITS_TEXT], written[NF_UNITS_TEXT], peak[NF_UNITS_TEXT];
    uint64_t phases[NF_PHASE_COUNT] = {0};

    for (size_t i = 0; i < im->plan.execs.n; i++)
        phases[im->plan.execs.v[i].phase]++;
    fprintf(to, "  schema %s: %zu nodes, %llu of them operators, %u thread%s\n", im->trace.schema, im->trace.nodes.n,
            (unsigned long long)t->operators, im->trace.n_threads, im->trace.n_threads == 1 ? "" : "s");
    fprintf(to, "  %zu leaf operators that touch data", im->plan.execs.n);
    for (unsigned i = 0; i < NF_PHASE_COUNT; i++)
        if (phases[i])
            fprintf(to, ", %s %llu", nf_phase_name(i), (unsigned long long)phases[i]);
    fprintf(to, "\n  %u step%s, told apart by %s; %u step class%s\n", im->plan.n_steps, im->plan.n_steps == 1 ? "" : "s",
            t->boundary, im->classes, im->classes == 1 ? "" : "es");
    fprintf(to, "  %zu storage ids, %llu touched; %llu lifetimes more behind reused ids\n", im->trace.storages.n,
            (unsigned long long)t->slots_touched, (unsigned long long)t->splits);
    fprintf(to, "  %s touched (%s read, %s written), peak live %s by inferred lifetimes\n",
            nf_format_bytes(touched, (double)im->touched_bytes), nf_format_bytes(read, (double)im->read_bytes),
            nf_format_bytes(written, (double)im->written_bytes),
            nf_format_bytes(peak, (double)im->reduced.tracked_peak_bytes));
    if (im->kineto.op_ns)
        fprintf(to, "  durations: %llu operators by id, %llu by name and order, %llu unmatched; %llu timed on their device\n",
                (unsigned long long)k->by_id, (unsigned long long)k->by_order, (unsigned long long)k->unmatched,
                (unsigned long long)k->on_device);
    fprintf(to, "could not be told:\n");
    if (!im->kineto.op_ns)
        fprintf(to, "  how long operators took: no slowdown can be computed from this capture (--kineto FILE)\n");
    fprintf(to, "  when memory was freed: lifetimes are inferred, as are phases, steps and roles\n");
    line(to, "operators inside which work was left that no operator of theirs does: done after them", t->remainders);
    line(to, "operators with no tensor that holds anything", t->idle);
    line(to, "operators after the last step, left out", t->dropped);
    line(to, "step at the end without an end of its own", t->cut_step);
    line(to, "operands larger than what they are a view of: counted once", t->expanded);
    line(to, "lifetimes told apart by device", t->device_splits);
    line(to, "lifetimes told apart because a tensor reached past their size", t->size_splits);
    line(to, "operands of kernels without schema, taken as updates", t->unknown_rw);
    line(to, "operands said to be tensors in a layout that is not known", im->trace.unread_operands);
    line(to, "nodes whose parent is not in the trace", t->orphans);
    line(to, "visits to no known storage", im->reduced.unattributed_visits);
}

const struct nf_import_ops nf_import_pytorch_et = {
    .name = "pytorch-et",
    .about = "PyTorch execution trace (JSON, also gzipped), schema 1.0 and 1.1",
    .takes = {"kineto"},
    .probe = probe,
    .open = open_import,
    .store = store,
    .summarize = summarize,
    .close = close_import,
};
