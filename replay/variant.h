#pragma once
/* The stream as a trial replays it whose policy makes storages again instead of holding them (struct nf_policy_ops.recompute): other
 * step classes, and all that is made of them. */
#include <stdbool.h>
#include <stdint.h>

#include "core/model/recompute-apply.h"
#include "pool/policy.h"
#include "replay/engine.h"

struct nf_variant {
    struct nf_stream stream; /* the captured one with other classes; shares all else */
    struct nf_recompute_applied *applied; /* per class; op_of NULL: as captured */
    struct nf_profile *profiles;
    struct nf_script *scripts;
    double **residual_ns;    /* per class and op: that of the captured op */
    const bool **again;      /* per class, NULL where nothing runs again */
    uint64_t peak_bytes;     /* of the classes that are replayed */
    uint32_t n_replaced;     /* classes that are not as captured */
};

struct nf_variant_options {
    uint64_t llc_bytes, burst_bytes; /* of the profile */
    uint64_t seed;                   /* of the scripts */
    uint32_t steady;
    bool whole_sequence;
};

/* Asks the policy of c->pool for each class that is replayed and points c at the result; what c pointed at stays the captured
 * one's. residual_ns of c may be NULL. 0, -errno (cause set: the policy's, or of what it chose). Caller deinits in every case, after the
 * trial. */
int nf_variant_init(struct nf_variant *v, struct nf_engine_config *c, const struct nf_variant_options *o);
void nf_variant_deinit(struct nf_variant *v);
/* Of one step of the steady class, into the trial's columns. */
void nf_variant_account(const struct nf_variant *v, uint32_t steady, struct nf_trial *out);
