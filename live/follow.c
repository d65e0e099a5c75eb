#include "live/follow.h"

/* One in so many may differ: what else the job allocates comes between the plan's blocks, or takes the place of one. */
enum { TOLERATED = 10 };

static uint32_t count_frees(const struct nf_follower *f)
{
    const struct nf_plan_storage *storages = (const void *)((const char *)f->plan + f->plan->storages_at);
    uint32_t n = 0;

    for (uint32_t i = 0; i < f->n_entries; i++)
        n += f->entries[i].gone != NF_PLAN_NONE;
    for (uint32_t i = 0; i < f->plan->n_storages; i++)
        n += storages[i].slot >= 0 && storages[i].pages && storages[i].gone != NF_PLAN_NONE;
    return n;
}

void nf_follower_init(struct nf_follower *f, struct nf_plan_file *plan, bool (*move)(void *, const struct nf_plan_move *), void *context)
{
    const char *data = (const char *)plan;
    const struct nf_plan_group *steady = (const struct nf_plan_group *)(const void *)(data + plan->groups_at) + plan->steady;

    *f = (struct nf_follower){
        .plan = plan,
        .ops = (const void *)(data + plan->ops_at),
        .moves = (const void *)(data + plan->moves_at),
        .entries = (const struct nf_plan_entry *)(const void *)(data + plan->entries_at) + steady->first,
        .n_entries = steady->n,
        .move = move,
        .context = context,
        .stopped = !plan->n_ops,
    };
    f->n_frees = count_frees(f);
}

static void deviate(struct nf_follower *f, enum nf_plan_deviation how, uint32_t op, uint64_t name, uint64_t count)
{
    f->stopped = true;
    atomic_store(&f->plan->deviation_step, f->step);
    atomic_store(&f->plan->deviation_op, op);
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

/* --- by the allocator's events --- */

/* Makes the moves of ops that have begun by what is known, and when no more blocks are to come until then, those of ops that no event
 * will tell. */
static void catch_up(struct nf_follower *f, bool untold)
{
    untold = untold && (f->next == f->n_entries || f->entries[f->next].born > f->at);
    while (f->op < f->plan->n_ops && (untold ? f->ops[f->op].anchor : f->op) <= f->at)
        make_moves(f, &f->ops[f->op++]);
}

/* The job is at this op. */
static void reach(struct nf_follower *f, uint32_t at, bool untold)
{
    f->at = at > f->at ? at : f->at;
    catch_up(f, untold);
}

/* False, and the job is left alone from here on: too much came otherwise, `missing` of the plan's events not at all. */
static bool is_as_planned(struct nf_follower *f, uint32_t missing)
{
    if (f->others + missing <= (f->n_entries + f->n_frees) / TOLERATED)
        return true;
    deviate(f, NF_PLAN_OTHER_BLOCKS, f->at, 0, f->others + missing);
    return false;
}

static bool follows_blocks(const struct nf_follower *f)
{
    return f->steady && !f->stopped && !f->says_ops;
}

void nf_follower_enter(struct nf_follower *f, bool steady)
{
    f->steady = steady;
    f->op = f->due = f->absent = f->at = f->born = f->gone = f->next = f->others = 0;
    if (follows_blocks(f))
        reach(f, 0, true);
}

void nf_follower_born(struct nf_follower *f, uint32_t i)
{
    if (!follows_blocks(f))
        return;
    if (i == NF_PLAN_NONE) {
        f->others++;
    } else {
        f->others += i < f->next; /* one that was passed over comes late */
        f->next = i < f->next ? f->next : i + 1;
        f->born++;
    }
    if (is_as_planned(f, f->next - f->born) && i != NF_PLAN_NONE)
        reach(f, f->entries[i].born, false);
}

void nf_follower_placed(struct nf_follower *f)
{
    if (follows_blocks(f))
        catch_up(f, true);
}

/* Between two allocations the ops are not known, only that they lie between theirs. */
void nf_follower_gone(struct nf_follower *f, uint32_t gone)
{
    uint32_t bound = f->next < f->n_entries ? f->entries[f->next].born : f->plan->n_ops;

    if (!follows_blocks(f))
        return;
    f->gone += gone != NF_PLAN_NONE;
    /* Until a first block comes it may be no step that begins but the job that ends. */
    if (f->n_entries && !f->born)
        return;
    /* Within an op, and where it ends, the order of events is not in the plan. */
    f->others += gone == NF_PLAN_NONE || gone + 1 < f->at || gone > bound + 1;
    if (is_as_planned(f, f->next - f->born) && gone != NF_PLAN_NONE)
        reach(f, gone < bound ? gone : bound, true);
}

/* --- by what the job says --- */

void nf_follower_op(struct nf_follower *f, uint64_t name)
{
    f->says_ops = true;
    if (f->stopped || !f->steady)
        return;
    if (f->op == f->plan->n_ops)
        deviate(f, NF_PLAN_MORE_OPS, f->op, name, f->op + (uint64_t)1);
    else if (f->ops[f->op].name != name)
        deviate(f, NF_PLAN_OTHER_OP, f->op, name, f->op + (uint64_t)1);
    else
        make_moves(f, &f->ops[f->op++]);
}

static bool was_whole(struct nf_follower *f)
{
    if (!f->says_ops)
        return is_as_planned(f, f->n_entries - f->born + f->n_frees - (f->gone < f->n_frees ? f->gone : f->n_frees));
    if (f->op < f->plan->n_ops)
        deviate(f, NF_PLAN_FEWER_OPS, f->op, 0, f->op);
    return !f->stopped;
}

void nf_follower_leave(struct nf_follower *f)
{
    if (f->steady && !f->stopped && was_whole(f)) {
        for (; f->op <= f->plan->n_ops; f->op++) /* of the last ops, if no event came after them, and of the end */
            make_moves(f, &f->ops[f->op]);
        if (f->absent > f->due / TOLERATED)
            deviate(f, NF_PLAN_OTHER_SIZES, f->op, 0, f->absent);
        else
            atomic_fetch_add(&f->plan->followed_steps, 1);
    }
    f->step++;
}
