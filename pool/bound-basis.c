#include "pool/bound-basis.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

/* Pages: loads are sums of whole ones, or nearly. */
static const double CLOSE = 1e-6;

/* Which rows are joined already; one more node stands for what lies outside all of them. */
static uint32_t root_of(uint32_t *parent, uint32_t node)
{
    while (parent[node] != node) {
        parent[node] = parent[parent[node]];
        node = parent[node];
    }
    return node;
}

/* Whether the column is an edge that joins what was not joined; it is, then. */
static bool joins(const struct nf_bound_problem *p, uint32_t *parent, int column)
{
    int at = p->start[column], n = p->start[column + 1] - at;
    uint32_t a, b;

    if (n > 2 || (n == 2 && !(p->value[at] * p->value[at + 1] < 0)))
        return false;
    a = root_of(parent, (uint32_t)p->index[at]);
    b = root_of(parent, n == 2 ? (uint32_t)p->index[at + 1] : (uint32_t)p->rows);
    parent[a] = b;
    return a != b;
}

/* load: calloc of rows. */
static void sum_loads(const struct nf_bound_problem *p, uint32_t n_stays, const double *share, double *load)
{
    for (uint32_t i = 0; i < n_stays; i++) {
        for (int k = p->start[i]; k < p->start[i + 1]; k++)
            load[p->index[k]] += p->value[k] * share[i];
    }
    for (int r = 1; r < p->rows; r++)
        load[r] += load[r - 1];
}

static void choose(const struct nf_bound_problem *p, uint32_t n_stays, const double *share, const double *load, uint32_t *parent, uint8_t *state)
{
    for (int r = 0; r < p->rows; r++) {
        int column = (int)n_stays + r;

        state[column] = load[r] < p->high[column] - CLOSE && joins(p, parent, column) ? NF_BOUND_BASIC : NF_BOUND_AT_HIGH;
    }
    for (uint32_t i = 0; i < n_stays; i++) {
        bool whole = share[i] >= p->high[i], part = share[i] > 0 && !whole;

        state[i] = whole ? NF_BOUND_AT_HIGH : part && joins(p, parent, (int)i) ? NF_BOUND_BASIC : NF_BOUND_AT_LOW;
    }
    for (int r = 0; r < p->rows; r++) { /* what is still missing of the tree */
        int column = (int)n_stays + r;

        if (state[column] == NF_BOUND_AT_HIGH && joins(p, parent, column))
            state[column] = NF_BOUND_BASIC;
    }
}

int nf_bound_basis(const struct nf_bound_problem *p, uint32_t n_stays, const double *share, uint8_t *state)
{
    double *load = calloc((size_t)p->rows + 1, sizeof *load);
    uint32_t *parent = malloc(((size_t)p->rows + 1) * sizeof *parent);
    int rc = load && parent ? 0 : nf_fail(-ENOMEM, "out of memory for a basis of %d rows", p->rows);

    for (int r = 0; !rc && r <= p->rows; r++)
        parent[r] = (uint32_t)r;
    if (!rc) {
        sum_loads(p, n_stays, share, load);
        choose(p, n_stays, share, load, parent, state);
    }
    free(load);
    free(parent);
    return rc;
}

int nf_bound_greedy(const struct nf_stays *s, uint64_t capacity_pages, double *share)
{
    struct nf_stays held = *s;
    uint32_t *kept = calloc(s->n + (size_t)1, sizeof *kept);
    int rc;

    held.v = malloc((s->n + (size_t)1) * sizeof *held.v);
    rc = held.v && kept ? 0 : nf_fail(-ENOMEM, "out of memory for %u stays", s->n);
    for (uint32_t i = 0; !rc && i < s->n; i++) {
        held.v[i] = s->v[i];
        held.v[i].since = s->v[i].first;
        held.v[i].until = s->v[i].last;
    }
    if (!rc)
        rc = nf_stays_choose(&held, capacity_pages, true, kept);
    for (uint32_t i = 0; !rc && i < s->n; i++)
        share[i] = (double)kept[i] / s->v[i].pages;
    free(held.v);
    free(kept);
    return rc;
}
