#include "cmd/tiers-figures.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyze/gnuplot.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "replay/background.h"

enum { PLOT_TIMEOUT_MS = 30000 };

static const struct nf_column columns[] = {
    {"tier", "tier", NF_COLUMN_TEXT},
    {"what", "what", NF_COLUMN_TEXT},
    {"traffic", "traffic", NF_COLUMN_TEXT},
    {"threads", "threads", NF_COLUMN_INTEGER},
    {"offered", "offered", NF_COLUMN_TEXT},
    {"traffic_bytes_per_s", "traffic/s", NF_COLUMN_BYTES},
    {"ns", "time", NF_COLUMN_NS},
    {"bytes_per_s", "bytes/s", NF_COLUMN_BYTES},
    {"page", "page", NF_COLUMN_TEXT},
    {"locality", "chase", NF_COLUMN_TEXT},
    {"working_set_bytes", "working set", NF_COLUMN_BYTES},
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

static void row(const struct nf_testbed *b, const struct nf_tier_figure *f, struct nf_table *t)
{
    char name[80], offered[16] = "";

    if (f->threads && *f->traffic)
        snprintf(offered, sizeof offered, "max");

    if (f->to_tier >= 0)
        snprintf(name, sizeof name, "%s to %s", b->tiers[f->tier].name, b->tiers[f->to_tier].name);
    else
        snprintf(name, sizeof name, "%s", b->tiers[f->tier].name);
    nf_table_text(t, name);
    nf_table_text(t, f->what);
    nf_table_text(t, f->traffic);
    nf_table_integer(t, f->threads);
    if (f->offered > 0)
        snprintf(offered, sizeof offered, "%.0f %%", 100 * f->offered);
    nf_table_text(t, offered);
    known(t, f->traffic_bps);
    known(t, strcmp(f->unit, "ns") ? 0 : f->value);
    known(t, strcmp(f->unit, "B/s") ? 0 : f->value);
    nf_table_text(t, f->page);
    nf_table_text(t, f->locality);
    nf_table_integer(t, (int64_t)f->working_set_bytes);
    nf_table_integer(t, f->n);
    nf_table_text(t, f->stable ? "stable" : "unstable");
}

int nf_tiers_print_figures(const struct nf_testbed *b, enum nf_table_format format)
{
    struct nf_table *t = nf_table_new(columns, sizeof columns / sizeof *columns);
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "no memory");
    for (size_t i = 0; i < b->figures.list.n; i++)
        row(b, &b->figures.list.v[i], t);
    rc = nf_table_print(t, format, stdout);
    nf_table_free(t);
    return rc;
}

/* --- picture --- */

static const char *terminal(const char *path)
{
    static const char *const known_endings[][2] = {
        {".svg", "svg size 1000,680 dynamic font 'sans,13'"},
        {".png", "png size 1000,680"},
        {".pdf", "pdfcairo size 9,6"},
    };
    size_t n = strlen(path);

    for (size_t i = 0; i < sizeof known_endings / sizeof *known_endings; i++)
        if (n > 4 && !strcmp(path + n - 4, known_endings[i][0]))
            return known_endings[i][1];
    return NULL;
}

int nf_tiers_plot_check(const char *path)
{
    if (!terminal(path))
        return nf_fail(-EINVAL, "--plot %s: a name that ends in .svg, .png or .pdf is wanted", path);
    return nf_gnuplot_probe();
}

/* A curve of one tier and mix as a data block; the idle point begins each. Returns its points. */
static unsigned curve(const struct nf_testbed *b, uint32_t tier, const char *traffic, unsigned mix, struct nf_buf *script)
{
    unsigned n = 0;

    for (size_t i = 0; i < b->figures.list.n; i++) {
        const struct nf_tier_figure *f = &b->figures.list.v[i];

        if (f->tier != tier || strcmp(f->what, "loaded") || (*f->traffic && strcmp(f->traffic, traffic)))
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

/* Names come from the command line: what would end gnuplot's string, or be markup, is left out. */
static void plain(const char *text, struct nf_buf *b)
{
    for (; *text; text++)
        if (!strchr("'\"\\{}_^@&~\n", *text))
            nf_buf_add(b, text, 1);
}

/* A colour for each mix, a shape and a dash for each tier. */
static unsigned write_script(const struct nf_testbed *b, const char *path, struct nf_buf *script)
{
    struct nf_buf plots = {0};
    unsigned n = 0;

    nf_buf_printf(script,
                  "set terminal %s\nset output 'picture'\nset title 'Latency of one TLB-local chain beside traffic'\n"
                  "set xlabel 'traffic of the other threads, GB/s'\nset ylabel 'latency, ns'\n"
                  "set key outside bottom center horizontal maxcols 3 samplen 3 width -1\n"
                  "set yrange [0:*]\nset xrange [0:*]\nset grid\n", terminal(path));
    for (uint32_t i = 0; i < b->n_tiers; i++)
        for (unsigned m = 0; m < NF_BACKGROUND_KINDS; m++) {
            const char *mix = nf_background_kind_name(m);

            if (!curve(b, i, mix, m, script))
                continue;
            nf_buf_printf(&plots, "%s$t%u_%u using 1:2 with linespoints lc %u dt %u pt %u lw 1.5 title '", n ? ", " : "plot ", i, m,
                          m + 1, i % 4 + 1, i % 4 * 2 + 5);
            plain(b->tiers[i].name, &plots);
            nf_buf_printf(&plots, ", %s, %s'", mix, nf_evidence_name(b->tiers[i].facts.evidence));
            nf_buf_printf(&plots, ", $t%u_%u using 1:($3 > 0 ? NaN : $2) with points lc rgb 'red' pt 4 ps 1.8 notitle", i, m);
            n++;
        }
    if (n)
        nf_buf_puts(&plots, ", NaN with points lc rgb 'red' pt 4 ps 1.8 title 'unstable'");
    nf_buf_puts(script, plots.data ? plots.data : "");
    nf_buf_puts(script, "\n");
    script->failed = script->failed || plots.failed;
    nf_buf_deinit(&plots);
    return n;
}

int nf_tiers_plot(const struct nf_testbed *b, const char *path)
{
    char folder[] = "/tmp/nearfar-plot-XXXXXX", script_path[64], picture[64];
    struct nf_buf script = {0}, made = {0};
    int rc = 0;

    if (!write_script(b, path, &script))
        rc = nf_fail(-EINVAL, "there is no loaded-latency curve to draw");
    if (!rc && script.failed)
        rc = nf_fail(-ENOMEM, "no memory");
    if (!rc && !mkdtemp(folder))
        rc = nf_fail(-errno, "cannot make a folder in /tmp: %s", strerror(errno));
    if (!rc) {
        snprintf(script_path, sizeof script_path, "%s/script", folder);
        snprintf(picture, sizeof picture, "%s/picture", folder);
        rc = nf_file_write(script_path, script.data, script.n);
        if (!rc)
            rc = nf_gnuplot_run(folder, "script", PLOT_TIMEOUT_MS);
        if (!rc)
            rc = nf_buf_read_file(&made, picture, 64 << 20);
        if (!rc)
            rc = nf_file_write(path, made.data, made.n);
        unlink(picture);
        unlink(script_path);
        rmdir(folder);
    }
    nf_buf_deinit(&script);
    nf_buf_deinit(&made);
    return rc;
}
