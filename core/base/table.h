#pragma once
/* A table for people (aligned text) and programs (JSON, CSV). A column is data: name, kind, heading. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum nf_column_kind {
    NF_COLUMN_TEXT,
    NF_COLUMN_INTEGER,
    NF_COLUMN_BYTES, /* text: 1.50 GiB; programs: the number */
    NF_COLUMN_NS,    /* text: 12.3 ms; programs: the number */
    NF_COLUMN_SHARE, /* 0..1; text: 12.3 % */
    NF_COLUMN_REAL,
    NF_COLUMN_HEX, /* 64-bit id */
};

struct nf_column {
    const char *name, *heading; /* machine name with its unit; what a person reads */
    enum nf_column_kind kind;
};

enum nf_table_format { NF_TABLE_TEXT, NF_TABLE_JSON, NF_TABLE_CSV };

struct nf_table;
struct nf_buf;

/* columns are borrowed and must outlive the table. NULL: no memory. */
struct nf_table *nf_table_new(const struct nf_column *columns, size_t n_columns);
struct nf_table *nf_table_free(struct nf_table *t);
/* Cells are added left to right, row by row. Errors are kept and reported by nf_table_print. */
void nf_table_text(struct nf_table *t, const char *v);
void nf_table_number(struct nf_table *t, double v); /* unknown where it is not finite */
void nf_table_integer(struct nf_table *t, int64_t v);
/* Prints as "unknown" in text and CSV, null in JSON. */
void nf_table_unknown(struct nf_table *t);
size_t nf_table_rows(const struct nf_table *t);
/* Drops the rows after the first `rows`. */
void nf_table_truncate(struct nf_table *t, size_t rows);
const struct nf_column *nf_table_columns(const struct nf_table *t, size_t *n);
/* Appends a cell as people read it, whole. row and column exist. */
void nf_table_cell(const struct nf_table *t, size_t row, size_t column, struct nf_buf *b);
/* Appends the table. 0, or -ENOMEM also for what failed while it was filled. */
int nf_table_format(const struct nf_table *t, enum nf_table_format format, struct nf_buf *b);
/* 0, -ENOMEM, or -errno of the stream (cause set). A reader that left early, as head does, is no error. */
int nf_table_print(const struct nf_table *t, enum nf_table_format format, FILE *to);
