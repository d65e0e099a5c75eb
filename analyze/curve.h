#pragma once
/* The policy curve: slowdown against all-near of the same block, overlap mode, hog and parallelism scale. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyze/dataset.h"
#include "core/model/words.h"

/* n < this many blocks is marked "not publishable". */
enum { NF_CURVE_BLOCKS_MIN = 10 };
#define NF_CURVE_SIGNIFICANT_P 0.05
#define NF_CURVE_OUTLIER_Z 14.826

/* Median with its 95 % bootstrap interval; n 0 and NAN when there is nothing. */
struct nf_estimate {
    double median, low, high;
    size_t n, outliers; /* flagged, and kept */
};

/* One policy at one near share in one mode. */
struct nf_point {
    uint32_t policy; /* index into nf_curve.policies */
    double near_share, near_bytes, parallelism_scale;
    unsigned overlap;
    bool hog;
    struct nf_estimate slowdown; /* paired within blocks; n counts blocks with a pair */
    size_t blocks, unpaired;     /* with this trial; of them without an all-near one */
    double *step_ns;             /* per block: wall time of one step; NAN: no usable trial */

    /* Against the reference policy at the same near share and mode. vs_n 0: no common block, or it is the reference. */
    size_t vs_n;
    double vs_ratio, vs_p;

    /* Medians over blocks. Per step where a time or bytes; NAN unknown. */
    double wall_ns, memory_ns, injected_ns, compute_ns, stall_ns, far_bytes, charged_bytes, fetched_bytes, moved_bytes, policy_ns, move_ns, stolen_ns, late_ns;
    double floored_share, assumed_k_share, class_k_share, near_peak_bytes, far_latency_ns, far_bps;
    size_t saturated;  /* trials */
    bool k_repeated;   /* at half and at twice the assumed parallelism */
    unsigned evidence; /* bit set of enum nf_evidence */
};

struct nf_policy_line {
    const char *name, *options, *semantics, *pages_by; /* borrowed from the dataset */
    char *label;                            /* name, with the options in brackets where there are some */
    bool all_near, all_far, informed, oracle;
    bool swept; /* one setting of a sweep whose best has a line of its own */
};

/* What the line "best interleave" stands for at one share and mode. */
struct nf_sweep_winner {
    double near_share;
    unsigned overlap;
    uint32_t policy; /* the line it was taken from */
    size_t tried;    /* of how many */
};

struct nf_curve {
    NF_ARRAY(struct nf_policy_line) policies; /* in order of name, a best of others last */
    NF_ARRAY(struct nf_point) points;         /* in order of policy, mode, near share */
    NF_ARRAY(struct nf_sweep_winner) winners; /* of headline points */
    int64_t *blocks;                          /* distinct block numbers, ascending */
    size_t n_blocks;
    size_t headline_blocks; /* fewest pairs of any headline point; 0 when there is none */
    int reference;          /* policy that differences are tested against, -1: none */
    unsigned evidence;      /* bit set over all headline points but all-near's */
};

/* Modes of a headline point. */
static inline bool nf_point_is_headline(const struct nf_point *p)
{
    return !p->hog && p->parallelism_scale == 1 && (p->overlap == NF_OVERLAP_FULL || p->overlap == NF_OVERLAP_NONE);
}

/* 0 or -ENOMEM (cause set). d must outlive the curve. Deinit in every case. */
int nf_curve_init(struct nf_curve *c, const struct nf_dataset *d);
void nf_curve_deinit(struct nf_curve *c);

/* NULL when there is none. */
const struct nf_point *nf_curve_find(const struct nf_curve *c, uint32_t policy, double near_share, unsigned overlap,
                                     bool hog, double parallelism_scale);
/* Headline points of a policy at a share, in both modes; false when it has neither. Either may be NULL. */
bool nf_curve_band(const struct nf_curve *c, uint32_t policy, double near_share, const struct nf_point **full,
                   const struct nf_point **none);
/* Step times of x over those of y in the blocks both have. ratio: room for n_blocks. Returns how many; none where either is NULL. */
size_t nf_curve_ratios(const struct nf_curve *c, const struct nf_point *x, const struct nf_point *y, double *ratio);
/* Distinct headline near shares of policies that are no reference (all-near, all-far), ascending. Returns how many,
 * at most max. */
size_t nf_curve_shares(const struct nf_curve *c, double *shares, size_t max);

/* Estimate of n values (n may be 0). The interval is deterministic by seed. 0 or -ENOMEM. */
int nf_estimate(const double *v, size_t n, uint64_t seed, struct nf_estimate *out);
