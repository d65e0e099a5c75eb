/* Policy `recompute`: storages that are made again faster than far memory would give them back are not held between two uses.
 * Rule: per tensor and gap near, far or again, by what each costs: near by lifetime density on gaps, of the rest again where the captured
 * time of the ops that make it, with those that make their missing operands, is below 2 size / BW_far times the share of a transfer
 * that nothing hides (core/model/recompute.h). What is left is placed as `lifetime-density` places it, over the step without what is not
 * held. After Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016 (run the forward again), Peng et al., Capuchin, ASPLOS 2020,
 * and Beaumont et al., NeurIPS 2021 (offload and recompute weighed against each other).
 * Semantics: in place, insert near or far by the plan, no moves; ops run again before the next use of what they make. Sees profile and
 * future.
 * Fails where captured times are not the replayed ones: an op that ran from a cache in the capture is dearer when its operands are far.
 * Recomputing pays again for each user: copies of ancestors are not kept for the next one. Nothing is made again where the capture
 * holds no op times, as its price is not known. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/policies.h"
#include "pool/policy-lifetime-density.h"
#include "pool/policy-recompute.h"
#include "pool/timetable.h"

static const struct nf_option table[] = {NF_RECOMPUTE_OPTION_ROWS(0), {NULL}};
static const struct nf_recompute_options defaults = NF_RECOMPUTE_OPTION_DEFAULTS;

static double captured_ns(const struct nf_step_class *c)
{
    double ns = 0;

    for (uint32_t i = 0; i < c->n_ops; i++)
        ns += c->ops[i].dur_ns;
    return ns;
}

int nf_recompute_plan(const struct nf_policy_env *env, const struct nf_recompute_options *o, uint32_t step_class, char *const *names,
                      struct nf_recompute *r, uint8_t **choices)
{
    const struct nf_profile *profile = &env->profiles[step_class];
    struct nf_recompute_prices prices = {
        .near_pages = env->capacity[0] / NF_PAGE_BYTES,
        .far_bps = nf_timetable_link_bps(env),
        .exposed = o->exposed,
        .compute_x = 1,
    };
    int rc;

    if (!(o->exposed >= 0 && o->exposed <= 1))
        return nf_fail(-EINVAL, "exposed=%g: a share lies between 0 and 1", o->exposed);
    if (o->depth < 1 || o->depth > NF_RECOMPUTE_DEPTH_MAX)
        return nf_fail(-EINVAL, "depth=%llu: a chain has 1 to %d ops", (unsigned long long)o->depth, NF_RECOMPUTE_DEPTH_MAX);
    prices.no_again = !(captured_ns(profile->of) > 0);
    rc = nf_recompute_init(r, profile, names, (struct nf_recompute_rules){.depth = (uint32_t)o->depth, .random = o->rng});
    if (rc)
        return rc;
    *choices = malloc(r->n_items + (size_t)1);
    if (!*choices)
        return nf_fail(-ENOMEM, "no memory to plan %u gaps", r->n_items);
    return nf_recompute_choose(r, &prices, *choices);
}

static int choose(const struct nf_policy_env *env, uint32_t step_class, char *const *names, struct nf_recompute *r, uint8_t **choices)
{
    return nf_recompute_plan(env, env->options, step_class, names, r, choices);
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_lifetime_density_open(env, 1, 1, policy);
}

const struct nf_policy_ops nf_policy_recompute = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_RECOMPUTE),
    .name = "recompute",
    .about = "near, far or made again by what each costs; the rest a static plan by lifetime density",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER, .mover = NF_MOVER_NONE,
                  .sees_profile = true, .sees_future = true},
    .options = table,
    .options_size = sizeof(struct nf_recompute_options),
    .option_defaults = &defaults,
    .init = open_policy,
    .deinit = nf_lifetime_density_close,
    .on_alloc = nf_lifetime_density_place,
    .recompute = choose,
};
