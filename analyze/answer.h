#pragma once
/* What a report opens with: the answer in three sentences, and the labels every figure carries. */
#include <stddef.h>

#include "analyze/curve.h"
#include "analyze/dataset.h"
#include "analyze/fidelity.h"
#include "analyze/usage.h"

struct nf_answer {
    char sentence[3][2048]; /* which policy is best at 20 % near; what the others do; what the numbers are worth */
    char evidence[256];     /* "injected-delay (far = 2.0× local latency, 0.5× local read bandwidth)" */
    char worth[128];        /* "demo, not publishable (3 blocks)"; empty from NF_CURVE_BLOCKS_MIN on */
    char repeated[96];      /* "k repeated at k/2 and 2k for 3 of 8 points"; empty where no parallelism was assumed */
    char resident[128];     /* "LLC-resident: ..."; empty when peak live >= 4 × effective LLC */
    char accesses[256];     /* how the captured accesses are known */
    double near_share;      /* the share the sentences speak of; NAN: none */
    int best;               /* policy, -1: none */
};

/* usage may be NULL. */
void nf_answer_compute(struct nf_answer *a, const struct nf_dataset *d, const struct nf_curve *c,
                       const struct nf_fidelity *f, const struct nf_usage *usage);
