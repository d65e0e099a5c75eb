#pragma once
/* The figures of a measured testbed: as rows, and its loaded-latency curves as a picture. */
#include "core/base/table.h"
#include "replay/testbed.h"

/* "proved", or "unproved": where the tier's pages are nobody can show. */
const char *nf_tiers_placement(const struct nf_tier *t);
/* 0 or -errno (cause set). */
int nf_tiers_print_figures(const struct nf_testbed *beds, size_t n, enum nf_table_format format);
/* By the ending of path, .svg, .png or .pdf. 0, -EINVAL (another ending, no curve), -ENOENT (no gnuplot), -errno (cause
 * set). */
int nf_tiers_plot(const struct nf_testbed *t, const char *path);
/* 0 or -EINVAL (cause set): asked before minutes are spent measuring. */
int nf_tiers_plot_check(const char *path);
