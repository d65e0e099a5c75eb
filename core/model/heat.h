#pragma once
/* Where a step touches memory, and when: touched bytes over tensors (or addresses) and time. */
#include <stdint.h>

#include "core/model/stream.h"

enum nf_heat_rows {
    NF_HEAT_TENSORS,   /* one row a tensor, those that are touched most; ordered by role, then by first touch */
    NF_HEAT_ADDRESSES, /* equal stretches of the touched addresses, gaps between storages left out; lowest first */
};

struct nf_heat_row {
    uint32_t tensor;        /* NF_HEAT_TENSORS; UINT32_MAX: all tensors that have no row of their own */
    uint64_t address, size; /* NF_HEAT_ADDRESSES: of the stretch, without gaps */
    double bytes;           /* touched by the whole step */
};

struct nf_heat {
    enum nf_heat_rows kind;
    struct nf_heat_row *rows;
    uint32_t n_rows, n_columns;
    double *bytes;       /* row × n_columns + column */
    double column_width; /* in ns where ops have durations, else in ops */
    uint8_t timed;       /* 1: columns are time */
    double most;         /* the largest cell */
};

/* At most max_rows rows (2 at least) and n_columns columns of equal width over the step. A visit's bytes are spread evenly
 * over the time of its op, and by address over the blocks it touches. 0 or -ENOMEM (cause set). Caller deinits. */
int nf_heat_init(struct nf_heat *h, const struct nf_step_class *c, enum nf_heat_rows kind, uint32_t max_rows,
                 uint32_t n_columns);
void nf_heat_deinit(struct nf_heat *h);
