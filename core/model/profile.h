#pragma once
/* What the stream says about each tensor: the reuse profile. Derived, never stored as truth. */
#include <stdint.h>

#include "core/model/stream.h"

/* Between two bursts of one tensor. A burst is a set of visits with at most burst_bytes of other traffic between
 * neighbours; everything else between visits is a gap. */
struct nf_gap {
    uint32_t tensor;
    uint32_t from_op, to_op;    /* last op of the burst before, first op of the burst after */
    uint64_t bytes;             /* other traffic inside the gap */
    double ns;                  /* captured time inside the gap */
    bool wraps;                 /* runs over the end of the step (carried tensors only) */
};

struct nf_tensor_profile {
    uint64_t read_bytes, write_bytes;           /* per step; an update counts in both */
    uint64_t miss_read_bytes, miss_write_bytes; /* those that pass an LLC of llc_bytes */
    uint32_t reads, writes;                     /* visits */
    uint32_t first_op, last_op;                 /* of its visits; first > last when never visited */
    uint32_t n_bursts;
    uint64_t longest_gap_bytes;
    double longest_gap_ns;
    double live_share; /* of the step's ops, 0..1 */
};

struct nf_profile {
    const struct nf_step_class *of; /* borrowed */
    struct nf_tensor_profile *tensors; /* of->n_tensors */
    uint64_t *visit_miss_bytes;        /* of->n_visits: bytes of the visit that pass the LLC, steady state */
    struct nf_gap *gaps;
    uint32_t n_gaps;
    uint64_t llc_bytes;
};

/* The step is taken as repeating: the second of two passes counts, so that carried tensors are warm.
 * The LLC is a fully associative LRU of llc_bytes over NF_PAGE_BYTES blocks of captured addresses (recycled
 * addresses share cached lines, as they did); 0 counts every byte as a miss. burst_bytes 0 means llc_bytes.
 * 0 or -ENOMEM. Caller deinits. */
int nf_profile_init(struct nf_profile *p, const struct nf_step_class *c, uint64_t llc_bytes, uint64_t burst_bytes);
void nf_profile_deinit(struct nf_profile *p);

/* One per step class of a stream. 0 or -ENOMEM (cause set), and *out is NULL then. Caller frees. */
int nf_profiles_new(const struct nf_stream *s, uint64_t llc_bytes, uint64_t burst_bytes, struct nf_profile **out);
/* NULL is fine. Returns NULL. */
struct nf_profile *nf_profiles_free(struct nf_profile *profiles, uint32_t n);
