#include "core/base/table.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/units.h"

/* A text column wider than this is cut in the view for people; JSON and CSV keep all of it. The last one, which nothing
 * stands behind, is whole up to a length that only a broken study has. */
enum { TEXT_WIDTH_MAX = 56, TEXT_WIDTH_LAST = 1024, CELL_TEXT = 96 };

enum cell_kind { CELL_TEXT_VALUE, CELL_REAL, CELL_INTEGER, CELL_UNKNOWN };

struct cell {
    enum cell_kind kind;
    char *text;
    double real;
    int64_t integer;
};

struct nf_table {
    const struct nf_column *columns;
    size_t n_columns;
    NF_ARRAY(struct cell) cells;
    bool failed;
};

struct nf_table *nf_table_new(const struct nf_column *columns, size_t n_columns)
{
    struct nf_table *t = calloc(1, sizeof *t);

    if (t) {
        t->columns = columns;
        t->n_columns = n_columns;
    }
    return t;
}

struct nf_table *nf_table_free(struct nf_table *t)
{
    if (!t)
        return NULL;
    for (size_t i = 0; i < t->cells.n; i++)
        free(t->cells.v[i].text);
    nf_array_free(&t->cells);
    free(t);
    return NULL;
}

static void add(struct nf_table *t, struct cell c)
{
    if (nf_array_push(&t->cells, c)) {
        free(c.text);
        t->failed = true;
    }
}

void nf_table_text(struct nf_table *t, const char *v)
{
    struct cell c = {.kind = CELL_TEXT_VALUE, .text = strdup(v)};

    if (c.text)
        add(t, c);
    else
        t->failed = true;
}

void nf_table_number(struct nf_table *t, double v)
{
    add(t, (struct cell){.kind = isfinite(v) ? CELL_REAL : CELL_UNKNOWN, .real = v});
}

void nf_table_integer(struct nf_table *t, int64_t v)
{
    add(t, (struct cell){.kind = CELL_INTEGER, .integer = v});
}

void nf_table_unknown(struct nf_table *t)
{
    add(t, (struct cell){.kind = CELL_UNKNOWN});
}

size_t nf_table_rows(const struct nf_table *t)
{
    return t->n_columns ? t->cells.n / t->n_columns : 0;
}

void nf_table_truncate(struct nf_table *t, size_t rows)
{
    while (nf_table_rows(t) > rows)
        for (size_t k = 0; k < t->n_columns; k++)
            free(t->cells.v[--t->cells.n].text);
}

static double value_of(const struct cell *c)
{
    return c->kind == CELL_INTEGER ? (double)c->integer : c->real;
}

static const char *for_people(const struct cell *c, enum nf_column_kind kind, char *text)
{
    if (c->kind == CELL_UNKNOWN)
        return "unknown";
    if (c->kind == CELL_TEXT_VALUE)
        return c->text;
    switch (kind) {
    case NF_COLUMN_BYTES: return nf_format_bytes(text, value_of(c));
    case NF_COLUMN_NS: return nf_format_ns(text, value_of(c));
    case NF_COLUMN_SHARE: snprintf(text, CELL_TEXT, "%.1f %%", 100 * value_of(c)); return text;
    case NF_COLUMN_HEX: snprintf(text, CELL_TEXT, "%016" PRIx64, (uint64_t)c->integer); return text;
    default: break;
    }
    if (c->kind == CELL_INTEGER)
        snprintf(text, CELL_TEXT, "%" PRId64, c->integer);
    else
        snprintf(text, CELL_TEXT, "%.4g", c->real);
    return text;
}

static void for_programs(struct nf_buf *b, const struct cell *c, enum nf_column_kind kind, bool json)
{
    switch (c->kind) {
    case CELL_UNKNOWN: nf_buf_puts(b, json ? "null" : "unknown"); break;
    case CELL_TEXT_VALUE:
        if (json)
            nf_buf_json(b, c->text);
        else
            nf_buf_csv(b, c->text);
        break;
    case CELL_INTEGER:
        if (kind == NF_COLUMN_HEX)
            nf_buf_printf(b, "\"%016" PRIx64 "\"", (uint64_t)c->integer);
        else
            nf_buf_printf(b, "%" PRId64, c->integer);
        break;
    case CELL_REAL: nf_buf_printf(b, "%.10g", c->real); break;
    }
}

/* Characters, not bytes, of a UTF-8 text. */
static size_t characters(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Names come from the job: none of their bytes may move the cursor or colour the terminal. */
static void add_printable(struct nf_buf *b, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7f)
            nf_buf_puts(b, "?");
        else if (c == 0xc2 && (unsigned char)text[i + 1] < 0xa0 && (unsigned char)text[i + 1] >= 0x80)
            nf_buf_puts(b, "?"), i++;
        else
            nf_buf_add(b, text + i, 1);
    }
}

static void pad(struct nf_buf *b, const char *text, size_t width, bool right)
{
    size_t n = characters(text);

    if (right)
        nf_buf_printf(b, "%*s", n < width ? (int)(width - n) : 0, "");
    if (n > width) {
        size_t bytes = 0;

        for (size_t k = 0; k < width - 1; k++)
            do
                bytes++;
            while (((unsigned char)text[bytes] & 0xc0) == 0x80);
        add_printable(b, text, bytes);
        nf_buf_puts(b, "…");
    } else {
        add_printable(b, text, strlen(text));
    }
    if (!right)
        nf_buf_printf(b, "%*s", n < width ? (int)(width - n) : 0, "");
}

static void print_text(const struct nf_table *t, size_t *width, struct nf_buf *b)
{
    char text[CELL_TEXT];

    for (size_t k = 0; k < t->n_columns; k++)
        width[k] = characters(t->columns[k].heading);
    for (size_t i = 0; i < t->cells.n; i++) {
        size_t k = i % t->n_columns, n = characters(for_people(&t->cells.v[i], t->columns[k].kind, text));

        size_t most = k + 1 == t->n_columns ? TEXT_WIDTH_LAST : TEXT_WIDTH_MAX;

        if (n > most)
            n = most;
        if (n > width[k])
            width[k] = n;
    }
    for (size_t k = 0; k < t->n_columns; k++) {
        nf_buf_puts(b, k ? "  " : "");
        pad(b, t->columns[k].heading, width[k], t->columns[k].kind != NF_COLUMN_TEXT);
    }
    nf_buf_puts(b, "\n");
    for (size_t i = 0; i < t->cells.n; i++) {
        size_t k = i % t->n_columns;

        nf_buf_puts(b, k ? "  " : "");
        pad(b, for_people(&t->cells.v[i], t->columns[k].kind, text), width[k], t->columns[k].kind != NF_COLUMN_TEXT);
        if (k + 1 == t->n_columns) {
            while (b->n && b->data[b->n - 1] == ' ')
                b->data[--b->n] = '\0';
            nf_buf_puts(b, "\n");
        }
    }
}

static void print_json(const struct nf_table *t, struct nf_buf *b)
{
    nf_buf_puts(b, "[");
    for (size_t i = 0; i < t->cells.n; i++) {
        size_t k = i % t->n_columns;

        nf_buf_puts(b, k ? "," : i ? "},\n {" : "\n {");
        nf_buf_json(b, t->columns[k].name);
        nf_buf_puts(b, ":");
        for_programs(b, &t->cells.v[i], t->columns[k].kind, true);
    }
    nf_buf_puts(b, t->cells.n ? "}\n]\n" : "]\n");
}

static void print_csv(const struct nf_table *t, struct nf_buf *b)
{
    for (size_t k = 0; k < t->n_columns; k++) {
        nf_buf_puts(b, k ? "," : "");
        nf_buf_csv(b, t->columns[k].name);
    }
    nf_buf_puts(b, "\n");
    for (size_t i = 0; i < t->cells.n; i++) {
        size_t k = i % t->n_columns;

        nf_buf_puts(b, k ? "," : "");
        for_programs(b, &t->cells.v[i], t->columns[k].kind, false);
        nf_buf_puts(b, k + 1 == t->n_columns ? "\n" : "");
    }
}

const struct nf_column *nf_table_columns(const struct nf_table *t, size_t *n)
{
    *n = t->n_columns;
    return t->columns;
}

void nf_table_cell(const struct nf_table *t, size_t row, size_t column, struct nf_buf *b)
{
    char text[CELL_TEXT];

    nf_buf_puts(b, for_people(&t->cells.v[row * t->n_columns + column], t->columns[column].kind, text));
}

int nf_table_format(const struct nf_table *t, enum nf_table_format format, struct nf_buf *b)
{
    size_t *width = calloc(t->n_columns + 1, sizeof *width);
    bool failed = t->failed || !width;

    if (!failed) {
        switch (format) {
        case NF_TABLE_TEXT: print_text(t, width, b); break;
        case NF_TABLE_JSON: print_json(t, b); break;
        case NF_TABLE_CSV: print_csv(t, b); break;
        }
    }
    free(width);
    return failed || b->failed ? -ENOMEM : 0;
}

int nf_table_print(const struct nf_table *t, enum nf_table_format format, FILE *to)
{
    struct nf_buf b = {0};
    int rc = nf_table_format(t, format, &b);

    if (!rc && b.n && fwrite(b.data, 1, b.n, to) != b.n) {
        if (errno == EPIPE)
            clearerr(to);
        else
            rc = nf_fail(-errno, "cannot write the output: %s", strerror(errno));
    }
    nf_buf_deinit(&b);
    return rc;
}
