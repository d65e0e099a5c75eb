#pragma once
/* Samples fused with what the framework knows: which visit of a step class each one belongs to. */
#include <stddef.h>
#include <stdint.h>

#include "core/model/estimate.h"
#include "core/model/sample.h"
#include "core/model/stream.h"

/* What samples say of one visit. */
struct nf_visit_samples {
    struct nf_count count;
    double latency_cycles; /* sum of period x weight, for nf_parallelism */
};

/* Adds each sample to the visits of its op that touch its tensor at its offset and in its way (a sample that does not know
 * whether it read or wrote belongs to both). visits: c->n_visits places, not cleared, so that steps add up. Samples that
 * are not attributed are passed over. Returns how many belonged to no visit although they were attributed. */
size_t nf_fuse(const struct nf_step_class *c, const struct nf_sample *samples, size_t n, struct nf_visit_samples *visits);
/* seen[i] = 1 where visit i has at least one sample, else 0; c->n_visits places. */
void nf_fuse_seen(const struct nf_step_class *c, const struct nf_visit_samples *visits, uint8_t *seen);
