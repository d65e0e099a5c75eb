#pragma once
/* Holds what a replay was seen to do against the stream it replayed: per tensor the same extents in the same order, bytes
 * lost and stray, and how far the histograms of reuse distances lie apart.
 *
 * The extents of one op are a set: its operands advance together chunk by chunk and have no order among themselves. The
 * order that must be kept is that of the ops. */
#include <stdbool.h>
#include <stdint.h>

#include "core/model/histogram.h"
#include "core/model/stream.h"

/* A tensor of the replay that stands for none of the capture; what is touched of it is stray. */
enum { NF_RECAPTURE_NOBODY = UINT32_MAX };

struct nf_recapture_options {
    uint32_t resolution_bytes; /* of who watched the replay: both sides' extents are rounded out to it, from a tensor's start */
    bool rw;                   /* reads and writes are compared, too */
    uint32_t block_bytes;      /* of reuse distances; 0: they are not compared */
    bool ordered;              /* the visits of an op stand in the order in which they were made. false: who watched cannot tell;
                                  for reuse distances both sides' then come in one order, by tensor and offset */
};

/* Bytes are sums over the step's ops: what an op touches several times counts once. */
struct nf_recapture_tensor {
    uint64_t captured_bytes, replayed_bytes;
    uint64_t lost_bytes, stray_bytes; /* captured and not replayed; the other way round */
    uint64_t rw_bytes;                /* in both, but read or written by one of them only */
    uint32_t first_op;                /* where they differ first; UINT32_MAX: nowhere */
    double reuse_octaves;             /* NAN: not compared, or nothing to compare */
};

struct nf_recapture {
    struct nf_recapture_tensor *tensors; /* of the captured class */
    uint32_t n_tensors, visited, same;   /* visited: by the capture or by its replay; same: of them, equal in everything */
    uint64_t captured_bytes, replayed_bytes, lost_bytes, stray_bytes, rw_bytes;
    uint64_t nobodys_bytes;              /* of the stray ones: of tensors that stand for none */
    /* Distance of the reuse-distance histograms: of all accesses together, the mean over tensors weighted by captured bytes,
     * and the largest of a tensor. NAN: not compared. */
    double reuse_whole, reuse_mean, reuse_most;
};

/* tensor_of[i]: the captured tensor that tensor i of the replayed class stands for, or NF_RECAPTURE_NOBODY. Ops are told by
 * their number. 0, -EINVAL (cause set: a resolution or block size that is none), -ENOMEM (cause set). Caller deinits. */
int nf_recapture_init(struct nf_recapture *r, const struct nf_step_class *captured, const struct nf_step_class *replayed,
                      const uint32_t *tensor_of, const struct nf_recapture_options *options);
void nf_recapture_deinit(struct nf_recapture *r);
/* Whether a tensor's extents, their order, and its reads and writes are equal. */
bool nf_recapture_is_same(const struct nf_recapture_tensor *t);

/* How far two histograms of distances in blocks lie apart, in octaves: the earth mover's distance in one dimension (the area
 * between the two cumulative shares) over log2(1 + distance). First accesses, which have no distance, lie one octave beyond
 * the largest of either. NAN when one of them is of nothing. */
double nf_recapture_distance(const struct nf_histogram *a, const struct nf_histogram *b);
