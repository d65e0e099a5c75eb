#include "replay/script.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/base/spill.h"
#include "core/model/step-order.h"

enum { TOUCHES_ONE_Q8 = 256 };

/* Whole passes; unknown (0) and less than one count as one, since a visit's bytes are touched at least once. */
static uint64_t passes(const struct nf_visit *v)
{
    uint64_t n = (v->touches_q8 + TOUCHES_ONE_Q8 / 2) / TOUCHES_ONE_Q8;

    return n ? n : 1;
}

static struct nf_script_visit prepare_visit(const struct nf_visit *v, uint64_t miss_bytes, uint64_t llc_bytes,
                                            uint64_t seed)
{
    uint64_t runs = v->run ? (v->bytes + v->run - 1) / v->run : 0;
    struct nf_script_visit out = {
        .offset = v->offset,
        .bytes = v->bytes,
        .run = v->run,
        .stride = v->stride,
        .total = v->bytes * passes(v),
        .grain = NF_LINE_BYTES,
        .rw = v->rw,
        .pattern = v->pattern,
        .parallelism = v->parallelism,
    };
    double lines_per_byte = 1.0 / NF_LINE_BYTES;

    if (runs > 1 && v->stride == v->run) {
        out.run = v->bytes; /* touching runs are one run */
        runs = 1;
    }
    if (runs > 1) {
        /* A run fetches whole lines; runs closer than a line share them. */
        double whole = (double)((v->run + NF_LINE_BYTES - 1) / NF_LINE_BYTES);
        double shared = (double)v->stride / NF_LINE_BYTES;

        lines_per_byte = (whole < shared ? whole : shared) / (double)v->run;
        if (v->run <= NF_SCRIPT_CHUNK_BYTES)
            out.grain = v->run;
    }
    if (v->pattern == NF_PATTERN_GATHER && runs > 1)
        nf_rows_init(&out.rows, runs, seed);
    if (v->bytes) {
        out.miss_first = (double)miss_bytes / (double)v->bytes * lines_per_byte;
        /* Walking over more than the cache holds finds none of it at the next pass. */
        out.miss_again = v->bytes > llc_bytes ? lines_per_byte : 0;
    }
    return out;
}

static struct nf_script_range range_of(const uint32_t *first, uint32_t number)
{
    return (struct nf_script_range){first[number], first[number + 1] - first[number]};
}

static void prepare_op(struct nf_script *s, const struct nf_step_order *order, uint32_t number)
{
    const struct nf_op *from = &s->of->ops[number];
    struct nf_script_op *op = &s->ops[number];
    uint64_t largest = 0;

    op->births = range_of(order->births_first, number);
    op->deaths = range_of(order->deaths_first, number);
    op->operands = range_of(order->operands_first, number);
    op->visits = (struct nf_script_range){from->first_visit, from->n_visits};
    op->captured_ns = from->dur_ns + from->gap_ns;
    s->captured_ns += op->captured_ns;
    for (uint32_t i = from->first_visit; i < from->first_visit + from->n_visits; i++) {
        if (!s->visits[i].bytes)
            continue;
        s->visits[i].operand = order->visit_operand[i];
        op->bytes += s->visits[i].total;
        if (s->visits[i].total > largest)
            largest = s->visits[i].total;
    }
    op->chunks = largest ? (uint32_t)((largest + NF_SCRIPT_CHUNK_BYTES - 1) / NF_SCRIPT_CHUNK_BYTES) : 1;
}

/* The order's arrays become the script's. */
static void take_order(struct nf_script *s, struct nf_step_order *order)
{
    s->births = order->births;
    s->deaths = order->deaths;
    s->operands = order->operands;
    s->operand_rw = order->operand_rw;
    s->operands_max = order->operands_max;
    order->births = order->deaths = order->operands = NULL;
    order->operand_rw = NULL;
}

int nf_script_init(struct nf_script *s, const struct nf_profile *profile, uint64_t seed)
{
    const struct nf_step_class *c = profile->of;
    struct nf_step_order order = {0};
    int rc;

    *s = (struct nf_script){.of = c, .ops = nf_spill_alloc(c->n_ops, sizeof *s->ops), .visits = nf_spill_alloc(c->n_visits, sizeof *s->visits)};
    rc = s->ops && s->visits ? nf_step_order_init(&order, c) : nf_fail(-ENOMEM, "out of memory for %u visits", c->n_visits);
    for (uint32_t i = 0; i < c->n_visits && !rc; i++)
        s->visits[i] = prepare_visit(&c->visits[i], profile->visit_miss_bytes[i], profile->llc_bytes,
                                     nf_hash_add(seed, i));
    for (uint32_t i = 0; i < c->n_ops && !rc; i++)
        prepare_op(s, &order, i);
    if (!rc)
        take_order(s, &order);
    else
        nf_script_deinit(s);
    nf_step_order_deinit(&order);
    return rc;
}

void nf_script_play_op(const struct nf_script *s, uint32_t number, struct nf_play_op *out)
{
    const struct nf_script_op *op = &s->ops[number];

    *out = (struct nf_play_op){
        .births = s->births + op->births.first, .n_births = op->births.n,
        .deaths = s->deaths + op->deaths.first, .n_deaths = op->deaths.n,
        .operands = s->operands + op->operands.first, .rw = s->operand_rw + op->operands.first, .n_operands = op->operands.n,
    };
}

void nf_script_deinit(struct nf_script *s)
{
    nf_spill_free(s->ops);
    nf_spill_free(s->visits);
    free(s->births);
    free(s->deaths);
    nf_spill_free(s->operands);
    nf_spill_free(s->operand_rw);
    *s = (struct nf_script){0};
}

uint64_t nf_script_bound(const struct nf_script_visit *v, uint32_t j, uint32_t n)
{
    uint64_t at, in;

    if (j == 0 || j == n)
        return j ? v->total : 0;
    at = (uint64_t)((unsigned __int128)v->total * j / n);
    in = v->bytes ? at % v->bytes : 0;
    return at - in % v->grain;
}
