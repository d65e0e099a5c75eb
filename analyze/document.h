#pragma once
/* What a report says, before it is HTML or Markdown: headings, paragraphs, tables, figures, in order. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/array.h"

struct nf_buf;
struct nf_figure;
struct nf_report;
struct nf_table;

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

/* --- for chapters: out of memory is remembered, and said once at the end --- */

void nf_document_say(struct nf_document *doc, enum nf_block_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes what was printed into b. */
void nf_document_say_buf(struct nf_document *doc, enum nf_block_kind kind, struct nf_buf *b);
/* The figure of that name, if the report has it. */
void nf_document_figure(struct nf_document *doc, const struct nf_report *r, const char *name);
/* The first rows of a table, and of its columns those named (NULL-terminated, in that order; NULL: all). */
enum { NF_DOCUMENT_COLUMNS = 24 };
void nf_document_table(struct nf_document *doc, const char *title, const struct nf_table *t, const char *const *columns,
                       size_t rows_max);

/* Chapters with a file of their own. */
void nf_chapter_accesses(struct nf_document *doc, const struct nf_report *r);
void nf_chapter_live(struct nf_document *doc, const struct nf_report *r); /* part of "Can it be believed?" */
void nf_chapter_rivals(struct nf_document *doc, const struct nf_report *r);
void nf_chapter_trials(struct nf_document *doc, const struct nf_report *r);
