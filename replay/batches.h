#pragma once
/* Streams larger than memory: a script whose arrays lie in files (core/base/spill.h) is replayed batch by batch of ops.
 * Before the first op of a batch, while the clock stands still, its part of the arrays is read in and the part of the
 * batch before is let go. */
#include <stdbool.h>
#include <stdint.h>

#include "replay/script.h"

struct nf_batches {
    const struct nf_script *scripts; /* borrowed */
    uint32_t n_classes;
    struct nf_batches_class {
        uint32_t *first; /* op of each batch; first[n] is the number of ops */
        uint32_t n;
    } *classes;
    uint32_t in_class, in_batch; /* that are read in; in_class == n_classes: none */
    unsigned reads;              /* batches read in so far */
};

/* Cuts each class into batches of at most window_bytes (one op may be more). With everything in memory there are no
 * batches at all, and nothing to be called. 0 or -ENOMEM (cause set). Caller deinits in every case. */
int nf_batches_init(struct nf_batches *b, const struct nf_script *scripts, uint32_t n_classes, uint64_t window_bytes);
void nf_batches_deinit(struct nf_batches *b);
/* Whether there is anything to be read. */
bool nf_batches_needed(const struct nf_batches *b);
/* nf_engine_config.between: ctx is the nf_batches. 0 or -errno (cause set). */
int nf_batches_between(void *ctx, uint32_t class_index, uint32_t next_op);
