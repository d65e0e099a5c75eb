#pragma once
/* The captured profile as a report shows it: who holds memory through the step, who is read and written, and how far
 * apart the uses of a tensor lie. Of the steady step class. */
#include <stdint.h>

#include "core/model/stream.h"
#include "core/model/words.h"

enum {
    NF_USAGE_SAMPLES = 600, /* columns of the live-bytes figure */
    NF_USAGE_GAP_BINS = 48, /* bin b: [2^b, 2^(b+1)) bytes of other traffic */
    NF_USAGE_PHASES = 24,   /* marked changes of phase; more are not marked at all */
};

struct nf_role_usage {
    uint32_t tensors, carried;                          /* carried: of them alive over the end of the step */
    uint64_t bytes;                                     /* of all its lifetimes */
    uint64_t peak_bytes;                                /* most live at once, whole pages */
    uint64_t at_peak_bytes;                             /* live when the whole step peaks */
    uint64_t read_bytes, write_bytes, miss_bytes;       /* per step; an update counts in both; miss: past the LLC */
    uint32_t bursts, gaps;                              /* under the default parameter, the effective LLC */
    double gap_bytes_p50, gap_bytes_p90, gap_share_p50; /* of its gaps; share: of the step's time. NAN: no gap */
    uint64_t live[NF_USAGE_SAMPLES];                    /* per column: at the op of its bucket where most is live */
    uint64_t gap_histogram[NF_USAGE_GAP_BINS];          /* bytes of tensors used again after that much other traffic */
};

struct nf_usage {
    struct nf_role_usage roles[NF_ROLE_COUNT];
    uint32_t n_ops, n_visits, n_tensors, n_gaps, n_classes;
    uint32_t samples;              /* columns in use: min(ops, NF_USAGE_SAMPLES) */
    uint32_t op[NF_USAGE_SAMPLES]; /* that stands for the column */
    double ms[NF_USAGE_SAMPLES];   /* its start in the step; 0 when untimed */
    double step_ns;                /* sum of op durations and gaps; 0 when untimed */
    uint64_t peak_live_bytes, visited_bytes, llc_bytes;
    uint32_t phase_op[NF_USAGE_PHASES]; /* where a phase begins */
    uint8_t phase[NF_USAGE_PHASES];
    uint32_t n_phases;
    uint64_t evidence_bytes[NF_ACCESS_COUNT]; /* visited bytes by how they are known */
};

/* Of one class, the steady one, of a stream. 0, -EBADMSG for a class that contradicts itself, -ENOMEM (cause set). */
int nf_usage_compute(struct nf_usage *u, const struct nf_stream *stream, const struct nf_step_class *c,
                     uint64_t llc_bytes);
