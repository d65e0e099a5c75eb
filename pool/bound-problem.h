#pragma once
/* The interval program in difference form, as both solvers take it: a variable for the pages in use at each op, bounded by the
 * capacity, and a row that says how it differs from the op's before: + where stays begin, - where they end. So a stay has two
 * nonzeros (three round the end of the step) where the plain form has one per op it holds. Ops at which no more is held than at
 * another beside them have one row with it. Columns: a stay each, its share, then the load of each row; matrix by column; rows
 * equal zero. */
#include "pool/stays.h"

struct nf_bound_problem {
    int columns, rows;
    int *start, *index;
    double *value, *low, *high, *objective, *row; /* objective: megabytes saved, to be maximised; numbers near 1 */
};

/* 0 or -ENOMEM (cause set). Caller deinits in every case. */
int nf_bound_problem_init(struct nf_bound_problem *p, const struct nf_stays *s, uint64_t capacity_pages);
void nf_bound_problem_deinit(struct nf_bound_problem *p);
