#pragma once
/* Where a simplex method begins on the interval program: at the vertex of the greedy choice of stays, which is near the best one. In
 * difference form the rows are the nodes of a network, and a basis is a tree that spans them: loads below the capacity join a row with
 * the next, stays that are kept in part join the row they begin in with the one they end in. */
#include <stdint.h>

#include "pool/bound-problem.h"

/* The numbers are CLP's. */
enum nf_bound_state { NF_BOUND_BASIC = 1, NF_BOUND_AT_HIGH = 2, NF_BOUND_AT_LOW = 3 };

/* share: of each stay, feasible. state: of each column, of its program. As good a beginning as it can be made, not always a basis: a
 * stay round the end of the step is no edge, and one that is kept in part is begun without. 0 or -ENOMEM (cause set). */
int nf_bound_basis(const struct nf_bound_problem *p, uint32_t n_stays, const double *share, uint8_t *state);
/* Greedy shares that hold near no longer than the program says, up to a stay's last use. 0 or -ENOMEM (cause set). */
int nf_bound_greedy(const struct nf_stays *s, uint64_t capacity_pages, double *share);
