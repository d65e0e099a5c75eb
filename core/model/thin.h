#pragma once
/* The samples that a sampled run would have given of a known stream: each visit's line accesses in order, one in about
 * `period` of them kept. What is estimated from these can be compared with the truth. */
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"
#include "core/model/stream.h"

struct nf_thin_options {
    uint64_t period; /* at least 1 */
    uint64_t jitter; /* each interval is drawn evenly from period - jitter to period + jitter; below period. 0: fixed */
    uint64_t seed;   /* of the phase (the first interval is cut at a random place) and the jitter */
    uint32_t steps;  /* the class repeats so often */
};

/* Accesses are 64-byte lines, one per visit that touches the line. A sample's time is the start of its op, counted from the
 * start of the first step; its period is the interval that led to it; its address is the line's first touched byte; ip,
 * data_src, weight are unknown. *out: free it. 0 or -ENOMEM. */
int nf_thin(const struct nf_step_class *c, const struct nf_thin_options *o, struct nf_sample **out, size_t *n);
