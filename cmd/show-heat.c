#include "cmd/show.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/figure-locality.h"
#include "core/base/error.h"
#include "core/base/units.h"

enum { TEXT_ROWS = 40, TEXT_ROWS_MAX = 1000, TEXT_COLUMNS = 64, ROWS = 160, HEAT_COLUMNS = 240 };

#define COLUMNS(c) c, sizeof c / sizeof *c

static const struct nf_column heat_columns[] = {
    {"tensor", "tensor", NF_COLUMN_INTEGER},      {"role", "role", NF_COLUMN_TEXT},
    {"bytes", "size", NF_COLUMN_BYTES},           {"touched", "touched/step", NF_COLUMN_BYTES},
    {"heat", "through the step", NF_COLUMN_TEXT},
};
static const struct nf_column address_columns[] = {
    {"address", "from", NF_COLUMN_HEX},
    {"bytes", "size", NF_COLUMN_BYTES},
    {"touched", "touched/step", NF_COLUMN_BYTES},
    {"heat", "through the step", NF_COLUMN_TEXT},
};
static const struct nf_column cell_columns[] = {
    {"tensor", "tensor", NF_COLUMN_INTEGER},
    {"role", "role", NF_COLUMN_TEXT},
    {"address", "address", NF_COLUMN_HEX},
    {"from", "from", NF_COLUMN_REAL},
    {"to", "to", NF_COLUMN_REAL},
    {"unit", "unit", NF_COLUMN_TEXT},
    {"bytes", "bytes", NF_COLUMN_REAL},
    {"evidence", "evidence", NF_COLUMN_TEXT},
};

/* Ten steps, each half an octave and a bit (a factor of 3) of touched bytes. */
static void glyphs(const struct nf_heat *h, uint32_t row, char *out)
{
    static const char scale[] = " .:-=+*#%@";

    for (uint32_t i = 0; i < h->n_columns; i++) {
        double bytes = h->bytes[(size_t)row * h->n_columns + i];
        double step = bytes > 0 ? 9 + log(bytes / h->most) / log(3) : 0;

        out[i] = scale[bytes > 0 ? step > 1 ? (int)step : 1 : 0];
    }
    out[h->n_columns] = '\0';
}

static int print_heat(const struct nf_show *s, const struct nf_heat *h)
{
    bool tensors = h->kind == NF_HEAT_TENSORS;
    struct nf_table *t = tensors ? nf_table_new(COLUMNS(heat_columns)) : nf_table_new(COLUMNS(address_columns));
    char line[TEXT_COLUMNS + 1], width[NF_UNITS_TEXT], most[NF_UNITS_TEXT];
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t i = 0; i < h->n_rows; i++) {
        const struct nf_heat_row *row = &h->rows[i];

        if (tensors && row->tensor == UINT32_MAX) {
            nf_table_unknown(t);
            nf_table_text(t, "all others");
            nf_table_unknown(t);
        } else if (tensors) {
            nf_table_integer(t, row->tensor);
            nf_table_text(t, nf_role_name(s->class->tensors[row->tensor].role));
            nf_table_integer(t, (int64_t)s->class->tensors[row->tensor].bytes);
        } else {
            nf_table_integer(t, (int64_t)row->address);
            nf_table_integer(t, (int64_t)row->size);
        }
        nf_table_number(t, row->bytes);
        glyphs(h, i, line);
        nf_table_text(t, line);
    }
    rc = nf_table_print(t, NF_TABLE_TEXT, stdout);
    nf_table_free(t);
    if (h->timed)
        printf("a column is %s of captured time; ", nf_format_ns(width, h->column_width));
    else
        printf("a column is %.3g ops; ", h->column_width);
    printf("@ is %s, each sign before it a third of the next: \" .:-=+*#%%@\"\n", nf_format_bytes(most, h->most));
    return rc;
}

static int print_cells(const struct nf_show *s, const struct nf_heat *h, const char *evidence)
{
    struct nf_table *t = nf_table_new(COLUMNS(cell_columns));
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t row = 0; row < h->n_rows; row++) {
        uint32_t tensor = h->rows[row].tensor;

        for (uint32_t i = 0; i < h->n_columns; i++) {
            double bytes = h->bytes[(size_t)row * h->n_columns + i];

            if (!(bytes > 0))
                continue;
            if (tensor == UINT32_MAX) {
                nf_table_unknown(t);
                nf_table_text(t, h->kind == NF_HEAT_TENSORS ? "all others" : "");
            } else {
                nf_table_integer(t, tensor);
                nf_table_text(t, nf_role_name(s->class->tensors[tensor].role));
            }
            if (h->kind == NF_HEAT_ADDRESSES)
                nf_table_integer(t, (int64_t)h->rows[row].address);
            else
                nf_table_unknown(t);
            nf_table_number(t, i * h->column_width);
            nf_table_number(t, (i + 1) * h->column_width);
            nf_table_text(t, h->timed ? "ns" : "ops");
            nf_table_number(t, bytes);
            nf_table_text(t, evidence);
        }
    }
    rc = nf_show_print(t, s, SIZE_MAX);
    nf_table_free(t);
    return rc;
}

int nf_show_heat(const struct nf_show *s)
{
    enum nf_heat_rows kind = s->by && !strcmp(s->by, "address") ? NF_HEAT_ADDRESSES : NF_HEAT_TENSORS;
    bool text = s->format == NF_TABLE_TEXT;
    struct nf_show_facts f;
    struct nf_heat h = {0};
    int rc;

    if (s->by && strcmp(s->by, "tensor") && strcmp(s->by, "address"))
        return nf_fail(-EINVAL, "--heat knows --by tensor and --by address");
    if (s->tensor != NF_TENSOR_ALL)
        return nf_fail(-EINVAL, "--heat shows all tensors; --tensor is for --mrc and --reuse");
    rc = nf_show_facts_init(&f, s, "touched bytes, spread evenly over their op's time");
    if (!rc)
        rc = nf_heat_init(
            &h, s->class, kind,
            text ? s->limit > 1 ? (uint32_t)(s->limit < TEXT_ROWS_MAX ? s->limit : TEXT_ROWS_MAX) : TEXT_ROWS : ROWS,
            text ? TEXT_COLUMNS : HEAT_COLUMNS);
    if (!rc && !h.n_rows)
        rc = nf_fail(-EINVAL, "nothing was touched: there is no heat");
    if (!rc)
        rc = text ? print_heat(s, &h) : print_cells(s, &h, f.accesses);
    nf_heat_deinit(&h);
    if (!rc && s->plot) {
        struct nf_locality_head head = {kind == NF_HEAT_TENSORS ? "Touched bytes, tensor by time"
                                                                : "Touched bytes, address by time",
                                        f.evidence, f.step};
        struct nf_canvas c = {.name = "plot"};

        rc = nf_heat_init(&h, s->class, kind, ROWS, HEAT_COLUMNS);
        if (!rc) {
            nf_figure_heat(&c, &head, &h, s->class);
            rc = nf_show_draw(&c, s, 0);
        }
        nf_heat_deinit(&h);
    }
    return rc;
}
