#include "pool/bound-problem.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"

/* Nonzeros of a stay round the end of the step: in at op 0, out after `last`, in at `first`. */
enum { NONZEROS_MAX = 3 };

static void add(struct nf_bound_problem *p, int *n, uint32_t row, double value)
{
    p->index[*n] = (int)row;
    p->value[(*n)++] = value;
}

/* A row goes on until something begins after something has ended: where its first stay ends, all of it is held at once.
 * row_of: n_ops. Returns how many. */
static uint32_t number_rows(const struct nf_stays *s, uint32_t *row_of, uint8_t *what)
{
    enum { BEGINS = 1, ENDS = 2 };
    uint32_t row = 0;
    bool ended = false;

    for (uint32_t i = 0; i < s->n; i++) {
        what[s->v[i].first] |= BEGINS;
        what[s->v[i].last] |= ENDS;
    }
    for (uint32_t o = 0; o < s->n_ops; o++) {
        if (ended && what[o] & BEGINS) {
            row++;
            ended = false;
        }
        ended |= (what[o] & ENDS) != 0;
        row_of[o] = row;
    }
    return s->n_ops ? row + 1 : 0;
}

static void fill(struct nf_bound_problem *p, const struct nf_stays *s, const uint32_t *row_of, double capacity)
{
    uint32_t rows = (uint32_t)p->rows;
    int n = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct nf_stay *t = &s->v[i];

        p->start[i] = n;
        p->objective[i] = (double)t->bytes / 1e6;
        p->high[i] = 1;
        if (t->first > t->last)
            add(p, &n, 0, t->pages);
        add(p, &n, row_of[t->first], t->pages);
        if (row_of[t->last] + 1 < rows)
            add(p, &n, row_of[t->last] + 1, -(double)t->pages);
    }
    for (uint32_t r = 0; r < rows; r++) {
        p->start[s->n + r] = n;
        p->high[s->n + r] = capacity;
        add(p, &n, r, -1);
        if (r + 1 < rows)
            add(p, &n, r + 1, 1);
    }
    p->start[p->columns] = n;
}

/* A stay that holds first..last with first == last + 1 going round would have two entries in one row. */
static void merge_rows(struct nf_bound_problem *p)
{
    int kept = 0;

    for (int c = 0; c < p->columns; c++) {
        int begin = p->start[c], end = p->start[c + 1], first = kept;

        p->start[c] = kept;
        for (int i = begin; i < end; i++) {
            int j = first;

            while (j < kept && p->index[j] != p->index[i])
                j++;
            if (j < kept) {
                p->value[j] += p->value[i];
                continue;
            }
            p->index[kept] = p->index[i];
            p->value[kept++] = p->value[i];
        }
    }
    p->start[p->columns] = kept;
}

int nf_bound_problem_init(struct nf_bound_problem *p, const struct nf_stays *s, uint64_t capacity_pages)
{
    uint32_t *row_of = malloc((s->n_ops + (size_t)1) * sizeof *row_of);
    uint8_t *what = calloc(s->n_ops + (size_t)1, sizeof *what);
    uint32_t rows = row_of && what ? number_rows(s, row_of, what) : 0;
    size_t columns = (size_t)s->n + rows, nonzeros = (size_t)NONZEROS_MAX * s->n + 2 * (size_t)rows + 1;
    int rc = 0;

    *p = (struct nf_bound_problem){
        .columns = (int)columns,
        .rows = (int)rows,
        .start = calloc(columns + 1, sizeof *p->start),
        .index = calloc(nonzeros, sizeof *p->index),
        .value = calloc(nonzeros, sizeof *p->value),
        .low = calloc(columns + 1, sizeof *p->low),
        .high = calloc(columns + 1, sizeof *p->high),
        .objective = calloc(columns + 1, sizeof *p->objective),
        .row = calloc(rows + (size_t)1, sizeof *p->row),
    };
    if (row_of && what && p->start && p->index && p->value && p->low && p->high && p->objective && p->row) {
        fill(p, s, row_of, (double)capacity_pages);
        merge_rows(p);
    } else {
        rc = nf_fail(-ENOMEM, "out of memory for a program of %zu columns", columns);
    }
    free(row_of);
    free(what);
    return rc;
}

void nf_bound_problem_deinit(struct nf_bound_problem *p)
{
    free(p->start);
    free(p->index);
    free(p->value);
    free(p->low);
    free(p->high);
    free(p->objective);
    free(p->row);
    *p = (struct nf_bound_problem){0};
}
