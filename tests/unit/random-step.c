#include "random-step.h"

#include <string.h>

#include "core/model/op-traits.h"

char *const random_step_names[STEP_NAMES] = {"aten::addmm", "aten::gelu", "aten::native_layer_norm", "aten::add", "aten::bmm", "aten::mul",
                                             "aten::softmax", "aten::native_dropout", "mine::op", "aten::add_", "aten::mm",
                                             "aten::gelu_backward", "aten::div", "aten::sum", "aten::sub", "aten::clone"};
enum { RANDOM_NAME = 7, UNKNOWN_NAME = 8, IN_PLACE_NAME = 9 };

static uint32_t add_tensor(struct random_step *s, struct nf_rng *rng, int32_t birth, int32_t death)
{
    uint32_t n = s->c.n_tensors++;
    bool carried = birth < 0;

    s->tensors[n] = (struct nf_tensor){
        .bytes = (1 + nf_rng_below(rng, 4)) * NF_PAGE_BYTES,
        .address = (uint64_t)(n + 1) << 20,
        .birth = birth,
        .death = carried ? NF_OP_AFTER : death,
        .carry_in = carried ? (int32_t)n : NF_CARRY_NONE,
        .carry_out = carried ? (int32_t)n : NF_CARRY_NONE,
        .tracked = true,
    };
    return n;
}

static uint32_t add_op(struct random_step *s, struct nf_rng *rng, uint32_t name)
{
    s->ops[s->c.n_ops] = (struct nf_op){.name = name, .first_visit = s->c.n_visits, .dur_ns = 10 + (double)nf_rng_below(rng, 5000)};
    return s->c.n_ops++;
}

static void visit(struct random_step *s, uint32_t tensor, uint8_t rw)
{
    uint32_t op = s->c.n_ops - 1;
    uint64_t bytes = s->tensors[tensor].bytes;

    s->visits[s->c.n_visits++] = (struct nf_visit){.op = op, .tensor = tensor, .bytes = bytes, .run = bytes, .stride = bytes, .rw = rw};
    s->ops[op].n_visits++;
    if (s->tensors[tensor].death != NF_OP_AFTER && s->tensors[tensor].death < (int32_t)op)
        s->tensors[tensor].death = (int32_t)op;
}

static uint32_t forward_name(struct nf_rng *rng)
{
    uint64_t draw = nf_rng_below(rng, 12);

    return draw == 0 ? RANDOM_NAME : draw == 1 ? UNKNOWN_NAME : (uint32_t)nf_rng_below(rng, RANDOM_NAME);
}

void random_step(struct random_step *s, struct nf_rng *rng, unsigned layers)
{
    uint32_t parameter[6], out[7], inner[6], beside[6], gradient;

    memset(s, 0, sizeof *s);
    s->c.ops = s->ops;
    s->c.visits = s->visits;
    s->c.tensors = s->tensors;
    for (unsigned i = 0; i < layers; i++)
        parameter[i] = add_tensor(s, rng, NF_OP_BEFORE, 0);
    out[0] = add_tensor(s, rng, NF_OP_BEFORE, 0);
    for (unsigned i = 0; i < layers; i++) {
        inner[i] = add_tensor(s, rng, (int32_t)s->c.n_ops, (int32_t)s->c.n_ops);
        beside[i] = add_tensor(s, rng, (int32_t)s->c.n_ops, (int32_t)s->c.n_ops);
        add_op(s, rng, forward_name(rng));
        visit(s, out[i], NF_RW_READ);
        visit(s, parameter[i], NF_RW_READ);
        visit(s, inner[i], NF_RW_WRITE);
        visit(s, beside[i], NF_RW_WRITE);
        out[i + 1] = add_tensor(s, rng, (int32_t)s->c.n_ops, (int32_t)s->c.n_ops);
        add_op(s, rng, forward_name(rng));
        visit(s, inner[i], NF_RW_READ);
        if (nf_rng_below(rng, 2))
            visit(s, beside[i], NF_RW_READ);
        visit(s, out[i + 1], NF_RW_WRITE);
        if (nf_rng_below(rng, 4) == 0) {
            add_op(s, rng, IN_PLACE_NAME);
            visit(s, inner[i], NF_RW_READ);
            visit(s, nf_rng_below(rng, 2) ? out[i + 1] : inner[i], NF_RW_UPDATE);
        }
    }
    gradient = add_tensor(s, rng, (int32_t)s->c.n_ops, (int32_t)s->c.n_ops);
    add_op(s, rng, 13);
    visit(s, out[layers], NF_RW_READ);
    visit(s, gradient, NF_RW_WRITE);
    for (unsigned i = layers; i-- > 0;) {
        add_op(s, rng, 11);
        visit(s, gradient, NF_RW_UPDATE);
        visit(s, parameter[i], NF_RW_READ);
        if (nf_rng_below(rng, 3))
            visit(s, out[i + 1], NF_RW_READ);
        if (nf_rng_below(rng, 3))
            visit(s, inner[i], NF_RW_READ);
        if (nf_rng_below(rng, 3) == 0)
            visit(s, beside[i], NF_RW_READ);
        if (nf_rng_below(rng, 2)) {
            add_op(s, rng, IN_PLACE_NAME);
            visit(s, gradient, NF_RW_READ);
            visit(s, parameter[i], NF_RW_UPDATE);
        }
    }
    nf_step_class_peak(&s->c, &s->c.peak_live_bytes);
}

bool step_run_op(const struct nf_step_class *c, char *const *names, uint32_t op, uint64_t *values, uint64_t draw)
{
    const struct nf_op *o = &c->ops[op];
    uint64_t read = nf_hash_bytes(names[o->name], strlen(names[o->name])), outputs = 0;

    if (nf_op_traits(names[o->name]) & (NF_OP_RANDOM | NF_OP_UNKNOWN))
        read = nf_hash_add(read, draw);
    for (uint32_t i = o->first_visit; i < o->first_visit + o->n_visits; i++) {
        if (c->visits[i].rw == NF_RW_WRITE)
            continue;
        if (!values[c->visits[i].tensor])
            return false;
        read = nf_hash_add(read, values[c->visits[i].tensor]);
    }
    for (uint32_t i = o->first_visit; i < o->first_visit + o->n_visits; i++)
        if (c->visits[i].rw != NF_RW_READ)
            values[c->visits[i].tensor] = nf_hash_add(read, outputs++) | 1;
    return true;
}
