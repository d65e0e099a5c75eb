/* Policy `g10`: tensors leave near between two uses where that takes most off the memory in use beyond near's capacity.
 * Rule: the inactive interval of a tensor between two uses is worth a move if it is longer than 2 (latency + size / bandwidth)(1 + δ);
 * intervals are taken by benefit, bytes times the time for which memory in use lies above the line, best first and anew after each one,
 * until the line holds; a tensor leaves right after its use and comes back as late as is safe; each transfer reserves the link's time
 * op by op, and an interval whose transfers find no time is dropped. Zhang, Zhou, Huang, et al.: G10: Enabling An Efficient Unified
 * GPU Memory and Storage Architecture with Smart Tensor Migrations, MICRO 2023, sections 4.2 to 4.4.
 * Here the line is near's capacity, the link near to far with its measured read bandwidth in each direction, and there is one far level.
 * Semantics: in place, insert near while there is room, write back, copied by a helper. Sees profile and future.
 * Fails where the captured schedule is not the replayed one: a fetch planned to be just in time is late when ops take longer, and its use
 * waits or is far. Memory that lies above the line without inactive intervals (a single op's operands) stays there: those are far. */
#include "pool/policy-g10.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/policies.h"
#include "pool/timetable.h"

struct options {
    double margin;
};

static const struct nf_option table[] = {
    {"margin", 0, NF_OPTION_F64, offsetof(struct options, margin), "X", "slack of a move, δ of the rule (default 0.1)"},
    {NULL},
};
/* A tenth: captured op times vary by about as much between steps. */
static const struct options defaults = {.margin = 0.1};

bool nf_g10_worth(double interval_ns, uint64_t bytes, double latency_ns, double bps, double margin)
{
    return interval_ns > 2 * (latency_ns + (double)bytes / bps * 1e9) * (1 + margin);
}

double nf_g10_benefit(const uint64_t *load, const double *ns, uint32_t n, uint64_t line, uint64_t bytes)
{
    double sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t above = load[i] > line ? load[i] - line : 0;

        sum += (double)(above < bytes ? above : bytes) * ns[i];
    }
    return sum;
}

/* Ops are numbered over two steps, so that what wraps is one range: op n_ops + i is op i of the next step. */
struct interval {
    uint32_t tensor, from, to; /* the uses around it */
    double benefit;            /* when last looked at: it never grows */
};

struct plan {
    struct nf_timetable *t;
    uint32_t n_ops;
    uint64_t *load; /* 2 * n_ops: twice the step */
    double *ns;     /* the same */
    double *out, *in; /* n_ops: nanoseconds of the link left in an op, per direction */
    struct interval *heap;
    size_t n;
};

static void heap_sink(struct plan *p, size_t i)
{
    for (;;) {
        size_t most = i, left = 2 * i + 1, right = left + 1;
        struct interval swap;

        if (left < p->n && p->heap[left].benefit > p->heap[most].benefit)
            most = left;
        if (right < p->n && p->heap[right].benefit > p->heap[most].benefit)
            most = right;
        if (most == i)
            return;
        swap = p->heap[i];
        p->heap[i] = p->heap[most];
        p->heap[most] = swap;
        i = most;
    }
}

static uint64_t bytes_of(const struct plan *p, uint32_t tensor)
{
    return nf_page_bytes(p->t->of->tensors[tensor].bytes);
}

static double benefit_of(const struct plan *p, const struct interval *i)
{
    return nf_g10_benefit(p->load + i->from + 1, p->ns + i->from + 1, i->to - i->from - 1, p->t->env->capacity[0],
                          bytes_of(p, i->tensor));
}

static double duration(const struct plan *p, uint32_t from, uint32_t to)
{
    double ns = 0;

    for (uint32_t o = from + 1; o < to; o++)
        ns += p->ns[o];
    return ns;
}

static void add_load(struct plan *p, uint32_t first, uint32_t last, uint64_t bytes)
{
    for (uint32_t o = first; o <= last; o++)
        p->load[o % p->n_ops] += bytes;
    for (uint32_t o = 0; o < p->n_ops; o++)
        p->load[p->n_ops + o] = p->load[o];
}

static int lay_out(struct plan *p)
{
    const struct nf_step_class *c = p->t->of;
    const struct nf_step_uses *u = &p->t->uses;
    int64_t *change = calloc((size_t)p->n_ops + 2, sizeof *change), live = 0;

    if (!change)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        uint32_t birth = c->tensors[i].birth < 0 ? 0 : (uint32_t)c->tensors[i].birth;
        uint32_t death = c->tensors[i].death == NF_OP_AFTER ? p->n_ops - 1 : (uint32_t)c->tensors[i].death;

        change[birth] += (int64_t)bytes_of(p, i);
        change[death + 1] -= (int64_t)bytes_of(p, i);
    }
    for (uint32_t o = 0; o < p->n_ops; o++) {
        live += change[o];
        p->load[o] = p->load[p->n_ops + o] = (uint64_t)live;
        p->ns[o] = p->ns[p->n_ops + o] = p->out[o] = p->in[o] = u->start_ns[o + 1] - u->start_ns[o];
    }
    free(change);
    return 0;
}

/* Inactive intervals that are long enough; of what is carried, also the one round the end of the step. */
static int list_intervals(struct plan *p, double margin)
{
    const struct nf_step_uses *u = &p->t->uses;
    const struct nf_policy_env *env = p->t->env;
    double bps = nf_timetable_link_bps(env), latency_ns = nf_timetable_link_ns(env);

    p->heap = malloc((u->first[p->t->of->n_tensors] + (size_t)1) * sizeof *p->heap);
    if (!p->heap)
        return -ENOMEM;
    for (uint32_t tensor = 0; tensor < p->t->of->n_tensors; tensor++) {
        const struct nf_tensor *t = &p->t->of->tensors[tensor];
        uint32_t uses = nf_step_uses_n(u, tensor);
        bool wraps = t->carry_in != NF_CARRY_NONE && t->carry_in == t->carry_out;

        for (uint32_t k = 0; k < uses; k++) {
            struct interval i = {.tensor = tensor, .from = nf_step_uses_op(u, tensor, k)};

            if (k + 1 == uses && !wraps)
                continue;
            i.to = k + 1 < uses ? nf_step_uses_op(u, tensor, k + 1) : nf_step_uses_op(u, tensor, 0) + p->n_ops;
            if (!nf_g10_worth(duration(p, i.from, i.to), bytes_of(p, tensor), latency_ns, bps, margin))
                continue;
            i.benefit = benefit_of(p, &i);
            if (i.benefit > 0)
                p->heap[p->n++] = i;
        }
    }
    for (size_t i = p->n / 2; i-- > 0;)
        heap_sink(p, i);
    return 0;
}

/* Time of the link from op `at` on (step +1 or -1), as long as that stays between the bounds; what is taken is taken off. Returns the
 * op it ends in, or NONE (nothing taken) when there is not enough. */
static uint32_t reserve(const struct plan *p, double *link, uint32_t at, int step, uint32_t bound, double need)
{
    uint32_t o = at, last = NF_TIMETABLE_NONE;
    double found = 0;

    while (o != bound) {
        found += link[o % p->n_ops];
        if (found >= need) {
            last = o;
            break;
        }
        o += (uint32_t)step; /* modulo 2^32 */
    }
    if (last == NF_TIMETABLE_NONE)
        return last;
    for (o = at; need > 0; o += (uint32_t)step) {
        double take = link[o % p->n_ops] < need ? link[o % p->n_ops] : need;

        link[o % p->n_ops] -= take;
        need -= take;
        if (o == last)
            break;
    }
    return last;
}

static void release(const struct plan *p, double *link, const double *before)
{
    for (uint32_t o = 0; o < p->n_ops; o++)
        link[o] = before[o];
}

/* Leaves after `from`, is away once written, comes back so late that it is there before `to`. */
static int take(struct plan *p, const struct interval *i, double *before)
{
    uint64_t bytes = bytes_of(p, i->tensor);
    double need = (double)bytes / nf_timetable_link_bps(p->t->env) * 1e9;
    uint32_t away, back;
    int rc;

    for (uint32_t o = 0; o < p->n_ops; o++)
        before[o] = p->out[o];
    away = reserve(p, p->out, i->from + 1, 1, i->to, need);
    if (away == NF_TIMETABLE_NONE)
        return 0;
    back = reserve(p, p->in, i->to - 1, -1, away, need);
    if (back == NF_TIMETABLE_NONE) {
        release(p, p->out, before);
        return 0;
    }
    if (back > away + 1)
        add_load(p, away + 1, back - 1, -bytes); /* modulo 2^64 */
    rc = nf_timetable_add(p->t, (struct nf_timetable_entry){.op = i->from, .tensor = i->tensor});
    if (!rc)
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){(back - 1) % p->n_ops, i->tensor, i->to % p->n_ops, true});
    return rc;
}

static bool above_line(const struct plan *p)
{
    for (uint32_t o = 0; o < p->n_ops; o++)
        if (p->load[o] > p->t->env->capacity[0])
            return true;
    return false;
}

static int take_best(struct plan *p)
{
    double *before = malloc(((size_t)p->n_ops + 1) * sizeof *before);
    int rc = before ? 0 : -ENOMEM;

    while (!rc && p->n && above_line(p)) {
        double now = benefit_of(p, &p->heap[0]);

        if (now < p->heap[0].benefit) { /* others have taken some of it */
            p->heap[0].benefit = now;
            if (!(now > 0))
                p->heap[0] = p->heap[--p->n];
            heap_sink(p, 0);
            continue;
        }
        rc = take(p, &p->heap[0], before);
        p->heap[0] = p->heap[--p->n];
        heap_sink(p, 0);
    }
    free(before);
    return rc;
}

static int make_plan(struct nf_timetable *t)
{
    const struct options *o = t->env->options;
    size_t n = (size_t)t->of->n_ops + 1;
    struct plan p = {
        .t = t,
        .n_ops = t->of->n_ops,
        .load = calloc(2 * n, sizeof *p.load),
        .ns = calloc(2 * n, sizeof *p.ns),
        .out = calloc(n, sizeof *p.out),
        .in = calloc(n, sizeof *p.in),
    };
    int rc = 0;

    if (!(o->margin >= 0))
        rc = nf_fail(-EINVAL, "margin=%g: a slack is not below 0", o->margin);
    else if (!p.load || !p.ns || !p.out || !p.in)
        rc = -ENOMEM;
    if (!rc && p.n_ops)
        rc = lay_out(&p);
    if (!rc && p.n_ops)
        rc = list_intervals(&p, o->margin);
    if (!rc && p.n_ops)
        rc = take_best(&p);
    free(p.load);
    free(p.ns);
    free(p.out);
    free(p.in);
    free(p.heap);
    return rc == -ENOMEM ? nf_fail(rc, "no memory to plan %u tensors", t->of->n_tensors) : rc;
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_timetable_policy_open(env, make_plan, policy);
}

const struct nf_policy_ops nf_policy_g10 = {
    .name = "g10",
    .about = "tensors leave between uses where that takes most off the memory beyond near; the link's time is reserved",
    .source = "Zhang et al., G10, MICRO 2023",
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = open_policy,
    NF_TIMETABLE_VERBS(false),
};
