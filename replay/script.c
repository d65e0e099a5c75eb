#include "replay/script.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/base/spill.h"

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

/* Tensors by the op of their birth (or death), as ranges into one array. */
static void sort_by_op(struct nf_script *s, bool births)
{
    const struct nf_step_class *c = s->of;
    uint32_t *into = births ? s->births : s->deaths, at = 0;

    for (uint32_t i = 0; i < c->n_tensors; i++) {
        int32_t op = births ? c->tensors[i].birth : c->tensors[i].death;

        if (op >= 0 && op < (int64_t)c->n_ops)
            (births ? &s->ops[op].births : &s->ops[op].deaths)->n++;
    }
    for (uint32_t i = 0; i < c->n_ops; i++) {
        struct nf_script_range *r = births ? &s->ops[i].births : &s->ops[i].deaths;

        r->first = at;
        at += r->n;
        r->n = 0;
    }
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        int32_t op = births ? c->tensors[i].birth : c->tensors[i].death;
        struct nf_script_range *r;

        if (op < 0 || op >= (int64_t)c->n_ops)
            continue;
        r = births ? &s->ops[op].births : &s->ops[op].deaths;
        into[r->first + r->n++] = i;
    }
}

/* seen: per tensor, 1 + its index among the operands written last; room for all tensors, zeroed. */
static uint32_t prepare_op(struct nf_script *s, uint32_t number, uint32_t first_operand, uint32_t *seen)
{
    const struct nf_op *from = &s->of->ops[number];
    struct nf_script_op *op = &s->ops[number];
    uint64_t largest = 0;

    op->operands.first = first_operand;
    op->visits = (struct nf_script_range){from->first_visit, from->n_visits};
    op->captured_ns = from->dur_ns + from->gap_ns;
    s->captured_ns += op->captured_ns;
    for (uint32_t i = from->first_visit; i < from->first_visit + from->n_visits; i++) {
        uint32_t tensor = s->of->visits[i].tensor;
        uint8_t rw = s->of->visits[i].rw;

        if (!s->visits[i].bytes)
            continue;
        if (seen[tensor] <= first_operand) {
            s->operands[first_operand + op->operands.n] = tensor;
            s->operand_rw[first_operand + op->operands.n] = rw;
            op->operands.n++;
            seen[tensor] = first_operand + op->operands.n;
        } else if (s->operand_rw[seen[tensor] - 1] != rw) {
            s->operand_rw[seen[tensor] - 1] = NF_RW_UPDATE;
        }
        s->visits[i].operand = seen[tensor] - 1 - first_operand;
        op->bytes += s->visits[i].total;
        if (s->visits[i].total > largest)
            largest = s->visits[i].total;
    }
    op->chunks = largest ? (uint32_t)((largest + NF_SCRIPT_CHUNK_BYTES - 1) / NF_SCRIPT_CHUNK_BYTES) : 1;
    if (op->operands.n > s->operands_max)
        s->operands_max = op->operands.n;
    return first_operand + op->operands.n;
}

int nf_script_init(struct nf_script *s, const struct nf_profile *profile, uint64_t seed)
{
    const struct nf_step_class *c = profile->of;
    uint32_t *seen = calloc((size_t)c->n_tensors + 1, sizeof *seen), operands = 0;

    *s = (struct nf_script){
        .of = c,
        .ops = nf_spill_alloc(c->n_ops, sizeof *s->ops),
        .visits = nf_spill_alloc(c->n_visits, sizeof *s->visits),
        .births = calloc((size_t)c->n_tensors + 1, sizeof *s->births),
        .deaths = calloc((size_t)c->n_tensors + 1, sizeof *s->deaths),
        .operands = nf_spill_alloc(c->n_visits, sizeof *s->operands),
        .operand_rw = nf_spill_alloc(c->n_visits, sizeof *s->operand_rw),
    };
    if (!seen || !s->ops || !s->visits || !s->births || !s->deaths || !s->operands || !s->operand_rw) {
        free(seen);
        nf_script_deinit(s);
        return nf_fail(-ENOMEM, "out of memory for %u visits", c->n_visits);
    }
    for (uint32_t i = 0; i < c->n_visits; i++)
        s->visits[i] = prepare_visit(&c->visits[i], profile->visit_miss_bytes[i], profile->llc_bytes,
                                     nf_hash_add(seed, i));
    sort_by_op(s, true);
    sort_by_op(s, false);
    for (uint32_t i = 0; i < c->n_ops; i++)
        operands = prepare_op(s, i, operands, seen);
    free(seen);
    return 0;
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
