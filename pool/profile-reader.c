/* The profile of a step class, read forwards by policies that know nothing of its layout. */
#include <errno.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/policy.h"

enum { AT_OP, AT_TENSOR, AT_GAP, AT_USE };

static int next_op(struct nf_policy_reader *r, struct nf_policy_op *out)
{
    const struct nf_op *op;

    if (r->at[AT_OP] >= r->n_ops)
        return 0;
    op = &r->of->of->ops[r->at[AT_OP]];
    *out = (struct nf_policy_op){r->at[AT_OP]++, op->phase, op->microbatch, op->regime, op->dur_ns, op->gap_ns};
    return 1;
}

static int next_tensor(struct nf_policy_reader *r, struct nf_policy_profiled *out)
{
    const struct nf_tensor_profile *p;
    const struct nf_tensor *t;

    if (r->at[AT_TENSOR] >= r->n_tensors)
        return 0;
    t = &r->of->of->tensors[r->at[AT_TENSOR]];
    p = &r->of->tensors[r->at[AT_TENSOR]];
    *out = (struct nf_policy_profiled){
        .number = r->at[AT_TENSOR]++,
        .bytes = nf_page_bytes(t->bytes),
        .role = (enum nf_role)t->role,
        .birth = t->birth,
        .death = t->death,
        .carry_in = t->carry_in,
        .carry_out = t->carry_out,
        .reads = p->reads,
        .writes = p->writes,
        .read_bytes = p->read_bytes,
        .write_bytes = p->write_bytes,
        .miss_read_bytes = p->miss_read_bytes,
        .miss_write_bytes = p->miss_write_bytes,
        .first_op = p->first_op,
        .last_op = p->last_op,
        .longest_gap_bytes = p->longest_gap_bytes,
        .longest_gap_ns = p->longest_gap_ns,
        .live_share = p->live_share,
    };
    return 1;
}

static int next_gap(struct nf_policy_reader *r, struct nf_policy_gap *out)
{
    const struct nf_gap *g;

    if (r->at[AT_GAP] >= r->n_gaps)
        return 0;
    g = &r->of->gaps[r->at[AT_GAP]++];
    *out = (struct nf_policy_gap){g->tensor, g->from_op, g->to_op, g->bytes, g->ns, g->wraps};
    return 1;
}

static int next_use(struct nf_policy_reader *r, struct nf_policy_use *out)
{
    const struct nf_visit *v;

    if (r->at[AT_USE] >= r->uses_end)
        return 0;
    v = &r->of->of->visits[r->at[AT_USE]];
    *out = (struct nf_policy_use){v->op, v->tensor, v->rw, v->bytes, r->of->visit_miss_bytes[r->at[AT_USE]]};
    r->at[AT_USE]++;
    return 1;
}

int nf_policy_reader_init(struct nf_policy_reader *r, const struct nf_policy_semantics *s, const struct nf_profile *profiles, uint32_t n,
                          uint32_t step_class, uint32_t steady)
{
    const struct nf_profile *p = &profiles[step_class];
    uint64_t peak = 0;

    if (nf_step_class_peak(p->of, &peak))
        return nf_fail(-ENOMEM, "out of memory for the peak of step class %u", step_class);
    *r = (struct nf_policy_reader){
        .step_class = step_class,
        .n_step_classes = n,
        .steady = step_class == steady,
        .n_ops = p->of->n_ops,
        .n_tensors = p->of->n_tensors,
        .n_gaps = p->n_gaps,
        .peak_live_bytes = peak,
        .llc_bytes = p->llc_bytes,
        .step_ns = p->of->bare_step_ns,
        .next_op = next_op,
        .next_tensor = next_tensor,
        .next_gap = next_gap,
        .next_use = next_use,
        .of = p,
        /* A class that is never replayed has no visits any more. */
        .uses_end = s->sees_future && p->of->visits && p->visit_miss_bytes ? p->of->n_visits : 0,
    };
    return 0;
}
