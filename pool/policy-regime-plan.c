/* Policy `regime-plan`: near is planned per regime, a phase of the step in a group of layers, and tensors move at the borders only.
 * Rule: what a tensor does within one regime is one item, to be near throughout it, as many pages as fit, or not at all; from one
 * regime to a later one it stays near or leaves. Items are accepted by bytes saved per page and op held and per page, and the best of
 * the results is kept (pool/plan.h): lifetime density, regime by regime, cyclic round the end of the step for what is carried over.
 * With parts=no each is near whole or not. A time near that a tensor has to be brought for is given up where it saves no more than
 * `migration` times the tensor's bytes; what is worth it comes before the use the time begins with (pool/gap-plan.h).
 * Source: ours; lifetime density as the inner rule.
 * Semantics: in place, insert near or far by the plan, write back, copied by a helper. Sees profile and future.
 * Fails where one regime holds most of the step: it is lifetime density then, and where a tensor's uses within a regime lie far apart. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/gap-plan.h"
#include "pool/plan.h"
#include "pool/policies.h"

static const struct nf_option table[] = {NF_GAP_MOVE_ROWS(0), {NULL}};
/* Fetches in the middle of a regime would make two plans of one. */
static const struct nf_gap_options defaults = {.slack = 0.5, .migration = 1, .prefetch = "no", .parts = "yes"};

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

struct items {
    struct nf_plan_item *v;
    uint32_t n, *of; /* by stay */
};

/* As few items as regimes allow. */
static int list_items(struct items *items, const struct nf_step_class *c, const struct nf_stays *s)
{
    uint32_t *regime = number_regimes(c);

    items->v = calloc(s->n + (size_t)1, sizeof *items->v);
    items->of = malloc((s->n + (size_t)1) * sizeof *items->of);
    if (!regime || !items->v || !items->of) {
        free(regime);
        return -ENOMEM;
    }
    for (uint32_t first = 0, last; first < s->n; first = last + 1) {
        for (last = first; last + 1 < s->n && together(regime, &s->v[last], &s->v[last + 1]);)
            last++;
        for (uint32_t i = first; i <= last; i++)
            items->of[i] = items->n;
        items->v[items->n++] = nf_stays_item(s, first, last);
    }
    free(regime);
    return 0;
}

static int choose(const struct nf_timetable *t, const struct nf_stays *s, uint32_t capacity, bool parts, uint32_t *kept)
{
    uint32_t *pages = calloc(s->n + (size_t)1, sizeof *pages);
    bool *whole = calloc(s->n + (size_t)1, sizeof *whole);
    struct items items = {0};
    int rc = pages && whole ? list_items(&items, t->of, s) : -ENOMEM;

    if (!rc)
        rc = parts ? nf_plan_choose_parts(items.v, items.n, s->n_ops, capacity, 0, pages)
                   : nf_plan_choose(items.v, items.n, s->n_ops, capacity, 0, whole);
    for (uint32_t i = 0; !rc && i < s->n; i++)
        kept[i] = parts ? pages[items.of[i]] : whole[items.of[i]] ? s->v[i].pages : 0;
    free(items.v);
    free(items.of);
    free(pages);
    free(whole);
    return rc ? nf_fail(rc, "out of memory for %u stays", s->n) : 0;
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
    .options_size = sizeof(struct nf_gap_options),
    .option_defaults = &defaults,
    .init = open_policy,
    NF_TIMETABLE_VERBS(true),
};
