#pragma once
/* What happens before, in and after each op of a step class, in the order it is replayed in. */
#include <stdint.h>

#include "core/model/stream.h"

struct nf_step_order {
    const struct nf_step_class *of; /* borrowed; read at init only */
    /* Tensors, in order of op, then number: those born in op o are births[births_first[o]] up to births_first[o + 1]. What is carried
     * into the step is born in none of its ops, and what is carried out dies in none. */
    uint32_t *births, *births_first, *deaths, *deaths_first; /* _first: n_ops + 1 */
    /* Tensors that op o visits, each once, in order of their first visit of any bytes; rw: enum nf_rw, where both reads and writes make
     * an update. Of nf_spill_alloc, as is visit_operand. */
    uint32_t *operands, *operands_first;
    uint8_t *operand_rw;
    uint32_t *visit_operand; /* per visit: which of its op's operands; of a visit without bytes 0 */
    uint32_t operands_max;   /* of any op */
};

/* 0 or -ENOMEM (cause set). Caller deinits in every case. */
int nf_step_order_init(struct nf_step_order *o, const struct nf_step_class *c);
void nf_step_order_deinit(struct nf_step_order *o);
