#pragma once
/* One figure as one file, for commands that draw what they print. */
#include "analyze/figure.h"

/* 0 when the name ends in .svg, .png or .pdf, else -EINVAL (cause set). */
int nf_plot_check(const char *path);
/* Draws the canvas with gnuplot into path, whose ending chooses the format; data and script are temporary. 0, -EINVAL,
 * -ENOENT without gnuplot, -errno (cause set); path is written whole or not at all. */
int nf_plot_draw(const struct nf_canvas *c, const char *path);
