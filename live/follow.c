#include "live/follow.h"

void nf_follower_init(struct nf_follower *f, struct nf_plan_file *plan, bool (*move)(void *, const struct nf_plan_move *), void *context)
{
    *f = (struct nf_follower){
        .plan = plan,
        .ops = (const void *)((const char *)plan + plan->ops_at),
        .moves = (const void *)((const char *)plan + plan->moves_at),
        .move = move,
        .context = context,
        .stopped = !plan->n_ops,
    };
}

static void deviate(struct nf_follower *f, enum nf_plan_deviation how, uint64_t name, uint64_t count)
{
    f->stopped = true;
    atomic_store(&f->plan->deviation_step, f->step);
    atomic_store(&f->plan->deviation_op, f->op);
    atomic_store(&f->plan->deviation_name, name);
    atomic_store(&f->plan->deviation_count, count);
    atomic_store(&f->plan->deviation, how);
}

static void make_moves(struct nf_follower *f, const struct nf_plan_op *op)
{
    for (uint32_t i = 0; i < op->n_moves; i++) {
        bool there = f->move(f->context, &f->moves[op->first_move + i]);

        f->absent += !there;
        atomic_fetch_add_explicit(there ? &f->plan->asked_moves : &f->plan->absent_moves, 1, memory_order_relaxed);
    }
    f->due += op->n_moves;
    atomic_fetch_add_explicit(&f->plan->due_moves, op->n_moves, memory_order_relaxed);
}

void nf_follower_enter(struct nf_follower *f, bool steady)
{
    f->steady = steady;
    f->op = f->absent = f->due = 0;
}

void nf_follower_op(struct nf_follower *f, uint64_t name)
{
    if (f->stopped || !f->steady)
        return;
    if (f->op == f->plan->n_ops) {
        deviate(f, NF_PLAN_MORE_OPS, name, f->op + (uint64_t)1);
    } else if (f->ops[f->op].name != name) {
        deviate(f, NF_PLAN_OTHER_OP, name, f->op + (uint64_t)1);
    } else {
        make_moves(f, &f->ops[f->op]);
        f->op++;
    }
}

void nf_follower_leave(struct nf_follower *f)
{
    const uint32_t tolerated = 10; /* one in so many: what else the job allocates may have taken a storage's place */

    if (f->steady && !f->stopped) {
        if (f->op < f->plan->n_ops) {
            deviate(f, NF_PLAN_FEWER_OPS, 0, f->op);
        } else {
            make_moves(f, &f->ops[f->op]);
            if (f->absent > f->due / tolerated)
                deviate(f, NF_PLAN_OTHER_SIZES, 0, f->absent);
            else
                atomic_fetch_add(&f->plan->followed_steps, 1);
        }
    }
    f->step++;
}
