/* Policy `sentinel`: training is divided into intervals of equally many layers; while one runs, what the next one uses is fetched and
 * what it does not use leaves.
 * Rule: tensors that live within one layer are always near, in a reserved part as large as they ever are together; tensors of similar
 * lifetime and heat share pages, so that no page is half hot; at the start of an interval the long-lived tensors of the next one are
 * fetched, hottest first, and those used in neither are demoted; the interval's length is the one by which fetches fit into the time
 * of the interval before and tensors into what near has left. Ren, Luo, Wu, Zhang, Jeon, Li: Sentinel: Efficient Tensor Migration and
 * Allocation on Heterogeneous Memory Systems for Deep Learning, HPCA 2021, sections IV and V.
 * Here a layer is a run of ops of one phase and layer group (where the capture knows none: an op); lengths of 1, 2, 4 ... layers are
 * tried on the captured schedule, and the least exposed time wins, the shortest among equals. Storages have whole pages of their own in
 * this pool, so the co-allocation has nothing to do.
 * Semantics: in place, insert near, write back, copied by a helper. Sees profile and future.
 * Fails where an interval uses more than near holds: what arrives last is used far, whatever its heat is then. */
#include "pool/policy-sentinel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/policies.h"
#include "pool/timetable.h"

struct options {
    uint64_t layers;
};

static const struct nf_option table[] = {
    {"layers", 0, NF_OPTION_U64, offsetof(struct options, layers), "N", "layers of an interval (default 0: chosen by the rule)"},
    {NULL},
};
static const struct options defaults = {0};

double nf_sentinel_exposed_ns(const struct nf_sentinel_interval *v, size_t n, uint64_t room, double bps)
{
    double exposed = 0;

    for (size_t i = 0; i < n; i++) {
        const struct nf_sentinel_interval *before = &v[(i + n - 1) % n];
        double arrive = (double)v[i].fresh_bytes / bps * 1e9;

        exposed += arrive > before->ns ? arrive - before->ns : 0;
        exposed += v[i].bytes > room ? (double)(v[i].bytes - room) / bps * 1e9 : 0;
    }
    return exposed;
}

struct plan {
    struct nf_timetable *t;
    const struct nf_profile *profile;
    uint32_t *layer; /* per op */
    uint32_t n_layers;
    bool *long_lived; /* per tensor */
    uint32_t *by_heat; /* long-lived tensors, hottest per byte first */
    uint32_t n_long;
    uint64_t room; /* for long-lived tensors */
    struct nf_sentinel_interval *interval;
};

static void find_layers(struct plan *p)
{
    const struct nf_step_class *c = p->t->of;

    for (uint32_t o = 0; o < c->n_ops; o++) {
        bool same = o && nf_regime_prefix(c->ops[o].regime, 3) == nf_regime_prefix(c->ops[o - 1].regime, 3);

        p->n_layers += !same;
        p->layer[o] = p->n_layers - 1;
    }
    if (p->n_layers > 1)
        return;
    for (uint32_t o = 0; o < c->n_ops; o++)
        p->layer[o] = o;
    p->n_layers = c->n_ops;
}

static double heat(const struct plan *p, uint32_t tensor)
{
    const struct nf_tensor_profile *x = &p->profile->tensors[tensor];
    uint64_t bytes = nf_page_bytes(p->t->of->tensors[tensor].bytes);

    return bytes ? (double)(x->miss_read_bytes + x->miss_write_bytes) / (double)bytes : 0;
}

struct ranked {
    double heat;
    uint32_t tensor;
};

static int hotter_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->heat != y->heat)
        return x->heat > y->heat ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* Reserves what short-lived tensors are together at most. */
static int divide_tensors(struct plan *p)
{
    const struct nf_step_class *c = p->t->of;
    struct ranked *rank = malloc((c->n_tensors + (size_t)1) * sizeof *rank);
    int64_t *change = calloc((size_t)c->n_ops + 2, sizeof *change), live = 0;
    uint64_t peak = 0;

    for (uint32_t i = 0; rank && change && i < c->n_tensors; i++) {
        const struct nf_tensor *t = &c->tensors[i];

        p->long_lived[i] = t->birth == NF_OP_BEFORE || t->death == NF_OP_AFTER || p->layer[t->birth] != p->layer[t->death];
        p->t->reserved[i] = !p->long_lived[i];
        if (p->long_lived[i]) {
            rank[p->n_long++] = (struct ranked){heat(p, i), i};
        } else {
            change[t->birth] += (int64_t)nf_page_bytes(t->bytes);
            change[t->death + 1] -= (int64_t)nf_page_bytes(t->bytes);
        }
    }
    for (uint32_t o = 0; change && o < c->n_ops; o++) {
        live += change[o];
        peak = (uint64_t)live > peak ? (uint64_t)live : peak;
    }
    if (rank)
        qsort(rank, p->n_long, sizeof *rank, hotter_first);
    for (uint32_t i = 0; rank && i < p->n_long; i++)
        p->by_heat[i] = rank[i].tensor;
    p->t->reserve = peak < p->t->env->capacity[0] ? peak : p->t->env->capacity[0];
    p->room = p->t->env->capacity[0] - p->t->reserve;
    free(rank);
    free(change);
    return rank && change ? 0 : -ENOMEM;
}

static uint32_t interval_of(const struct plan *p, uint32_t op, uint32_t length)
{
    return p->layer[op] / length;
}

/* The intervals of a length. Returns how many. */
static uint32_t measure(struct plan *p, uint32_t length)
{
    const struct nf_step_uses *u = &p->t->uses;
    uint32_t n = (p->n_layers + length - 1) / length;

    memset(p->interval, 0, n * sizeof *p->interval);
    for (uint32_t o = 0; o < u->of->n_ops; o++)
        p->interval[interval_of(p, o, length)].ns += u->start_ns[o + 1] - u->start_ns[o];
    for (uint32_t i = 0; i < p->n_long; i++) {
        uint32_t tensor = p->by_heat[i], uses = nf_step_uses_n(u, tensor);
        uint64_t bytes = nf_page_bytes(u->of->tensors[tensor].bytes);
        bool carried = nf_timetable_slot(&u->of->tensors[tensor]) != NF_CARRY_NONE;
        int64_t before = -2; /* the interval of the last use; -1: the last one of the step before */

        if (uses && carried && interval_of(p, nf_step_uses_op(u, tensor, uses - 1), length) + 1 == n)
            before = -1;
        for (uint32_t k = 0; k < uses; k++) {
            int64_t at = interval_of(p, nf_step_uses_op(u, tensor, k), length);

            if (at == before)
                continue;
            p->interval[at].bytes += bytes;
            if (at != before + 1 && (k || carried)) /* the first use of what is born in the step needs no fetch */
                p->interval[at].fresh_bytes += bytes;
            before = at;
        }
    }
    return n;
}

static uint32_t choose_length(struct plan *p, uint64_t asked)
{
    double least = -1, bps = nf_timetable_link_bps(p->t->env);
    uint32_t best = 1;

    if (asked)
        return asked < p->n_layers ? (uint32_t)asked : p->n_layers;
    for (uint32_t length = 1; length <= (p->n_layers + 1) / 2; length *= 2) {
        uint32_t n = measure(p, length);
        double exposed = nf_sentinel_exposed_ns(p->interval, n, p->room, bps);

        if (least < 0 || exposed < least) {
            least = exposed;
            best = length;
        }
    }
    return best;
}

/* Moves of one tensor: fetched at the start of the interval before one that uses it; demoted at the start of one that does not, nor does
 * the one after it, where the one before did. first[i]: op that interval i begins with; used: per interval, all false, and so again. */
static int plan_tensor(struct plan *p, uint32_t tensor, uint32_t length, const uint32_t *first, uint32_t n, bool *used)
{
    const struct nf_step_uses *u = &p->t->uses;
    uint32_t uses = nf_step_uses_n(u, tensor), last_op = p->t->of->n_ops - 1, before = UINT32_MAX;
    bool carried = nf_timetable_slot(&u->of->tensors[tensor]) != NF_CARRY_NONE;
    int rc = 0;

    for (uint32_t k = 0; k < uses; k++)
        used[interval_of(p, nf_step_uses_op(u, tensor, k), length)] = true;
    for (uint32_t k = 0; k < uses && !rc; k++) {
        uint32_t op = nf_step_uses_op(u, tensor, k), at = interval_of(p, op, length), i = (at + n - 1) % n;

        if (at == before)
            continue;
        before = at;
        if (k || carried)
            rc = nf_timetable_add(p->t, (struct nf_timetable_entry){first[i] ? first[i] - 1 : last_op, tensor, op, true});
        i = (at + 1) % n;
        if (!rc && !used[i] && !used[(i + 1) % n])
            rc = nf_timetable_add(p->t, (struct nf_timetable_entry){.op = first[i] ? first[i] - 1 : last_op, .tensor = tensor});
    }
    /* What was born near, before any interval. */
    if (!rc && carried && !used[0] && !used[1] && !used[n - 1])
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){.op = last_op, .tensor = tensor});
    for (uint32_t k = 0; k < uses; k++)
        used[interval_of(p, nf_step_uses_op(u, tensor, k), length)] = false;
    return rc;
}

static int plan_moves(struct plan *p, uint32_t length)
{
    uint32_t n_ops = p->t->of->n_ops, n = 0, *first = malloc(((size_t)n_ops + 1) * sizeof *first);
    bool *used = calloc((size_t)n_ops + 1, sizeof *used);
    int rc = first && used ? 0 : -ENOMEM;

    for (uint32_t o = 0; !rc && o < n_ops; o++)
        if (!o || interval_of(p, o, length) != interval_of(p, o - 1, length))
            first[n++] = o;
    for (uint32_t i = 0; i < p->n_long && !rc && n > 1; i++) /* hottest first: so they stand in the table */
        rc = plan_tensor(p, p->by_heat[i], length, first, n, used);
    free(first);
    free(used);
    return rc;
}

static int make_plan(struct nf_timetable *t)
{
    const struct options *o = t->env->options;
    const struct nf_step_class *c = t->of;
    struct plan p = {
        .t = t,
        .profile = &t->env->profiles[t->env->steady_class],
        .layer = calloc((size_t)c->n_ops + 1, sizeof *p.layer),
        .long_lived = calloc((size_t)c->n_tensors + 1, sizeof *p.long_lived),
        .by_heat = calloc((size_t)c->n_tensors + 1, sizeof *p.by_heat),
        .interval = calloc((size_t)c->n_ops + 1, sizeof *p.interval),
    };
    int rc = p.layer && p.long_lived && p.by_heat && p.interval ? 0 : -ENOMEM;

    if (!rc && c->n_ops) {
        find_layers(&p);
        rc = divide_tensors(&p);
        if (!rc)
            rc = plan_moves(&p, choose_length(&p, o->layers));
    }
    free(p.layer);
    free(p.long_lived);
    free(p.by_heat);
    free(p.interval);
    return rc == -ENOMEM ? nf_fail(rc, "no memory to plan %u tensors", c->n_tensors) : rc;
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_timetable_policy_open(env, make_plan, policy);
}

const struct nf_policy_ops nf_policy_sentinel = {
    .name = "sentinel",
    .about = "per interval of layers: fetches what the next one uses, demotes what neither does, short-lived tensors near",
    .source = "Ren et al., Sentinel, HPCA 2021",
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = open_policy,
    NF_TIMETABLE_VERBS(false),
};
