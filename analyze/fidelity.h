#pragma once
/* How far the replay can be believed. Consistency: an all-near replay against the captured bare step, to which it was
 * fitted. Fidelity: a prediction nothing was fitted to (the step time beside a bandwidth hog) against the real job. */
#include "analyze/curve.h"
#include "analyze/dataset.h"

struct nf_fidelity {
    /* By overlap mode: all-near replayed step time / captured bare step time, per block. */
    struct nf_estimate consistency[NF_OVERLAP_COUNT];
    /* The real job: step time beside the hog / alone. Paired by repetition where both have it, else of the medians. */
    struct nf_estimate real;
    double alone_ns, hog_ns; /* medians over runs; NAN unknown */
    size_t alone_runs, hog_runs, failed_runs, elsewhere_runs; /* elsewhere: on another machine than the replay, of any kind */
    /* By overlap mode: paired all-near with hog / without, and predicted / real - 1. */
    struct nf_estimate predicted[NF_OVERLAP_COUNT];
    double error[NF_OVERLAP_COUNT]; /* NAN unknown */
};

/* 0 or -ENOMEM (cause set). */
int nf_fidelity_compute(struct nf_fidelity *f, const struct nf_dataset *d, const struct nf_curve *c);
