#include "core/model/recapture.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/model/locality.h"

/* A histogram for each tensor, twice, is 12 KB of them: beyond this many only the whole is compared. */
enum { REUSE_TENSORS_MAX = 16384 };

enum side { CAPTURED_READ, CAPTURED_WRITE, REPLAYED_READ, REPLAYED_WRITE, SIDES };

/* An extent of one side begins or ends. */
struct edge {
    uint64_t at;
    uint32_t tensor, op;
    int8_t delta[SIDES];
};

struct edges {
    NF_ARRAY(struct edge) a;
};

/* --- extents --- */

static int add_extent(struct edges *e, const struct edge *like, uint64_t from, uint64_t to, uint64_t resolution)
{
    struct edge begin = *like, end = *like;
    int rc;

    begin.at = from / resolution * resolution;
    end.at = (to + resolution - 1) / resolution * resolution;
    for (int i = 0; i < SIDES; i++)
        end.delta[i] = (int8_t)-end.delta[i];
    rc = nf_array_push(&e->a, begin);
    return rc ? rc : nf_array_push(&e->a, end);
}

static int add_visit(struct edges *e, const struct nf_visit *v, uint32_t tensor, bool replayed, uint64_t resolution)
{
    struct edge like = {.tensor = tensor, .op = v->op};
    uint64_t runs, last_run;
    int rc = 0;

    if (!v->bytes || !v->run)
        return 0;
    like.delta[replayed ? REPLAYED_READ : CAPTURED_READ] = v->rw != NF_RW_WRITE;
    like.delta[replayed ? REPLAYED_WRITE : CAPTURED_WRITE] = v->rw != NF_RW_READ;
    runs = (v->bytes + v->run - 1) / v->run;
    last_run = v->bytes - (runs - 1) * v->run;
    /* Where no block of the resolution lies wholly between two runs, rounding joins them. */
    if (runs == 1 || v->stride - v->run < resolution)
        return add_extent(e, &like, v->offset, v->offset + (runs - 1) * v->stride + last_run, resolution);
    for (uint64_t k = 0; k < runs && !rc; k++) {
        uint64_t from = v->offset + k * v->stride;

        rc = add_extent(e, &like, from, from + (k + 1 < runs ? v->run : last_run), resolution);
    }
    return rc;
}

static int by_place(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;

    if (x->tensor != y->tensor)
        return x->tensor < y->tensor ? -1 : 1;
    if (x->op != y->op)
        return x->op < y->op ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Bytes between two neighbouring edges, by who touched them. */
static void count(struct nf_recapture_tensor *t, uint32_t op, uint64_t bytes, const int32_t open[SIDES], bool rw)
{
    bool captured = open[CAPTURED_READ] || open[CAPTURED_WRITE], replayed = open[REPLAYED_READ] || open[REPLAYED_WRITE];
    bool other = rw && captured && replayed && (!open[CAPTURED_READ] != !open[REPLAYED_READ] ||
                                                !open[CAPTURED_WRITE] != !open[REPLAYED_WRITE]);

    t->captured_bytes += captured ? bytes : 0;
    t->replayed_bytes += replayed ? bytes : 0;
    t->lost_bytes += captured && !replayed ? bytes : 0;
    t->stray_bytes += replayed && !captured ? bytes : 0;
    t->rw_bytes += other ? bytes : 0;
    if (bytes && (captured != replayed || other) && op < t->first_op)
        t->first_op = op;
}

static void sweep(struct nf_recapture *r, struct edges *e, bool rw)
{
    struct nf_recapture_tensor nobody = {.first_op = UINT32_MAX};
    int32_t open[SIDES] = {0};

    if (e->a.n)
        qsort(e->a.v, e->a.n, sizeof *e->a.v, by_place);
    for (size_t i = 0; i < e->a.n; i++) {
        const struct edge *edge = &e->a.v[i];

        for (int k = 0; k < SIDES; k++)
            open[k] += edge->delta[k];
        if (i + 1 < e->a.n && edge[1].tensor == edge->tensor && edge[1].op == edge->op)
            count(edge->tensor == NF_RECAPTURE_NOBODY ? &nobody : &r->tensors[edge->tensor], edge->op,
                  edge[1].at - edge->at, open, rw);
    }
    r->nobodys_bytes = r->stray_bytes = r->replayed_bytes = nobody.replayed_bytes;
}

static int gather(struct edges *e, const struct nf_step_class *captured, const struct nf_step_class *replayed,
                  const uint32_t *tensor_of, uint32_t resolution)
{
    int rc = 0;

    for (uint32_t i = 0; i < captured->n_visits && !rc; i++)
        rc = add_visit(e, &captured->visits[i], captured->visits[i].tensor, false, resolution);
    for (uint32_t i = 0; i < replayed->n_visits && !rc; i++)
        rc = add_visit(e, &replayed->visits[i], tensor_of[replayed->visits[i].tensor], true, resolution);
    return rc;
}

/* --- reuse --- */

double nf_recapture_distance(const struct nf_histogram *a, const struct nf_histogram *b)
{
    uint32_t end = nf_histogram_end(a) > nf_histogram_end(b) ? nf_histogram_end(a) : nf_histogram_end(b);
    double sum = 0, below_a = 0, below_b = 0;

    if (!(a->total > 0) || !(b->total > 0))
        return NAN;
    for (uint32_t i = 0; i < end; i++) {
        double width = i + 1 < end ? log2((1 + (double)nf_histogram_edge(i + 1)) / (1 + (double)nf_histogram_edge(i))) : 1;

        below_a += a->at[i] / a->total;
        below_b += b->at[i] / b->total;
        sum += fabs(below_a - below_b) * width;
    }
    return sum;
}

static int distances(const struct nf_step_class *c, const uint32_t *group_of, uint32_t n, uint32_t block_bytes,
                     struct nf_mrc *curves)
{
    struct nf_locality l = {.of = c, .block_bytes = block_bytes, .groups = {n ? group_of : NULL, n}, .curves = curves};

    return nf_locality_exact(&l);
}

static void judge_reuse(struct nf_recapture *r, const struct nf_mrc *captured, const struct nf_mrc *replayed, uint32_t n)
{
    double weight = 0, sum = 0;

    r->reuse_whole = nf_recapture_distance(&captured[0].distances, &replayed[0].distances);
    for (uint32_t i = 0; i < n; i++) {
        struct nf_recapture_tensor *t = &r->tensors[i];

        t->reuse_octaves = nf_recapture_distance(&captured[1 + i].distances, &replayed[1 + i].distances);
        if (isnan(t->reuse_octaves))
            continue;
        weight += captured[1 + i].distances.total;
        sum += captured[1 + i].distances.total * t->reuse_octaves;
        r->reuse_most = r->reuse_most >= t->reuse_octaves ? r->reuse_most : t->reuse_octaves;
    }
    r->reuse_mean = weight > 0 ? sum / weight : NAN;
}

static int compare_classes(struct nf_recapture *r, const struct nf_step_class *captured, const struct nf_step_class *replayed,
                           const uint32_t *tensor_of, uint32_t block_bytes)
{
    uint32_t n = r->n_tensors <= REUSE_TENSORS_MAX ? r->n_tensors : 0, most = n > replayed->n_tensors ? n : replayed->n_tensors;
    struct nf_mrc *a = calloc(n + (size_t)2, sizeof *a), *b = calloc(n + (size_t)2, sizeof *b);
    uint32_t *group_of = calloc(most + (size_t)1, sizeof *group_of);
    int rc = a && b && group_of ? 0 : nf_fail(-ENOMEM, "out of memory for the reuse of %u tensors", r->n_tensors);

    for (uint32_t i = 0; i < n && !rc; i++)
        group_of[i] = i;
    if (!rc)
        rc = distances(captured, group_of, n, block_bytes, a);
    /* One group more is nobody's. */
    for (uint32_t i = 0; i < replayed->n_tensors && !rc; i++)
        group_of[i] = n && tensor_of[i] < n ? tensor_of[i] : n;
    if (!rc)
        rc = distances(replayed, group_of, n ? n + 1 : 0, block_bytes, b);
    if (!rc)
        judge_reuse(r, a, b, n);
    free(a);
    free(b);
    free(group_of);
    return rc;
}

/* A side in the form that has no order within an op: its joined extents, by op, tensor and offset. Extents that stand for
 * nobody are left out. */
struct plain {
    NF_ARRAY(struct nf_visit) visits;
    struct nf_tensor *tensors; /* as captured, at this side's addresses */
    struct nf_step_class c;
};

static void plain_deinit(struct plain *p)
{
    nf_array_free(&p->visits);
    free(p->tensors);
}

static int by_op(const void *a, const void *b)
{
    const struct nf_visit *x = a, *y = b;

    if (x->op != y->op)
        return x->op < y->op ? -1 : 1;
    if (x->tensor != y->tensor)
        return x->tensor < y->tensor ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* The extents of one side among the sorted edges; neighbours that touch are one. */
static int join(struct plain *p, const struct edges *e, bool replayed)
{
    int read = replayed ? REPLAYED_READ : CAPTURED_READ, write = replayed ? REPLAYED_WRITE : CAPTURED_WRITE, rc = 0;
    int32_t open = 0;
    uint64_t from = 0;

    for (size_t i = 0, end; i < e->a.n && !rc; i = end) {
        const struct edge *edge = &e->a.v[i];
        int32_t before = open;

        for (end = i; end < e->a.n && !by_place(&e->a.v[end], edge); end++)
            open += e->a.v[end].delta[read] + e->a.v[end].delta[write];
        if (edge->tensor == NF_RECAPTURE_NOBODY)
            break;
        if (!before && open)
            from = edge->at;
        if (before && !open)
            rc = nf_array_push(&p->visits, (struct nf_visit){.op = edge->op, .tensor = edge->tensor, .offset = from,
                                                             .bytes = edge->at - from, .run = edge->at - from,
                                                             .stride = edge->at - from});
    }
    return rc;
}

static int make_plain(struct plain *p, const struct edges *e, const struct nf_step_class *captured,
                      const struct nf_step_class *replayed, const uint32_t *tensor_of, uint32_t block_bytes)
{
    int rc = join(p, e, replayed);

    p->tensors = malloc((captured->n_tensors + (size_t)1) * sizeof *p->tensors);
    if (rc || !p->tensors || p->visits.n > UINT32_MAX)
        return nf_fail(-ENOMEM, "out of memory for the extents of %u tensors", captured->n_tensors);
    memcpy(p->tensors, captured->tensors, captured->n_tensors * sizeof *p->tensors);
    for (uint32_t i = 0; replayed && i < replayed->n_tensors; i++)
        if (tensor_of[i] != NF_RECAPTURE_NOBODY)
            p->tensors[tensor_of[i]].address = replayed->tensors[i].address;
    /* Offsets are rounded, so the address is as well: what shared a block goes on sharing it. */
    for (uint32_t i = 0; i < captured->n_tensors; i++)
        p->tensors[i].address -= p->tensors[i].address % block_bytes;
    if (p->visits.n)
        qsort(p->visits.v, p->visits.n, sizeof *p->visits.v, by_op);
    p->c = *captured;
    p->c.tensors = p->tensors;
    p->c.visits = p->visits.v;
    p->c.n_visits = (uint32_t)p->visits.n;
    return 0;
}

static int compare_plain(struct nf_recapture *r, const struct edges *e, const struct nf_step_class *captured,
                         const struct nf_step_class *replayed, const uint32_t *tensor_of, uint32_t block_bytes)
{
    uint32_t *same = malloc((captured->n_tensors + (size_t)1) * sizeof *same);
    struct plain a = {{0}}, b = {{0}};
    int rc = same ? make_plain(&a, e, captured, NULL, NULL, block_bytes)
                  : nf_fail(-ENOMEM, "out of memory for %u tensors", captured->n_tensors);

    for (uint32_t i = 0; same && i < captured->n_tensors; i++)
        same[i] = i;
    if (!rc)
        rc = make_plain(&b, e, captured, replayed, tensor_of, block_bytes);
    if (!rc)
        rc = compare_classes(r, &a.c, &b.c, same, block_bytes);
    plain_deinit(&a);
    plain_deinit(&b);
    free(same);
    return rc;
}

/* --- the comparison --- */

bool nf_recapture_is_same(const struct nf_recapture_tensor *t)
{
    return !t->lost_bytes && !t->stray_bytes && !t->rw_bytes;
}

static void add_up(struct nf_recapture *r)
{
    for (uint32_t i = 0; i < r->n_tensors; i++) {
        const struct nf_recapture_tensor *t = &r->tensors[i];

        r->captured_bytes += t->captured_bytes;
        r->replayed_bytes += t->replayed_bytes;
        r->lost_bytes += t->lost_bytes;
        r->stray_bytes += t->stray_bytes;
        r->rw_bytes += t->rw_bytes;
        r->visited += t->captured_bytes || t->replayed_bytes;
        r->same += (t->captured_bytes || t->replayed_bytes) && nf_recapture_is_same(t);
    }
}

int nf_recapture_init(struct nf_recapture *r, const struct nf_step_class *captured, const struct nf_step_class *replayed,
                      const uint32_t *tensor_of, const struct nf_recapture_options *options)
{
    uint32_t block = options->block_bytes;
    struct edges e = {0};
    int rc;

    *r = (struct nf_recapture){.n_tensors = captured->n_tensors, .reuse_whole = NAN, .reuse_mean = NAN, .reuse_most = NAN};
    if (!options->resolution_bytes || (block && (block < 8 || block & (block - 1))))
        return nf_fail(-EINVAL, "a resolution of %u bytes, or blocks of %u, are none", options->resolution_bytes, block);
    for (uint32_t i = 0; i < replayed->n_tensors; i++) {
        if (tensor_of[i] != NF_RECAPTURE_NOBODY && tensor_of[i] >= captured->n_tensors)
            return nf_fail(-EINVAL, "tensor %u of the replay stands for tensor %u, which is none", i, tensor_of[i]);
    }
    r->tensors = calloc(captured->n_tensors + (size_t)1, sizeof *r->tensors);
    rc = r->tensors ? gather(&e, captured, replayed, tensor_of, options->resolution_bytes) : -ENOMEM;
    for (uint32_t i = 0; r->tensors && i < captured->n_tensors; i++) {
        r->tensors[i].first_op = UINT32_MAX;
        r->tensors[i].reuse_octaves = NAN;
    }
    if (rc)
        nf_fail(rc, "out of memory for the extents of %u visits", captured->n_visits + replayed->n_visits);
    if (!rc) {
        sweep(r, &e, options->rw);
        add_up(r);
    }
    if (!rc && block)
        rc = options->ordered ? compare_classes(r, captured, replayed, tensor_of, block)
                              : compare_plain(r, &e, captured, replayed, tensor_of, block);
    nf_array_free(&e.a);
    return rc;
}

void nf_recapture_deinit(struct nf_recapture *r)
{
    free(r->tensors);
    *r = (struct nf_recapture){0};
}
