/* The interval LP, solved by CLP's dual simplex: all loads and shares at 0 are a basis that only the objective is at odds with. */
#include "pool/bound.h"

#include <coin/Clp_C_Interface.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/bound-problem.h"

int nf_bound_lp_probe(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

static int solve(const struct nf_bound_problem *p, uint32_t n_stays, double *saved, double *share)
{
    Clp_Simplex *model = Clp_newModel();
    int rc = 0;

    Clp_setLogLevel(model, 0);
    Clp_loadProblem(model, p->columns, p->rows, p->start, p->index, p->value, p->low, p->high, p->objective, p->row, p->row);
    Clp_setOptimizationDirection(model, -1);
    Clp_initialDualSolve(model);
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

    *saved = 0;
    if (!rc && s->n_ops)
        rc = solve(&p, s->n, saved, share);
    nf_bound_problem_deinit(&p);
    return rc;
}
