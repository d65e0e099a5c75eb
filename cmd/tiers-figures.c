#include "cmd/tiers-figures.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "analyze/gnuplot.h"
#include "analyze/plot.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "replay/background.h"

static const struct nf_column columns[] = {
    {"tier", "tier", NF_COLUMN_TEXT},
    {"what", "what", NF_COLUMN_TEXT},
    {"traffic", "traffic", NF_COLUMN_TEXT},
    {"threads", "threads", NF_COLUMN_INTEGER},
    {"traffic_cpus", "on CPUs", NF_COLUMN_TEXT},
    {"offered", "offered", NF_COLUMN_TEXT},
    {"traffic_bytes_per_s", "traffic/s", NF_COLUMN_BYTES},
    {"ns", "time", NF_COLUMN_NS},
    {"bytes_per_s", "bytes/s", NF_COLUMN_BYTES},
    {"bytes", "size", NF_COLUMN_BYTES},
    {"k", "k", NF_COLUMN_REAL},
    {"page", "page", NF_COLUMN_TEXT},
    {"locality", "chase", NF_COLUMN_TEXT},
    {"working_set_bytes", "working set", NF_COLUMN_BYTES},
    {"llc_bytes", "LLC", NF_COLUMN_BYTES},
    {"parallelism", "chains", NF_COLUMN_INTEGER},
    {"cpu", "CPU", NF_COLUMN_INTEGER},
    {"governor", "governor", NF_COLUMN_TEXT},
    {"placement", "placement", NF_COLUMN_TEXT},
    {"samples", "samples", NF_COLUMN_INTEGER},
    {"stable", "gates", NF_COLUMN_TEXT},
};

static void known(struct nf_table *t, double v)
{
    if (v > 0)
        nf_table_number(t, v);
    else
        nf_table_unknown(t);
}

const char *nf_tiers_placement(const struct nf_tier *t)
{
    return t->facts.unproved ? "unproved" : "proved";
}

static void row(const struct nf_testbed *b, const struct nf_tier_figure *f, struct nf_table *t)
{
    const struct nf_tier *tier = &b->tiers[f->tier];
    char name[80], offered[16] = "";

    if (!strcmp(f->what, "bandwidth") || (!strcmp(f->what, "loaded") && f->threads))
        snprintf(offered, sizeof offered, "max");

    if (f->to_tier >= 0)
        snprintf(name, sizeof name, "%s to %s", tier->name, b->tiers[f->to_tier].name);
    else
        snprintf(name, sizeof name, "%s", tier->name);
    nf_table_text(t, name);
    nf_table_text(t, f->what);
    nf_table_text(t, f->traffic);
    nf_table_integer(t, f->threads);
    nf_table_text(t, f->traffic_cpus);
    if (f->offered > 0)
        snprintf(offered, sizeof offered, "%.0f %%", 100 * f->offered);
    nf_table_text(t, offered);
    known(t, f->traffic_bps);
    known(t, strcmp(f->unit, "ns") ? 0 : f->value);
    known(t, strcmp(f->unit, "B/s") ? 0 : f->value);
    known(t, strcmp(f->unit, "B") ? 0 : f->value);
    known(t, strcmp(f->unit, "lines") ? 0 : f->value);
    nf_table_text(t, f->page);
    nf_table_text(t, f->locality);
    nf_table_integer(t, (int64_t)f->working_set_bytes);
    nf_table_integer(t, (int64_t)f->llc_bytes);
    nf_table_integer(t, f->parallelism);
    nf_table_integer(t, b->cpu);
    nf_table_text(t, b->governor);
    nf_table_text(t, nf_tiers_placement(f->to_tier >= 0 && b->tiers[f->to_tier].facts.unproved ? &b->tiers[f->to_tier] : tier));
    nf_table_integer(t, f->n);
    nf_table_text(t, f->stable ? "stable" : "unstable");
}

int nf_tiers_print_figures(const struct nf_testbed *beds, size_t n, enum nf_table_format format)
{
    struct nf_table *t = nf_table_new(columns, sizeof columns / sizeof *columns);
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "no memory");
    for (const struct nf_testbed *b = beds; b < beds + n; b++)
        for (size_t i = 0; i < b->figures.list.n; i++)
            row(b, &b->figures.list.v[i], t);
    rc = nf_table_print(t, format, stdout);
    nf_table_free(t);
    return rc;
}

/* --- picture --- */

/* Okabe and Ito's palette: told apart by those who see no red from green, too. A colour and a symbol for each mix. */
static const char *const colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"};
static const int symbols[] = {7, 5, 9, 11, 13};
_Static_assert(sizeof colours / sizeof *colours == NF_BACKGROUND_KINDS, "a colour for each mix");

enum { PANEL_WIDTH = 520, HEAD_HEIGHT = 96, PANEL_HEIGHT = 430, KEY_HEIGHT = 44, NAME_MAX_SHOWN = 40, SIDE_BY_SIDE = 2 };

int nf_tiers_plot_check(const char *path)
{
    int rc = nf_plot_check(path);

    return rc ? rc : nf_gnuplot_probe();
}

static bool is_loaded(const struct nf_tier_figure *f, uint32_t tier)
{
    return f->tier == tier && !strcmp(f->what, "loaded");
}

/* A curve of one tier and mix as a data block; the idle point begins each. Returns its points. */
static unsigned curve(const struct nf_testbed *b, uint32_t tier, unsigned mix, struct nf_buf *script)
{
    unsigned n = 0;

    for (size_t i = 0; i < b->figures.list.n; i++) {
        const struct nf_tier_figure *f = &b->figures.list.v[i];

        if (!is_loaded(f, tier) || (*f->traffic && strcmp(f->traffic, nf_background_kind_name(mix))))
            continue;
        if (!n)
            nf_buf_printf(script, "$t%u_%u << E\n", tier, mix);
        nf_buf_printf(script, "%.6g %.6g %d\n", f->traffic_bps / 1e9, f->value, f->stable);
        n++;
    }
    if (n)
        nf_buf_puts(script, "E\n");
    return n;
}

/* One panel: a curve for each mix in the order in which more was asked for, so that one that bends back shows it. */
static void panel(const struct nf_testbed *b, uint32_t tier, struct nf_canvas *c)
{
    struct nf_buf title = {0};

    for (unsigned m = 0; m < NF_BACKGROUND_KINDS; m++)
        curve(b, tier, m, &c->script);
    nf_buf_printf(&title, "%s (%s)", b->tiers[tier].name, nf_evidence_name(b->tiers[tier].facts.evidence));
    nf_buf_puts(&c->script, "set title ");
    nf_canvas_text(&c->script, title.data ? title.data : "", NAME_MAX_SHOWN);
    nf_buf_puts(&c->script, " font ',14' offset 0,-0.3\n");
    for (unsigned m = 0; m < NF_BACKGROUND_KINDS; m++)
        nf_buf_printf(&c->script, "%s$t%u_%u using 1:2 with linespoints lc rgb '%s' pt %d ps 0.9 lw 2 notitle", m ? ", \\\n     " : "plot ",
                      tier, m, colours[m], symbols[m]);
    for (unsigned m = 0; m < NF_BACKGROUND_KINDS; m++)
        nf_buf_printf(&c->script, ", \\\n     $t%u_%u using 1:($3 > 0 ? NaN : $2) with points lc rgb '#d00000' pt 6 ps 2.2 lw 1.5 notitle",
                      tier, m);
    nf_buf_puts(&c->script, "\n");
    c->script.failed = c->script.failed || title.failed;
    nf_buf_deinit(&title);
}

/* What colours mean, once for all panels, along the bottom. */
static void key(struct nf_canvas *c)
{
    nf_buf_puts(&c->script, "set origin 0,0\n");
    nf_buf_printf(&c->script, "set size 1,%.4f\n", (double)KEY_HEIGHT / c->height);
    nf_buf_puts(&c->script, "unset title; unset xlabel; unset ylabel; unset tics; unset border; unset grid\n"
                            "set lmargin 0; set rmargin 0; set tmargin 0; set bmargin 0\n"
                            "set key center center horizontal samplen 2 width 1 maxrows 1 font ',13'\n"
                            "set xrange [0:1]; set yrange [0:1]\n");
    for (unsigned m = 0; m < NF_BACKGROUND_KINDS; m++)
        nf_buf_printf(&c->script, "%sNaN with linespoints lc rgb '%s' pt %d ps 0.9 lw 2 title '%s'", m ? ", " : "plot ", colours[m],
                      symbols[m], nf_background_kind_name(m));
    nf_buf_puts(&c->script, ", NaN with points lc rgb '#d00000' pt 6 ps 2.2 lw 1.5 title 'unstable'\n");
}

/* The highest latency and traffic drawn: all panels share their axes, or far would look like near. Returns the panels. */
static unsigned extent(const struct nf_testbed *b, double *ns, double *bps)
{
    unsigned panels = 0;

    *ns = *bps = 0;
    for (uint32_t t = 0; t < b->n_tiers; t++) {
        bool any = false;

        for (size_t i = 0; i < b->figures.list.n; i++) {
            const struct nf_tier_figure *f = &b->figures.list.v[i];

            if (!is_loaded(f, t))
                continue;
            any = true;
            *ns = f->value > *ns ? f->value : *ns;
            *bps = f->traffic_bps > *bps ? f->traffic_bps : *bps;
        }
        panels += any;
    }
    return panels;
}

static bool has_curve(const struct nf_testbed *b, uint32_t tier)
{
    for (size_t i = 0; i < b->figures.list.n; i++)
        if (is_loaded(&b->figures.list.v[i], tier))
            return true;
    return false;
}

static int fill(const struct nf_testbed *b, struct nf_canvas *c)
{
    double ns, bps;
    unsigned panels = extent(b, &ns, &bps), across = panels < SIDE_BY_SIDE ? panels : SIDE_BY_SIDE, shown = 0;
    unsigned lines = across ? (panels + across - 1) / across : 0;

    if (!panels)
        return nf_fail(-EINVAL, "there is no loaded-latency curve to draw");
    c->width = (int)across * PANEL_WIDTH;
    c->height = HEAD_HEIGHT + (int)lines * PANEL_HEIGHT + KEY_HEIGHT;
    nf_canvas_head(c, "Latency beside traffic",
                   "One dependent, TLB-local chain; the other CPUs issue 10 % to all of the traffic they can.",
                   "Mixes by reads for each write: read, mostly-read 3, mixed 2, write 1, stream-out 0.");
    nf_buf_printf(&c->script, "set multiplot\nset xrange [0:%.6g]\nset yrange [0:%.6g]\n", 1.05 * bps / 1e9 + 1e-3, 1.1 * ns + 1);
    nf_buf_puts(&c->script, "set xlabel 'traffic of the other threads, GB/s'\nset ylabel 'latency of a load, ns'\n"
                            "set lmargin 9; set rmargin 2; set tmargin 2; set bmargin 4\nunset key\n");
    for (uint32_t i = 0; i < b->n_tiers; i++) {
        if (!has_curve(b, i))
            continue;
        nf_buf_printf(&c->script, "set origin %.4f,%.4f\nset size %.4f,%.4f\n", (double)(shown % across) / across,
                      (KEY_HEIGHT + (lines - 1 - shown / across) * (double)PANEL_HEIGHT) / c->height, 1.0 / across,
                      (double)PANEL_HEIGHT / c->height);
        panel(b, i, c);
        if (!shown++)
            nf_buf_puts(&c->script, "unset label\n"); /* the head is drawn once */
    }
    key(c);
    nf_buf_puts(&c->script, "unset multiplot\n");
    return c->script.failed ? nf_fail(-ENOMEM, "no memory") : 0;
}

int nf_tiers_plot(const struct nf_testbed *b, const char *path)
{
    struct nf_canvas c = {.name = "plot"};
    int rc = fill(b, &c);

    if (!rc)
        rc = nf_plot_draw(&c, path);
    nf_buf_deinit(&c.script);
    nf_buf_deinit(&c.data);
    return rc;
}
