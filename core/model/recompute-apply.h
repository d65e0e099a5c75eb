#pragma once
/* A step class in which what is made again is not held: each such storage dies after the last use before its gap, and another is born
 * right before the next use, when the ops of its chain run again. They read what is there, touch what they touched then, and what else
 * they write goes into copies that live as long as the chain. */
#include <stdbool.h>
#include <stdint.h>

#include "core/model/recompute.h"

struct nf_recompute_applied {
    struct nf_step_class c; /* owned but for names, which are the stream's; visits of nf_spill_alloc */
    uint32_t *op_of;        /* per op: the captured one */
    bool *again;            /* per op: it runs again */
    uint32_t *tensor_of;    /* per tensor: the captured one that it is, or is a copy of */
    double *made_ns;        /* per tensor: captured time of the chain that makes it again; 0: it is the captured one, or lives within a chain */
    /* Of one step: */
    uint32_t recomputed;           /* gaps in which a storage is not held */
    uint32_t ops;                  /* that run again */
    uint64_t unheld_bytes;         /* pages of the storages in those gaps, each gap counted */
    double unheld_byte_ns;         /* the same times the captured time of the gap */
    double captured_ns;            /* of the ops that run again, gaps before them included */
    uint64_t reissued_bytes;       /* that they touch */
};

/* choices: per item of r; only what is made again matters. 0, -EINVAL (a choice cannot be carried out), -ENOMEM (cause set). Caller
 * deinits in every case. */
int nf_recompute_apply(const struct nf_recompute *r, const uint8_t *choices, struct nf_recompute_applied *out);
void nf_recompute_applied_deinit(struct nf_recompute_applied *a);
