#pragma once
/* Holds what the framework says of a step against what a source that sees everything saw of it, extent by extent: per op
 * and tensor the declared visits against the sightings, both rounded out to the source's resolution. Every byte of either
 * falls into one kind, and each kind has its explanation. */
#include <stdbool.h>
#include <stdint.h>

#include "core/model/stream.h"

/* What was found of an extent. Numbers are not stored. */
enum nf_audit_kind {
    NF_AUDIT_AGREE,       /* declared and touched */
    NF_AUDIT_PART,        /* an operand of which the op touched other parts, but not this */
    NF_AUDIT_UNTOUCHED,   /* an operand of which the op touched nothing at all */
    NF_AUDIT_EARLIER,     /* declared; an op since the last boundary had touched that memory, so it could not be seen */
    NF_AUDIT_ROWS,        /* declared or touched: rows of a gather, which the framework spreads evenly over the table */
    NF_AUDIT_BEYOND,      /* touched, of an operand, outside the declared extent */
    NF_AUDIT_SCRATCH,     /* touched, of a storage that is never an operand: the op's workspace */
    NF_AUDIT_UNDECLARED,  /* touched, of a tensor that is no operand of this op */
    NF_AUDIT_BETWEEN,     /* touched between two ops, by what the framework does not tell */
    NF_AUDIT_KINDS
};

/* Reads and writes, of what is declared and touched. */
enum nf_audit_rw {
    NF_AUDIT_RW_AGREE,
    NF_AUDIT_RW_WRITTEN,     /* declared read, seen written */
    NF_AUDIT_RW_NOT_WRITTEN, /* declared written, seen read only */
    NF_AUDIT_RW_READ_TOO,    /* declared written without being read, seen read as well: before the write where the source
                                tells first touches (page-fault), before or after where it counts all (exact) */
    NF_AUDIT_RWS
};

struct nf_audit_source {
    uint32_t resolution_bytes, boundary_ops;
    uint64_t arena_base, arena_bytes; /* what it watches; bytes 0: all */
    bool rw_observed;
};

/* Bytes of one op name and kind. */
struct nf_audit_row {
    uint32_t op_name;                 /* index into nf_stream.names */
    enum nf_audit_kind kind;
    uint64_t bytes;
    uint32_t ops;                     /* calls that have some */
    uint32_t example_op, example_tensor;
};

struct nf_audit_tensor {
    uint64_t declared, seen, agreed; /* bytes over the step's ops, rounded to the resolution */
    bool watched;                    /* lies in the source's memory */
};

struct nf_audit {
    struct nf_audit_row *rows; /* by bytes, largest first; NF_AUDIT_AGREE last */
    uint32_t n_rows;
    struct nf_audit_tensor *tensors; /* of->n_tensors */
    uint64_t bytes[NF_AUDIT_KINDS];
    uint64_t rw_bytes[NF_AUDIT_RWS]; /* zeros unless the source observes them */
    uint32_t rw_example_op[NF_AUDIT_RWS], rw_example_tensor[NF_AUDIT_RWS];
    uint64_t unwatched_bytes;        /* declared, of tensors outside the source's memory: not compared */
};

/* sightings: ordered by op and tensor, as nf_sightings_load gives them. 0 or -ENOMEM. Caller deinits. */
int nf_audit_init(struct nf_audit *a, const struct nf_step_class *c, const struct nf_visit *sightings, uint32_t n,
                  const struct nf_audit_source *source);
void nf_audit_deinit(struct nf_audit *a);

/* A short name and a sentence for a kind. Static. */
const char *nf_audit_kind_name(enum nf_audit_kind kind);
const char *nf_audit_kind_explained(enum nf_audit_kind kind);
