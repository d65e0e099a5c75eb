#pragma once
/* What an execution trace says about memory: which of its operators touched data, in which order, phase and step, and which
 * lifetimes hide behind its storage ids.
 *
 * An operator touches its operands itself when no operator inside it does. One whose operators inside leave some of its
 * inputs untouched does the rest itself, after them (embedding_dense_backward fills its result through aten::zeros, then
 * adds rows to it). Views, allocations and questions about shape touch nothing. Order is that of the ends of operators.
 *
 * Lifetimes. A storage id stands for a data pointer, and pointers come again. A new lifetime of an id begins
 *   - with an allocation (aten::empty and its like),
 *   - with a result of an operator whose storage is none of its inputs' and was not begun inside it,
 *   - where the id appears on another device,
 *   - where a tensor reaches past the size its lifetime was allocated with, and nothing resized it.
 * Each lasts from its first touch to its last; nothing in a trace says when memory was freed. One that no operator made
 * was there before the trace when it is touched in its first step and again in a later one, or when there is but one step.
 * One carried into the last step outlives the trace, unless its id has another lifetime after it. */
#include <stdbool.h>
#include <stdint.h>

#include "capture/et-trace.h"

enum { NF_ET_NONE = UINT32_MAX, NF_ET_STEPS_MAX = 1 << 16 };

struct nf_et_lifetime {
    uint64_t bytes; /* the largest extent seen, that of its allocation included */
    uint32_t slot, device, dtype, shape;
    uint32_t first, last;  /* places in execs; NF_ET_NONE: never touched */
    uint8_t reads, writes; /* a bit per phase */
    uint8_t role;          /* enum nf_role, 0: not inferred */
    bool made;             /* by an operator of the trace */
    bool carried_in, outlives;
    /* While planning: */
    uint32_t began;   /* node */
    uint32_t operand; /* of the operator that touched it last, the one that did */
    bool sized;     /* bytes are known since its birth */
    bool succeeded; /* its id has a later lifetime */
};

/* An operator that touched something. */
struct nf_et_exec {
    uint32_t node, module; /* module: text number */
    uint32_t step;
    uint16_t microbatch;
    uint8_t phase;
};

struct nf_et_totals {
    uint64_t operators, silent, idle; /* idle: no silent one, but without tensors that hold anything */
    uint64_t remainders;              /* touched what their operators inside had left */
    uint64_t splits;                  /* lifetimes beyond the first of their id */
    uint64_t device_splits, size_splits; /* of them, by the last two rules */
    uint64_t unknown_rw;              /* operands of kernels without schema, taken as updates */
    uint64_t expanded;                /* operands larger than what they are a view of */
    uint64_t orphans;                 /* nodes whose parent is not in the trace */
    uint64_t dropped;                 /* operators after the last step */
    uint64_t never_touched;           /* lifetimes */
    uint64_t slots_touched;
    bool cut_step;                    /* the last step has no end in the trace */
    const char *boundary;             /* what told steps apart */
};

struct nf_et_plan {
    struct nf_et_trace *trace; /* borrowed; lifetime, rw and pattern of its operands are filled */
    NF_ARRAY(struct nf_et_exec) execs;
    NF_ARRAY(struct nf_et_lifetime) lifetimes;
    uint32_t n_steps;
    struct nf_et_totals totals;
};

/* What one operand touched, as the words of a visit. */
struct nf_et_touch {
    uint64_t offset, bytes, run, stride;
};

/* 0 or -errno (cause set). Deinit in any case. */
int nf_et_plan_init(struct nf_et_plan *p, struct nf_et_trace *trace);
void nf_et_plan_deinit(struct nf_et_plan *p);
/* Of an operand with a lifetime. */
struct nf_et_touch nf_et_plan_touch(const struct nf_et_operand *o);
