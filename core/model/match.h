#pragma once
/* Which tensors and ops of one step class are those of another: of the same job run again with another seed, batch or length, or of
 * another job altogether. By names, never by numbers: a tensor by module, name, role, the op that bears it (name, module, phase,
 * microbatch) and its place among those alike; an op by name, module, phase, microbatch and its place among those alike. */
#include <stdint.h>

#include "core/model/stream.h"

enum { NF_MATCH_NONE = UINT32_MAX };

struct nf_match {
    uint32_t *tensor; /* per tensor of `to`: the one of `from`, each at most once, or NF_MATCH_NONE */
    uint32_t *op;     /* per op of `to`: the one of `from`, or where nothing matches the last one before it that did; 0 without ops */
    uint32_t n_tensors, n_ops;     /* that matched */
    uint64_t bytes, matched_bytes; /* of the tensors of `to`, pages; of those that matched */
};

/* names: of the stream each class belongs to. 0 or -ENOMEM (cause set). Caller deinits in every case. */
int nf_match_init(struct nf_match *m, const struct nf_step_class *from, char *const *from_names, const struct nf_step_class *to,
                  char *const *to_names);
void nf_match_deinit(struct nf_match *m);
