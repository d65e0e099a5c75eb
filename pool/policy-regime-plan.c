/* Policy `regime-plan`: near is planned per regime, a phase of the step in a group of layers, and tensors move at the borders only.
 * Rule: what a tensor does within one regime is one item, to be near throughout it, as many pages as fit, or not at all; from one
 * regime to a later one it stays near or leaves. Items are accepted by bytes saved per page and op held and per page, and the best of
 * the results is kept (pool/plan.h): lifetime density, regime by regime, cyclic round the end of the step for what is carried over.
 * With parts=no each is near whole or not. A time near that a tensor
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
    {"parts", 0, NF_OPTION_STRING, offsetof(struct options, gap.parts), "yes|no", NF_GAP_PARTS_HELP},
    {NULL},
};
/* Fetches in the middle of a regime would make two plans of one. */
static const struct options defaults = {.gap = {.slack = 0.5, .prefetch = "no", .parts = "yes"}, .migration = 1};

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

/* Born near, or near before the step's end, it comes for nothing. Of others each page more that is near has to be brought. */
static void give_up(const struct nf_stays *s, double migration, uint32_t *kept)
{
    for (uint32_t first = 0, end; first < s->n; first = end) {
        const struct nf_stay *a = &s->v[first];
        bool begins = !a->born && a->from < a->to; /* within the step: one round its end may go on from before */
        double saved = 0, brought = 0;

        for (end = first; end < s->n && s->v[end].tensor == a->tensor && kept[end]; end++) {
            uint32_t before = end > first ? kept[end - 1] : 0;

            saved += (double)s->v[end].bytes * kept[end] / a->pages;
            brought += kept[end] > before ? (double)(kept[end] - before) * NF_PAGE_BYTES : 0;
        }
        for (uint32_t i = first; begins && i < end && saved < migration * brought; i++)
            kept[i] = 0;
        end += end == first; /* one that is not kept */
    }
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
    const struct options *o = t->env->options;
    uint32_t *pages = calloc(s->n + (size_t)1, sizeof *pages);
    bool *whole = calloc(s->n + (size_t)1, sizeof *whole);
    struct items items = {0};
    int rc = pages && whole ? list_items(&items, t->of, s) : -ENOMEM;

    if (!rc)
        rc = parts ? nf_plan_choose_parts(items.v, items.n, s->n_ops, capacity, 0, pages)
                   : nf_plan_choose(items.v, items.n, s->n_ops, capacity, 0, whole);
    for (uint32_t i = 0; !rc && i < s->n; i++)
        kept[i] = parts ? pages[items.of[i]] : whole[items.of[i]] ? s->v[i].pages : 0;
    if (!rc)
        give_up(s, o->migration, kept);
    free(items.v);
    free(items.of);
    free(pages);
    free(whole);
    return rc ? nf_fail(rc, "out of memory for %u stays", s->n) : 0;
}

static int make_plan(struct nf_timetable *t)
{
    const struct options *o = t->env->options;

    if (!(o->migration >= 0))
        return nf_fail(-EINVAL, "migration=%g: a weight is not below 0", o->migration);
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
    .init = open_policy,
    NF_TIMETABLE_VERBS(true),
};
