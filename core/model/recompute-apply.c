#include "core/model/recompute-apply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/spill.h"

/* An item to be made again, in the order in which that happens. */
struct rerun {
    uint32_t item, at, made_by; /* the last op that made it: who is made from it comes later */
};

struct apply {
    const struct nf_recompute *r;
    const uint8_t *choices;
    struct nf_recompute_applied *out;
    struct rerun *reruns;
    uint32_t n_reruns;
    uint32_t *current;  /* per captured tensor: which one of out's it is now */
    uint32_t *copy;     /* per captured tensor: its copy in the running chain; UINT32_MAX: none */
    uint32_t *number;   /* per captured op: its number in out */
    uint64_t scratch_address; /* beyond every captured one; 0: there is no room for more */
    struct nf_recompute_chain chain;
    NF_ARRAY(struct nf_op) ops;
    NF_ARRAY(struct nf_tensor) tensors;
    NF_ARRAY(uint32_t) op_of;
    NF_ARRAY(uint32_t) tensor_of;
    NF_ARRAY(double) made_ns;
    NF_ARRAY(bool) again;
    struct nf_visit *visits;
    uint32_t n_visits;
};

static int by_time(const void *a, const void *b)
{
    const struct rerun *x = a, *y = b;

    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->made_by != y->made_by)
        return x->made_by < y->made_by ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

/* The reruns, and how many visits they add. */
static int list_reruns(struct apply *a, uint64_t *visits)
{
    const struct nf_recompute *r = a->r;

    a->reruns = malloc((r->n_items + (size_t)1) * sizeof *a->reruns);
    if (!a->reruns)
        return -ENOMEM;
    *visits = r->of->n_visits;
    for (uint32_t i = 0; i < r->n_items; i++) {
        uint32_t tensor = r->items[i].tensor, last = 0;

        if (a->choices[i] != NF_RECOMPUTE_AGAIN)
            continue;
        if (!nf_recompute_chain(r, a->choices, i, &a->chain))
            return nf_fail(-EINVAL, "tensor %u cannot be made again for op %u", tensor, r->items[i].to_op);
        for (uint32_t k = 0; k < a->chain.n; k++)
            *visits += r->of->ops[a->chain.ops[k]].n_visits;
        for (uint32_t k = r->write_first[tensor]; k < r->write_first[tensor + 1] && r->write_op[k] <= r->items[i].from_op; k++)
            last = r->write_op[k];
        a->reruns[a->n_reruns++] = (struct rerun){i, r->items[i].to_op, last};
    }
    qsort(a->reruns, a->n_reruns, sizeof *a->reruns, by_time);
    return *visits < UINT32_MAX ? 0 : -ENOMEM;
}

static void find_scratch_address(struct apply *a)
{
    const struct nf_step_class *c = a->r->of;
    uint64_t end = 0;

    for (uint32_t i = 0; i < c->n_tensors; i++)
        if (c->tensors[i].address + c->tensors[i].bytes > end)
            end = c->tensors[i].address + c->tensors[i].bytes;
    a->scratch_address = end < UINT64_MAX / 2 ? nf_page_bytes(end) + NF_PAGE_BYTES : 0;
}

static int add_tensor(struct apply *a, const struct nf_tensor *t, uint32_t of, double made_ns, uint32_t *number)
{
    *number = (uint32_t)a->tensors.n;
    return nf_array_push(&a->tensors, *t) || nf_array_push(&a->tensor_of, of) || nf_array_push(&a->made_ns, made_ns) ? -ENOMEM : 0;
}

/* A tensor's copy for as long as a chain runs. */
static int add_copy(struct apply *a, uint32_t of, uint64_t *address)
{
    struct nf_tensor copy = a->r->of->tensors[of];

    copy.birth = INT32_MAX;
    copy.death = NF_OP_BEFORE;
    copy.carry_in = copy.carry_out = NF_CARRY_NONE;
    if (*address) {
        copy.address = *address;
        *address += nf_page_bytes(copy.bytes);
    }
    return add_tensor(a, &copy, of, 0, &a->copy[of]);
}

static int add_op(struct apply *a, uint32_t captured, bool again, uint32_t at)
{
    const struct nf_step_class *c = a->r->of;
    struct nf_op op = c->ops[captured];

    op.first_visit = a->n_visits;
    if (again) {
        op.phase = NF_PHASE_RECOMPUTE;
        op.regime = c->ops[at].regime;
        op.thread = c->ops[at].thread;
        op.microbatch = c->ops[at].microbatch;
        a->out->ops++;
        a->out->captured_ns += op.dur_ns + op.gap_ns;
    }
    for (uint32_t i = c->ops[captured].first_visit; i < c->ops[captured].first_visit + c->ops[captured].n_visits; i++) {
        struct nf_visit v = c->visits[i];
        uint32_t tensor = v.tensor, number = (uint32_t)a->ops.n;

        v.op = number;
        v.tensor = a->current[tensor];
        /* What the chain has written so far it reads from its own copy. */
        if (again && a->copy[tensor] != UINT32_MAX) {
            struct nf_tensor *copy = &a->tensors.v[a->copy[tensor]];

            if (copy->birth != INT32_MAX || v.rw != NF_RW_READ) {
                copy->birth = copy->birth == INT32_MAX ? (int32_t)number : copy->birth;
                copy->death = copy->death == NF_OP_BEFORE || copy->death < (int32_t)number ? (int32_t)number : copy->death;
                v.tensor = a->copy[tensor];
            }
        }
        a->out->reissued_bytes += again ? v.bytes : 0;
        a->visits[a->n_visits++] = v;
    }
    return nf_array_push(&a->ops, op) || nf_array_push(&a->op_of, captured) || nf_array_push(&a->again, again) ? -ENOMEM : 0;
}

/* The storage ended after its last use; the one that is born now lives on as it did. */
static int run_again(struct apply *a, const struct rerun *rerun)
{
    const struct nf_recompute_item *item = &a->r->items[rerun->item];
    uint64_t address = a->scratch_address;
    struct nf_tensor *before = &a->tensors.v[a->current[item->tensor]], next = *before;
    uint32_t born;
    int rc = 0;

    if (!nf_recompute_chain(a->r, a->choices, rerun->item, &a->chain))
        return -ENOMEM; /* it was there when they were listed */
    before->death = (int32_t)a->number[item->from_op];
    before->carry_out = NF_CARRY_NONE;
    next.birth = INT32_MAX;
    next.carry_in = NF_CARRY_NONE;
    rc = add_tensor(a, &next, item->tensor, a->chain.ns, &born);
    if (rc)
        return rc;
    a->copy[item->tensor] = born;
    for (size_t i = 0; i < a->chain.scratch.n && !rc; i++)
        rc = add_copy(a, a->chain.scratch.v[i], &address);
    for (uint32_t i = 0; i < a->chain.n && !rc; i++)
        rc = add_op(a, a->chain.ops[i], true, rerun->at);
    a->tensors.v[born].death = next.death;
    a->current[item->tensor] = born;
    a->copy[item->tensor] = UINT32_MAX;
    for (size_t i = 0; i < a->chain.scratch.n; i++)
        a->copy[a->chain.scratch.v[i]] = UINT32_MAX;
    a->out->recomputed++;
    a->out->unheld_bytes += (uint64_t)item->pages * NF_PAGE_BYTES;
    a->out->unheld_byte_ns += (double)item->pages * NF_PAGE_BYTES * item->gap_ns;
    return rc;
}

/* Births and deaths that stand in captured ops so far; those of copies and of what is made again are in new ones already. */
static void renumber(struct apply *a)
{
    const struct nf_step_class *c = a->r->of;

    for (uint32_t t = 0; t < a->tensors.n; t++) {
        struct nf_tensor *tensor = &a->tensors.v[t];
        const struct nf_tensor *captured = &c->tensors[a->tensor_of.v[t]];

        if (t < c->n_tensors && captured->birth >= 0)
            tensor->birth = (int32_t)a->number[captured->birth];
    }
    for (uint32_t t = 0; t < c->n_tensors; t++) { /* the last one of each lives to the captured end */
        int32_t death = c->tensors[t].death;

        a->tensors.v[a->current[t]].death = death == NF_OP_AFTER ? NF_OP_AFTER : (int32_t)a->number[death];
    }
}

static int apply(struct apply *a)
{
    const struct nf_step_class *c = a->r->of;
    uint64_t visits;
    uint32_t next = 0;
    int rc = list_reruns(a, &visits);

    if (rc)
        return rc;
    a->visits = nf_spill_alloc((uint32_t)visits, sizeof *a->visits);
    a->current = malloc((c->n_tensors + (size_t)1) * sizeof *a->current);
    a->copy = malloc((c->n_tensors + (size_t)1) * sizeof *a->copy);
    a->number = malloc((c->n_ops + (size_t)1) * sizeof *a->number);
    if (!a->visits || !a->current || !a->copy || !a->number)
        return -ENOMEM;
    memset(a->copy, 0xff, c->n_tensors * sizeof *a->copy);
    find_scratch_address(a);
    for (uint32_t i = 0; i < c->n_tensors && !rc; i++)
        rc = add_tensor(a, &c->tensors[i], i, 0, &a->current[i]);
    for (uint32_t o = 0; o < c->n_ops && !rc; o++) {
        while (next < a->n_reruns && a->reruns[next].at == o && !rc)
            rc = run_again(a, &a->reruns[next++]);
        a->number[o] = (uint32_t)a->ops.n;
        if (!rc)
            rc = add_op(a, o, false, o);
    }
    if (!rc && a->ops.n >= INT32_MAX)
        rc = -ENOMEM;
    if (!rc)
        renumber(a);
    return rc;
}

int nf_recompute_apply(const struct nf_recompute *r, const uint8_t *choices, struct nf_recompute_applied *out)
{
    struct apply a = {.r = r, .choices = choices, .out = out};
    int rc;

    *out = (struct nf_recompute_applied){0};
    rc = apply(&a);
    out->c = *r->of;
    out->c.ops = a.ops.v;
    out->c.n_ops = (uint32_t)a.ops.n;
    out->c.visits = a.visits;
    out->c.n_visits = a.n_visits;
    out->c.tensors = a.tensors.v;
    out->c.n_tensors = (uint32_t)a.tensors.n;
    out->op_of = a.op_of.v;
    out->again = a.again.v;
    out->tensor_of = a.tensor_of.v;
    out->made_ns = a.made_ns.v;
    if (!rc)
        rc = nf_step_class_peak(&out->c, &out->c.peak_live_bytes);
    free(a.reruns);
    free(a.current);
    free(a.copy);
    free(a.number);
    nf_recompute_chain_deinit(&a.chain);
    return rc == -ENOMEM ? nf_fail(rc, "out of memory to run ops again") : rc;
}

void nf_recompute_applied_deinit(struct nf_recompute_applied *a)
{
    free(a->c.ops);
    nf_spill_free(a->c.visits);
    free(a->c.tensors);
    free(a->op_of);
    free(a->again);
    free(a->tensor_of);
    free(a->made_ns);
    *a = (struct nf_recompute_applied){0};
}
