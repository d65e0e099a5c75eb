#include "analyze/audit-view.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/print.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/store/sightings.h"

static const struct {
    const char *found, *explained;
} rw_words[NF_AUDIT_RWS] = {
    [NF_AUDIT_RW_AGREE] = {"agree", "read and written as declared"},
    [NF_AUDIT_RW_WRITTEN] = {"declared read, seen written",
                             "the op wrote what its schema calls an input: a buffer that it updates, or keeps work in"},
    [NF_AUDIT_RW_NOT_WRITTEN] = {"declared written, seen read only",
                                 "the op left it as it was, or its write followed a read in a way the source cannot tell"},
    [NF_AUDIT_RW_READ_TOO] = {"declared written, seen read as well",
                              "partial results read back, or what was there read before it was overwritten"},
};

/* --- making it --- */

static int load_facts(struct nf_audit_view *v, struct nf_study *study)
{
    struct nf_buf name = {0};
    struct nf_query *q;
    int rc = nf_study_query(study, "SELECT o.source, x.steps, x.equal_steps FROM sighting x JOIN observation o ON o.id = "
                                   "x.observation_id WHERE x.observation_id = ?1 AND x.class_id = ?2", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, v->observation.id);
    nf_query_bind_i64(q, 2, v->class->id);
    rc = nf_query_step(q);
    if (rc == 1) {
        nf_print_clean(&name, nf_query_text(q, 0));
        nf_print_keep(v->source, sizeof v->source, &name);
        v->steps = nf_query_i64(q, 1);
        v->equal_steps = nf_query_i64(q, 2);
    }
    nf_query_done(q);
    nf_buf_deinit(&name);
    return rc < 0 ? rc : 0;
}

int nf_audit_view_init(struct nf_audit_view *v, struct nf_study *study, int64_t capture, const struct nf_stream *stream,
                       const struct nf_step_class *c, const char *source)
{
    struct nf_observation *o = &v->observation;
    struct nf_visit *sightings;
    uint32_t n;
    int64_t id;
    int rc;

    *v = (struct nf_audit_view){.stream = stream, .class = c};
    id = nf_sightings_find(study, capture, c->id, source, o);
    rc = id < 0 ? (int)id : load_facts(v, study);
    if (!rc)
        rc = nf_sightings_load(study, id, c, &sightings, &n);
    if (!rc) {
        const struct nf_audit_source is = {o->resolution_bytes, o->boundary_ops, o->arena_base, o->arena_bytes,
                                           !strcmp(o->rw, "observed")};

        rc = nf_audit_init(&v->audit, c, sightings, n, &is);
        free(sightings);
    }
    for (uint32_t i = 0; !rc && i < c->n_tensors; i++) {
        v->declared += v->audit.tensors[i].declared;
        v->seen += v->audit.tensors[i].seen;
        v->agreed += v->audit.tensors[i].agreed;
    }
    return rc;
}

void nf_audit_view_deinit(struct nf_audit_view *v)
{
    nf_audit_deinit(&v->audit);
}

/* --- sentences --- */

static double share_of(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : NAN;
}

double nf_audit_view_agreement(const struct nf_audit_view *v)
{
    return share_of(v->agreed, v->declared + v->seen - v->agreed);
}

static void say_example(const struct nf_audit_view *v, uint32_t op, uint32_t tensor, struct nf_buf *b)
{
    const struct nf_tensor *t = &v->class->tensors[tensor];
    const char *name = v->stream->names[t->name];

    nf_buf_printf(b, "op %u (", op);
    nf_print_clean(b, v->stream->names[v->class->ops[op].name]);
    nf_buf_printf(b, ") on tensor %u (%s%s", tensor, nf_role_name(t->role), *name ? " " : "");
    nf_print_clean(b, name);
    nf_buf_puts(b, ")");
}

void nf_audit_view_say_source(const struct nf_audit_view *v, struct nf_buf *b)
{
    const struct nf_observation *o = &v->observation;

    nf_buf_printf(b, "evidence: %s at ", nf_access_evidence_name(o->evidence));
    nf_print_bytes(b, o->resolution_bytes);
    if (o->boundary_ops == 1)
        nf_buf_puts(b, ", every op");
    else if (o->boundary_ops)
        nf_buf_printf(b, ", every %u ops", o->boundary_ops);
    nf_buf_printf(b, ", against framework; reads and writes %s%s%s", o->rw,
                  o->validated ? "" : "; not validated on hardware", o->lost ? "; SAMPLES WERE LOST" : "");
}

void nf_audit_view_say_agreement(const struct nf_audit_view *v, struct nf_buf *b)
{
    if (!(v->declared + v->seen)) {
        nf_buf_puts(b, "Nothing was declared or touched in the memory that the source watches");
        return;
    }
    nf_buf_printf(b, "The framework and %s agree on %.4g %% of what either says was touched: of ", v->source,
                  100 * nf_audit_view_agreement(v));
    nf_print_bytes(b, (double)v->declared);
    nf_buf_printf(b, " declared a step, %.4g %% were touched; of ", 100 * share_of(v->agreed, v->declared));
    nf_print_bytes(b, (double)v->seen);
    nf_buf_printf(b, " touched, %.4g %% were declared", 100 * share_of(v->agreed, v->seen));
}

void nf_audit_view_say_steps(const struct nf_audit_view *v, struct nf_buf *b)
{
    if (v->steps == 1)
        nf_buf_printf(b, "%s saw one step of this class", v->source);
    else
        nf_buf_printf(b, "Of %lld steps of this class that %s saw the first is compared; %lld of the others touched exactly "
                         "the same",
                      (long long)v->steps, v->source, (long long)v->equal_steps - 1);
    if (v->steps > v->equal_steps && v->audit.bytes[NF_AUDIT_ROWS])
        nf_buf_puts(b, " (which rows an index picks changes with the data)");
}

void nf_audit_view_say_unwatched(const struct nf_audit_view *v, struct nf_buf *b)
{
    if (!v->audit.unwatched_bytes)
        return;
    nf_print_bytes(b, (double)v->audit.unwatched_bytes);
    nf_buf_puts(b, " were declared of tensors outside the memory this source watches, and are not compared");
}

void nf_audit_view_say_rw(const struct nf_audit_view *v, enum nf_audit_rw kind, struct nf_buf *b)
{
    if (kind == NF_AUDIT_RW_AGREE || !v->audit.rw_bytes[kind])
        return;
    nf_buf_printf(b, "%s: ", rw_words[kind].found);
    nf_print_bytes(b, (double)v->audit.rw_bytes[kind]);
    nf_buf_puts(b, ", for example ");
    say_example(v, v->audit.rw_example_op[kind], v->audit.rw_example_tensor[kind], b);
}

/* --- tables --- */

static void put_buf(struct nf_table *t, struct nf_buf *b)
{
    if (b->failed)
        nf_table_unknown(t);
    else
        nf_table_text(t, b->data ? b->data : "");
    nf_buf_deinit(b);
    *b = (struct nf_buf){0};
}

static void put_example(struct nf_table *t, const struct nf_audit_view *v, uint32_t op, uint32_t tensor)
{
    struct nf_buf b = {0};

    say_example(v, op, tensor, &b);
    put_buf(t, &b);
}

static void put_name(struct nf_table *t, const struct nf_audit_view *v, uint32_t name)
{
    struct nf_buf b = {0};

    nf_print_clean(&b, v->stream->names[name]);
    put_buf(t, &b);
}

const struct nf_column nf_audit_op_columns[NF_AUDIT_OP_COLUMNS] = {
    {"kind", "found", NF_COLUMN_TEXT},
    {"op", "operator", NF_COLUMN_TEXT},
    {"bytes", "bytes", NF_COLUMN_BYTES},
    {"share", "of the declared", NF_COLUMN_SHARE},
    {"ops", "calls", NF_COLUMN_INTEGER},
    {"example", "for example", NF_COLUMN_TEXT},
    {"explained", "what it means", NF_COLUMN_TEXT},
};

static int fill_ops(const struct nf_audit_view *v, struct nf_table *t)
{
    for (uint32_t i = 0; i < v->audit.n_rows; i++) {
        const struct nf_audit_row *r = &v->audit.rows[i];

        nf_table_text(t, nf_audit_kind_name(r->kind));
        put_name(t, v, r->op_name);
        nf_table_integer(t, (int64_t)r->bytes);
        nf_table_number(t, share_of(r->bytes, v->declared));
        nf_table_integer(t, r->ops);
        put_example(t, v, r->example_op, r->example_tensor);
        nf_table_text(t, nf_audit_kind_explained(r->kind));
    }
    return 0;
}

const struct nf_column nf_audit_kind_columns[NF_AUDIT_KIND_COLUMNS] = {
    {"kind", "found", NF_COLUMN_TEXT},           {"bytes", "bytes", NF_COLUMN_BYTES},
    {"share", "of the declared", NF_COLUMN_SHARE}, {"ops", "calls", NF_COLUMN_INTEGER},
    {"example", "for example", NF_COLUMN_TEXT},  {"explained", "what it means", NF_COLUMN_TEXT},
};

/* Rows are sorted, so that the first of a kind is its largest and the example worth looking at. */
static int fill_kinds(const struct nf_audit_view *v, struct nf_table *t)
{
    bool done[NF_AUDIT_KINDS] = {false};

    for (;;) {
        const struct nf_audit_row *largest = NULL;
        enum nf_audit_kind kind = NF_AUDIT_AGREE;
        int64_t calls = 0;

        for (int k = 0; k < NF_AUDIT_KINDS; k++)
            if (!done[k] && v->audit.bytes[k] && (kind == NF_AUDIT_AGREE || v->audit.bytes[k] > v->audit.bytes[kind]))
                kind = (enum nf_audit_kind)k;
        if (done[kind] || !v->audit.bytes[kind])
            return 0;
        done[kind] = true;
        for (uint32_t i = 0; i < v->audit.n_rows; i++) {
            if (v->audit.rows[i].kind != kind)
                continue;
            largest = largest ? largest : &v->audit.rows[i];
            calls += v->audit.rows[i].ops;
        }
        nf_table_text(t, nf_audit_kind_name(kind));
        nf_table_integer(t, (int64_t)v->audit.bytes[kind]);
        nf_table_number(t, share_of(v->audit.bytes[kind], v->declared));
        nf_table_integer(t, calls);
        if (largest)
            put_example(t, v, largest->example_op, largest->example_tensor);
        else
            nf_table_unknown(t);
        nf_table_text(t, nf_audit_kind_explained(kind));
    }
}

const struct nf_column nf_audit_rw_columns[NF_AUDIT_RW_COLUMNS] = {
    {"found", "reads and writes", NF_COLUMN_TEXT}, {"bytes", "bytes", NF_COLUMN_BYTES},
    {"share", "of the agreed", NF_COLUMN_SHARE},   {"example", "for example", NF_COLUMN_TEXT},
    {"explained", "what it means", NF_COLUMN_TEXT},
};

static int fill_rw(const struct nf_audit_view *v, struct nf_table *t)
{
    static const enum nf_audit_rw order[] = {NF_AUDIT_RW_WRITTEN, NF_AUDIT_RW_NOT_WRITTEN, NF_AUDIT_RW_READ_TOO,
                                             NF_AUDIT_RW_AGREE};

    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        enum nf_audit_rw k = order[i];

        if (!v->audit.rw_bytes[k])
            continue;
        nf_table_text(t, rw_words[k].found);
        nf_table_integer(t, (int64_t)v->audit.rw_bytes[k]);
        nf_table_number(t, share_of(v->audit.rw_bytes[k], v->agreed));
        put_example(t, v, v->audit.rw_example_op[k], v->audit.rw_example_tensor[k]);
        nf_table_text(t, rw_words[k].explained);
    }
    return 0;
}

const struct nf_column nf_audit_tensor_columns[NF_AUDIT_TENSOR_COLUMNS] = {
    {"number", "tensor", NF_COLUMN_INTEGER},     {"bytes", "size", NF_COLUMN_BYTES},
    {"role", "role", NF_COLUMN_TEXT},            {"declared_bytes", "declared", NF_COLUMN_BYTES},
    {"seen_bytes", "seen", NF_COLUMN_BYTES},     {"agreed_bytes", "both", NF_COLUMN_BYTES},
    {"agreement", "agreement", NF_COLUMN_SHARE}, {"name", "name", NF_COLUMN_TEXT},
};

static uint64_t either(const struct nf_audit_tensor *x)
{
    return x->declared + x->seen - x->agreed;
}

static void put_tensor(const struct nf_audit_view *v, uint32_t i, struct nf_table *t)
{
    const struct nf_audit_tensor *x = &v->audit.tensors[i];

    if (!x->watched || !either(x))
        return;
    nf_table_integer(t, i);
    nf_table_integer(t, (int64_t)v->class->tensors[i].bytes);
    nf_table_text(t, nf_role_name(v->class->tensors[i].role));
    nf_table_integer(t, (int64_t)x->declared);
    nf_table_integer(t, (int64_t)x->seen);
    nf_table_integer(t, (int64_t)x->agreed);
    nf_table_number(t, share_of(x->agreed, either(x)));
    put_name(t, v, v->class->tensors[i].name);
}

static int fill_tensors(const struct nf_audit_view *v, struct nf_table *t)
{
    for (uint32_t i = 0; i < v->class->n_tensors; i++)
        put_tensor(v, i, t);
    return 0;
}

struct ranked {
    uint64_t off;
    uint32_t tensor;
};

static int most_off(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    return x->off != y->off ? (x->off < y->off) - (x->off > y->off) : (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

/* Only those that disagree at all. */
static int fill_worst(const struct nf_audit_view *v, struct nf_table *t)
{
    struct ranked *ranks = malloc((v->class->n_tensors + (size_t)1) * sizeof *ranks);
    uint32_t n = 0;

    if (!ranks)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t i = 0; i < v->class->n_tensors; i++) {
        const struct nf_audit_tensor *x = &v->audit.tensors[i];

        if (x->watched && either(x) > x->agreed)
            ranks[n++] = (struct ranked){either(x) - x->agreed, i};
    }
    qsort(ranks, n, sizeof *ranks, most_off);
    for (uint32_t i = 0; i < n; i++)
        put_tensor(v, ranks[i].tensor, t);
    free(ranks);
    return 0;
}

const struct nf_audit_table nf_audit_by_kind = {nf_audit_kind_columns, NF_AUDIT_KIND_COLUMNS, fill_kinds};
const struct nf_audit_table nf_audit_by_op = {nf_audit_op_columns, NF_AUDIT_OP_COLUMNS, fill_ops};
const struct nf_audit_table nf_audit_by_rw = {nf_audit_rw_columns, NF_AUDIT_RW_COLUMNS, fill_rw};
const struct nf_audit_table nf_audit_by_tensor = {nf_audit_tensor_columns, NF_AUDIT_TENSOR_COLUMNS, fill_tensors};
const struct nf_audit_table nf_audit_worst_tensors = {nf_audit_tensor_columns, NF_AUDIT_TENSOR_COLUMNS, fill_worst};
