#pragma once
/* Random small training steps, and what their tensors hold: symbolic values, so that a tensor made again can be told from one that
 * holds something else. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/rng.h"
#include "core/model/stream.h"

enum { STEP_OPS = 64, STEP_TENSORS = 48, STEP_VISITS = 256, STEP_NAMES = 16 };

struct random_step {
    struct nf_op ops[STEP_OPS];
    struct nf_visit visits[STEP_VISITS];
    struct nf_tensor tensors[STEP_TENSORS];
    struct nf_step_class c;
};

/* Names of ops: some repeatable, some random, some unknown. */
extern char *const random_step_names[STEP_NAMES];

/* A forward chain of layers with a parameter each (carried), extra temporaries, outputs beside the main one, updates in place now and
 * then; a backward that reads them in reverse and sometimes changes a parameter at once. `layers` at most 6. */
void random_step(struct random_step *s, struct nf_rng *rng, unsigned layers);

/* What an op makes of what it reads: `values` by tensor (0: not there). Returns false when it reads what is not there. `draw` changes
 * what a random op yields. */
bool step_run_op(const struct nf_step_class *c, char *const *names, uint32_t op, uint64_t *values, uint64_t draw);
