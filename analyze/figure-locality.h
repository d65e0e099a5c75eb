#pragma once
/* Figures of how a step reuses memory: miss-ratio curves, reuse histograms, the heat map. */
#include "analyze/figure.h"
#include "core/model/heat.h"
#include "core/model/mrc.h"
#include "core/model/stream.h"

/* Lines of a figure's head: what it shows, how it is known, of what step. */
struct nf_locality_head {
    const char *title, *evidence, *step;
};

struct nf_mrc_line {
    const struct nf_mrc *curve;
    const char *name;
    const char *colour; /* NULL: chosen by place */
    bool dashed;        /* an estimate */
};

/* Miss ratio over cache size, from nf_mrc_size's first to reach_bytes. mark_bytes: the effective LLC, 0: none. */
void nf_figure_mrc(struct nf_canvas *c, const struct nf_locality_head *head, const struct nf_mrc_line *lines, size_t n,
                   uint64_t reach_bytes, double mark_bytes);

/* Accessed bytes by what lies between two accesses, two panels: other blocks (stack distance) and captured time (traffic
 * where the ops are untimed), stacked by group. */
struct nf_reuse_layer {
    const char *name, *colour;
    const struct nf_histogram *distances; /* in blocks */
    const struct nf_histogram *times;     /* ns, or bytes of traffic */
};
void nf_figure_reuse(struct nf_canvas *c, const struct nf_locality_head *head, const struct nf_reuse_layer *layers, size_t n,
                     uint32_t block_bytes, bool timed, double mark_bytes);

void nf_figure_heat(struct nf_canvas *c, const struct nf_locality_head *head, const struct nf_heat *heat,
                    const struct nf_step_class *class);
