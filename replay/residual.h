#pragma once
/* The compute time of each op: what is left of its captured time when its memory accesses, all near and as fast as
 * possible, are taken away. */
#include <stdbool.h>
#include <stdint.h>

#include "replay/engine.h"

struct nf_residual {
    double **op_ns;        /* per class and op, at least 0; classes that were not replayed have zeroes */
    uint32_t n_classes;
    bool timed;            /* false: the capture holds no op times, and every residual is 0 */
    double floored_share;  /* of the captured time: ops whose accesses alone took longer here than all of them did then */
    double captured_ns, asap_ns; /* of one cycle */
};

/* Runs one trial of `config`, which must be all-near; its overlap, cycles and op_ns are ignored. The median of each
 * op over at least five steps counts. 0, NF_TRIAL_E_STOPPED, -errno (cause set, also for a failed trial). Caller
 * deinits in every case. */
int nf_residual_init(struct nf_residual *r, const struct nf_engine_config *config);
/* Zero for every op of the stream, for who knows better. 0 or -ENOMEM (cause set). Caller deinits in every case. */
int nf_residual_zero(struct nf_residual *r, const struct nf_stream *stream);
void nf_residual_deinit(struct nf_residual *r);
