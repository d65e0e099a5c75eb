#pragma once
/* What a report says, before it is HTML or Markdown: headings, paragraphs, tables, figures, in order. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/array.h"

struct nf_report;
struct nf_figure;

enum nf_block_kind { NF_BLOCK_LEAD, NF_BLOCK_HEADING, NF_BLOCK_TEXT, NF_BLOCK_TABLE, NF_BLOCK_FIGURE };

struct nf_block {
    enum nf_block_kind kind;
    char *text;                     /* of a heading or paragraph; title of a table, plain text */
    const struct nf_figure *figure; /* borrowed from the report */
    size_t columns;
    uint32_t left;          /* bit set of columns that hold words; the others hold numbers */
    NF_ARRAY(char *) cells; /* row by row, the header first */
};

struct nf_document {
    NF_ARRAY(struct nf_block) blocks;
    bool failed;
};

/* 0 or -ENOMEM (cause set). The report must outlive the document. Deinit in every case. */
int nf_document_init(struct nf_document *doc, const struct nf_report *report);
void nf_document_deinit(struct nf_document *doc);
