#include "analyze/plot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyze/gnuplot.h"
#include "core/base/error.h"

/* A figure takes well under a second; a minute is a machine in trouble. */
enum { DRAW_TIMEOUT_MS = 60000, FILE_MAX = 64 << 20, FOLDER_MAX = 4000 };

/* Sizes in pixels of the SVG; the others have the same shape, and letters of the same size in it. */
static const struct {
    const char *ending, *terminal;
    double unit;
} formats[] = {
    {".svg", "svg size %.0f,%.0f dynamic noenhanced font 'Helvetica,14' background '#ffffff'", 1},
    {".png",
     "pngcairo size %.0f,%.0f noenhanced font 'Helvetica,14' fontscale 1.4 linewidth 1.5 dashlength 1.6 background "
     "'#ffffff'",
     1.8},
    {".pdf", "pdfcairo size %.2fcm,%.2fcm noenhanced font 'Helvetica,10.5'", 0.0264},
};

static int format_of(const char *path)
{
    size_t n = strlen(path);

    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (n > 4 && !strcmp(path + n - 4, formats[i].ending))
            return (int)i;
    }
    return nf_fail(-EINVAL, "'%s' ends in none of .svg, .png, .pdf", path);
}

int nf_plot_check(const char *path)
{
    int format = format_of(path);

    return format < 0 ? format : 0;
}

static int draw_in(const char *folder, const struct nf_canvas *c, int format, const char *path)
{
    char file[FOLDER_MAX + 32];
    struct nf_buf script = {0}, drawn = {0};
    int rc;

    nf_canvas_style(&script);
    nf_buf_puts(&script, "set terminal ");
    /* The table's own formats, each with two numbers. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    nf_buf_printf(&script, formats[format].terminal, c->width * formats[format].unit, c->height * formats[format].unit);
#pragma GCC diagnostic pop
    nf_buf_puts(&script, "\nset output 'drawn'\n");
    nf_buf_add(&script, c->script.data, c->script.n);
    nf_buf_puts(&script, "unset output\n");
    rc = script.failed || c->script.failed || c->data.failed ? nf_fail(-ENOMEM, "out of memory for a figure") : 0;
    if (!rc) {
        snprintf(file, sizeof file, "%s/plot.gp", folder);
        rc = nf_file_write(file, script.data, script.n);
    }
    if (!rc) {
        snprintf(file, sizeof file, "%s/%s.dat", folder, c->name);
        rc = nf_file_write(file, c->data.data, c->data.n);
    }
    if (!rc)
        rc = nf_gnuplot_run(folder, "plot.gp", DRAW_TIMEOUT_MS);
    snprintf(file, sizeof file, "%s/drawn", folder);
    if (!rc)
        rc = nf_buf_read_file(&drawn, file, FILE_MAX);
    if (!rc)
        rc = nf_file_write(path, drawn.data, drawn.n);
    nf_buf_deinit(&script);
    nf_buf_deinit(&drawn);
    return rc;
}

int nf_plot_draw(const struct nf_canvas *c, const char *path)
{
    static const char *const files[] = {"plot.gp", "plot.dat", "drawn"};
    const char *parent = getenv("TMPDIR");
    char folder[FOLDER_MAX], file[FOLDER_MAX + 32];
    int format = format_of(path), rc;

    if (format < 0)
        return format;
    if ((size_t)snprintf(folder, sizeof folder, "%s/nearfar-XXXXXX", parent && *parent ? parent : "/tmp") >=
        sizeof folder)
        return nf_fail(-ENAMETOOLONG, "TMPDIR is too long");
    if (!mkdtemp(folder))
        return nf_fail(-errno, "cannot make a temporary folder %s: %s", folder, strerror(errno));
    rc = draw_in(folder, c, format, path);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(file, sizeof file, "%s/%s", folder, files[i]);
        unlink(file);
    }
    rmdir(folder);
    return rc;
}
