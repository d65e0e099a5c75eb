#include "capture/et-trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/json-pieces.h"
#include "capture/json.h"
#include "core/base/error.h"
#include "core/base/log.h"

/* [tensor id, storage id, offset, elements, bytes of one, device] */
enum { TUPLE = 6, TUPLE_DEVICE = 5 };
enum { DIMS_MAX = 16, LISTS_MAX = 4, ARGUMENTS_MAX = UINT16_MAX, PROGRESS_NODES = 4096 };

struct reader {
    struct nf_et_trace *t;
    struct nf_json_pieces *pieces;
    uint64_t byte; /* of the node at hand */
    struct nf_id_map threads;
    bool has_nodes;
};

/* What one side of a node says of its values. */
struct values {
    const struct nf_json *values, *shapes, *types, *strides;
};

static int broken(struct reader *r, const char *what)
{
    return nf_json_pieces_fail(r->pieces, r->byte, "%s", what);
}

static int out_of_memory(void)
{
    return nf_fail(-ENOMEM, "out of memory");
}

/* A text's number; refuses more text than any trace has. */
static int text_number(struct reader *r, const char *text, size_t n, uint32_t *out)
{
    *out = nf_texts_add(&r->t->texts, text, n);
    if (*out == NF_TEXTS_NONE)
        return out_of_memory();
    return r->t->texts.bytes > NF_ET_TEXT_BYTES_MAX ? broken(r, "the trace holds more names than can be kept") : 0;
}

/* --- fields of a node --- */

/* What a node says beside its values, wherever it says it. */
enum { OP_SCHEMA, RF_ID, TID, FW_TID, SEQ_ID, SCOPE, BACKEND, FIELDS };
static const char *const field_names[] = {"op_schema", "rf_id", "tid", "fw_tid", "seq_id", "scope", "kernel_backend"};

/* Beside the others (1.0), or in the list of attributes (1.1). */
static void find_fields(const struct nf_json *node, const struct nf_json *out[FIELDS])
{
    const struct nf_json *attrs = nf_json_get(node, "attrs");
    size_t n = nf_json_count(attrs);

    for (size_t k = 0; k < FIELDS; k++)
        out[k] = n ? NULL : nf_json_get(node, field_names[k]);
    for (size_t i = 0; i < n; i++) {
        const struct nf_json *a = nf_json_at(attrs, i);
        const char *key = nf_json_text(nf_json_get(a, "name"));

        for (size_t k = 0; key && k < FIELDS; k++)
            if (!strcmp(key, field_names[k]))
                out[k] = nf_json_get(a, "value");
    }
}

static int read_u64(struct reader *r, const struct nf_json *v, const char *what, uint64_t *out)
{
    int64_t n = 0;

    if (v && (!nf_json_i64(v, &n) || n < 0))
        return nf_json_pieces_fail(r->pieces, r->byte, "the %s of a node is not a whole number of at most 18 digits", what);
    *out = (uint64_t)n;
    return 0;
}

static int read_u32(struct reader *r, const struct nf_json *v, const char *what, uint32_t *out)
{
    uint64_t n = 0;
    int rc = read_u64(r, v, what, &n);

    *out = (uint32_t)n;
    return rc ? rc : n > UINT32_MAX ? nf_json_pieces_fail(r->pieces, r->byte, "the %s of a node is too large", what) : 0;
}

static int read_text(struct reader *r, const struct nf_json *v, const char *what, uint32_t *out)
{
    const char *text = nf_json_text(v);

    *out = 0;
    if (v && !text)
        return nf_json_pieces_fail(r->pieces, r->byte, "the %s of a node is not a text", what);
    return text ? text_number(r, text, strlen(text), out) : 0;
}

/* --- tensors --- */

static bool is_tuple(const struct nf_json *v)
{
    double n;

    if (nf_json_count(v) != TUPLE || !nf_json_text(nf_json_at(v, TUPLE_DEVICE)))
        return false;
    for (size_t i = 0; i < TUPLE_DEVICE; i++)
        if (!nf_json_number(nf_json_at(v, i), &n))
            return false;
    return true;
}

/* Shape (or strides) of a tensor. The number of dims, -1 when it is none that can be read. */
static int read_dims(const struct nf_json *v, int64_t out[DIMS_MAX])
{
    size_t n = nf_json_count(v);

    if (!nf_json_is_array(v) || n > DIMS_MAX)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!nf_json_i64(nf_json_at(v, i), &out[i]) || out[i] < 0)
            return -1;
    return (int)n;
}

struct dim {
    uint64_t stride, size;
};

/* Elements of a strided view: distinct, from first to last, and lying together. False where they overflow. */
static bool strided_elements(const int64_t *shape, const int64_t *strides, int n, uint64_t *distinct, uint64_t *span,
                             uint64_t *run)
{
    struct dim d[DIMS_MAX];
    int m = 0;

    *distinct = *span = *run = 1;
    for (int i = 0; i < n; i++) {
        int at = m;

        if (shape[i] == 1 || !strides[i])
            continue;
        for (; at > 0 && d[at - 1].stride > (uint64_t)strides[i]; at--)
            d[at] = d[at - 1];
        d[at] = (struct dim){(uint64_t)strides[i], (uint64_t)shape[i]};
        m++;
    }
    for (int i = 0; i < m; i++) {
        uint64_t reach;

        if (!d[i].size || __builtin_mul_overflow(*distinct, d[i].size, distinct) ||
            __builtin_mul_overflow(d[i].size - 1, d[i].stride, &reach) || __builtin_add_overflow(*span, reach, span))
            return false;
        if (d[i].stride == *run)
            *run *= d[i].size;
    }
    /* Dense in another order, or overlapping: every byte of the span. */
    if (*distinct >= *span)
        *distinct = *run = *span;
    return true;
}

static int shape_text(struct reader *r, const int64_t *shape, int n, uint32_t *out)
{
    char text[DIMS_MAX * 21 + 8];
    size_t at = 0;

    *out = 0;
    if (n < 0)
        return 0;
    if (!n)
        at = (size_t)snprintf(text, sizeof text, "scalar");
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", i ? "x" : "", (long long)shape[i]);
    return text_number(r, text, at, out);
}

/* "Tensor(float)" -> float; of "GenericList[Tensor(float),Tensor(long int)]" the next one, *at moves past it. NULL: no
 * more are named. */
static int dtype_text(struct reader *r, const char **at, uint32_t *out)
{
    static const char word[] = "Tensor(";
    const char *from = *at ? strstr(*at, word) : NULL;
    size_t n;

    *out = 0;
    *at = NULL;
    if (!from)
        return 0;
    from += sizeof word - 1;
    n = strcspn(from, ")");
    *at = from + n;
    return text_number(r, from, n, out);
}

static int add_tensor(struct reader *r, const struct nf_json *tuple, const struct nf_json *shape,
                      const struct nf_json *strides, const char **type, struct nf_et_operand *o)
{
    int64_t n[TUPLE_DEVICE], dims[DIMS_MAX], steps[DIMS_MAX];
    uint64_t offset, bytes, end, distinct, span, run;
    int n_dims = read_dims(shape, dims), n_steps = read_dims(strides, steps), rc;
    const char *device = nf_json_text(nf_json_at(tuple, TUPLE_DEVICE));
    uint32_t *slot;
    bool is_new;

    for (size_t i = 0; i < TUPLE_DEVICE; i++)
        if (!nf_json_i64(nf_json_at(tuple, i), &n[i]) || n[i] < 0)
            return broken(r, "a tensor of a node has a number that is negative, not whole, or of more than 18 digits");
    if (r->t->operands.n >= NF_ET_OPERANDS_MAX)
        return nf_json_pieces_fail(r->pieces, r->byte, "the trace names more than %d tensors", NF_ET_OPERANDS_MAX);
    if (__builtin_mul_overflow((uint64_t)n[3], (uint64_t)n[4], &bytes) ||
        __builtin_mul_overflow((uint64_t)n[2], (uint64_t)n[4], &offset) ||
        __builtin_add_overflow(offset, bytes, &end) || end > NF_ET_EXTENT_MAX)
        return nf_json_pieces_fail(r->pieces, r->byte, "a tensor of a node reaches past %llu TiB of its storage",
                                   NF_ET_EXTENT_MAX >> 40);
    o->tensor = (uint64_t)n[0];
    o->element = (uint64_t)n[4] <= UINT32_MAX ? (uint32_t)n[4] : 0;
    o->offset = offset;
    o->bytes = o->span = bytes;
    if (bytes && n_dims >= 0 && n_dims == n_steps && strided_elements(dims, steps, n_dims, &distinct, &span, &run) &&
        !__builtin_mul_overflow(span, (uint64_t)n[4], &end) && end <= NF_ET_EXTENT_MAX - offset) {
        o->has_strides = true;
        o->bytes = distinct * (uint64_t)n[4];
        o->span = span * (uint64_t)n[4];
        o->run = run < distinct && run * (uint64_t)n[4] <= UINT32_MAX ? (uint32_t)(run * (uint64_t)n[4]) : 0;
    }
    /* An undefined tensor has no storage and no device. */
    if (!*device)
        o->bytes = o->span = 0;
    rc = text_number(r, device, strlen(device), &o->device);
    if (!rc)
        rc = shape_text(r, dims, n_dims, &o->shape);
    if (!rc)
        rc = dtype_text(r, type, &o->dtype);
    if (rc)
        return rc;
    slot = nf_id_map_add(&r->t->storages, (uint64_t)n[1], r->t->n_slots, &is_new);
    if (!slot)
        return out_of_memory();
    r->t->n_slots += is_new;
    o->slot = *slot;
    return nf_array_push(&r->t->operands, *o) ? out_of_memory() : 0;
}

/* The tensors of one argument: itself, or those of a list, also of lists of lists. */
static int add_argument(struct reader *r, const struct values *v, size_t i, bool is_output)
{
    const struct nf_json *value = nf_json_at(v->values, i), *shape = nf_json_at(v->shapes, i);
    const struct nf_json *strides = nf_json_at(v->strides, i);
    const char *type = nf_json_text(nf_json_at(v->types, i));
    struct nf_et_operand o = {.argument = (uint16_t)i, .is_output = is_output};
    struct {
        const struct nf_json *values, *shapes, *strides;
        size_t at;
    } stack[LISTS_MAX] = {{value, shape, strides, 0}};
    size_t depth = 1;

    if (is_tuple(value))
        return add_tensor(r, value, shape, strides, &type, &o);
    if (type && !strncmp(type, "Tensor(", 7))
        r->t->unread_operands++;
    while (depth) {
        size_t at = stack[depth - 1].at++;
        const struct nf_json *element = nf_json_at(stack[depth - 1].values, at);
        const struct nf_json *of_shape = nf_json_at(stack[depth - 1].shapes, at);
        const struct nf_json *of_strides = nf_json_at(stack[depth - 1].strides, at);

        if (!element) {
            depth--;
        } else if (is_tuple(element)) {
            struct nf_et_operand one = o;
            int rc = add_tensor(r, element, of_shape, of_strides, &type, &one);

            if (rc)
                return rc;
        } else if (nf_json_is_array(element) && depth < LISTS_MAX) {
            stack[depth].values = element;
            stack[depth].shapes = of_shape;
            stack[depth].strides = of_strides;
            stack[depth++].at = 0;
        }
    }
    return 0;
}

static void find_values(const struct nf_json *node, bool is_output, struct values *v)
{
    const struct nf_json *side = nf_json_get(node, is_output ? "outputs" : "inputs");

    if (nf_json_is_object(side)) {
        v->values = nf_json_get(side, "values");
        v->shapes = nf_json_get(side, "shapes");
        v->types = nf_json_get(side, "types");
        v->strides = nf_json_get(side, "strides");
    } else {
        v->values = side;
        v->shapes = nf_json_get(node, is_output ? "output_shapes" : "input_shapes");
        v->types = nf_json_get(node, is_output ? "output_types" : "input_types");
        v->strides = nf_json_get(node, is_output ? "output_strides" : "input_strides");
    }
}

static int add_operands(struct reader *r, const struct nf_json *node, struct nf_et_node *n)
{
    n->first_operand = (uint32_t)r->t->operands.n;
    for (int side = 0; side < 2; side++) {
        struct values v;

        find_values(node, side == 1, &v);
        if (v.values && !nf_json_is_array(v.values))
            return broken(r, "the inputs or outputs of a node are not a list");
        if (nf_json_count(v.values) > ARGUMENTS_MAX)
            return broken(r, "a node has too many inputs or outputs");
        for (size_t i = 0; i < nf_json_count(v.values); i++) {
            int rc = add_argument(r, &v, i, side == 1);

            if (rc)
                return rc;
        }
    }
    n->n_operands = (uint32_t)(r->t->operands.n - n->first_operand);
    return 0;
}

/* --- nodes --- */

/* Of the nodes without schema, what the engine and the record functions of Python call themselves. */
static bool is_wrapper(const char *name)
{
    static const char *const starts[] = {"autograd::", "torch::autograd::", "torch::jit::", "[", "#"};

    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (!strncmp(name, starts[i], strlen(starts[i])))
            return true;
    return !strstr(name, "::");
}

static int add_node(struct reader *r, const struct nf_json *node)
{
    const struct nf_json *parent = nf_json_get(node, "parent"), *field[FIELDS];
    const char *backend;
    struct nf_et_node n = {.seq_id = -1, .byte = r->byte};
    uint32_t scope = 0, none = 0, *thread;
    bool is_new;
    int rc;

    if (!nf_json_is_object(node))
        return broken(r, "a node is not an object");
    if (!nf_json_get(node, "id") || !nf_json_get(node, "name"))
        return broken(r, "a node has no id or no name");
    find_fields(node, field);
    backend = nf_json_text(field[BACKEND]);
    if (!parent)
        parent = nf_json_get(node, "ctrl_deps");
    if (nf_json_is_array(parent))
        parent = nf_json_at(parent, 0);
    rc = read_u64(r, nf_json_get(node, "id"), "id", &n.id);
    if (!rc)
        rc = read_u64(r, parent, "parent", &n.parent);
    if (!rc)
        rc = read_text(r, nf_json_get(node, "name"), "name", &n.name);
    if (!rc)
        rc = read_text(r, field[OP_SCHEMA], "op_schema", &n.schema);
    if (!rc)
        rc = read_u64(r, field[RF_ID], "rf_id", &n.rf_id);
    if (!rc)
        rc = read_u32(r, field[TID], "tid", &n.tid);
    if (!rc)
        rc = read_u32(r, field[FW_TID], "fw_tid", &n.fw_tid);
    if (!rc)
        rc = read_u32(r, field[SCOPE], "scope", &scope);
    if (rc)
        return rc;
    if (field[SEQ_ID] && !nf_json_i64(field[SEQ_ID], &n.seq_id))
        return broken(r, "the seq_id of a node is not a whole number");
    if (n.parent > n.id)
        return broken(r, "a node names a parent that began after it");
    if (r->t->nodes.n >= NF_ET_NODES_MAX)
        return nf_json_pieces_fail(r->pieces, r->byte, "the trace has more than %d nodes", NF_ET_NODES_MAX);
    n.scope = scope < UINT8_MAX ? (uint8_t)scope : UINT8_MAX;
    n.is_kernel = !n.schema && backend && *backend;
    n.is_operator = n.schema || n.is_kernel || !is_wrapper(nf_texts_get(&r->t->texts, n.name));
    if (n.is_operator)
        rc = add_operands(r, node, &n);
    if (rc)
        return rc;
    /* The process and the threads themselves are nodes too, of a thread 0. */
    thread = n.is_operator ? nf_id_map_add(&r->threads, n.tid, (uint32_t)r->threads.n, &is_new) : &none;
    if (!thread)
        return out_of_memory();
    n.thread = *thread < UINT8_MAX ? (uint8_t)*thread : UINT8_MAX;
    return nf_array_push(&r->t->nodes, n) ? out_of_memory() : 0;
}

static int read_piece(struct reader *r, const struct nf_json_piece *p)
{
    struct nf_json *v = NULL;
    const char *text;
    size_t at;
    int rc;

    /* Other members are somebody else's; only their brackets matter. */
    if (!p->is_element && strcmp(p->key, "schema") && strcmp(p->key, "nodes"))
        return 0;
    rc = nf_json_parse(p->text, p->n, &v, &at);
    if (rc == -EBADMSG) {
        char why[192];

        snprintf(why, sizeof why, "%s", nf_error_text(rc));
        return nf_json_pieces_fail(r->pieces, p->offset + at, "%s", why);
    }
    if (rc)
        return rc;
    r->byte = p->offset;
    text = nf_json_text(v);
    if (p->is_element) {
        rc = add_node(r, v);
    } else if (!strcmp(p->key, "nodes")) {
        rc = broken(r, "\"nodes\" is not a list");
    } else if (!text || strncmp(text, "1.", 2)) {
        rc = nf_json_pieces_fail(r->pieces, p->offset, "schema %.40s is not one this importer knows (1.0 and 1.1)",
                                 text ? text : "without a text");
    } else {
        snprintf(r->t->schema, sizeof r->t->schema, "%s", text);
    }
    nf_json_free(v);
    return rc;
}

static int by_id(const void *a, const void *b)
{
    const struct nf_et_node *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int finish(struct reader *r)
{
    struct nf_et_trace *t = r->t;

    r->byte = t->file_bytes = nf_json_pieces_offset(r->pieces);
    if (!*t->schema || !r->has_nodes)
        return broken(r, *t->schema ? "the file ended without a node: no execution trace"
                                    : "the file ended without a \"schema\": no PyTorch execution trace");
    qsort(t->nodes.v, t->nodes.n, sizeof *t->nodes.v, by_id);
    for (size_t i = 1; i < t->nodes.n; i++)
        if (t->nodes.v[i].id == t->nodes.v[i - 1].id) {
            const struct nf_et_node *a = &t->nodes.v[i - 1], *b = &t->nodes.v[i];

            return nf_json_pieces_fail(r->pieces, a->byte > b->byte ? a->byte : b->byte, "a second node has the id %llu",
                                       (unsigned long long)b->id);
        }
    t->n_threads = (uint32_t)r->threads.n;
    return 0;
}

int nf_et_trace_init(struct nf_et_trace *t, const char *path)
{
    struct reader r = {.t = t};
    struct nf_json_piece piece;
    int rc;

    *t = (struct nf_et_trace){0};
    rc = nf_json_pieces_open(path, "nodes", &r.pieces);
    while (!rc) {
        rc = nf_json_pieces_next(r.pieces, &piece);
        if (rc <= 0)
            break;
        /* The elements of an outermost array are no trace's. */
        r.has_nodes |= !strcmp(piece.key, "nodes");
        rc = !*piece.key ? nf_json_pieces_fail(r.pieces, 0, "the file is a list, not a PyTorch execution trace")
                         : read_piece(&r, &piece);
        if (t->nodes.n % PROGRESS_NODES == PROGRESS_NODES - 1)
            nf_progress("reading: %zu nodes, %llu MiB", t->nodes.n + 1,
                        (unsigned long long)(nf_json_pieces_offset(r.pieces) >> 20));
    }
    if (!rc)
        rc = finish(&r);
    nf_progress_end();
    nf_id_map_deinit(&r.threads);
    nf_json_pieces_close(r.pieces);
    return rc;
}

void nf_et_trace_deinit(struct nf_et_trace *t)
{
    nf_texts_deinit(&t->texts);
    nf_array_free(&t->nodes);
    nf_array_free(&t->operands);
    nf_id_map_deinit(&t->storages);
}
