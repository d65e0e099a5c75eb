#include "capture/kineto.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/json-pieces.h"
#include "capture/json.h"
#include "core/base/error.h"
#include "core/base/log.h"

enum { EVENTS_MAX = 32 << 20, PROGRESS_EVENTS = 4096 };
/* A day: longer events are none of an operator. */
static const double DURATION_MAX_US = 86400e6;

struct event {
    uint64_t record_id, external_id; /* 0: none */
    double start_us;
    uint64_t dur_ns, kernels_ns;
    uint32_t name; /* text number of the execution trace */
};

struct kernel {
    uint64_t external_id, dur_ns;
};

struct reader {
    struct nf_kineto *k;
    struct nf_et_plan *plan;
    struct nf_json_pieces *pieces;
    NF_ARRAY(struct event) events;
    NF_ARRAY(struct kernel) kernels;
    bool has_record_ids;
};

static int out_of_memory(void)
{
    return nf_fail(-ENOMEM, "out of memory");
}

/* Ids stand as numbers, in older files as texts. 0: none. */
static uint64_t id_of(const struct nf_json *args, const char *name)
{
    const struct nf_json *v = nf_json_get(args, name);
    const char *text = nf_json_text(v);
    int64_t n = 0;

    if (text)
        n = strtoll(text, NULL, 10);
    else
        nf_json_i64(v, &n);
    return n > 0 ? (uint64_t)n : 0;
}

static bool is_kernel(const char *category)
{
    static const char *const names[] = {"kernel", "Kernel", "gpu_memcpy", "gpu_memset", "Memcpy", "Memset"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(category, names[i]))
            return true;
    return false;
}

static bool is_operator(const char *category)
{
    return !strcmp(category, "cpu_op") || !strcmp(category, "Operator") || !strcmp(category, "user_annotation");
}

static int add_event(struct reader *r, const struct nf_json *v)
{
    const struct nf_json *args = nf_json_get(v, "args");
    const char *ph = nf_json_text(nf_json_get(v, "ph")), *category = nf_json_text(nf_json_get(v, "cat"));
    const char *name = nf_json_text(nf_json_get(v, "name"));
    struct event e = {.record_id = id_of(args, "Record function id"), .external_id = id_of(args, "External id")};
    double us = -1;

    r->k->totals.events++;
    if (!ph || strcmp(ph, "X") || !category || !name || !nf_json_number(nf_json_get(v, "dur"), &us) || !(us >= 0) ||
        us > DURATION_MAX_US || !nf_json_number(nf_json_get(v, "ts"), &e.start_us))
        return 0;
    if (!e.external_id)
        e.external_id = id_of(args, "external id");
    e.dur_ns = (uint64_t)(us * 1e3 + 0.5);
    if (r->events.n + r->kernels.n >= EVENTS_MAX)
        return nf_json_pieces_fail(r->pieces, nf_json_pieces_offset(r->pieces), "more than %d events", EVENTS_MAX);
    if (is_kernel(category)) {
        struct kernel kernel = {e.external_id, e.dur_ns};

        return e.external_id && nf_array_push(&r->kernels, kernel) ? out_of_memory() : 0;
    }
    if (!is_operator(category))
        return 0;
    e.name = nf_texts_add(&r->plan->trace->texts, name, strlen(name));
    if (e.name == NF_TEXTS_NONE)
        return out_of_memory();
    if (r->plan->trace->texts.bytes > 2ull * NF_ET_TEXT_BYTES_MAX)
        return nf_json_pieces_fail(r->pieces, nf_json_pieces_offset(r->pieces), "more names than can be kept");
    r->has_record_ids |= e.record_id != 0;
    return nf_array_push(&r->events, e) ? out_of_memory() : 0;
}

static int read_file(struct reader *r, const char *path)
{
    struct nf_json_piece piece;
    int rc = nf_json_pieces_open(path, "traceEvents", &r->pieces);

    while (!rc && (rc = nf_json_pieces_next(r->pieces, &piece)) > 0) {
        struct nf_json *v = NULL;
        size_t at;

        rc = 0;
        if (!piece.is_element)
            continue;
        rc = nf_json_parse(piece.text, piece.n, &v, &at);
        if (rc == -EBADMSG) {
            char why[192];

            snprintf(why, sizeof why, "%s", nf_error_text(rc));
            rc = nf_json_pieces_fail(r->pieces, piece.offset + at, "%s", why);
        }
        if (!rc)
            rc = add_event(r, v);
        nf_json_free(v);
        if (r->k->totals.events % PROGRESS_EVENTS == PROGRESS_EVENTS - 1)
            nf_progress("reading: %llu events", (unsigned long long)r->k->totals.events + 1);
    }
    if (!rc && !r->events.n)
        rc = nf_json_pieces_fail(r->pieces, nf_json_pieces_offset(r->pieces),
                                 "the file ended without an operator's event: no Kineto trace");
    nf_progress_end();
    return rc;
}

static int by_start(const void *a, const void *b)
{
    const struct event *x = a, *y = b;

    return (x->start_us > y->start_us) - (x->start_us < y->start_us);
}

/* The time of an operator's kernels, by the number both carry. */
static int add_kernels(struct reader *r)
{
    struct nf_id_map by_external = {0};
    bool is_new;
    int rc = 0;

    for (size_t i = 0; !rc && i < r->events.n; i++)
        if (r->events.v[i].external_id && !nf_id_map_add(&by_external, r->events.v[i].external_id, (uint32_t)i, &is_new))
            rc = out_of_memory();
    for (size_t i = 0; !rc && i < r->kernels.n; i++) {
        uint32_t *event = nf_id_map_find(&by_external, r->kernels.v[i].external_id);

        if (event)
            r->events.v[*event].kernels_ns += r->kernels.v[i].dur_ns;
    }
    nf_id_map_deinit(&by_external);
    return rc;
}

static void take(struct reader *r, uint32_t exec, const struct event *e)
{
    r->k->op_ns[exec] = e->kernels_ns ? e->kernels_ns : e->dur_ns;
    r->k->totals.on_device += e->kernels_ns > 0;
}

static const struct nf_et_node *node_of(const struct reader *r, uint32_t exec)
{
    return &r->plan->trace->nodes.v[r->plan->execs.v[exec].node];
}

/* A number matches where the names do: another run's numbers name other operators. */
static int match_ids(struct reader *r, bool *matched)
{
    struct nf_id_map by_id = {0};
    bool is_new;
    int rc = 0;

    for (size_t i = 0; !rc && i < r->events.n; i++) {
        uint64_t id = r->has_record_ids ? r->events.v[i].record_id : r->events.v[i].external_id;

        if (id && !nf_id_map_add(&by_id, id, (uint32_t)i, &is_new))
            rc = out_of_memory();
    }
    for (uint32_t i = 0; !rc && i < r->plan->execs.n; i++) {
        const struct nf_et_node *n = node_of(r, i);
        uint32_t *event = n->rf_id ? nf_id_map_find(&by_id, n->rf_id) : NULL;

        if (!event || r->events.v[*event].name != n->name)
            continue;
        take(r, i, &r->events.v[*event]);
        matched[i] = true;
        r->k->totals.by_id++;
    }
    nf_id_map_deinit(&by_id);
    return rc;
}

/* Names that occur equally often in both, counting all operators of the trace; the k-th is the k-th. */
static int match_order(struct reader *r, bool *matched)
{
    const struct nf_et_trace *t = r->plan->trace;
    size_t names = t->texts.v.n;
    uint32_t *in_trace = calloc(names + 1, sizeof *in_trace), *in_file = calloc(names + 2, sizeof *in_file);
    uint32_t *order = calloc(r->events.n + 1, sizeof *order), *exec_of = calloc(t->nodes.n + 1, sizeof *exec_of);
    uint32_t *next = calloc(names + 1, sizeof *next);
    int rc = in_trace && in_file && order && exec_of && next ? 0 : out_of_memory();

    if (rc)
        goto out;
    for (size_t i = 0; i < t->nodes.n; i++)
        in_trace[t->nodes.v[i].name]++;
    /* Events by name, in order of start: in_file[name] is where those of a name begin. */
    for (size_t i = 0; i < r->events.n; i++)
        in_file[r->events.v[i].name + 1]++;
    for (size_t i = 0; i < names; i++)
        in_file[i + 1] += in_file[i];
    for (size_t i = 0; i < r->events.n; i++)
        order[in_file[r->events.v[i].name] + next[r->events.v[i].name]++] = (uint32_t)i;
    memset(next, 0, names * sizeof *next);
    for (uint32_t i = 0; i < r->plan->execs.n; i++)
        exec_of[r->plan->execs.v[i].node] = i + 1;
    for (size_t i = 0; i < t->nodes.n; i++) {
        uint32_t name = t->nodes.v[i].name, first = in_file[name], at = next[name]++;

        if (!exec_of[i] || matched[exec_of[i] - 1] || in_file[name + 1] - first != in_trace[name])
            continue;
        take(r, exec_of[i] - 1, &r->events.v[order[first + at]]);
        matched[exec_of[i] - 1] = true;
        r->k->totals.by_order++;
    }
out:
    free(in_trace);
    free(in_file);
    free(order);
    free(exec_of);
    free(next);
    return rc;
}

static int match(struct reader *r, const char *path)
{
    struct nf_kineto_totals *t = &r->k->totals;
    bool *matched = calloc(r->plan->execs.n + 1, sizeof *matched);
    int rc;

    r->k->op_ns = calloc(r->plan->execs.n + 1, sizeof *r->k->op_ns);
    if (!matched || !r->k->op_ns) {
        free(matched);
        return out_of_memory();
    }
    qsort(r->events.v, r->events.n, sizeof *r->events.v, by_start);
    t->operators = r->events.n;
    t->kernels = r->kernels.n;
    rc = add_kernels(r);
    if (!rc)
        rc = match_ids(r, matched);
    if (!rc)
        rc = match_order(r, matched);
    free(matched);
    t->unmatched = r->plan->execs.n - t->by_id - t->by_order;
    if (!rc && t->unmatched > r->plan->execs.n / 2)
        rc = nf_fail(-EBADMSG, "%s: tells the time of %llu of %zu operators of the trace: it is of another run", path,
                     (unsigned long long)(t->by_id + t->by_order), r->plan->execs.n);
    return rc;
}

int nf_kineto_init(struct nf_kineto *k, const char *path, struct nf_et_plan *plan)
{
    struct reader r = {.k = k, .plan = plan};
    int rc;

    *k = (struct nf_kineto){0};
    rc = read_file(&r, path);
    if (!rc)
        rc = match(&r, path);
    nf_json_pieces_close(r.pieces);
    nf_array_free(&r.events);
    nf_array_free(&r.kernels);
    return rc;
}

void nf_kineto_deinit(struct nf_kineto *k)
{
    free(k->op_ns);
    k->op_ns = NULL;
}
