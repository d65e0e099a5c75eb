#pragma once
/* Near, far or again: what the steady step costs where what near cannot hold is offloaded, made again, or either, and which of the two
 * wins over far bandwidth and compute rate. All of it is modelled (core/model/recompute.h) from captured op times; a transfer is taken
 * as exposed. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/table.h"
#include "core/model/stream.h"

enum { NF_RECOMPUTE_SHARES = 20, NF_RECOMPUTE_BANDWIDTHS = 25, NF_RECOMPUTE_RATES = 21 };

struct nf_recompute_point {
    double near_share;
    double offload, again, both; /* modelled step time / captured; again: made again wherever it can be */
    double share[3];             /* of byte-time in gaps, where either is allowed: near, far, made again */
};

struct nf_recompute_view {
    bool known;
    char why[160];    /* when it is not */
    uint32_t gaps, can; /* between uses; that can be made again */
    double far_bps;   /* measured */
    double map_near_share;       /* of the plans in crossover.csv */
    struct nf_recompute_point points[NF_RECOMPUTE_SHARES];
    double bandwidth[NF_RECOMPUTE_BANDWIDTHS], rate[NF_RECOMPUTE_RATES]; /* bytes/s; times the captured compute rate */
    double map[NF_RECOMPUTE_RATES][NF_RECOMPUTE_BANDWIDTHS]; /* share of what can be made again, in byte-time, for which that is faster, nothing else being gone */
    struct nf_table *curve, *crossover; /* recompute.csv, crossover.csv; NULL when not known */
};

/* llc_bytes: effective, of the profile. far_bps <= 0 or NAN: not known, and nothing is. 0 or -ENOMEM (cause set). Deinit in every case. */
int nf_recompute_view_init(struct nf_recompute_view *v, const struct nf_stream *stream, const struct nf_step_class *c, uint64_t llc_bytes,
                           double far_bps);
void nf_recompute_view_deinit(struct nf_recompute_view *v);
