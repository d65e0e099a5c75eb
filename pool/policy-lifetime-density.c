/* Policy `lifetime-density`: a static plan per step class, made from the reuse profile before the first step.
 * Rule: near goes to the storages that save most traffic beyond the caches per byte, or per byte and time, alive; see plan.h. With more
 * than two tiers the next tier is planned over what is left. What is carried from step to step lives where the steady class wants
 * it. What no plan saw, or what no longer fits, goes far.
 * Semantics: in place, insert near or far by the plan, no moves. Sees the profile.
 * Fails where long gaps lie within lifetimes: a saved activation holds its place from forward to backward although nobody uses it. */
#include "pool/policy-lifetime-density.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/placement.h"
#include "pool/plan.h"
#include "pool/policies.h"

struct options {
    double read_weight, write_weight;
};

static const struct nf_option table[] = {
    {"read-weight", 0, NF_OPTION_F64, offsetof(struct options, read_weight), "X", "cost of a byte read (default: 1)"},
    {"write-weight", 0, NF_OPTION_F64, offsetof(struct options, write_weight), "X",
     "cost of a byte written (default: 1)"},
    {NULL},
};
/* A byte takes the same time of a link whichever way it goes; a medium that writes slowly deserves more. */
static const struct options defaults = {.read_weight = 1, .write_weight = 1};

struct slot {
    uint32_t pages;
    uint8_t tier;
    bool planned;
};

struct density {
    const struct nf_policy_env *env;
    struct options weights;
    uint8_t **tier; /* [class][tensor] */
    struct slot *slots; /* by carry slot */
    uint32_t n_slots;
};

/* What is planned: tensors of one class, those of one carry slot together as one item. */
struct draft {
    struct nf_plan_item *items; /* not yet on a tier */
    uint32_t *name;             /* of each of those */
    uint32_t n;
    bool *taken;
    uint32_t *item_of; /* name of a tensor's item; UINT32_MAX: none */
    uint8_t *tier;     /* by name */
};

static uint32_t pages_of(const struct nf_tensor *t)
{
    uint64_t pages = nf_page_bytes(t->bytes) / NF_PAGE_BYTES;

    return pages < UINT32_MAX / 2 ? (uint32_t)pages : UINT32_MAX / 2; /* fits nowhere either way */
}

static int32_t slot_of(const struct nf_tensor *t)
{
    return t->carry_in != NF_CARRY_NONE ? t->carry_in : t->carry_out;
}

static double benefit_of(const struct options *o, const struct nf_tensor_profile *p)
{
    return o->read_weight * (double)p->miss_read_bytes + o->write_weight * (double)p->miss_write_bytes;
}

static void draft_free(struct draft *d)
{
    free(d->items);
    free(d->name);
    free(d->taken);
    free(d->item_of);
    free(d->tier);
}

/* One more life of an item. A third makes it live all the time: safe, and never seen in a step. */
static void item_add(struct nf_plan_item *item, const struct nf_tensor *t, double benefit, uint32_t n_ops)
{
    uint32_t first = t->birth < 0 ? 0 : (uint32_t)t->birth;
    uint32_t last = t->death == NF_OP_AFTER ? n_ops - 1 : (uint32_t)t->death;
    uint32_t pages = pages_of(t);

    item->pages = pages > item->pages ? pages : item->pages;
    item->benefit += benefit;
    if (item->n_spans == 2) {
        item->n_spans = 0;
        first = 0;
        last = n_ops - 1;
    }
    item->span[item->n_spans].first = first;
    item->span[item->n_spans++].last = last;
}

/* The items of a class: all tensors of the steady one, of others those that do not outlive the step. */
static int draft_init(struct draft *d, const struct density *p, const struct nf_profile *profile, bool steady)
{
    const struct nf_step_class *c = profile->of;
    size_t n = c->n_tensors + (size_t)1;
    uint32_t *item_of_slot = malloc((p->n_slots + (size_t)1) * sizeof *item_of_slot);

    *d = (struct draft){
        .items = calloc(n, sizeof *d->items),
        .name = malloc(n * sizeof *d->name),
        .taken = malloc(n * sizeof *d->taken),
        .item_of = malloc(n * sizeof *d->item_of),
        .tier = malloc(n * sizeof *d->tier),
    };
    if (!item_of_slot || !d->items || !d->name || !d->taken || !d->item_of || !d->tier) {
        free(item_of_slot);
        return -ENOMEM;
    }
    memset(item_of_slot, 0xff, p->n_slots * sizeof *item_of_slot);
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const struct nf_tensor *t = &c->tensors[i];
        int32_t slot = slot_of(t);

        d->item_of[i] = UINT32_MAX;
        if (slot != NF_CARRY_NONE && !steady)
            continue;
        if (slot != NF_CARRY_NONE)
            d->item_of[i] = item_of_slot[slot];
        if (d->item_of[i] == UINT32_MAX) {
            d->item_of[i] = d->name[d->n] = d->n;
            d->n++;
        }
        if (slot != NF_CARRY_NONE)
            item_of_slot[slot] = d->item_of[i];
        item_add(&d->items[d->item_of[i]], t, benefit_of(&p->weights, &profile->tensors[i]), c->n_ops);
    }
    free(item_of_slot);
    return 0;
}

/* Pages that carried storages hold on a tier, as the steady plan wants it. */
static uint32_t carried_pages(const struct density *p, uint8_t tier)
{
    uint64_t pages = 0;

    for (uint32_t s = 0; s < p->n_slots; s++)
        pages += p->slots[s].planned && p->slots[s].tier == tier ? p->slots[s].pages : 0;
    return pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX;
}

/* Fills one tier after the other, nearest first; what is left is the last one's. */
static int draft_plan(struct draft *d, const struct density *p, uint32_t n_ops, bool steady)
{
    uint8_t last = (uint8_t)(p->env->n_tiers - 1);

    memset(d->tier, last, d->n);
    for (uint8_t t = 0; t < last; t++) {
        uint64_t capacity = p->env->capacity[t] / NF_PAGE_BYTES;
        uint32_t left = 0;

        if (nf_plan_choose(d->items, d->n, n_ops, capacity < UINT32_MAX ? (uint32_t)capacity : UINT32_MAX,
                           steady ? 0 : carried_pages(p, t), d->taken))
            return -ENOMEM;
        for (uint32_t i = 0; i < d->n; i++) {
            if (d->taken[i]) {
                d->tier[d->name[i]] = t;
                continue;
            }
            d->items[left] = d->items[i];
            d->name[left++] = d->name[i];
        }
        d->n = left;
    }
    return 0;
}

static int plan_class(struct density *p, uint32_t class, bool steady)
{
    const struct nf_profile *profile = &p->env->profiles[class];
    const struct nf_step_class *c = profile->of;
    struct draft d;
    int rc;

    p->tier[class] = malloc(c->n_tensors + (size_t)1);
    rc = draft_init(&d, p, profile, steady);
    if (!rc && p->tier[class])
        rc = draft_plan(&d, p, c->n_ops ? c->n_ops : 1, steady);
    for (uint32_t i = 0; !rc && p->tier[class] && i < c->n_tensors; i++) {
        int32_t slot = slot_of(&c->tensors[i]);
        uint8_t tier = (uint8_t)(p->env->n_tiers - 1);

        if (d.item_of[i] != UINT32_MAX)
            tier = d.tier[d.item_of[i]];
        else if (p->slots[slot].planned)
            tier = p->slots[slot].tier;
        p->tier[class][i] = tier;
        if (steady && slot != NF_CARRY_NONE) {
            uint32_t pages = pages_of(&c->tensors[i]), before = p->slots[slot].pages;

            p->slots[slot] = (struct slot){pages > before ? pages : before, tier, true};
        }
    }
    draft_free(&d);
    return rc || !p->tier[class] ? nf_fail(-ENOMEM, "no memory to plan %u tensors", c->n_tensors) : 0;
}

void nf_lifetime_density_close(void *policy)
{
    struct density *p = policy;

    for (uint32_t i = 0; p->tier && i < p->env->n_profiles; i++)
        free(p->tier[i]);
    free(p->tier);
    free(p->slots);
    free(p);
}

int nf_lifetime_density_open(const struct nf_policy_env *env, double read_weight, double write_weight, void **policy)
{
    struct density *p;
    int rc = 0;

    if (!(read_weight >= 0 && write_weight >= 0))
        return nf_fail(-EINVAL, "a weight is not below 0");
    p = calloc(1, sizeof *p);
    if (!p)
        return nf_fail(-ENOMEM, "no memory");
    p->env = env;
    p->weights = (struct options){read_weight, write_weight};
    for (uint32_t i = 0; i < env->n_profiles; i++)
        for (uint32_t t = 0; t < env->profiles[i].of->n_tensors; t++) {
            int32_t slot = slot_of(&env->profiles[i].of->tensors[t]);

            if (slot != NF_CARRY_NONE && (uint32_t)slot >= p->n_slots)
                p->n_slots = (uint32_t)slot + 1;
        }
    p->slots = calloc(p->n_slots + (size_t)1, sizeof *p->slots);
    p->tier = calloc(env->n_profiles + (size_t)1, sizeof *p->tier);
    if (!p->slots || !p->tier)
        rc = nf_fail(-ENOMEM, "no memory for %u carried storages", p->n_slots);
    if (!rc && env->n_profiles)
        rc = plan_class(p, env->steady_class, true); /* decides for what is carried */
    for (uint32_t i = 0; !rc && i < env->n_profiles; i++)
        if (i != env->steady_class)
            rc = plan_class(p, i, false);
    if (rc) {
        nf_lifetime_density_close(p);
        return rc;
    }
    *policy = p;
    return 0;
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    const struct options *o = env->options;

    return nf_lifetime_density_open(env, o->read_weight, o->write_weight, policy);
}

int nf_lifetime_density_place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                              struct nf_placement *out)
{
    const struct density *p = policy;
    const struct nf_policy_env *env = p->env;
    uint32_t tier = env->n_tiers - 1;

    if (t->step_class < env->n_profiles && t->number < env->profiles[t->step_class].of->n_tensors)
        tier = p->tier[t->step_class][t->number];
    if (nf_placement_room(env, tier) >= t->bytes) {
        nf_placement_whole(out, tier, t->bytes);
        return 0;
    }
    /* The job does not quite repeat what was captured. */
    return nf_placement_far_first(env, t->bytes, out);
}

const struct nf_policy_ops nf_policy_lifetime_density = {
    NF_POLICY_INTERFACE(0),
    .name = "lifetime-density",
    .about = "static plan: near to what saves most missing bytes per byte and time alive",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER,
                  .mover = NF_MOVER_NONE, .sees_profile = true},
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = open_policy,
    .deinit = nf_lifetime_density_close,
    .on_alloc = nf_lifetime_density_place,
};
