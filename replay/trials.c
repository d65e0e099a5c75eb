#include "replay/trials.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/base/units.h"

typedef NF_ARRAY(struct nf_trials_policy) policy_array;
typedef NF_ARRAY(struct nf_trials_one) trial_array;

bool nf_trials_is_all_near(const struct nf_policy_ops *ops)
{
    return !strcmp(ops->name, "all-near");
}

bool nf_trials_is_all_far(const struct nf_policy_ops *ops)
{
    return !strcmp(ops->name, "all-far");
}

static int add_policy(policy_array *list, const struct nf_policy_ops *ops, const char *options)
{
    struct nf_trials_policy p = {.ops = ops};
    void *parsed = NULL;
    int rc;

    for (size_t i = 0; i < list->n; i++) {
        if (list->v[i].ops == ops && !strcmp(list->v[i].options, options))
            return 0;
    }
    if (strlen(options) >= sizeof p.options)
        return nf_fail(-EINVAL, "policy %s: its options are too long", ops->name);
    memcpy(p.options, options, strlen(options) + 1);
    /* Found out now rather than in the middle of the night. */
    rc = nf_policy_configure(ops, options, &parsed);
    free(parsed);
    if (!rc)
        rc = nf_policy_find_outside(ops, options, &p.outside);
    if (rc)
        return rc;
    return nf_array_push(list, p) ? nf_fail(-ENOMEM, "out of memory for policies") : 0;
}

static bool runs_here(const struct nf_policy_ops *ops, char *why, size_t size)
{
    *why = '\0';
    return !ops->probe || !ops->probe(why, size);
}

static int add_all(policy_array *list)
{
    char why[256];
    int rc = 0;

    for (size_t i = 0; nf_policies[i] && !rc; i++) {
        if (!strcmp(nf_policies[i]->name, "trace"))
            continue;
        if (runs_here(nf_policies[i], why, sizeof why))
            rc = add_policy(list, nf_policies[i], "");
        else
            nf_info("policy %s is left out: %s", nf_policies[i]->name, why);
    }
    return rc;
}

/* One trial per ratio and share: which is the best is known afterwards, and only there. */
static int add_sweep(policy_array *list, const char *options)
{
    const struct nf_policy_ops *interleave = nf_policy_find("interleave");
    const char *ratios = "10:20:30:40:50:60:70:80:90";
    char copy[256], *save = NULL, *ratio;
    size_t n = 0;
    int rc = interleave ? 0 : -EINVAL;

    if (*options) {
        if (strncmp(options, "ratios=", 7))
            return nf_fail(-EINVAL, NF_TRIALS_SWEEP " takes ratios=A:B..., not '%s'", options);
        ratios = options + 7;
    }
    if (snprintf(copy, sizeof copy, "%s", ratios) >= (int)sizeof copy)
        return nf_fail(-EINVAL, NF_TRIALS_SWEEP ": ratios=%.20s... is too long", ratios);
    for (ratio = strtok_r(copy, ":", &save); ratio && !rc; ratio = strtok_r(NULL, ":", &save), n++) {
        char one[64];
        double percent;

        rc = nf_parse_f64(ratio, &percent);
        if (!rc && !(percent >= 0 && percent <= 100))
            rc = nf_fail(-EINVAL, NF_TRIALS_SWEEP ": a ratio is a share of 0 to 100 percent, not %s", ratio);
        snprintf(one, sizeof one, "ratio=%.40s", ratio);
        if (!rc)
            rc = add_policy(list, interleave, one);
    }
    return rc || n >= 2 ? rc : nf_fail(-EINVAL, NF_TRIALS_SWEEP ": the best of at least two ratios is wanted, not of '%s'", ratios);
}

static int add_wished(policy_array *list, const char *wish)
{
    char name[512], why[256];
    const char *options = strchr(wish, ':');
    const struct nf_policy_ops *ops;
    size_t n = options ? (size_t)(options - wish) : strlen(wish);

    if (!strcmp(wish, "all"))
        return add_all(list);
    if (n >= sizeof name)
        return nf_fail(-EINVAL, "no policy has a name of %zu characters", n);
    memcpy(name, wish, n);
    name[n] = '\0';
    if (!strcmp(name, NF_TRIALS_SWEEP))
        return add_sweep(list, options ? options + 1 : "");
    ops = nf_policy_find(name);
    if (!ops)
        return -EINVAL;
    if (!runs_here(ops, why, sizeof why))
        return nf_fail(-ENODEV, "policy %s cannot work here: %s", ops->name, why);
    return add_policy(list, ops, options ? options + 1 : "");
}

static int find_policies(policy_array *list, const struct nf_trials_wish *wish)
{
    const struct nf_policy_ops *all_near = nf_policy_find("all-near");
    int rc = all_near ? add_policy(list, all_near, "") : -EINVAL;

    if (!rc && !wish->n_policies)
        rc = add_all(list);
    for (size_t i = 0; i < wish->n_policies && !rc; i++)
        rc = add_wished(list, wish->policies[i]);
    return rc;
}

static int add_trials(trial_array *list, const policy_array *policies, const struct nf_trials_wish *wish,
                      enum nf_overlap overlap)
{
    struct nf_trials_one trial = {.overlap = overlap};
    int rc = 0;

    for (uint32_t i = 0; i < policies->n && !rc; i++) {
        const struct nf_policy_ops *ops = policies->v[i].ops;
        bool fixed = nf_trials_is_all_near(ops) || nf_trials_is_all_far(ops);

        trial.policy = i;
        for (size_t j = 0; j < (fixed ? 1 : wish->n_near_shares) && !rc; j++) {
            trial.near_share = fixed ? (nf_trials_is_all_near(ops) ? 1 : 0) : wish->near_shares[j];
            trial.background = trial.cold = trial.stale = false;
            rc = nf_array_push(list, trial);
            trial.background = true;
            if (!rc && wish->background)
                rc = nf_array_push(list, trial);
            trial.background = false;
            trial.cold = true;
            if (!rc && wish->cold)
                rc = nf_array_push(list, trial);
            trial.cold = false;
            trial.stale = true;
            if (!rc && wish->stale && ops->semantics.sees_profile && !ops->recompute)
                rc = nf_array_push(list, trial);
            trial.stale = false;
            for (int v = NF_FACTOR_NONE + 1; v < NF_FACTORS && !rc; v++) {
                trial.variant = (enum nf_factor)v;
                if (wish->factors >> v & 1)
                    rc = nf_array_push(list, trial);
            }
            trial.variant = NF_FACTOR_NONE;
        }
    }
    if (!rc && wish->hog)
        rc = nf_array_push(list, (struct nf_trials_one){.policy = 0, .near_share = 1, .overlap = overlap, .hog = true});
    return rc ? nf_fail(rc, "out of memory for trials") : 0;
}

/* A policy decides, and does not see how its moves are made. */
static int migrate(struct nf_trials *t)
{
    t->migrating = calloc(t->n_policies + (size_t)1, sizeof *t->migrating);
    if (!t->migrating)
        return nf_fail(-ENOMEM, "out of memory for policies");
    for (uint32_t i = 0; i < t->n_policies; i++) {
        struct nf_trials_policy *p = &t->policies[i];

        if (p->outside || p->ops->semantics.by_page || p->ops->semantics.mover != NF_MOVER_COPY)
            continue;
        t->migrating[i] = *p->ops;
        t->migrating[i].semantics.mover = NF_MOVER_MOVE_PAGES;
        p->ops = &t->migrating[i];
    }
    return 0;
}

int nf_trials_init(struct nf_trials *t, const struct nf_trials_wish *wish)
{
    policy_array policies = {0};
    trial_array trials = {0};
    int rc = find_policies(&policies, wish);

    for (size_t i = 0; i < wish->n_overlaps && !rc; i++)
        rc = add_trials(&trials, &policies, wish, wish->overlaps[i]);
    *t = (struct nf_trials){.policies = policies.v, .v = trials.v, .n_policies = (uint32_t)policies.n, .n = (uint32_t)trials.n,
                            .varied = wish->factors};
    return rc || !wish->migrate ? rc : migrate(t);
}

void nf_trials_deinit(struct nf_trials *t)
{
    free(t->policies);
    free(t->migrating);
    free(t->v);
    *t = (struct nf_trials){0};
}

void nf_trials_order(const struct nf_trials *t, uint64_t seed, uint32_t block, uint32_t *order)
{
    struct nf_rng rng = {nf_hash_add(seed, block)};

    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t j = (uint32_t)nf_rng_below(&rng, i + (uint64_t)1);

        if (j != i)
            order[i] = order[j];
        order[j] = i;
    }
}
