/* index.html: the whole report in one offline file, figures and style inside. It is well-formed XML too. */
#include <stdio.h>
#include <string.h>

#include "analyze/document.h"
#include "analyze/writer.h"
#include "core/base/buf.h"

enum { SVG_MAX = 64 << 20, LONG_TABLE_ROWS = 25 };

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--soft:#5b5b5b;--line:#d8d8d8;--band:#f5f5f3}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#161616;--soft:#a8a8a8;--line:#3a3a3a;"
    "--band:#202020}}"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:76rem;margin:0 auto;"
    "padding:1.5rem}"
    "h1{font-size:1.5rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}p{max-width:52rem;overflow-wrap:anywhere}"
    ".lead{font-size:1.12rem}"
    "figure{margin:1.5rem 0}figure svg{width:100%;height:auto;background:#fff;border-radius:4px}"
    "figcaption{color:var(--soft);font-size:.9rem;max-width:52rem}"
    ".scroll{overflow-x:auto;margin:1rem 0}"
    "table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}"
    "caption,summary{text-align:left;font-weight:600;padding:.3rem 0}"
    "th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}td{white-space:nowrap}"
    "th{background:var(--band);font-weight:600}.l{text-align:left;overflow-wrap:anywhere;white-space:normal;min-width:6rem}";

static void put_cell(struct nf_buf *b, const struct nf_block *t, size_t row, size_t column)
{
    nf_buf_printf(b, row ? "<td%s>" : "<th%s>", t->left >> column & 1 ? " class=\"l\"" : "");
    nf_buf_html(b, t->cells.v[row * t->columns + column]);
    nf_buf_puts(b, row ? "</td>" : "</th>");
}

static void put_table(struct nf_buf *b, const struct nf_block *t)
{
    size_t rows = t->columns ? t->cells.n / t->columns : 0;
    bool folded = rows > LONG_TABLE_ROWS;

    nf_buf_puts(b, folded ? "<details><summary>" : "");
    if (folded) {
        nf_buf_html(b, t->text);
        nf_buf_printf(b, " (%zu rows)</summary>", rows - 1);
    }
    nf_buf_puts(b, "<div class=\"scroll\"><table>");
    if (!folded) {
        nf_buf_puts(b, "<caption>");
        nf_buf_html(b, t->text);
        nf_buf_puts(b, "</caption>");
    }
    for (size_t i = 0; i < rows; i++) {
        nf_buf_puts(b, i == 0 ? "<thead><tr>" : i == 1 ? "<tbody><tr>" : "<tr>");
        for (size_t k = 0; k < t->columns; k++)
            put_cell(b, t, i, k);
        nf_buf_puts(b, i == 0 ? "</tr></thead>\n" : "</tr>\n");
    }
    nf_buf_puts(b, rows > 1 ? "</tbody></table></div>" : "</table></div>");
    nf_buf_puts(b, folded ? "</details>\n" : "\n");
}

/* gnuplot names the parts of every SVG alike; in one page the names must differ. */
static void put_svg(struct nf_buf *b, const char *svg, const char *figure)
{
    static const char *const marks[] = {" id=\"", " id='", "href='#", "href=\"#", "url(#"};

    for (svg = strstr(svg, "<svg"); svg && *svg; svg++) {
        nf_buf_add(b, svg, 1);
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
            size_t n = strlen(marks[i]);

            if (!strncmp(svg, marks[i], n)) {
                nf_buf_add(b, svg + 1, n - 1);
                nf_buf_printf(b, "%s-", figure);
                svg += n - 1;
                break;
            }
        }
    }
}

static void put_figure(struct nf_buf *b, const struct nf_figure *f, const char *directory)
{
    struct nf_buf path = {0}, svg = {0};

    nf_buf_printf(b, "<figure id=\"%s\">", f->name);
    nf_buf_printf(&path, "%s/%s.svg", directory, f->name);
    if (*f->problem || path.failed || nf_buf_read_file(&svg, path.data, SVG_MAX)) {
        nf_buf_printf(b, "<p><strong>%s: not drawn:</strong> ", f->title);
        nf_buf_html(b, *f->problem ? f->problem : "its SVG cannot be read");
        nf_buf_puts(b, ".</p>");
    } else {
        put_svg(b, svg.data, f->name);
    }
    nf_buf_puts(b, "<figcaption>");
    nf_buf_html(b, f->caption);
    nf_buf_printf(b, " Redraw: %s.gp, %s.dat.</figcaption></figure>\n", f->name, f->name);
    nf_buf_deinit(&path);
    nf_buf_deinit(&svg);
}

static int write_html(const struct nf_report *r, const char *directory)
{
    struct nf_document doc;
    struct nf_buf b = {0};
    int rc = nf_document_init(&doc, r);

    nf_buf_puts(&b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
                    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><title>nearfar: ");
    nf_buf_html(&b, r->data.study);
    nf_buf_printf(&b, "</title><style>%s</style></head><body>\n<h1>Policy curves of ", style);
    nf_buf_html(&b, r->data.study);
    nf_buf_puts(&b, "</h1>\n");
    for (size_t i = 0; i < doc.blocks.n; i++) {
        const struct nf_block *block = &doc.blocks.v[i];
        const char *open = block->kind == NF_BLOCK_HEADING ? "h2"
                           : block->kind == NF_BLOCK_LEAD  ? "p class=\"lead\""
                                                           : "p";

        if (block->kind == NF_BLOCK_TABLE) {
            put_table(&b, block);
        } else if (block->kind == NF_BLOCK_FIGURE) {
            put_figure(&b, block->figure, directory);
        } else {
            nf_buf_printf(&b, "<%s>", open);
            nf_buf_html(&b, block->text);
            nf_buf_printf(&b, "</%.*s>\n", (int)strcspn(open, " "), open);
        }
    }
    nf_buf_puts(&b, "</body></html>\n");
    nf_document_deinit(&doc);
    if (rc) {
        nf_buf_deinit(&b);
        return rc;
    }
    return nf_writer_file(directory, "index.html", &b);
}

const struct nf_writer_ops nf_writer_html = {
    .name = "html",
    .about = "index.html: the report as one offline page",
    .files = (const char *const[]){"index.html", NULL},
    .write = write_html,
};
