#pragma once
/* Bounds on what near can save in a step, in bytes: no choice of stays (pool/stays.h) that fits near at every op saves more.
 * Over stays that are apart, what is left of all bytes is used far or fetched under any policy that holds storages, whatever it writes back;
 * over a planner's, under those that have a tensor near from its birth to its second use or at neither. What is written back is counted
 * by neither. A policy that repeats itself over several steps is bounded in their mean. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/stays.h"

/* PFOO-L (Berger, Beckmann, Harchol-Balter: Practical Bounds on Optimal Caching with Variable Object Sizes, POMACS 2018): stays
 * by bytes saved per page and op held, best first, until near's pages times the step's ops are used up. Loose. -ENOMEM: NAN. */
double nf_bound_pfoo(const struct nf_stays *s, uint64_t capacity_pages);

/* The linear program: a stay may be taken in part, near holds at every op. Solved by COIN-OR CLP. Of lives (nf_stays_init_lives) it
 * bounds what any static placement saves. Optional: share[i] of stay i.
 * 0; -ENOSYS (built without CLP, cause set), -ENOMEM, -EIO (the solver gave up, cause set). */
int nf_bound_lp(const struct nf_stays *s, uint64_t capacity_pages, double *saved, double *share);
/* Whether this was built with CLP; otherwise why says what is missing. */
int nf_bound_lp_probe(char *why, size_t size);

/* The integer program: a stay is taken whole or not at all. Solved by COIN-OR CBC, for small problems: after so many seconds it is
 * cut off, and saved is then what no choice can exceed as far as was found. proved: the best choice saves that.
 * 0; -ENOSYS (built without CBC, cause set), -ENOMEM, -EIO (the solver gave up, cause set). */
int nf_bound_milp(const struct nf_stays *s, uint64_t capacity_pages, double seconds, double *saved, bool *proved);
int nf_bound_milp_probe(char *why, size_t size);
