#pragma once
/* Figures of how a step reuses memory: miss-ratio curves, reuse histograms, the heat map. */
#include "analyze/figure.h"
#include "analyze/locality-view.h"
#include "core/model/heat.h"
#include "core/model/stream.h"

/* Lines of a figure's head: what it shows, how it is known, of what step. */
struct nf_locality_head {
    const char *title, *evidence, *step;
};

/* Miss ratio over cache size. by_group: the exact curve of the whole and of each group, the visit-fused one dashed beside
 * it; else every estimator of the first of them, with its error. mark_bytes: the effective LLC, 0: none. */
void nf_figure_mrc(struct nf_canvas *c, const struct nf_locality_head *head, const struct nf_mrc_set *m,
                   const struct nf_tensor_groups *g, bool by_group, double mark_bytes);

/* Accessed bytes by what lies between two accesses, two panels: other blocks (stack distance) and captured time (traffic
 * where the ops are untimed), stacked by group. At most NF_FIGURE_GROUPS groups are shown. */
enum { NF_FIGURE_GROUPS = 24 };
void nf_figure_reuse(struct nf_canvas *c, const struct nf_locality_head *head, const struct nf_reuse_set *r,
                     const struct nf_tensor_groups *g, double mark_bytes);

void nf_figure_heat(struct nf_canvas *c, const struct nf_locality_head *head, const struct nf_heat *heat,
                    const struct nf_step_class *class);
