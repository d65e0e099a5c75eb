#include "core/model/recompute.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/op-traits.h"

static uint32_t pages_of(const struct nf_tensor *t)
{
    uint64_t pages = nf_page_bytes(t->bytes) / NF_PAGE_BYTES;

    return pages < UINT32_MAX / 4 ? (uint32_t)pages : UINT32_MAX / 4;
}

/* --- what the step class says --- */

/* Writers per tensor, each op once; which tensors are written before they are read. */
static int find_writers(struct nf_recompute *r)
{
    const struct nf_step_class *c = r->of;
    uint32_t *last = malloc((c->n_tensors + (size_t)1) * sizeof *last);
    bool *seen = calloc(c->n_tensors + (size_t)1, sizeof *seen);
    int rc = last && seen ? 0 : -ENOMEM;

    for (int pass = 0; pass < 2 && !rc; pass++) {
        memset(last, 0xff, c->n_tensors * sizeof *last);
        for (uint32_t i = 0; i < c->n_visits; i++) {
            const struct nf_visit *v = &c->visits[i];

            if (!pass && !seen[v->tensor])
                r->made[v->tensor] = v->rw == NF_RW_WRITE && c->tensors[v->tensor].birth >= 0;
            seen[v->tensor] = true;
            if (v->rw == NF_RW_READ || last[v->tensor] == v->op)
                continue;
            last[v->tensor] = v->op;
            if (pass)
                r->write_op[r->write_first[v->tensor]++] = v->op;
            else
                r->write_first[v->tensor + 1]++;
        }
        if (pass)
            break;
        for (uint32_t t = 0; t < c->n_tensors; t++)
            r->write_first[t + 1] += r->write_first[t];
        r->write_op = malloc((r->write_first[c->n_tensors] + (size_t)1) * sizeof *r->write_op);
        rc = r->write_op ? 0 : -ENOMEM;
    }
    if (!rc) { /* each start has become its end */
        memmove(r->write_first + 1, r->write_first, c->n_tensors * sizeof *r->write_first);
        r->write_first[0] = 0;
    }
    free(last);
    free(seen);
    return rc;
}

/* A gap without an op in it leaves nothing to decide. */
static bool is_empty(const struct nf_step_class *c, const struct nf_gap *g)
{
    return g->wraps ? g->from_op + 1 >= c->n_ops && !g->to_op : g->from_op + 1 >= g->to_op;
}

static int list_items(struct nf_recompute *r, const struct nf_profile *p)
{
    const struct nf_step_class *c = r->of;

    r->items = calloc(p->n_gaps + (size_t)1, sizeof *r->items);
    if (!r->items)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->n_gaps; i++)
        r->item_first[p->gaps[i].tensor + 1] += !is_empty(c, &p->gaps[i]);
    for (uint32_t t = 0; t < c->n_tensors; t++)
        r->item_first[t + 1] += r->item_first[t];
    r->n_items = r->item_first[c->n_tensors];
    for (uint32_t i = 0; i < p->n_gaps; i++) { /* gaps of a tensor stand in order of op, the wrapping one last */
        const struct nf_gap *g = &p->gaps[i];

        if (is_empty(c, g))
            continue;
        r->items[r->item_first[g->tensor]++] = (struct nf_recompute_item){
            .tensor = g->tensor, .from_op = g->from_op, .to_op = g->to_op, .pages = pages_of(&c->tensors[g->tensor]), .gap_ns = g->ns,
            .wraps = g->wraps};
    }
    memmove(r->item_first + 1, r->item_first, c->n_tensors * sizeof *r->item_first);
    r->item_first[0] = 0;
    return 0;
}

void nf_recompute_ranges(const struct nf_recompute *r, const struct nf_recompute_item *i, uint32_t range[2][2])
{
    range[0][0] = i->from_op + 1;
    range[0][1] = i->wraps ? r->of->n_ops : i->to_op;
    range[1][0] = 0;
    range[1][1] = i->wraps ? i->to_op : 0;
}

static int find_base(struct nf_recompute *r)
{
    const struct nf_step_class *c = r->of;
    int64_t *change = calloc(c->n_ops + (size_t)2, sizeof *change), live = 0;
    uint32_t range[2][2];

    if (!change)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->n_tensors && c->n_ops; i++) {
        const struct nf_tensor *t = &c->tensors[i];

        change[t->birth < 0 ? 0 : t->birth] += pages_of(t);
        change[t->death == NF_OP_AFTER ? c->n_ops : (uint32_t)t->death + 1] -= pages_of(t);
    }
    for (uint32_t i = 0; i < r->n_items; i++) {
        nf_recompute_ranges(r, &r->items[i], range);
        for (unsigned k = 0; k < 2; k++) {
            if (range[k][0] >= range[k][1])
                continue;
            change[range[k][0]] -= r->items[i].pages;
            change[range[k][1]] += r->items[i].pages;
        }
    }
    for (uint32_t o = 0; o < c->n_ops; o++) {
        live += change[o];
        /* One storage that leaves and enters by two slots may lack a life in its gap. */
        r->base[o] = live < 0 ? 0 : live < UINT32_MAX / 4 ? (uint32_t)live : UINT32_MAX / 4;
    }
    free(change);
    return 0;
}

int nf_recompute_init(struct nf_recompute *r, const struct nf_profile *p, char *const *names, struct nf_recompute_rules rules)
{
    const struct nf_step_class *c = p->of;
    struct nf_recompute_chain chain = {0};
    size_t n = c->n_tensors + (size_t)2;
    int rc;

    *r = (struct nf_recompute){.of = c, .rules = rules};
    if (!rules.depth || rules.depth > NF_RECOMPUTE_DEPTH_MAX)
        return nf_fail(-EINVAL, "a chain of ops to run again has 1 to %d ops, not %u", NF_RECOMPUTE_DEPTH_MAX, rules.depth);
    r->item_first = calloc(n, sizeof *r->item_first);
    r->write_first = calloc(n, sizeof *r->write_first);
    r->made = calloc(n, sizeof *r->made);
    r->repeatable = calloc(c->n_ops + (size_t)1, sizeof *r->repeatable);
    r->base = calloc(c->n_ops + (size_t)1, sizeof *r->base);
    rc = r->item_first && r->write_first && r->made && r->repeatable && r->base ? 0 : -ENOMEM;
    for (uint32_t o = 0; o < c->n_ops && !rc; o++)
        r->repeatable[o] = nf_op_repeatable(names[c->ops[o].name], rules.random);
    if (!rc)
        rc = find_writers(r);
    if (!rc)
        rc = list_items(r, p);
    if (!rc)
        rc = find_base(r);
    for (uint32_t i = 0; i < r->n_items && !rc; i++) {
        r->items[i].can = nf_recompute_chain(r, NULL, i, &chain);
        r->items[i].c_ns = r->items[i].can ? chain.ns : 0;
    }
    nf_recompute_chain_deinit(&chain);
    return rc ? nf_fail(rc, "out of memory to plan %u gaps", p->n_gaps) : 0;
}

void nf_recompute_deinit(struct nf_recompute *r)
{
    free(r->items);
    free(r->item_first);
    free(r->write_first);
    free(r->write_op);
    free(r->repeatable);
    free(r->made);
    free(r->base);
    *r = (struct nf_recompute){0};
}

/* --- chains --- */

uint32_t nf_recompute_item_at(const struct nf_recompute *r, uint32_t tensor, uint32_t op)
{
    for (uint32_t i = r->item_first[tensor]; i < r->item_first[tensor + 1]; i++) {
        const struct nf_recompute_item *item = &r->items[i];

        if (item->wraps ? op > item->from_op || op < item->to_op : item->from_op < op && op < item->to_op)
            return i;
    }
    return UINT32_MAX;
}

/* The first op from `op` on that writes the tensor; n_ops: none. */
static uint32_t next_write(const struct nf_recompute *r, uint32_t tensor, uint32_t op)
{
    uint32_t low = r->write_first[tensor], high = r->write_first[tensor + 1];

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (r->write_op[middle] < op)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->write_first[tensor + 1] ? r->write_op[low] : r->of->n_ops;
}

struct search {
    const struct nf_recompute *r;
    const uint8_t *choices;
    uint32_t target, at; /* the item's tensor and its next use */
    struct nf_recompute_chain *chain;
};

static bool remember(const struct search *s, uint32_t tensor)
{
    for (size_t i = 0; i < s->chain->scratch.n; i++)
        if (s->chain->scratch.v[i] == tensor)
            return true;
    s->chain->scratch_pages += pages_of(&s->r->of->tensors[tensor]);
    return !nf_array_push(&s->chain->scratch, tensor);
}

/* Whether what `reader` read of a tensor is there, unchanged, when the item is used next. */
static bool is_there(const struct search *s, uint32_t tensor, uint32_t reader)
{
    const struct nf_tensor *t = &s->r->of->tensors[tensor];
    uint32_t item;

    if ((t->death != NF_OP_AFTER && (int64_t)t->death < (int64_t)s->at) || next_write(s->r, tensor, reader) < s->at)
        return false;
    item = nf_recompute_item_at(s->r, tensor, s->at);
    return !s->choices || item == UINT32_MAX || s->choices[item] != NF_RECOMPUTE_AGAIN;
}

static bool make(const struct search *s, uint32_t tensor, uint32_t before);

/* One op run again: its operands must be there or be made, its outputs be the target or new ones. */
static bool run_again(const struct search *s, uint32_t op)
{
    const struct nf_step_class *c = s->r->of;
    struct nf_recompute_chain *chain = s->chain;
    uint32_t first = c->ops[op].first_visit, end = first + c->ops[op].n_visits;

    for (uint32_t i = 0; i < chain->n; i++)
        if (chain->ops[i] == op)
            return true;
    if (!s->r->repeatable[op] || chain->n >= s->r->rules.depth)
        return false;
    chain->ops[chain->n++] = op;
    chain->ns += c->ops[op].dur_ns + c->ops[op].gap_ns;
    for (uint32_t i = first; i < end; i++) {
        uint32_t tensor = c->visits[i].tensor;
        bool own = s->r->made[tensor] && next_write(s->r, tensor, 0) <= op && next_write(s->r, tensor, op) == op;

        if (c->visits[i].rw != NF_RW_READ) {
            if (!own) /* in place on something older */
                return false;
            if (tensor != s->target && !remember(s, tensor))
                return false;
            /* Written step by step: what it was before this op is made as well. */
            if (next_write(s->r, tensor, 0) < op && !make(s, tensor, op))
                return false;
        } else if (!own && !is_there(s, tensor, op)) {
            if (tensor == s->target || !make(s, tensor, op) || !remember(s, tensor))
                return false;
        } else if (!own && nf_array_push(&chain->parents, tensor)) {
            return false;
        }
    }
    return true;
}

/* All ops that wrote the tensor before `before`. Nothing writes it from there to the use at hand: its copy would be another version. */
static bool make(const struct search *s, uint32_t tensor, uint32_t before)
{
    const struct nf_recompute *r = s->r;
    uint32_t i = r->write_first[tensor];

    if (!r->made[tensor] || i == r->write_first[tensor + 1] || r->write_op[i] >= before)
        return false;
    for (; i < r->write_first[tensor + 1] && r->write_op[i] < before; i++)
        if (!run_again(s, r->write_op[i]))
            return false;
    return true;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* A copy has one version: whatever writes a scratch tensor before the last op that reads it in the chain runs in the chain. */
static bool versions_hold(const struct nf_recompute *r, const struct nf_recompute_chain *chain)
{
    for (size_t k = 0; k < chain->scratch.n; k++) {
        uint32_t tensor = chain->scratch.v[k], last = chain->ops[chain->n - 1];

        for (uint32_t w = next_write(r, tensor, 0); w <= last; w = next_write(r, tensor, w + 1)) {
            if (!bsearch(&w, chain->ops, chain->n, sizeof w, by_number)) {
                bool read_after = false;

                for (uint32_t i = 0; i < chain->n && !read_after; i++) {
                    const struct nf_op *op = &r->of->ops[chain->ops[i]];

                    for (uint32_t v = op->first_visit; v < op->first_visit + op->n_visits && chain->ops[i] > w; v++)
                        read_after |= r->of->visits[v].tensor == tensor;
                }
                if (read_after)
                    return false;
            }
        }
    }
    return true;
}

bool nf_recompute_chain(const struct nf_recompute *r, const uint8_t *choices, uint32_t item, struct nf_recompute_chain *chain)
{
    const struct nf_recompute_item *i = &r->items[item];
    struct search s = {.r = r, .choices = choices, .target = i->tensor, .at = i->to_op, .chain = chain};

    chain->n = 0;
    chain->parents.n = chain->scratch.n = 0;
    chain->ns = 0;
    chain->scratch_pages = 0;
    if (i->wraps || !make(&s, i->tensor, i->from_op + 1))
        return false;
    qsort(chain->ops, chain->n, sizeof *chain->ops, by_number);
    return versions_hold(r, chain);
}

void nf_recompute_chain_deinit(struct nf_recompute_chain *chain)
{
    nf_array_free(&chain->parents);
    nf_array_free(&chain->scratch);
}
