#include "replay/batches.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/spill.h"

/* What the replay reads of a script on its way through the ops, and how much of it an op is. */
static uint64_t op_bytes(const struct nf_script *s, uint32_t number)
{
    const struct nf_script_op *op = &s->ops[number];

    return sizeof *op + op->visits.n * (uint64_t)sizeof *s->visits +
           op->operands.n * (uint64_t)(sizeof *s->operands + sizeof *s->operand_rw);
}

static bool in_file(const struct nf_script *s)
{
    return nf_spill_in_file(s->ops) || nf_spill_in_file(s->visits) || nf_spill_in_file(s->operands) ||
           nf_spill_in_file(s->operand_rw);
}

static int cut(struct nf_batches_class *c, const struct nf_script *s, uint64_t window_bytes)
{
    NF_ARRAY(uint32_t) first = {0};
    uint64_t bytes = 0;
    int rc = nf_array_push(&first, 0);

    for (uint32_t i = 0; i < s->of->n_ops && !rc; i++) {
        uint64_t more = op_bytes(s, i);

        if (bytes && bytes + more > window_bytes) {
            rc = nf_array_push(&first, i);
            bytes = 0;
        }
        bytes += more;
    }
    c->n = (uint32_t)first.n;
    if (!rc)
        rc = nf_array_push(&first, s->of->n_ops);
    c->first = first.v;
    return rc ? nf_fail(rc, "out of memory for the batches of %u ops", s->of->n_ops) : 0;
}

int nf_batches_init(struct nf_batches *b, const struct nf_script *scripts, uint32_t n_classes, uint64_t window_bytes)
{
    bool any = false;
    int rc = 0;

    *b = (struct nf_batches){.scripts = scripts, .n_classes = n_classes, .in_class = n_classes};
    for (uint32_t i = 0; i < n_classes; i++)
        any = any || in_file(&scripts[i]);
    if (!any)
        return 0;
    b->classes = calloc(n_classes, sizeof *b->classes);
    if (!b->classes)
        return nf_fail(-ENOMEM, "out of memory for %u step classes", n_classes);
    for (uint32_t i = 0; i < n_classes && !rc; i++)
        rc = cut(&b->classes[i], &scripts[i], window_bytes);
    return rc;
}

void nf_batches_deinit(struct nf_batches *b)
{
    for (uint32_t i = 0; b->classes && i < b->n_classes; i++)
        free(b->classes[i].first);
    free(b->classes);
    *b = (struct nf_batches){0};
}

bool nf_batches_needed(const struct nf_batches *b)
{
    return b->classes;
}

/* One array's part of a batch: elements [first, first + n). */
static int turn(const void *array, uint64_t first, uint64_t n, size_t size, bool fetch)
{
    if (fetch)
        return nf_spill_fetch(array, first * size, n * size);
    nf_spill_drop(array, first * size, n * size);
    return 0;
}

/* A range without members may begin anywhere; operands and visits of later ops lie behind those of earlier ones. */
static void span(struct nf_script_range *all, const struct nf_script_range *one)
{
    if (!one->n)
        return;
    if (!all->n)
        all->first = one->first;
    all->n = one->first + one->n - all->first;
}

static int turn_batch(struct nf_batches *b, bool fetch)
{
    const struct nf_script *s = &b->scripts[b->in_class];
    const uint32_t *first = &b->classes[b->in_class].first[b->in_batch];
    struct nf_script_range visits = {0}, operands = {0};
    int rc = fetch ? turn(s->ops, first[0], first[1] - first[0], sizeof *s->ops, true) : 0;

    for (uint32_t i = first[0]; i < first[1]; i++) {
        span(&visits, &s->ops[i].visits);
        span(&operands, &s->ops[i].operands);
    }
    if (!rc)
        rc = turn(s->visits, visits.first, visits.n, sizeof *s->visits, fetch);
    if (!rc)
        rc = turn(s->operands, operands.first, operands.n, sizeof *s->operands, fetch);
    if (!rc)
        rc = turn(s->operand_rw, operands.first, operands.n, sizeof *s->operand_rw, fetch);
    if (!fetch) /* last: the ops say where the rest lies */
        turn(s->ops, first[0], first[1] - first[0], sizeof *s->ops, false);
    return rc;
}

static uint32_t find_batch(const struct nf_batches_class *c, uint32_t op)
{
    uint32_t low = 0, high = c->n - 1;

    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;

        if (c->first[middle] <= op)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

int nf_batches_between(void *ctx, uint32_t class_index, uint32_t next_op)
{
    struct nf_batches *b = ctx;

    if (b->in_class == class_index) {
        const uint32_t *first = &b->classes[class_index].first[b->in_batch];

        if (next_op >= first[0] && next_op < first[1])
            return 0;
    }
    if (b->in_class < b->n_classes)
        turn_batch(b, false);
    b->in_class = class_index;
    b->in_batch = find_batch(&b->classes[class_index], next_op);
    b->reads++;
    return turn_batch(b, true);
}
