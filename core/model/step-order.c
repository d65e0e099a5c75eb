#include "core/model/step-order.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/base/spill.h"

/* Tensors by the op of their birth (or death). first: zeroed. */
static void sort_by_op(const struct nf_step_class *c, bool births, uint32_t *first, uint32_t *into)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < c->n_tensors; i++) {
        int32_t op = births ? c->tensors[i].birth : c->tensors[i].death;

        if (op >= 0 && op < (int64_t)c->n_ops)
            first[op]++;
    }
    for (uint32_t o = 0; o <= c->n_ops; o++) {
        sum += first[o];
        first[o] = sum; /* the end, until they are filled in from behind */
    }
    for (uint32_t i = c->n_tensors; i-- > 0;) {
        int32_t op = births ? c->tensors[i].birth : c->tensors[i].death;

        if (op >= 0 && op < (int64_t)c->n_ops)
            into[--first[op]] = i;
    }
}

/* seen: per tensor, 1 + its place among the operands written last; zeroed. */
static void list_operands(struct nf_step_order *o, uint32_t *seen)
{
    const struct nf_step_class *c = o->of;
    uint32_t n = 0;

    for (uint32_t number = 0; number < c->n_ops; number++) {
        const struct nf_op *op = &c->ops[number];
        uint32_t first = n;

        o->operands_first[number] = first;
        for (uint32_t i = op->first_visit; i < op->first_visit + op->n_visits; i++) {
            const struct nf_visit *v = &c->visits[i];

            if (!v->bytes)
                continue;
            if (seen[v->tensor] <= first) {
                o->operands[n] = v->tensor;
                o->operand_rw[n] = v->rw;
                seen[v->tensor] = ++n;
            } else if (o->operand_rw[seen[v->tensor] - 1] != v->rw) {
                o->operand_rw[seen[v->tensor] - 1] = NF_RW_UPDATE;
            }
            o->visit_operand[i] = seen[v->tensor] - 1 - first;
        }
        o->operands_max = n - first > o->operands_max ? n - first : o->operands_max;
    }
    o->operands_first[c->n_ops] = n;
}

int nf_step_order_init(struct nf_step_order *o, const struct nf_step_class *c)
{
    size_t ops = (size_t)c->n_ops + 1, tensors = (size_t)c->n_tensors + 1;
    uint32_t *seen = calloc(tensors, sizeof *seen);

    *o = (struct nf_step_order){
        .of = c,
        .births = calloc(tensors, sizeof *o->births),
        .births_first = calloc(ops, sizeof *o->births_first),
        .deaths = calloc(tensors, sizeof *o->deaths),
        .deaths_first = calloc(ops, sizeof *o->deaths_first),
        .operands = nf_spill_alloc(c->n_visits, sizeof *o->operands),
        .operands_first = calloc(ops, sizeof *o->operands_first),
        .operand_rw = nf_spill_alloc(c->n_visits, sizeof *o->operand_rw),
        .visit_operand = nf_spill_alloc(c->n_visits, sizeof *o->visit_operand),
    };
    if (!seen || !o->births || !o->births_first || !o->deaths || !o->deaths_first || !o->operands || !o->operands_first ||
        !o->operand_rw || !o->visit_operand) {
        free(seen);
        return nf_fail(-ENOMEM, "out of memory for the order of %u ops", c->n_ops);
    }
    sort_by_op(c, true, o->births_first, o->births);
    sort_by_op(c, false, o->deaths_first, o->deaths);
    list_operands(o, seen);
    free(seen);
    return 0;
}

void nf_step_order_deinit(struct nf_step_order *o)
{
    free(o->births);
    free(o->births_first);
    free(o->deaths);
    free(o->deaths_first);
    nf_spill_free(o->operands);
    free(o->operands_first);
    nf_spill_free(o->operand_rw);
    nf_spill_free(o->visit_operand);
    *o = (struct nf_step_order){0};
}
