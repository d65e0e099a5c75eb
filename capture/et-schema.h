#pragma once
/* What an operator does with its arguments, from its schema ("aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar
 * alpha=1) -> Tensor(a!)") and, where schemas are silent, from its name. */
#include <stdbool.h>
#include <stdint.h>

enum { NF_ET_ARGUMENTS = 64 }; /* further ones are read */

struct nf_et_schema {
    uint64_t mutated;     /* bit per argument: marked '!' */
    uint64_t overwritten; /* of the mutated: written without being read */
    uint64_t shape_only;  /* only size and type are looked at */
    uint64_t blocked;     /* operand of a matrix product */
    bool silent;          /* touches no data: allocations, views their schema hides, questions about shape */
    bool allocates;       /* of the silent: its result is new memory */
    bool resizes;         /* of the silent: its first argument may grow */
    /* Of argument 0 only what an index picks is touched; the index is this argument. -1: no such thing. */
    int picked_by;
    bool picks_elements;  /* one for each element of the index; else rows, as many */
};

/* name: of the node; schema: "" where it has none, then a trailing underscore tells that argument 0 is updated. */
void nf_et_schema_parse(const char *name, const char *schema, struct nf_et_schema *out);
