/* summary.md: the report as text, long tables left to the CSV files. */
#include <string.h>

#include "analyze/document.h"
#include "analyze/print.h"
#include "analyze/writer.h"

enum { ROWS_MAX = 60 };

static void put_table(struct nf_buf *b, const struct nf_block *t)
{
    size_t rows = t->columns ? t->cells.n / t->columns : 0;

    nf_buf_puts(b, "**");
    nf_print_markdown(b, t->text);
    nf_buf_puts(b, "**\n\n");
    if (rows > ROWS_MAX + 1) {
        nf_buf_printf(b, "%zu rows: see index.html, curve.csv and trials.csv.\n\n", rows - 1);
        return;
    }
    for (size_t i = 0; i < rows; i++) {
        for (size_t k = 0; k < t->columns; k++) {
            nf_buf_puts(b, k ? " | " : "| ");
            nf_print_markdown(b, t->cells.v[i * t->columns + k]);
        }
        nf_buf_puts(b, " |\n");
        for (size_t k = 0; !i && k < t->columns; k++)
            nf_buf_printf(b, "%s%s%s", k ? "" : "|",
                          t->left >> k & 1 ? "---" : "--:", k + 1 < t->columns ? "|" : "|\n");
    }
    nf_buf_puts(b, "\n");
}

static int write_markdown(const struct nf_report *r, const char *directory)
{
    struct nf_document doc;
    struct nf_buf b = {0};
    int rc = nf_document_init(&doc, r);

    nf_buf_puts(&b, "# Policy curves of ");
    nf_print_markdown(&b, r->data.study);
    nf_buf_puts(&b, "\n\n");
    for (size_t i = 0; i < doc.blocks.n; i++) {
        const struct nf_block *block = &doc.blocks.v[i];

        switch (block->kind) {
        case NF_BLOCK_HEADING: nf_buf_puts(&b, "## "); /* fallthrough */
        case NF_BLOCK_LEAD:
        case NF_BLOCK_TEXT:
            nf_print_markdown(&b, block->text);
            nf_buf_puts(&b, "\n\n");
            break;
        case NF_BLOCK_TABLE: put_table(&b, block); break;
        case NF_BLOCK_FIGURE:
            if (*block->figure->problem) {
                nf_buf_printf(&b, "%s: not drawn: ", block->figure->title);
                nf_print_markdown(&b, block->figure->problem);
                nf_buf_printf(&b, ". Its script and data: %s.gp, %s.dat.\n\n", block->figure->name,
                              block->figure->name);
            } else {
                nf_buf_printf(&b, "![%s](%s.svg)\n\n%s\n\n", block->figure->title, block->figure->name,
                              block->figure->caption);
            }
        }
    }
    nf_document_deinit(&doc);
    if (rc) {
        nf_buf_deinit(&b);
        return rc;
    }
    return nf_writer_file(directory, "summary.md", &b);
}

const struct nf_writer_ops nf_writer_markdown = {
    .name = "markdown",
    .about = "summary.md: the report as text",
    .files = (const char *const[]){"summary.md", NULL},
    .write = write_markdown,
};
