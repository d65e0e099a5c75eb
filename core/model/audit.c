#include "core/model/audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"

/* Half-open extents of one tensor, sorted and disjoint once normalised. */
struct extent {
    uint64_t from, to;
};
typedef NF_ARRAY(struct extent) extents;

/* The sets one (op, tensor) is judged by. */
enum set { DECLARED_READ, DECLARED_WRITTEN, SEEN, SEEN_WRITTEN, SEEN_READ, BETWEEN, DECLARED, WORK_1, WORK_2, SETS };

struct audit_work {
    struct nf_audit *a;
    const struct nf_step_class *c;
    const struct nf_visit *sightings;
    uint32_t n;
    const struct nf_audit_source *source;
    extents sets[SETS];
    NF_ARRAY(uint32_t) order; /* visits of an op by tensor */
    NF_ARRAY(struct nf_audit_row) rows;
};

static int by_start(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;

    return (x->from > y->from) - (x->from < y->from);
}

static void normalise(extents *e)
{
    size_t kept = 0;

    if (e->n)
        qsort(e->v, e->n, sizeof *e->v, by_start);
    for (size_t i = 0; i < e->n; i++) {
        if (kept && e->v[i].from <= e->v[kept - 1].to) {
            if (e->v[i].to > e->v[kept - 1].to)
                e->v[kept - 1].to = e->v[i].to;
        } else {
            e->v[kept++] = e->v[i];
        }
    }
    e->n = kept;
}

static uint64_t bytes_of(const extents *e)
{
    uint64_t n = 0;

    for (size_t i = 0; i < e->n; i++)
        n += e->v[i].to - e->v[i].from;
    return n;
}

/* out = a ∩ b, or a \ b. 0 or -ENOMEM. out is neither of them. */
static int combine(extents *out, const extents *a, const extents *b, bool subtract)
{
    size_t k = 0;

    out->n = 0;
    for (size_t i = 0; i < a->n; i++) {
        uint64_t at = a->v[i].from;

        while (k && (k == b->n || b->v[k].from > at))
            k--;
        for (; k < b->n && b->v[k].from < a->v[i].to; k++) {
            struct extent both = {b->v[k].from > at ? b->v[k].from : at, b->v[k].to < a->v[i].to ? b->v[k].to : a->v[i].to};

            if (both.to <= both.from)
                continue;
            if (subtract && both.from > at && nf_array_push(out, (struct extent){at, both.from}))
                return -ENOMEM;
            if (!subtract && nf_array_push(out, both))
                return -ENOMEM;
            at = both.to;
        }
        if (subtract && at < a->v[i].to && nf_array_push(out, (struct extent){at, a->v[i].to}))
            return -ENOMEM;
    }
    return 0;
}

static int append(extents *to, const extents *from)
{
    if (nf_array_reserve(to, to->n + from->n))
        return -ENOMEM;
    if (from->n)
        memcpy(to->v + to->n, from->v, from->n * sizeof *from->v);
    to->n += from->n;
    normalise(to);
    return 0;
}

/* The visit's runs, rounded out to the unit and clipped to the tensor. */
static int add_visit(extents *e, const struct nf_visit *v, uint64_t tensor_bytes, uint64_t unit)
{
    uint64_t left = v->bytes;

    if (!v->run)
        return 0;
    for (uint64_t at = v->offset; left; at += v->stride) {
        uint64_t n = left < v->run ? left : v->run, from = at / unit * unit, to = (at + n + unit - 1) / unit * unit;

        to = to < tensor_bytes ? to : tensor_bytes;
        /* Runs closer together than the unit are one. */
        if (e->n && e->v[e->n - 1].from <= from && from <= e->v[e->n - 1].to)
            e->v[e->n - 1].to = to > e->v[e->n - 1].to ? to : e->v[e->n - 1].to;
        else if (from < to && nf_array_push(e, (struct extent){from, to}))
            return -ENOMEM;
        left -= n;
    }
    return 0;
}

static int count(struct audit_work *w, enum nf_audit_kind kind, uint32_t op, uint32_t tensor, uint64_t bytes)
{
    uint32_t name = w->c->ops[op].name;
    struct nf_audit_row *row = NULL;

    if (!bytes)
        return 0;
    w->a->bytes[kind] += bytes;
    for (size_t i = 0; i < w->rows.n && !row; i++)
        if (w->rows.v[i].op_name == name && w->rows.v[i].kind == kind)
            row = &w->rows.v[i];
    if (!row) {
        if (nf_array_push(&w->rows, (struct nf_audit_row){name, kind, 0, 0, op, tensor}))
            return -ENOMEM;
        row = &w->rows.v[w->rows.n - 1];
    }
    /* Tensors of one op come together. */
    row->ops += !row->ops || row->example_op != op;
    row->bytes += bytes;
    row->example_op = op;
    row->example_tensor = tensor;
    return 0;
}

static bool is_watched(const struct audit_work *w, uint32_t tensor)
{
    return !w->source->arena_bytes || w->c->tensors[tensor].address - w->source->arena_base < w->source->arena_bytes;
}

static void count_rw(struct audit_work *w, enum nf_audit_rw kind, uint32_t op, uint32_t tensor, uint64_t bytes)
{
    if (bytes && !w->a->rw_bytes[kind]) {
        w->a->rw_example_op[kind] = op;
        w->a->rw_example_tensor[kind] = tensor;
    }
    w->a->rw_bytes[kind] += bytes;
}

/* Of what is declared and seen, how reads and writes compare. both is a scratch set that holds the intersection. */
static int judge_rw(struct audit_work *w, uint32_t op, uint32_t tensor, extents *both)
{
    extents *s = w->sets, *work = &s[WORK_2];
    uint64_t all = bytes_of(both), written, not_written, read_too;
    extents untold = {0}, read = {0};
    int rc;

    if (!w->source->rw_observed)
        return 0;
    /* Seen written, not declared written. */
    rc = combine(work, both, &s[SEEN_WRITTEN], false);
    if (!rc)
        rc = combine(&untold, work, &s[DECLARED_WRITTEN], true);
    written = bytes_of(&untold);
    if (!rc)
        rc = combine(work, both, &s[DECLARED_WRITTEN], false);
    if (!rc)
        rc = combine(&untold, work, &s[SEEN_WRITTEN], true);
    not_written = bytes_of(&untold);
    /* Seen read and written, declared only written. */
    if (!rc)
        rc = combine(&read, both, &s[SEEN_READ], false);
    if (!rc)
        rc = combine(work, &read, &s[SEEN_WRITTEN], false);
    if (!rc)
        rc = combine(&untold, work, &s[DECLARED_READ], true);
    read_too = bytes_of(&untold);
    nf_array_free(&untold);
    nf_array_free(&read);
    if (rc)
        return rc;
    count_rw(w, NF_AUDIT_RW_WRITTEN, op, tensor, written);
    count_rw(w, NF_AUDIT_RW_NOT_WRITTEN, op, tensor, not_written);
    count_rw(w, NF_AUDIT_RW_READ_TOO, op, tensor, read_too);
    count_rw(w, NF_AUDIT_RW_AGREE, op, tensor, all - written - not_written - read_too);
    return 0;
}

/* What earlier ops of the same boundary had touched of a tensor, into WORK_2. at: the op's first sighting. Boundaries are
 * counted from the step's first op. */
static int seen_earlier(struct audit_work *w, uint32_t op, uint32_t tensor, uint32_t at)
{
    extents *e = &w->sets[WORK_2];

    e->n = 0;
    for (uint32_t i = at; i-- > 0 && w->sightings[i].op / w->source->boundary_ops == op / w->source->boundary_ops;)
        if (w->sightings[i].tensor == tensor)
            if (nf_array_push(e, (struct extent){w->sightings[i].offset, w->sightings[i].offset + w->sightings[i].bytes}))
                return -ENOMEM;
    normalise(e);
    return 0;
}

/* The sets of one (op, tensor) are filled: where does each byte of either side belong? */
static int judge(struct audit_work *w, uint32_t op, uint32_t tensor, uint32_t at, bool is_gather)
{
    struct nf_audit_tensor *t = &w->a->tensors[tensor];
    extents *s = w->sets;
    uint64_t declared, seen, agreed, between, missing, more;
    extents all_seen = {0};
    int rc;

    for (int i = DECLARED_READ; i <= BETWEEN; i++)
        normalise(&s[i]);
    s[DECLARED].n = 0;
    rc = append(&s[DECLARED], &s[DECLARED_READ]);
    if (!rc)
        rc = append(&s[DECLARED], &s[DECLARED_WRITTEN]);
    if (!rc)
        rc = append(&all_seen, &s[SEEN]);
    if (!rc)
        rc = append(&all_seen, &s[BETWEEN]);
    if (!rc)
        rc = combine(&s[WORK_1], &s[DECLARED], &all_seen, false);
    if (!rc)
        rc = judge_rw(w, op, tensor, &s[WORK_1]);
    if (rc)
        goto out;
    declared = bytes_of(&s[DECLARED]);
    seen = bytes_of(&all_seen);
    agreed = bytes_of(&s[WORK_1]);
    t->declared += declared;
    t->seen += seen;
    t->agreed += agreed;
    rc = count(w, NF_AUDIT_AGREE, op, tensor, agreed);
    /* Declared, not seen. */
    if (!rc)
        rc = combine(&s[WORK_1], &s[DECLARED], &all_seen, true);
    missing = bytes_of(&s[WORK_1]);
    if (!rc && missing && w->source->boundary_ops > 1) {
        extents rest = {0};

        rc = seen_earlier(w, op, tensor, at);
        if (!rc)
            rc = combine(&rest, &s[WORK_1], &s[WORK_2], true);
        if (!rc)
            rc = count(w, NF_AUDIT_EARLIER, op, tensor, missing - bytes_of(&rest));
        missing = bytes_of(&rest);
        nf_array_free(&rest);
    }
    if (!rc)
        rc = count(w, is_gather ? NF_AUDIT_ROWS : seen ? NF_AUDIT_PART : NF_AUDIT_UNTOUCHED, op, tensor, missing);
    /* Seen, not declared. */
    if (!rc)
        rc = combine(&s[WORK_2], &s[BETWEEN], &s[DECLARED], true);
    if (!rc)
        rc = combine(&s[WORK_1], &s[WORK_2], &s[SEEN], true); /* what the op touched as well is the op's */
    between = bytes_of(&s[WORK_1]);
    if (!rc)
        rc = count(w, NF_AUDIT_BETWEEN, op, tensor, between);
    if (!rc)
        rc = combine(&s[WORK_1], &s[SEEN], &s[DECLARED], true);
    more = bytes_of(&s[WORK_1]);
    if (!rc)
        rc = count(w, is_gather ? NF_AUDIT_ROWS : declared ? NF_AUDIT_BEYOND
                      : w->c->tensors[tensor].tracked ? NF_AUDIT_UNDECLARED : NF_AUDIT_SCRATCH, op, tensor, more);
out:
    nf_array_free(&all_seen);
    return rc;
}

static int add_sighting(struct audit_work *w, const struct nf_visit *v)
{
    struct extent e = {v->offset, v->offset + v->bytes};
    extents *s = w->sets;

    if (!v->touches_q8)
        return nf_array_push(&s[BETWEEN], e);
    if (nf_array_push(&s[SEEN], e))
        return -ENOMEM;
    if (v->rw != NF_RW_READ && nf_array_push(&s[SEEN_WRITTEN], e))
        return -ENOMEM;
    return v->rw != NF_RW_WRITE ? nf_array_push(&s[SEEN_READ], e) : 0;
}

/* All visits and sightings of one op, tensor by tensor. Visits are few: they are looked through once per tensor. */
static int audit_op(struct audit_work *w, uint32_t op, uint32_t first, uint32_t end)
{
    const struct nf_op *o = &w->c->ops[op];
    uint32_t at = first;

    w->order.n = 0;
    for (uint32_t i = 0; i < o->n_visits; i++) {
        bool known = false;

        for (uint32_t k = 0; k < i && !known; k++)
            known = w->c->visits[o->first_visit + k].tensor == w->c->visits[o->first_visit + i].tensor;
        if (!known && nf_array_push(&w->order, w->c->visits[o->first_visit + i].tensor))
            return -ENOMEM;
    }
    for (uint32_t i = first; i < end; i++) {
        bool known = i > first && w->sightings[i - 1].tensor == w->sightings[i].tensor;

        for (size_t k = 0; k < w->order.n && !known; k++)
            known = w->order.v[k] == w->sightings[i].tensor;
        if (!known && nf_array_push(&w->order, w->sightings[i].tensor))
            return -ENOMEM;
    }
    for (size_t k = 0; k < w->order.n; k++) {
        uint32_t tensor = w->order.v[k];
        bool is_gather = false;
        int rc = 0;

        for (int i = 0; i < SETS; i++)
            w->sets[i].n = 0;
        for (uint32_t i = o->first_visit; i < o->first_visit + o->n_visits && !rc; i++) {
            const struct nf_visit *v = &w->c->visits[i];

            if (v->tensor != tensor)
                continue;
            is_gather |= v->pattern == NF_PATTERN_GATHER;
            if (!is_watched(w, tensor)) {
                w->a->unwatched_bytes += v->bytes;
                continue;
            }
            if (v->rw != NF_RW_WRITE)
                rc = add_visit(&w->sets[DECLARED_READ], v, w->c->tensors[tensor].bytes, w->source->resolution_bytes);
            if (!rc && v->rw != NF_RW_READ)
                rc = add_visit(&w->sets[DECLARED_WRITTEN], v, w->c->tensors[tensor].bytes, w->source->resolution_bytes);
        }
        for (at = first; at < end && !rc; at++)
            if (w->sightings[at].tensor == tensor)
                rc = add_sighting(w, &w->sightings[at]);
        if (!rc)
            rc = judge(w, op, tensor, first, is_gather);
        if (rc)
            return rc;
    }
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    const struct nf_audit_row *x = a, *y = b;

    if ((x->kind == NF_AUDIT_AGREE) != (y->kind == NF_AUDIT_AGREE))
        return x->kind == NF_AUDIT_AGREE ? 1 : -1;
    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

int nf_audit_init(struct nf_audit *a, const struct nf_step_class *c, const struct nf_visit *sightings, uint32_t n,
                  const struct nf_audit_source *source)
{
    struct audit_work w = {.a = a, .c = c, .sightings = sightings, .n = n, .source = source};
    uint32_t at = 0;
    int rc = 0;

    *a = (struct nf_audit){.tensors = calloc(c->n_tensors + (size_t)1, sizeof *a->tensors)};
    if (!a->tensors)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t i = 0; i < c->n_tensors; i++)
        a->tensors[i].watched = is_watched(&w, i);
    for (uint32_t op = 0; op < c->n_ops && !rc; op++) {
        uint32_t first = at;

        while (at < n && sightings[at].op == op)
            at++;
        rc = audit_op(&w, op, first, at);
    }
    for (int i = 0; i < SETS; i++)
        nf_array_free(&w.sets[i]);
    nf_array_free(&w.order);
    if (w.rows.n)
        qsort(w.rows.v, w.rows.n, sizeof *w.rows.v, by_bytes);
    a->rows = w.rows.v;
    a->n_rows = (uint32_t)w.rows.n;
    if (rc) {
        nf_audit_deinit(a);
        return nf_fail(rc, "out of memory for the audit of %u sightings", n);
    }
    return 0;
}

void nf_audit_deinit(struct nf_audit *a)
{
    free(a->rows);
    free(a->tensors);
    *a = (struct nf_audit){0};
}

static const struct {
    const char *name, *explained;
} kinds[] = {
    [NF_AUDIT_AGREE] = {"agree", "declared by the framework and touched"},
    [NF_AUDIT_PART] = {"part", "the op touched less of its operand than all of it"},
    [NF_AUDIT_UNTOUCHED] = {"untouched", "the op did not touch this operand: its value was not needed, or it works on the "
                                         "shape alone"},
    [NF_AUDIT_EARLIER] = {"seen earlier", "an op since the last boundary had touched it; the source sees first touches only"},
    [NF_AUDIT_ROWS] = {"gathered rows", "which rows an index picks is data: the framework's visit spreads them evenly"},
    [NF_AUDIT_BEYOND] = {"beyond", "of an operand, outside the extent the framework told"},
    [NF_AUDIT_SCRATCH] = {"scratch", "a library's workspace, never an operand"},
    [NF_AUDIT_UNDECLARED] = {"undeclared", "a tensor that the framework did not name as an operand of this op"},
    [NF_AUDIT_BETWEEN] = {"between ops", "touched after one op had ended and before the next began"},
};

const char *nf_audit_kind_name(enum nf_audit_kind kind)
{
    return kind < NF_AUDIT_KINDS ? kinds[kind].name : "invalid";
}

const char *nf_audit_kind_explained(enum nf_audit_kind kind)
{
    return kind < NF_AUDIT_KINDS ? kinds[kind].explained : "invalid";
}
