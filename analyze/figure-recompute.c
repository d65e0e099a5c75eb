/* Figures of near, far or again: the curve with shares of byte-time, and the crossover map. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analyze/figure.h"
#include "analyze/writer.h"
#include "core/base/units.h"

/* Measured beside the modelled lines: plain policies of the same three kinds. */
static const struct {
    const char *policy, *colour;
    int symbol;
} MEASURED[] = {{"lifetime-density", "#555555", 5}, {"gap-greedy", "#1f77b4", 7}, {"recompute", "#d95f02", 9}, {"gap-recompute", "#1b9e77", 11}};
enum { N_MEASURED = sizeof MEASURED / sizeof *MEASURED };

static bool is_measured(const struct nf_report *r, const struct nf_point *p, unsigned kind)
{
    const struct nf_policy_line *line = &r->curve.policies.v[p->policy];

    return !strcmp(line->name, MEASURED[kind].policy) && !*line->options && p->overlap == NF_OVERLAP_NONE && nf_point_is_headline(p) &&
           p->slowdown.n;
}

/* Block 1: the modelled curve. Then one per policy with measured points; has[]: which have some. */
static void put_data(const struct nf_report *r, struct nf_canvas *c, bool has[N_MEASURED])
{
    const struct nf_recompute_view *v = &r->recompute;

    for (unsigned i = 0; i < NF_RECOMPUTE_SHARES; i++) {
        const struct nf_recompute_point *p = &v->points[i];

        nf_buf_printf(&c->data, "%.4g %.6g %.6g %.6g %.6g %.6g %.6g\n", 100 * p->near_share, p->offload, p->again, p->both,
                      100 * p->share[0], 100 * (p->share[0] + p->share[1]), 100.0);
    }
    for (unsigned k = 0; k < N_MEASURED; k++) {
        has[k] = false;
        nf_buf_puts(&c->data, "\n\n");
        for (size_t i = 0; i < r->curve.points.n; i++) {
            const struct nf_point *p = &r->curve.points.v[i];

            if (!is_measured(r, p, k))
                continue;
            nf_buf_printf(&c->data, "%.4g %.6g %.6g %.6g\n", 100 * p->near_share, p->slowdown.median, p->slowdown.low, p->slowdown.high);
            has[k] = true;
        }
        if (!has[k])
            nf_buf_puts(&c->data, "NaN NaN NaN NaN\n");
    }
}

bool nf_figure_recompute(const struct nf_report *r, struct nf_canvas *c)
{
    const struct nf_recompute_view *v = &r->recompute;
    char line2[256], line3[256], speed[NF_UNITS_TEXT];
    bool has[N_MEASURED];

    if (!v->known)
        return false;
    snprintf(line2, sizeof line2, "lines and shares: modelled from captured op times, far at its measured %s/s, no transfer hidden",
             nf_format_bytes(speed, v->far_bps));
    snprintf(line3, sizeof line3, "symbols: replayed here (overlap none, 95 %% interval); %u of %u gaps can be made again", v->can, v->gaps);
    nf_canvas_head(c, "Near, far, or made again", line2, line3);
    put_data(r, c, has);
    nf_buf_printf(&c->script,
                  "set multiplot\nset tmargin at screen 0.82\nset bmargin at screen 0.13\nset xrange [0:100]\n"
                  "set xlabel 'near capacity (%% of peak live)'\nset lmargin at screen 0.07\nset rmargin at screen 0.40\n"
                  "set ylabel 'step time / all near'\nset yrange [*:*]\n"
                  "set key at screen 0.82,0.80 left top Left reverse samplen 1.6 spacing 1.3 font ',13'\n"
                  "plot '%s.dat' index 0 using 1:2 with lines linewidth 2 linecolor rgb '#1f77b4' title 'offloaded', "
                  "'' index 0 using 1:3 with lines linewidth 2 linecolor rgb '#d95f02' title 'made again', "
                  "'' index 0 using 1:4 with lines linewidth 2.5 dashtype 2 linecolor rgb '#1b1b1b' title 'the cheaper'",
                  c->name);
    for (unsigned k = 0; k < N_MEASURED; k++)
        if (has[k])
            nf_buf_printf(&c->script,
                          ", '' index %u using 1:2:3:4 with yerrorbars pointtype %d pointsize 0.8 linecolor rgb '%s' title '%s'", k + 1,
                          MEASURED[k].symbol, MEASURED[k].colour, MEASURED[k].policy);
    nf_buf_printf(&c->script,
                  "\nunset label\nset lmargin at screen 0.475\nset rmargin at screen 0.805\nset yrange [0:100]\n"
                  "set ylabel 'bytes x time in gaps (%%)' offset 1.2,0\nset key at screen 0.82,0.38\n"
                  "plot '%s.dat' index 0 using 1:7 with filledcurves y1=0 fillcolor rgb '#fdb863' title 'not held', "
                  "'' index 0 using 1:6 with filledcurves y1=0 fillcolor rgb '#9ecae1' title 'far', "
                  "'' index 0 using 1:5 with filledcurves y1=0 fillcolor rgb '#8a8a8a' title 'near'\nunset multiplot\n",
                  c->name);
    return true;
}

bool nf_figure_crossover(const struct nf_report *r, struct nf_canvas *c)
{
    const struct nf_recompute_view *v = &r->recompute;
    double width, height;
    char line2[256], speed[NF_UNITS_TEXT];

    if (!v->known)
        return false;
    width = log10(v->bandwidth[1] / v->bandwidth[0]) / 2;
    height = log10(v->rate[1] / v->rate[0]) / 2;
    for (unsigned y = 0; y < NF_RECOMPUTE_RATES; y++)
        for (unsigned x = 0; x < NF_RECOMPUTE_BANDWIDTHS; x++)
            nf_buf_printf(&c->data, "%.5g %.5g %.4g %.4g %.4g\n", log10(v->bandwidth[x] / 1e9), log10(v->rate[y]), width, height,
                          100 * v->map[y][x]);
    snprintf(line2, sizeof line2, "modelled from captured op times, no transfer hidden; tensors one by one, in the %u of %u gaps that allow it", v->can,
             v->gaps);
    nf_canvas_head(c, "Where making again beats far memory", line2,
                   "the cross: this machine as captured, with its measured far tier; all else is extrapolated");
    nf_buf_printf(&c->script,
                  "set tmargin at screen 0.84\nset bmargin at screen 0.12\nset lmargin at screen 0.10\nset rmargin at screen 0.86\n"
                  "unset key\nunset grid\nset xlabel 'far bandwidth (GB/s)'\nset ylabel 'compute rate / captured'\n"
                  "set xrange [%.5g:%.5g]\nset yrange [%.5g:%.5g]\n"
                  "set xtics ('0.1' -1, '1' 0, '10' 1, '100' 2, '1000' 3)\n"
                  "set ytics ('0.1' -1, '1' 0, '10' 1, '100' 2, '1 000' 3, '10 000' 4)\n"
                  "set cbrange [0:100]\nset cblabel 'faster made again, of what can be (%%)'\n"
                  "set palette defined (0 '#9ecae1', 0.5 '#f7f7f7', 1 '#e66101')\n"
                  "set label 11 'far wins' at graph 0.96,0.06 right font ',15' front\n"
                  "set label 12 'made again' at graph 0.04,0.94 left font ',15' front\n"
                  "set label 13 '%s/s, captured rate' at %.5g,%.5g left offset 1.2,0.4 font ',13' front\n"
                  "plot '%s.dat' using 1:2:3:4:5 with boxxyerror fillstyle solid noborder fillcolor palette notitle, "
                  "'+' using (%.5g):(0) every ::0::0 with points pointtype 2 pointsize 1.8 linewidth 3 linecolor rgb '#000000' notitle\n",
                  log10(v->bandwidth[0] / 1e9) - width, log10(v->bandwidth[NF_RECOMPUTE_BANDWIDTHS - 1] / 1e9) + width,
                  log10(v->rate[0]) - height, log10(v->rate[NF_RECOMPUTE_RATES - 1]) + height, nf_format_bytes(speed, v->far_bps),
                  log10(v->far_bps / 1e9), 0.0, c->name, log10(v->far_bps / 1e9));
    return true;
}
