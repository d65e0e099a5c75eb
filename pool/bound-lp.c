/* The interval LP in difference form: a variable for the pages in use at each op, bounded by the capacity, and a row that says how
 * it differs from the op's before: + where stays begin, - where they end. So a stay has two nonzeros (four round the end of the
 * step) where the plain form has one per op it holds. Stays that hold the same ops in the same pages are one column. */
#include "pool/bound.h"

#include <coin/Clp_C_Interface.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

/* Nonzeros of a stay round the end of the step: in at op 0, out after `last`, in at `first`. */
enum { NONZEROS_MAX = 3 };

struct problem {
    int columns, rows;
    int *start, *index;
    double *value, *low, *high, *objective, *row;
};

int nf_bound_lp_probe(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

static void add(struct problem *p, int *n, uint32_t row, double value)
{
    p->index[*n] = (int)row;
    p->value[(*n)++] = value;
}

/* Columns: a stay each, in megabytes saved so that numbers are near 1; then the load of each op. */
static void fill(struct problem *p, const struct nf_stays *s, double capacity)
{
    int n = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct nf_stay *t = &s->v[i];

        p->start[i] = n;
        p->objective[i] = (double)t->bytes / 1e6;
        p->high[i] = 1;
        if (t->first > t->last)
            add(p, &n, 0, t->pages);
        add(p, &n, t->first, t->pages);
        if (t->last + 1 < s->n_ops)
            add(p, &n, t->last + 1, -(double)t->pages);
    }
    for (uint32_t o = 0; o < s->n_ops; o++) {
        p->start[s->n + o] = n;
        p->high[s->n + o] = capacity;
        add(p, &n, o, -1);
        if (o + 1 < s->n_ops)
            add(p, &n, o + 1, 1);
    }
    p->start[p->columns] = n;
}

/* A stay that holds first..last with first == last + 1 going round would have two entries in one row. */
static void merge_rows(struct problem *p)
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

int nf_bound_lp(const struct nf_stays *s, uint64_t capacity_pages, double *saved, double *share)
{
    size_t columns = (size_t)s->n + s->n_ops, nonzeros = (size_t)NONZEROS_MAX * s->n + 2 * (size_t)s->n_ops + 1;
    struct problem p = {
        .columns = (int)columns,
        .rows = (int)s->n_ops,
        .start = calloc(columns + 1, sizeof *p.start),
        .index = calloc(nonzeros, sizeof *p.index),
        .value = calloc(nonzeros, sizeof *p.value),
        .low = calloc(columns + 1, sizeof *p.low),
        .high = calloc(columns + 1, sizeof *p.high),
        .objective = calloc(columns + 1, sizeof *p.objective),
        .row = calloc(s->n_ops + (size_t)1, sizeof *p.row),
    };
    Clp_Simplex *model = NULL;
    int rc = 0;

    *saved = 0;
    if (!p.start || !p.index || !p.value || !p.low || !p.high || !p.objective || !p.row)
        rc = nf_fail(-ENOMEM, "out of memory for a linear program of %zu columns", columns);
    if (!rc && s->n_ops) {
        fill(&p, s, (double)capacity_pages);
        merge_rows(&p);
        model = Clp_newModel();
        Clp_setLogLevel(model, 0);
        Clp_loadProblem(model, p.columns, p.rows, p.start, p.index, p.value, p.low, p.high, p.objective, p.row, p.row);
        Clp_setOptimizationDirection(model, -1);
        Clp_initialDualSolve(model);
        if (Clp_status(model))
            rc = nf_fail(-EIO, "the linear program was not solved: CLP's status is %d", Clp_status(model));
        else
            *saved = Clp_objectiveValue(model) * 1e6;
        if (!rc && share)
            memcpy(share, Clp_primalColumnSolution(model), s->n * sizeof *share);
        Clp_deleteModel(model);
    }
    free(p.start);
    free(p.index);
    free(p.value);
    free(p.low);
    free(p.high);
    free(p.objective);
    free(p.row);
    return rc;
}
