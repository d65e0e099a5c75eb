#include "pool/policy-plans.h"

#include <errno.h>

#include "core/base/error.h"

/* The regimes of a step follow each other in the order they were planned in, so the one wanted is the next one nearly always. */
static bool find(struct nf_policy_plans *p, nf_regime regime)
{
    for (size_t i = 0, at = p->last; i < p->v.n; i++, at++) {
        at = at < p->v.n ? at : 0;
        if (p->v.v[at].regime == regime) {
            p->last = at;
            return true;
        }
    }
    return false;
}

static int add(struct nf_policy_plans *p, nf_regime regime)
{
    if (nf_array_push(&p->v, ((struct nf_policy_plan){regime, 1})))
        return nf_fail(-ENOMEM, "out of memory for plans");
    p->last = p->v.n - 1;
    return p->ops->plan(p->policy, regime, 1);
}

int nf_policy_plans_init(struct nf_policy_plans *p, const struct nf_policy_ops *ops, void *policy, const struct nf_profile *profiles,
                         uint32_t n_profiles)
{
    int rc = 0;

    *p = (struct nf_policy_plans){.ops = ops, .policy = policy, .has = ops->capabilities & NF_POLICY_HAS_PLAN};
    if (!p->has)
        return 0;
    for (uint32_t i = 0; i < n_profiles && !rc; i++)
        for (uint32_t op = 0; op < profiles[i].of->n_ops && !rc; op++)
            if (!find(p, profiles[i].of->ops[op].regime))
                rc = add(p, profiles[i].of->ops[op].regime);
    return rc || p->v.n ? rc : add(p, 0);
}

void nf_policy_plans_deinit(struct nf_policy_plans *p)
{
    nf_array_free(&p->v);
}

int nf_policy_plans_enter(struct nf_policy_plans *p, nf_regime regime, uint32_t *epoch)
{
    int rc = !p->has || find(p, regime) ? 0 : add(p, regime);

    *epoch = p->has ? p->v.v[p->last].epoch : 1;
    return rc;
}

int nf_policy_plans_again(struct nf_policy_plans *p)
{
    int rc = 0;

    for (size_t i = 0; i < p->v.n && !rc; i++)
        rc = p->ops->plan(p->policy, p->v.v[i].regime, ++p->v.v[i].epoch);
    return rc;
}
