/* The interval program with stays that are kept whole or not at all, solved by CBC. */
#include "pool/bound.h"

#include <coin/Cbc_C_Interface.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "core/base/error.h"
#include "pool/bound-problem.h"

int nf_bound_milp_probe(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

static int solve(const struct nf_bound_problem *p, uint32_t n_stays, double seconds, double *saved, bool *proved)
{
    Cbc_Model *model = Cbc_newModel();
    int rc = 0;

    Cbc_setLogLevel(model, 0);
    Cbc_loadProblem(model, p->columns, p->rows, p->start, p->index, p->value, p->low, p->high, p->objective, p->row, p->row);
    Cbc_setObjSense(model, -1);
    for (uint32_t i = 0; i < n_stays; i++)
        Cbc_setInteger(model, (int)i);
    Cbc_setMaximumSeconds(model, seconds);
    Cbc_solve(model);
    *proved = Cbc_isProvenOptimal(model) && !Cbc_isSecondsLimitReached(model);
    if (Cbc_isProvenInfeasible(model) || Cbc_isAbandoned(model))
        rc = nf_fail(-EIO, "the program of whole tensors was not solved: CBC's status is %d", Cbc_status(model));
    else if (isfinite(Cbc_getBestPossibleObjValue(model)))
        *saved = Cbc_getBestPossibleObjValue(model) * 1e6;
    else /* cut off before anything was known */
        for (uint32_t i = 0; i < n_stays; i++)
            *saved += p->objective[i] * 1e6;
    Cbc_deleteModel(model);
    return rc;
}

int nf_bound_milp(const struct nf_stays *s, uint64_t capacity_pages, double seconds, double *saved, bool *proved)
{
    struct nf_bound_problem p;
    int rc = nf_bound_problem_init(&p, s, capacity_pages);

    *saved = 0;
    *proved = true;
    for (uint32_t i = 0; i < s->n && !rc; i++)
        p.high[i] = s->v[i].pages <= capacity_pages ? 1 : 0;
    if (!rc && s->n)
        rc = solve(&p, s->n, seconds, saved, proved);
    nf_bound_problem_deinit(&p);
    return rc;
}
