#include "core/model/match.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/rng.h"

/* One tensor or op under the hash of its names; equal ones stay in order. */
struct named {
    uint64_t key;
    uint32_t number;
};

static uint64_t text_key(const char *text)
{
    return nf_hash_bytes(text, strlen(text));
}

static uint64_t op_key(const struct nf_op *op, char *const *names)
{
    uint64_t key = nf_hash_add(text_key(names[op->name]), text_key(names[op->module]));

    return nf_hash_add(nf_hash_add(key, op->phase), op->microbatch);
}

static uint64_t tensor_key(const struct nf_step_class *c, const struct nf_tensor *t, char *const *names)
{
    uint64_t key = nf_hash_add(text_key(names[t->name]), text_key(names[t->module]));

    key = nf_hash_add(key, t->role);
    return nf_hash_add(key, t->birth < 0 || !c->n_ops ? 0 : op_key(&c->ops[t->birth], names));
}

static int by_key(const void *a, const void *b)
{
    const struct named *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static struct named *name_all(const struct nf_step_class *c, char *const *names, bool ops)
{
    uint32_t n = ops ? c->n_ops : c->n_tensors;
    struct named *v = malloc((n + (size_t)1) * sizeof *v);

    for (uint32_t i = 0; v && i < n; i++)
        v[i] = (struct named){ops ? op_key(&c->ops[i], names) : tensor_key(c, &c->tensors[i], names), i};
    if (v)
        qsort(v, n, sizeof *v, by_key);
    return v;
}

/* The i-th of a name is the i-th of it on the other side. */
static void pair(const struct named *from, uint32_t n_from, const struct named *to, uint32_t n_to, uint32_t *out)
{
    uint32_t f = 0, t = 0;

    while (f < n_from && t < n_to) {
        if (from[f].key == to[t].key)
            out[to[t++].number] = from[f++].number;
        else if (from[f].key < to[t].key)
            f++;
        else
            t++;
    }
}

static int match(const struct nf_step_class *from, char *const *from_names, const struct nf_step_class *to, char *const *to_names,
                 bool ops, uint32_t *out)
{
    struct named *a = name_all(from, from_names, ops), *b = name_all(to, to_names, ops);
    int rc = a && b ? 0 : -ENOMEM;

    if (!rc)
        pair(a, ops ? from->n_ops : from->n_tensors, b, ops ? to->n_ops : to->n_tensors, out);
    free(a);
    free(b);
    return rc;
}

int nf_match_init(struct nf_match *m, const struct nf_step_class *from, char *const *from_names, const struct nf_step_class *to,
                  char *const *to_names)
{
    uint32_t last = 0;
    int rc;

    *m = (struct nf_match){
        .tensor = malloc((to->n_tensors + (size_t)1) * sizeof *m->tensor),
        .op = malloc((to->n_ops + (size_t)1) * sizeof *m->op),
    };
    if (!m->tensor || !m->op)
        return nf_fail(-ENOMEM, "out of memory to match %u tensors", to->n_tensors);
    memset(m->tensor, 0xff, to->n_tensors * sizeof *m->tensor);
    memset(m->op, 0xff, to->n_ops * sizeof *m->op);
    rc = match(from, from_names, to, to_names, false, m->tensor);
    if (!rc)
        rc = match(from, from_names, to, to_names, true, m->op);
    if (rc)
        return nf_fail(rc, "out of memory to match %u tensors", to->n_tensors);
    for (uint32_t i = 0; i < to->n_tensors; i++) {
        uint64_t bytes = nf_page_bytes(to->tensors[i].bytes);

        m->bytes += bytes;
        m->matched_bytes += m->tensor[i] != NF_MATCH_NONE ? bytes : 0;
        m->n_tensors += m->tensor[i] != NF_MATCH_NONE;
    }
    for (uint32_t i = 0; i < to->n_ops; i++) {
        m->n_ops += m->op[i] != NF_MATCH_NONE;
        last = m->op[i] = m->op[i] != NF_MATCH_NONE ? m->op[i] : last;
    }
    return 0;
}

void nf_match_deinit(struct nf_match *m)
{
    free(m->tensor);
    free(m->op);
    *m = (struct nf_match){0};
}
