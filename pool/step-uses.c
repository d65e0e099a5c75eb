#include "pool/step-uses.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"

/* Of one DDR4 channel, where nothing was measured and no time captured: only the order of plans depends on it. */
static const double NEAR_BPS_ASSUMED = 2e10;

static void schedule(struct nf_step_uses *u, double near_bps)
{
    const struct nf_step_class *c = u->of;
    double sum = 0;

    for (uint32_t o = 0; o < c->n_ops; o++)
        sum += c->ops[o].dur_ns + c->ops[o].gap_ns;
    if (!(near_bps > 0))
        near_bps = NEAR_BPS_ASSUMED;
    u->start_ns[0] = 0;
    for (uint32_t o = 0; o < c->n_ops; o++) {
        const struct nf_op *op = &c->ops[o];
        double ns = op->dur_ns + op->gap_ns;

        for (uint32_t v = 0; !(sum > 0) && v < op->n_visits; v++)
            ns += (double)c->visits[op->first_visit + v].bytes / near_bps * 1e9;
        u->start_ns[o + 1] = u->start_ns[o] + ns;
    }
}

/* last: per tensor, 1 + the op whose operand it was seen to be; zeroed. */
static void list_operands(struct nf_step_uses *u, uint32_t *last)
{
    const struct nf_step_class *c = u->of;
    uint32_t n = 0;

    for (uint32_t o = 0; o < c->n_ops; o++) {
        const struct nf_op *op = &c->ops[o];

        u->operand_first[o] = n;
        for (uint32_t v = 0; v < op->n_visits; v++) {
            uint32_t tensor = c->visits[op->first_visit + v].tensor;

            if (last[tensor] == o + 1)
                continue;
            last[tensor] = o + 1;
            u->operand[n++] = tensor;
        }
    }
    u->operand_first[c->n_ops] = n;
}

static void list_uses(struct nf_step_uses *u, uint32_t *at)
{
    const struct nf_step_class *c = u->of;
    uint32_t n = u->operand_first[c->n_ops], sum = 0;

    for (uint32_t i = 0; i < n; i++)
        u->first[u->operand[i] + 1]++;
    for (uint32_t t = 0; t <= c->n_tensors; t++) {
        sum += u->first[t];
        u->first[t] = sum;
        at[t] = sum;
    }
    for (uint32_t o = 0; o < c->n_ops; o++)
        for (uint32_t i = u->operand_first[o]; i < u->operand_first[o + 1]; i++)
            u->op[at[u->operand[i]]++] = o;
}

int nf_step_uses_init(struct nf_step_uses *u, const struct nf_step_class *c, double near_bps)
{
    uint32_t *scratch = calloc((size_t)c->n_tensors + 1, sizeof *scratch);

    *u = (struct nf_step_uses){
        .of = c,
        .first = calloc((size_t)c->n_tensors + 2, sizeof *u->first),
        .op = calloc((size_t)c->n_visits + 1, sizeof *u->op),
        .operand_first = calloc((size_t)c->n_ops + 1, sizeof *u->operand_first),
        .operand = calloc((size_t)c->n_visits + 1, sizeof *u->operand),
        .start_ns = calloc((size_t)c->n_ops + 1, sizeof *u->start_ns),
    };
    if (!scratch || !u->first || !u->op || !u->operand_first || !u->operand || !u->start_ns) {
        free(scratch);
        return nf_fail(-ENOMEM, "no memory for the uses of %u tensors", c->n_tensors);
    }
    schedule(u, near_bps);
    list_operands(u, scratch);
    list_uses(u, scratch);
    free(scratch);
    return 0;
}

void nf_step_uses_deinit(struct nf_step_uses *u)
{
    free(u->first);
    free(u->op);
    free(u->operand_first);
    free(u->operand);
    free(u->start_ns);
    *u = (struct nf_step_uses){0};
}

uint32_t nf_step_uses_at(const struct nf_step_uses *u, double ns)
{
    uint32_t low = 0, high = u->of->n_ops;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (u->start_ns[middle] <= ns)
            low = middle;
        else
            high = middle;
    }
    return low;
}
