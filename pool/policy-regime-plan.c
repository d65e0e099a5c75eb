/* Policy `regime-plan`: near is planned per regime, a phase of the step in a group of layers, and tensors move at the borders only.
 * Rule: what a tensor does within one regime is one item, to be near throughout it or not at all; from one regime to a later one it stays
 * near or leaves. Items are accepted by bytes saved per page and op held and per page, and the better of the two results is kept
 * (pool/plan.h): lifetime density, regime by regime, cyclic round the end of the step for what is carried over. A time near that a tensor
 * has to be brought for is given up where it saves less than `migration` times the tensor's bytes.
 * Source: ours; lifetime density as the inner rule.
 * Semantics: in place, insert near or far by the plan, write back, copied by a helper. Sees profile and future.
 * Fails where one regime holds most of the step: it is lifetime density then, and where a tensor's uses within a regime lie far apart. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/gap-plan.h"
#include "pool/plan.h"
#include "pool/policies.h"

struct options {
    struct nf_gap_options gap; /* first: what the moves are planned by */
    double migration;
};

static const struct nf_option table[] = {
    {"migration", 0, NF_OPTION_F64, offsetof(struct options, migration), "X", "bytes that a byte brought near must save (default 1)"},
    {NULL},
};
/* Fetches in the middle of a regime would make two plans of one. */
static const struct options defaults = {.gap = {.slack = 0.5, .prefetch = "no"}, .migration = 1};

/* The ops' regimes, counted as they change: a regime that comes back later in the step is another. */
static uint32_t *number_regimes(const struct nf_step_class *c)
{
    uint32_t *of = malloc((c->n_ops + (size_t)1) * sizeof *of), n = 0;

    for (uint32_t o = 0; of && o < c->n_ops; o++) {
        n += o && c->ops[o].regime != c->ops[o - 1].regime;
        of[o] = n;
    }
    return of;
}

static bool within_one(const uint32_t *regime, const struct nf_stay *s)
{
    return s->first <= s->last && regime[s->from] == regime[s->to];
}

/* Whether two stays, the one after the other, are one decision. */
static bool together(const uint32_t *regime, const struct nf_stay *a, const struct nf_stay *b)
{
    return a->tensor == b->tensor && within_one(regime, a) && within_one(regime, b) && regime[a->to] == regime[b->to];
}

static struct nf_plan_item item_of(const struct nf_stays *s, uint32_t first, uint32_t last)
{
    const struct nf_stay *a = &s->v[first], *b = &s->v[last];
    struct nf_plan_item item = {.pages = a->pages, .n_spans = 1};

    for (uint32_t i = first; i <= last; i++)
        item.benefit += (double)s->v[i].bytes;
    item.span[0].first = a->first;
    item.span[0].last = b->until;
    if (a->first > a->last) {
        item.n_spans = 2;
        item.span[0].last = s->n_ops - 1;
        item.span[1].first = 0;
        item.span[1].last = a->last;
    }
    return item;
}

/* Born near, or near before the step's end, it comes for nothing. */
static void give_up(const struct nf_stays *s, double migration, bool *kept)
{
    for (uint32_t first = 0, end; first < s->n; first = end) {
        const struct nf_stay *a = &s->v[first];
        bool begins = !a->born && a->from < a->to; /* within the step: one round its end may go on from before */
        double saved = 0;

        for (end = first; end < s->n && s->v[end].tensor == a->tensor && kept[end]; end++)
            saved += (double)s->v[end].bytes;
        for (uint32_t i = first; begins && i < end && saved < migration * (double)a->pages * NF_PAGE_BYTES; i++)
            kept[i] = false;
        end += end == first; /* one that is not kept */
    }
}

static int choose(const struct nf_timetable *t, const struct nf_stays *s, uint64_t capacity, bool *kept)
{
    const struct options *o = t->env->options;
    struct nf_plan_item *items = calloc(s->n + (size_t)1, sizeof *items);
    uint32_t *regime = number_regimes(t->of), *item = malloc((s->n + (size_t)1) * sizeof *item), n = 0;
    bool *taken = calloc(s->n + (size_t)1, sizeof *taken);
    int rc = items && regime && item && taken ? 0 : -ENOMEM;

    if (!rc && !(o->migration >= 0))
        rc = nf_fail(-EINVAL, "migration=%g: a weight is not below 0", o->migration);
    for (uint32_t first = 0, last; !rc && first < s->n; first = last + 1) {
        for (last = first; last + 1 < s->n && together(regime, &s->v[last], &s->v[last + 1]);)
            last++;
        for (uint32_t i = first; i <= last; i++)
            item[i] = n;
        items[n++] = item_of(s, first, last);
    }
    if (!rc)
        rc = nf_plan_choose(items, n, s->n_ops, capacity < UINT32_MAX / 2 ? (uint32_t)capacity : UINT32_MAX / 2, 0, taken);
    for (uint32_t i = 0; !rc && i < s->n; i++)
        kept[i] = taken[item[i]];
    if (!rc)
        give_up(s, o->migration, kept);
    free(items);
    free(regime);
    free(item);
    free(taken);
    return rc;
}

static int make_plan(struct nf_timetable *t)
{
    return nf_gap_plan(t, choose);
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_timetable_policy_open(env, make_plan, policy);
}

const struct nf_policy_ops nf_policy_regime_plan = {
    .name = "regime-plan",
    .about = "near is planned per phase and group of layers, and tensors move at their borders only",
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .open = open_policy,
    NF_TIMETABLE_VERBS,
};
