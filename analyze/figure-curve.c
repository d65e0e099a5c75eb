/* Figures of replays: the policy curve, its asap form, and what the far tiers have to serve. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/figure.h"
#include "analyze/print.h"
#include "analyze/writer.h"

/* Beyond so many lines the legend has no room for what each policy declares; the report's table has it. */
enum { LINES_MAX = 64, SHARES_MAX = 64, LABEL_MAX = 32, SEMANTICS_MAX = 57, SEMANTICS_LINES_MAX = 12 };

/* Okabe and Ito's palette without its yellow (too pale for a line); beyond seven lines the dashes tell them apart. */
static const char *const colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"};
/* gnuplot's filled and open symbols, the same on both terminals. */
static const int symbols[] = {7, 5, 9, 11, 13, 15, 6, 4, 8, 10, 12, 14};
static const char *const dashes[] = {"1", "(12,6)", "(2,4)", "(12,4,2,4)"};
enum { COLOURS = sizeof colours / sizeof *colours, SYMBOLS = sizeof symbols / sizeof *symbols, DASHES = 4 };

struct lines {
    uint32_t policy[LINES_MAX];
    double at_least_share[LINES_MAX]; /* slowdown at its smallest share: orders the legend like the lines */
    size_t n, left_out;
    double least, most; /* of everything drawn */
};

/* Of overlap=none only the median is drawn. */
static void widen(struct lines *l, const struct nf_point *p)
{
    bool bars = p->overlap != NF_OVERLAP_NONE;

    l->least = fmin(l->least, bars ? p->slowdown.low : p->slowdown.median);
    l->most = fmax(l->most, bars ? p->slowdown.high : p->slowdown.median);
}

/* Policies with a line, worst first; asap: those with points in asap mode. */
static void choose_lines(const struct nf_curve *c, bool asap, struct lines *l)
{
    uint32_t unseen = UINT32_MAX;

    *l = (struct lines){.least = 1, .most = 1};
    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];
        const struct nf_policy_line *line = &c->policies.v[p->policy];
        size_t at = 0;

        if (p->hog || p->parallelism_scale != 1 || !p->slowdown.n || asap != (p->overlap == NF_OVERLAP_ASAP))
            continue;
        widen(l, p);
        if (line->all_near || line->all_far || line->swept)
            continue;
        while (at < l->n && l->policy[at] != p->policy)
            at++;
        if (at == l->n && l->n == LINES_MAX) {
            /* Points come policy by policy. */
            l->left_out += p->policy != unseen;
            unseen = p->policy;
        } else if (at == l->n) {
            /* Points come in order of share: the first one is at the smallest. */
            for (at = l->n++; at > 0 && l->at_least_share[at - 1] < p->slowdown.median; at--) {
                l->policy[at] = l->policy[at - 1];
                l->at_least_share[at] = l->at_least_share[at - 1];
            }
            l->policy[at] = p->policy;
            l->at_least_share[at] = p->slowdown.median;
        }
    }
}

static void put_value(struct nf_buf *b, double v)
{
    if (isfinite(v))
        nf_buf_printf(b, " %.6g", v);
    else
        nf_buf_puts(b, " NaN");
}

static void put_estimate(struct nf_buf *b, const struct nf_point *p)
{
    put_value(b, p ? p->slowdown.median : NAN);
    put_value(b, p ? p->slowdown.low : NAN);
    put_value(b, p ? p->slowdown.high : NAN);
}

/* A comment must stay one line; texts were cleaned when they were read. */
static void put_index_head(struct nf_buf *b, const char *label, const char *columns)
{
    nf_buf_printf(b, "%s# %s\n# %s\n", b->n ? "\n\n" : "", label, columns);
}

/* The colour of a policy is the same in every figure: it goes by its place among all lines. */
static size_t style_of(const struct nf_curve *c, uint32_t policy)
{
    size_t style = 0;

    for (uint32_t i = 0; i < policy; i++)
        style += !c->policies.v[i].all_near && !c->policies.v[i].all_far;
    return style;
}

static void put_style(struct nf_buf *b, const char *what, size_t style)
{
    nf_buf_printf(b, "%s linecolor rgb '%s' dashtype %s linewidth 2 pointtype %d pointsize 0.7", what,
                  colours[style % COLOURS], dashes[style / COLOURS % DASHES], symbols[style % SYMBOLS]);
}

static const struct nf_point *reference_point(const struct nf_curve *c, bool far, unsigned overlap)
{
    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];
        const struct nf_policy_line *line = &c->policies.v[p->policy];

        if ((far ? line->all_far : line->all_near) && !p->hog && p->parallelism_scale == 1 && p->overlap == overlap &&
            p->slowdown.n)
            return p;
    }
    return NULL;
}

static void curve_head(const struct nf_report *r, struct nf_canvas *c, const struct lines *l, const char *title,
                       const char *how_to_read)
{
    const struct nf_answer *a = &r->answer;
    struct nf_buf head = {0}, evidence = {0}, how = {0};

    /* What a figure is worth stands first: a long line may be cut where a viewer's font is wide. */
    nf_buf_printf(&head, "%s%s%s%s%s", title, *a->worth ? " — " : "", a->worth, *a->resident ? " — " : "", a->resident);
    nf_buf_printf(&evidence, "evidence: %s", a->evidence);
    nf_buf_puts(&how, how_to_read);
    if (*a->repeated)
        nf_buf_printf(&how, "; %s", a->repeated);
    if (l->left_out)
        nf_buf_printf(&how, "; %zu more policies are in the tables only", l->left_out);
    nf_canvas_head(c, head.data ? head.data : title, evidence.data ? evidence.data : "evidence: unknown",
                   how.data ? how.data : how_to_read);
    nf_buf_deinit(&how);
    nf_buf_deinit(&head);
    nf_buf_deinit(&evidence);
}

static void curve_axes(struct nf_canvas *c, const struct lines *l)
{
    double room = fmax((l->most - l->least) * 0.08, 0.02);

    nf_buf_printf(&c->script,
                  "set lmargin at screen 0.085\nset rmargin at screen 0.662\n"
                  "set tmargin at screen %.4f\nset bmargin at screen 0.135\n",
                  1 - 92.0 / c->height);
    nf_buf_puts(&c->script, "set key at screen 0.67,graph 1 left top Left reverse samplen 2.2 spacing 1.1 "
                            "font ',12'\n"
                            "set xlabel 'near capacity (% of peak live bytes)'\n"
                            "set ylabel 'slowdown against all-near (ratio of step times)' offset -0.3,0\n"
                            "set xrange [0:102]\nset xtics 10\n");
    nf_buf_printf(&c->script, "set yrange [%.4g:%.4g]\n", l->least - room, l->most + room);
    if (l->most > 8 && l->least > 0)
        nf_buf_printf(&c->script, "set logscale y\nset yrange [%.4g:%.4g]\n", l->least * 0.9, l->most * 1.1);
}

/* All-near and all-far as horizontal lines, named where no curve runs: all-near low on the left, all-far high on the
 * right. */
static void put_references(const struct nf_curve *c, struct nf_canvas *canvas, unsigned first, unsigned second)
{
    const struct nf_point *one = reference_point(c, true, first), *other = reference_point(c, true, second);
    double low, high;

    nf_buf_puts(&canvas->script,
                "set arrow 1 from graph 0,first 1 to graph 1,first 1 nohead linecolor rgb '#000000' dashtype (6,4)\n"
                "set label 4 'all-near' at graph 0.012,first 1 left offset 0,-0.62 font ',12'\n");
    if (!one && !other)
        return;
    low = fmin(one ? one->slowdown.median : INFINITY, other ? other->slowdown.median : INFINITY);
    high = fmax(one ? one->slowdown.median : 0, other ? other->slowdown.median : 0);
    nf_buf_printf(
        &canvas->script,
        "set object 1 rectangle from graph 0,first %.6g to graph 1,first %.6g behind fillcolor rgb '#999999' "
        "fillstyle transparent solid 0.25 noborder\n"
        "set arrow 2 from graph 0,first %.6g to graph 1,first %.6g nohead linecolor rgb '#555555' dashtype (6,4)\n"
        "set arrow 3 from graph 0,first %.6g to graph 1,first %.6g nohead linecolor rgb '#555555' dashtype (6,4)\n"
        "set label 5 'all-far' at graph 0.99,first %.6g right offset 0,0.6 font ',12'\n",
        low, high, low, low, high, high, high);
}

/* A policy's entry in the legend: its name and what it sees, and on a second line what else it declares. Where two
 * kinds of evidence meet in one figure, each entry says its own. */
static void put_entry(struct nf_buf *b, const struct nf_report *r, const struct lines *l, const struct nf_point *p)
{
    const struct nf_policy_line *line = &r->curve.policies.v[p->policy];
    const char *sees = strstr(line->semantics, "; ");
    struct nf_buf name = {0}, mechanics = {0};

    nf_buf_puts(&name, line->label);
    if (r->curve.evidence & (r->curve.evidence - 1)) {
        nf_buf_puts(&name, " [");
        nf_print_evidence(&name, p->evidence);
        nf_buf_puts(&name, "]");
    }
    if (l->n <= SEMANTICS_LINES_MAX && sees)
        nf_buf_printf(&name, ": %s", sees + 2);
    nf_buf_puts(b, " title ");
    nf_canvas_text(b, name.data ? name.data : line->label, SEMANTICS_MAX);
    if (l->n <= SEMANTICS_LINES_MAX) {
        nf_buf_add(&mechanics, line->semantics, sees ? (size_t)(sees - line->semantics) : strlen(line->semantics));
        nf_buf_puts(b, ", \\\n  keyentry with lines linecolor rgb '#ffffff' title ");
        nf_canvas_text(b, mechanics.data ? mechanics.data : "", SEMANTICS_MAX);
    }
    nf_buf_deinit(&name);
    nf_buf_deinit(&mechanics);
}

bool nf_figure_policy_curve(const struct nf_report *r, struct nf_canvas *c)
{
    const struct nf_curve *curve = &r->curve;
    double shares[SHARES_MAX];
    size_t n_shares = nf_curve_shares(curve, shares, SHARES_MAX);
    struct nf_buf bands = {0}, plot = {0};
    struct lines l;

    choose_lines(curve, false, &l);
    if (!l.n || !r->data.capture.has_durations)
        return false;
    curve_head(r, c, &l, "Policy curve",
               "symbols: overlap=full, bars: 95 % interval of its median; thin edge of each band: overlap=none");
    curve_axes(c, &l);
    put_references(curve, c, NF_OVERLAP_FULL, NF_OVERLAP_NONE);
    for (size_t i = 0; i < l.n; i++) {
        const struct nf_point *full, *none, *any = NULL;
        size_t style = style_of(curve, l.policy[i]);

        put_index_head(&c->data, curve->policies.v[l.policy[i]].label,
                       "near_percent full_median full_low full_high none_median none_low none_high");
        for (size_t s = 0; s < n_shares; s++) {
            if (!nf_curve_band(curve, l.policy[i], shares[s], &full, &none))
                continue;
            any = full ? full : none;
            nf_buf_printf(&c->data, "%.6g", shares[s] * 100);
            put_estimate(&c->data, full);
            put_estimate(&c->data, none);
            nf_buf_puts(&c->data, "\n");
        }
        nf_buf_printf(
            &bands,
            "%s'%s.dat' index %zu using 1:2:5 with filledcurves fillcolor rgb '%s' fillstyle transparent solid "
            "0.13 noborder notitle, \\\n  ''  index %zu using 1:5 with lines linecolor rgb '%s' linewidth 0.8 "
            "notitle",
            i ? ", \\\n  " : "plot ", c->name, i, colours[style % COLOURS], i, colours[style % COLOURS]);
        nf_buf_printf(&plot,
                      ", \\\n  '%s.dat' index %zu using 1:2:3:4 with yerrorbars linecolor rgb '%s' linewidth 1 "
                      "pointtype 0 notitle, \\\n  '' index %zu using 1:%d ",
                      c->name, i, colours[style % COLOURS], i, any && any->overlap == NF_OVERLAP_NONE ? 5 : 2);
        put_style(&plot, "with linespoints", style);
        put_entry(&plot, r, &l, any);
    }
    nf_buf_add(&c->script, bands.data, bands.n);
    nf_buf_add(&c->script, plot.data, plot.n);
    nf_buf_puts(&c->script, "\n");
    c->script.failed = c->script.failed || bands.failed || plot.failed;
    nf_buf_deinit(&bands);
    nf_buf_deinit(&plot);
    return true;
}

bool nf_figure_asap_curve(const struct nf_report *r, struct nf_canvas *c)
{
    const struct nf_curve *curve = &r->curve;
    struct lines l;

    choose_lines(curve, true, &l);
    if (!l.n)
        return false;
    curve_head(r, c, &l, "Memory time alone (asap)",
               r->data.capture.has_durations
                   ? "no compute time is replayed; bars: 95 % interval of the median"
                   : "no compute time is known: this is no slowdown of the job; bars: 95 % interval of the median");
    curve_axes(c, &l);
    if (!r->data.capture.has_durations)
        nf_buf_puts(&c->script, "set ylabel 'time of the memory accesses alone, against all-near' offset -0.3,0\n");
    put_references(curve, c, NF_OVERLAP_ASAP, NF_OVERLAP_ASAP);
    nf_buf_puts(&c->script, "plot ");
    for (size_t i = 0; i < l.n; i++) {
        size_t style = style_of(curve, l.policy[i]);
        const struct nf_point *any = NULL;

        put_index_head(&c->data, curve->policies.v[l.policy[i]].label, "near_percent median low high");
        for (size_t k = 0; k < curve->points.n; k++) {
            const struct nf_point *p = &curve->points.v[k];

            if (p->policy != l.policy[i] || p->overlap != NF_OVERLAP_ASAP || p->hog || p->parallelism_scale != 1 ||
                !p->slowdown.n)
                continue;
            any = p;
            nf_buf_printf(&c->data, "%.6g", p->near_share * 100);
            put_estimate(&c->data, p);
            nf_buf_puts(&c->data, "\n");
        }
        nf_buf_printf(&c->script,
                      "%s'%s.dat' index %zu using 1:2:3:4 with yerrorbars linecolor rgb '%s' linewidth 1 pointtype 0 "
                      "notitle, \\\n  '' index %zu using 1:2 ",
                      i ? ", \\\n  " : "", c->name, i, colours[style % COLOURS], i);
        put_style(&c->script, "with linespoints", style);
        put_entry(&c->script, r, &l, any);
    }
    nf_buf_puts(&c->script, "\n");
    return true;
}

/* Bytes do not depend on the overlap mode; the first mode that was replayed stands for all. */
static const struct nf_point *demand_point(const struct nf_curve *c, uint32_t policy, double share)
{
    static const unsigned modes[] = {NF_OVERLAP_FULL, NF_OVERLAP_NONE, NF_OVERLAP_ASAP};
    const struct nf_point *p = NULL;

    for (size_t i = 0; i < 3 && !p; i++)
        p = nf_curve_find(c, policy, share, modes[i], false, 1);
    return p;
}

static void demand_panels(struct nf_canvas *c, const struct nf_report *r, const struct lines *l, const double *far,
                          double unit, const char *unit_name)
{
    static const char *const titles[] = {"visited in far memory", "charged past the LLC filter, or fetched", "migrated"};
    const struct nf_curve *curve = &r->curve;

    nf_buf_printf(&c->script,
                  "set multiplot layout 1,3 margins 0.07,0.79,0.15,%.4f spacing 0.055\n"
                  "set xrange [0:102]\nset xtics 20\nset yrange [0:*]\nset xlabel 'near capacity (%% of peak live)'\n"
                  "unset key\n",
                  1 - 118.0 / c->height);
    for (int panel = 0; panel < 3; panel++) {
        nf_buf_printf(&c->script, "set title '%s' font ',13' offset 0,-0.4\n", titles[panel]);
        if (panel == 0)
            nf_buf_printf(&c->script, "set ylabel '%s per step'\n", unit_name);
        else if (panel == 1)
            nf_buf_puts(&c->script, "unset ylabel\nunset label 1\nunset label 2\nunset label 3\n");
        else
            nf_buf_printf(&c->script,
                          "set key at screen 0.8,%.4f left top Left reverse samplen 2 spacing 1.25 font ',12'\n",
                          1 - 112.0 / c->height);
        nf_buf_puts(&c->script, "plot ");
        if (panel == 1 && r->data.bounds.n)
            nf_buf_printf(&c->script, "'%s.dat' index %zu using 1:2 with linespoints linecolor rgb '#000000' dashtype (2,3) pointtype 1, \\\n  ",
                          c->name, l->n);
        if (panel == 2 && r->data.bounds.n)
            nf_buf_puts(&c->script, "NaN with linespoints linecolor rgb '#000000' dashtype (2,3) pointtype 1 title 'least (LP, modelled)', \\\n  ");
        if (isfinite(far[panel]) || panel == 2)
            nf_buf_printf(&c->script, "%.6g with lines linecolor rgb '#555555' dashtype (6,4) title 'all-far', \\\n  ",
                          isfinite(far[panel]) ? far[panel] / unit : 0);
        for (size_t i = 0; i < l->n; i++) {
            nf_buf_printf(&c->script, "%s'%s.dat' index %zu using 1:%d ", i ? ", \\\n  " : "", c->name, i, panel + 2);
            put_style(&c->script, "with linespoints", style_of(curve, l->policy[i]));
            nf_buf_puts(&c->script, " title ");
            nf_canvas_text(&c->script, curve->policies.v[l->policy[i]].label, LABEL_MAX - 4);
        }
        nf_buf_puts(&c->script, "\n");
    }
    nf_buf_puts(&c->script, "unset multiplot\n");
}

bool nf_figure_far_demand(const struct nf_report *r, struct nf_canvas *c)
{
    const struct nf_curve *curve = &r->curve;
    double shares[SHARES_MAX], most = 0, far[3] = {NAN, NAN, NAN}, unit;
    size_t n_shares = nf_curve_shares(curve, shares, SHARES_MAX);
    struct lines l;

    choose_lines(curve, false, &l);
    for (size_t i = 0; i < curve->points.n; i++) {
        const struct nf_point *p = &curve->points.v[i];

        if (isfinite(p->far_bytes))
            most = fmax(most, fmax(p->far_bytes, p->moved_bytes));
        if (curve->policies.v[p->policy].all_far && isnan(far[0])) {
            far[0] = p->far_bytes;
            far[1] = p->charged_bytes + p->fetched_bytes;
            far[2] = p->moved_bytes;
        }
    }
    if (!l.n || !(most > 0))
        return false;
    unit = most >= 1 << 30 ? 1 << 30 : most >= 1 << 20 ? 1 << 20 : 1024;
    curve_head(r, c, &l, "Far demand", "bytes per measured step, median over blocks");
    for (size_t i = 0; i < l.n; i++) {
        put_index_head(&c->data, curve->policies.v[l.policy[i]].label, "near_percent visited charged_or_fetched migrated");
        for (size_t s = 0; s < n_shares; s++) {
            const struct nf_point *p = demand_point(curve, l.policy[i], shares[s]);

            if (!p)
                continue;
            nf_buf_printf(&c->data, "%.6g", shares[s] * 100);
            put_value(&c->data, p->far_bytes / unit);
            put_value(&c->data, (p->charged_bytes + p->fetched_bytes) / unit);
            put_value(&c->data, p->moved_bytes / unit);
            nf_buf_puts(&c->data, "\n");
        }
    }
    if (r->data.bounds.n)
        put_index_head(&c->data, "the least that a policy which holds storages leaves to be charged or fetched", "near_percent bytes");
    for (size_t i = 0; i < r->data.bounds.n; i++) {
        nf_buf_printf(&c->data, "%.6g", r->data.bounds.v[i].near_share * 100);
        put_value(&c->data, r->data.bounds.v[i].lp_bytes / unit);
        nf_buf_puts(&c->data, "\n");
    }
    demand_panels(c, r, &l, far, unit, unit >= 1 << 30 ? "GiB" : unit >= 1 << 20 ? "MiB" : "KiB");
    return true;
}
