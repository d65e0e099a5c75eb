#pragma once
/* What took part in a capture beside the framework: its observations, as rows, a table and sentences. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/array.h"
#include "core/base/table.h"
#include "core/store/study.h"

struct nf_buf;

/* A row of observation (doc/format.md); texts are clean, and owned by the list. */
struct nf_source_row {
    int64_t id, resolution_bytes, boundary_ops, arena_bytes;
    int64_t samples, attributed, between_ops, unattributed, out_of_arena, other_process, outside_steps;
    int64_t lost, throttled, undecoded;
    unsigned evidence; /* enum nf_access_evidence */
    unsigned pass_kind;
    bool validated;
    char *source, *options, *rw, *notes, *events; /* events: their names */
};

struct nf_sources {
    NF_ARRAY(struct nf_source_row) rows; /* in the order they were added */
};

/* 0, -ENOMEM or -errno (cause set). Deinit in every case. */
int nf_sources_init(struct nf_sources *s, struct nf_study *study, int64_t capture);
void nf_sources_deinit(struct nf_sources *s);

/* Of what was delivered and lost; NAN when that was nothing. */
double nf_source_lost_share(const struct nf_source_row *r);
/* More than 1 % is missing: whatever is said of the rest is said after that. */
bool nf_source_lost_much(const struct nf_source_row *r);
/* "page-fault: 12.3 % of the samples were lost", without a full stop. */
void nf_source_say_lost(const struct nf_source_row *r, struct nf_buf *b);

enum { NF_SOURCE_COLUMNS = 19 };
extern const struct nf_column nf_source_columns[NF_SOURCE_COLUMNS];
void nf_sources_fill(const struct nf_sources *s, struct nf_table *t);
