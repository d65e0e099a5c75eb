#include "core/model/heat.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/walk.h"

/* Touched addresses as if there were no gaps: a range begins at `rank` bytes of all ranges. */
struct range {
    uint64_t start, end, rank;
};

struct heating {
    struct nf_heat *h;
    const struct nf_step_class *c;
    double *start, *end; /* of each op, in columns' units */
    uint32_t *row_of;    /* tensor -> row; NF_HEAT_TENSORS */
    struct range *ranges;
    uint32_t n_ranges;
    uint64_t row_bytes; /* of NF_HEAT_ADDRESSES */
};

static void add(struct heating *t, uint32_t row, uint32_t op, double bytes)
{
    struct nf_heat *h = t->h;
    double start = t->start[op] / h->column_width, end = t->end[op] / h->column_width;

    h->rows[row].bytes += bytes;
    for (uint32_t column = (uint32_t)start; column < h->n_columns; column++) {
        double from = start > column ? start : column, to = end < column + 1 ? end : column + 1;
        double share = end > start ? (to - from) / (end - start) : 1;

        h->bytes[(size_t)row * h->n_columns + column] += bytes * share;
        if (end <= column + 1)
            break;
    }
}

static int by_start(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

static uint32_t range_of(const struct heating *t, uint64_t address)
{
    uint32_t low = 0, high = t->n_ranges;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (t->ranges[middle].start <= address)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* One range for each stretch of pages that visited tensors cover. */
static int find_ranges(struct heating *t, uint32_t max_rows)
{
    const struct nf_step_class *c = t->c;
    uint64_t all = 0;
    uint32_t n = 0;

    t->ranges = malloc((c->n_visits + (size_t)1) * sizeof *t->ranges);
    if (!t->ranges)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->n_visits; i++) {
        const struct nf_visit *v = &c->visits[i];
        uint64_t start = c->tensors[v->tensor].address + v->offset;

        if (v->bytes)
            t->ranges[n++] =
                (struct range){start / NF_PAGE_BYTES * NF_PAGE_BYTES, nf_page_bytes(start + nf_visit_span(v)), 0};
    }
    qsort(t->ranges, n, sizeof *t->ranges, by_start);
    for (uint32_t i = 0; i < n; i++) {
        struct range *last = t->n_ranges ? &t->ranges[t->n_ranges - 1] : NULL;

        if (last && t->ranges[i].start <= last->end)
            last->end = t->ranges[i].end > last->end ? t->ranges[i].end : last->end;
        else
            t->ranges[t->n_ranges++] = t->ranges[i];
    }
    for (uint32_t i = 0; i < t->n_ranges; i++) {
        t->ranges[i].rank = all;
        all += t->ranges[i].end - t->ranges[i].start;
    }
    t->row_bytes = nf_page_bytes((all + max_rows - 1) / max_rows);
    t->h->n_rows = all ? (uint32_t)((all + t->row_bytes - 1) / t->row_bytes) : 0;
    for (uint32_t row = 0, r = 0; row < t->h->n_rows; row++) {
        uint64_t rank = row * t->row_bytes;

        while (r + 1 < t->n_ranges && t->ranges[r + 1].rank <= rank)
            r++;
        t->h->rows[row].address = t->ranges[r].start + (rank - t->ranges[r].rank);
        t->h->rows[row].size = all - rank < t->row_bytes ? all - rank : t->row_bytes;
        t->h->rows[row].tensor = UINT32_MAX;
    }
    return 0;
}

static int heat_extent(void *context, const struct nf_walk_extent *e)
{
    struct heating *t = context;

    for (uint32_t i = 0; i < e->n; i++) {
        uint64_t page = (e->first + i) * NF_PAGE_BYTES;
        const struct range *r = &t->ranges[range_of(t, page)];

        add(t, (uint32_t)((r->rank + page - r->start) / t->row_bytes), t->c->visits[e->visit].op,
            nf_walk_bytes(e, i, NF_PAGE_BYTES));
    }
    return 0;
}

struct ranked {
    uint32_t tensor, first_op;
    uint8_t role;
    double bytes;
};

static int by_bytes(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

static int by_role(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->role != y->role)
        return x->role < y->role ? -1 : 1;
    if (x->first_op != y->first_op)
        return x->first_op < y->first_op ? -1 : 1;
    return (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

/* The most touched tensors get rows of their own, the others share the last one. */
static int heat_tensors(struct heating *t, uint32_t max_rows)
{
    const struct nf_step_class *c = t->c;
    struct ranked *ranked = calloc(c->n_tensors + (size_t)1, sizeof *ranked);
    uint32_t touched = 0, own;

    t->row_of = malloc((c->n_tensors + (size_t)1) * sizeof *t->row_of);
    if (!ranked || !t->row_of) {
        free(ranked);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < c->n_tensors; i++)
        ranked[i] = (struct ranked){.tensor = i, .first_op = UINT32_MAX, .role = c->tensors[i].role};
    for (uint32_t i = 0; i < c->n_visits; i++) {
        struct ranked *r = &ranked[c->visits[i].tensor];

        r->bytes += (double)c->visits[i].bytes;
        if (r->first_op == UINT32_MAX)
            r->first_op = c->visits[i].op;
    }
    qsort(ranked, c->n_tensors, sizeof *ranked, by_bytes);
    while (touched < c->n_tensors && ranked[touched].bytes > 0)
        touched++;
    own = touched <= max_rows ? touched : max_rows - 1;
    qsort(ranked, own, sizeof *ranked, by_role);
    for (uint32_t i = 0; i < c->n_tensors; i++)
        t->row_of[ranked[i].tensor] = i < own ? i : own;
    for (uint32_t i = 0; i <= own; i++)
        t->h->rows[i].tensor = i < own ? ranked[i].tensor : UINT32_MAX;
    t->h->n_rows = own + (touched > own);
    free(ranked);
    for (uint32_t i = 0; i < c->n_visits; i++) {
        if (c->visits[i].bytes)
            add(t, t->row_of[c->visits[i].tensor], c->visits[i].op, (double)c->visits[i].bytes);
    }
    return 0;
}

int nf_heat_init(struct nf_heat *h, const struct nf_step_class *c, enum nf_heat_rows kind, uint32_t max_rows,
                 uint32_t n_columns)
{
    struct heating t = {.h = h, .c = c};
    double ns = 0;
    int rc = 0;

    *h = (struct nf_heat){
        .kind = kind,
        .rows = calloc((size_t)max_rows + 1, sizeof *h->rows),
        .bytes = calloc(((size_t)max_rows + 1) * n_columns, sizeof *h->bytes),
        .n_columns = n_columns,
    };
    t.start = malloc((c->n_ops + (size_t)1) * sizeof *t.start);
    t.end = malloc((c->n_ops + (size_t)1) * sizeof *t.end);
    if (!h->rows || !h->bytes || !t.start || !t.end)
        rc = -ENOMEM;
    for (uint32_t i = 0; i < c->n_ops && !rc; i++) {
        t.start[i] = ns += c->ops[i].gap_ns;
        t.end[i] = ns += c->ops[i].dur_ns;
    }
    h->timed = ns > 0;
    for (uint32_t i = 0; i < c->n_ops && !rc && !h->timed; i++) {
        t.start[i] = i;
        t.end[i] = i + 1;
    }
    h->column_width = (h->timed ? ns : c->n_ops ? c->n_ops : 1) / n_columns;
    if (!rc && kind == NF_HEAT_TENSORS)
        rc = heat_tensors(&t, max_rows);
    else if (!rc)
        rc = find_ranges(&t, max_rows);
    if (!rc && kind == NF_HEAT_ADDRESSES)
        rc = nf_walk(c, NF_PAGE_BYTES, NULL, heat_extent, &t);
    for (size_t i = 0; i < (size_t)h->n_rows * n_columns && !rc; i++)
        h->most = h->bytes[i] > h->most ? h->bytes[i] : h->most;
    free(t.start);
    free(t.end);
    free(t.row_of);
    free(t.ranges);
    if (rc) {
        nf_heat_deinit(h);
        return nf_fail(rc, "out of memory for the heat of %u visits", c->n_visits);
    }
    return 0;
}

void nf_heat_deinit(struct nf_heat *h)
{
    free(h->rows);
    free(h->bytes);
    *h = (struct nf_heat){0};
}
