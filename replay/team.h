#pragma once
/* A team of pinned threads that do one piece of work after another together, as the threads of a parallel region do: they
 * spin between pieces, since a wake-up by the kernel costs more than most ops take. */
#include <stdint.h>

enum { NF_TEAM_MAX = 256 };

struct nf_team;

/* n >= 1 threads, the caller being the first; it is pinned by its owner, the others to cpus[1..]. They start together: the
 * call returns when all of them spin. work(context, index): called by nf_team_run on every thread.
 * 0, -ENOMEM, -errno (cause set). */
int nf_team_start(unsigned n, const int *cpus, void (*work)(void *context, unsigned index), void *context,
                  struct nf_team **out);
/* Runs work on every thread and returns when all are done; what the caller wrote before is seen by them, and what they
 * wrote by the caller. */
void nf_team_run(struct nf_team *t);
/* NULL is fine. Returns NULL. */
struct nf_team *nf_team_stop(struct nf_team *t);
