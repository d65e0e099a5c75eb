/* The interval LP, solved by CLP's primal simplex from the greedy choice on: that is within a percent of the best, and what is left
 * takes a hundredth of the pivots that a beginning with nothing near would. */
#include "pool/bound.h"

#include <coin/Clp_C_Interface.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/bound-basis.h"

int nf_bound_lp_probe(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

static int solve(const struct nf_bound_problem *p, uint32_t n_stays, const uint8_t *state, double *saved, double *share)
{
    Clp_Simplex *model = Clp_newModel();
    int rc = 0;

    Clp_setLogLevel(model, 0);
    Clp_loadProblem(model, p->columns, p->rows, p->start, p->index, p->value, p->low, p->high, p->objective, p->row, p->row);
    Clp_setOptimizationDirection(model, -1);
    for (int r = 0; r < p->rows; r++)
        Clp_setRowStatus(model, r, NF_BOUND_AT_LOW);
    for (int c = 0; c < p->columns; c++)
        Clp_setColumnStatus(model, c, state[c]);
    Clp_primal(model, 0);
    if (Clp_status(model))
        rc = nf_fail(-EIO, "the linear program was not solved: CLP's status is %d", Clp_status(model));
    else
        *saved = Clp_objectiveValue(model) * 1e6;
    if (!rc && share)
        memcpy(share, Clp_primalColumnSolution(model), n_stays * sizeof *share);
    Clp_deleteModel(model);
    return rc;
}

int nf_bound_lp(const struct nf_stays *s, uint64_t capacity_pages, double *saved, double *share)
{
    struct nf_bound_problem p;
    int rc = nf_bound_problem_init(&p, s, capacity_pages);
    uint8_t *state = malloc((size_t)p.columns + 1);
    double *greedy = calloc(s->n + (size_t)1, sizeof *greedy);

    *saved = 0;
    if (!rc && (!state || !greedy))
        rc = nf_fail(-ENOMEM, "out of memory for a program of %d columns", p.columns);
    if (!rc && s->n_ops)
        rc = nf_bound_greedy(s, capacity_pages, greedy);
    if (!rc && s->n_ops)
        rc = nf_bound_basis(&p, s->n, greedy, state);
    if (!rc && s->n_ops)
        rc = solve(&p, s->n, state, saved, share);
    free(state);
    free(greedy);
    nf_bound_problem_deinit(&p);
    return rc;
}
