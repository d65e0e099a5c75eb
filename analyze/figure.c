#include "analyze/figure.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "analyze/gnuplot.h"
#include "analyze/writer.h"
#include "core/base/error.h"
#include "core/base/log.h"

/* A figure takes well under a second; a minute is a machine in trouble. */
enum { DRAW_TIMEOUT_MS = 60000, HEAD_MAX = 165 };

static const struct {
    const char *name, *title, *caption;
    bool (*fill)(const struct nf_report *report, struct nf_canvas *c);
    int width, height;
} kinds[] = {
    {"policy-curve", "Policy curve",
     "Slowdown against all-near of the same block. Filled symbols: overlap=full with the 95 % bootstrap interval of "
     "the "
     "median; open ends of the band: overlap=none. The truth lies inside the band if the compute time was captured "
     "well.",
     nf_figure_policy_curve, 1240, 640},
    {"policy-curve-asap", "Memory time alone",
     "The same trials without the captured compute time (asap): what remains when nothing can hide behind computation.",
     nf_figure_asap_curve, 1240, 640},
    {"far-demand", "Far demand",
     "Per measured step: bytes visited in far memory, the part of them charged after the LLC filter and what was fetched "
     "into near instead, and bytes migrated either way. The dotted line is the least of the second that any policy reaches, "
     "by a linear program (modelled).",
     nf_figure_far_demand, 1240, 520},
    {"live-bytes", "Live bytes through the step",
     "Captured bytes alive at each moment of the steady step, whole pages, stacked by role.", nf_figure_live_bytes,
     1040, 560},
    {"gaps", "Distance between uses",
     "Bytes of tensors by how much other traffic passes before they are used again; right of the mark they have left "
     "an "
     "LLC of the effective size.",
     nf_figure_gaps, 1040, 560},
    {"miss-ratio", "Miss ratio",
     "Share of accessed bytes that a fully associative LRU cache of that size does not hold: exact, and what each estimator "
     "makes of it, with its mean absolute error. The visit-fused one is what a sampled run would have known.",
     nf_figure_miss_ratio, 1100, 600},
    {"reuse", "Reuse by role",
     "Accessed bytes by what lies between two accesses of a block: other bytes touched, and captured time.",
     nf_figure_reuse_by_role, 1240, 560},
    {"recompute", "Near, far, or made again",
     "Left: the step with what near cannot hold offloaded, made again wherever it can be, or whichever is cheaper (modelled), beside "
     "replays. Right: what the cheaper plan does with tensors between two uses, by bytes times time.",
     nf_figure_recompute, 1240, 560},
    {"crossover", "Where making again beats far memory",
     "Of the tensors that can be made again between two uses, the share for which that is faster than a transfer to far and back, by bytes "
     "times time, nothing else being gone; crossover.csv has what a plan makes of them together. Modelled: only the "
     "marked point is this machine.",
     nf_figure_crossover, 1000, 640},
};
_Static_assert(sizeof kinds / sizeof *kinds <= NF_FIGURES_MAX, "a report has room for every figure");

const char *const nf_figure_names[] = {"policy-curve", "policy-curve-asap", "far-demand", "live-bytes", "gaps", "miss-ratio",
                                       "reuse", "recompute", "crossover", NULL};

void nf_canvas_text(struct nf_buf *b, const char *text, size_t max)
{
    size_t shown = 0;

    nf_buf_puts(b, "'");
    for (; *text; text++) {
        if ((*text & 0xc0) != 0x80 && shown++ == max) {
            nf_buf_puts(b, "…");
            break;
        }
        if (*text == '\'')
            nf_buf_puts(b, "''");
        else
            nf_buf_add(b, (unsigned char)*text < 0x20 ? " " : text, 1);
    }
    nf_buf_puts(b, "'");
}

void nf_canvas_head(struct nf_canvas *c, const char *title, const char *line2, const char *line3)
{
    static const char *const styles[] = {"font ',17'", "font ',13' textcolor rgb '#444444'",
                                         "font ',13' textcolor rgb '#444444'"};
    static const int down[] = {24, 48, 69}; /* pixels from the top */
    const char *lines[] = {title, line2, line3};

    for (int i = 0; i < 3; i++) {
        nf_buf_printf(&c->script, "set label %d ", i + 1);
        nf_canvas_text(&c->script, lines[i], HEAD_MAX);
        nf_buf_printf(&c->script, " at screen 0.015,%.4f left %s\n", 1 - (double)down[i] / c->height, styles[i]);
    }
}

void nf_canvas_style(struct nf_buf *script)
{
    nf_buf_puts(script, "set encoding utf8\n"
                        "set datafile missing 'NaN'\n"
                        "set border 3 linecolor rgb '#666666'\n"
                        "set tics nomirror out textcolor rgb '#222222'\n"
                        "set grid ytics linecolor rgb '#dddddd' linetype 1 linewidth 0.6\n");
}

/* The plot runs twice, once per terminal, so that the script alone redraws both files. */
static void wrap(struct nf_canvas *c, struct nf_buf *out)
{
    nf_buf_printf(out, "# Redraws %s.svg and %s.pdf from %s.dat: gnuplot %s.gp\n", c->name, c->name, c->name, c->name);
    nf_canvas_style(out);
    nf_buf_puts(out, "do for [format in \"svg pdf\"] {\n"
                     "if (format eq \"svg\") {\n");
    nf_buf_printf(out,
                  "set terminal svg size %d,%d dynamic noenhanced font 'Helvetica,14' background '#ffffff'\n"
                  "set output '%s.svg'\n} else {\n"
                  "set terminal pdfcairo size %.2fcm,%.2fcm noenhanced font 'Helvetica,10.5'\n"
                  "set output '%s.pdf'\n}\n",
                  c->width, c->height, c->name, c->width * 0.0264, c->height * 0.0264, c->name);
    nf_buf_add(out, c->script.data, c->script.n);
    nf_buf_puts(out, "}\nunset output\n");
    out->failed = out->failed || c->script.failed;
}

static int write_files(struct nf_canvas *c, const char *directory)
{
    struct nf_buf script = {0};
    char name[64];
    int rc;

    wrap(c, &script);
    snprintf(name, sizeof name, "%s.gp", c->name);
    rc = nf_writer_file(directory, name, &script);
    snprintf(name, sizeof name, "%s.dat", c->name);
    return rc ? rc : nf_writer_file(directory, name, &c->data);
}

int nf_figures_draw(struct nf_report *report, const char *directory)
{
    int rc = 0;

    report->n_figures = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !rc; i++) {
        struct nf_canvas c = {.name = kinds[i].name, .width = kinds[i].width, .height = kinds[i].height};
        struct nf_figure *figure = &report->figures[report->n_figures];
        char script[64];

        if (kinds[i].fill(report, &c)) {
            rc = write_files(&c, directory);
            *figure = (struct nf_figure){.name = kinds[i].name, .title = kinds[i].title, .caption = kinds[i].caption};
            report->n_figures++;
            snprintf(script, sizeof script, "%s.gp", kinds[i].name);
            nf_progress("drawing %s", kinds[i].name);
            if (!rc) {
                int drawn = nf_gnuplot_run(directory, script, DRAW_TIMEOUT_MS);

                if (drawn)
                    snprintf(figure->problem, sizeof figure->problem, "%s", nf_error_text(drawn));
            }
        }
        nf_buf_deinit(&c.script);
        nf_buf_deinit(&c.data);
    }
    nf_progress_end();
    return rc;
}
