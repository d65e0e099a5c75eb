#pragma once
/* Figures: a .gp script and a .dat file each, drawn by gnuplot as SVG and PDF. */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/buf.h"

enum { NF_FIGURES_MAX = 9 };

struct nf_report;

struct nf_figure {
    const char *name; /* of its files, without suffix */
    const char *title, *caption;
    char problem[512]; /* why it is not drawn; empty when it is */
};

/* Every figure name there may be, NULL-terminated. */
extern const char *const nf_figure_names[];

/* Writes script and data of each figure the report has data for and draws it; fills report->figures.
 * Without gnuplot the files are there and the problem is said. 0 or -errno (cause set). */
int nf_figures_draw(struct nf_report *report, const char *directory);

/* One figure under work: what its plot puts into the script and the data file. */
struct nf_canvas {
    struct nf_buf script, data;
    const char *name;
    int width, height; /* of the SVG */
};

/* Fill the canvas. Return false when the report has no data for the figure. */
bool nf_figure_policy_curve(const struct nf_report *report, struct nf_canvas *c);
bool nf_figure_asap_curve(const struct nf_report *report, struct nf_canvas *c);
bool nf_figure_far_demand(const struct nf_report *report, struct nf_canvas *c);
bool nf_figure_live_bytes(const struct nf_report *report, struct nf_canvas *c);
bool nf_figure_gaps(const struct nf_report *report, struct nf_canvas *c);
bool nf_figure_miss_ratio(const struct nf_report *report, struct nf_canvas *c);
bool nf_figure_recompute(const struct nf_report *report, struct nf_canvas *c);
bool nf_figure_crossover(const struct nf_report *report, struct nf_canvas *c);
bool nf_figure_reuse_by_role(const struct nf_report *report, struct nf_canvas *c);

/* A gnuplot string literal of at most max characters, cut with an ellipsis; nothing in it is special to gnuplot. */
void nf_canvas_text(struct nf_buf *b, const char *text, size_t max);
/* Title, and below it two smaller lines, at the top left of the figure. */
void nf_canvas_head(struct nf_canvas *c, const char *title, const char *line2, const char *line3);
/* What every figure's script begins with: encoding, axes, grid. */
void nf_canvas_style(struct nf_buf *script);
/* The colour of a role, "#rrggbb", the same in every figure. */
const char *nf_canvas_role_colour(unsigned role);
/* At most about `most` tics of an axis ('x' or 'y') whose values are log2 of bytes, from low to high. */
void nf_canvas_byte_tics(struct nf_canvas *c, char axis, int low, int high, int most);
