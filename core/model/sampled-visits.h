#pragma once
/* Every (op, tensor) of a step class with what samples say of it: also those that left none, which is not zero. */
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"
#include "core/model/stream.h"
#include "core/model/visit-estimate.h"

struct nf_sampled_visit {
    uint32_t op, tensor;
    uint32_t samples;
    uint64_t bytes; /* of the op's visits to the tensor; 0: the framework knows of none, samples alone do */
    struct nf_visit_estimate estimate;
};

/* samples: attributed, of the steps of this class; those without op or tensor are passed over. steps: how many were
 * sampled, > 0. Rows by op, then tensor. *out: free it. 0 or -ENOMEM. */
int nf_sampled_visits(const struct nf_visit_sampling *how, const struct nf_step_class *c, const struct nf_sample *samples,
                      size_t n, uint32_t steps, struct nf_sampled_visit **out, size_t *n_out);
