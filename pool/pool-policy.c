/* What a pool tells its policy beside the births and ops that pool.c drives: what it opens with, regimes, pressure, ticks, accesses and
 * questions. */
#include <errno.h>
#include <stdio.h>

#include "pool/pool-state.h"

static uint64_t free_bytes(void *pool, uint32_t tier)
{
    const struct nf_pool *p = pool;

    return tier < p->n_tiers ? nf_pool_room(p, tier) : 0;
}

static int load_profiles(struct nf_pool *p, const struct nf_pool_config *c)
{
    struct nf_policy_reader reader;
    int rc = 0;

    if (!c->policy->load_profile)
        return 0;
    for (uint32_t i = 0; i < p->env.n_profiles && !rc; i++) {
        rc = nf_policy_reader_init(&reader, &p->ops.semantics, c->profiles, c->n_profiles, i, c->steady_class);
        if (!rc)
            rc = p->ops.load_profile(p->policy, &reader);
    }
    return rc;
}

static int open_policy(struct nf_pool *p, const struct nf_pool_config *c)
{
    char why[256] = "";
    int rc;

    p->has_op = c->policy->on_op;
    p->has_access = c->policy->on_access;
    p->has_op_end = c->policy->on_op_end;
    p->has_free = c->policy->on_free;
    p->has_regime = c->policy->on_regime;
    p->has_pressure = c->policy->on_pressure;
    p->has_tick = c->policy->tick;
    rc = p->ops.probe(why, sizeof why);
    if (rc)
        return nf_fail(rc, "policy %s cannot work here: %s", p->ops.name, why);
    rc = nf_policy_configure(&p->ops, c->policy_options, &p->options);
    if (rc)
        return rc;
    p->env = (struct nf_policy_env){
        .n_tiers = p->n_tiers,
        .seed = c->seed,
        .profiles = c->profiles,
        .n_profiles = c->n_profiles,
        .steady_class = c->steady_class,
        .options = p->options,
        .free_bytes = free_bytes,
        .pool = p,
        .fail = nf_fail,
    };
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        p->env.capacity[t] = p->place[t].capacity;
        p->env.latency_ns[t] = c->latency_ns[t];
        p->env.read_bps[t] = c->read_bps[t];
        p->env.tier_name[t] = p->tiers[t].name;
        p->env.node[t] = p->tiers[t].facts.node;
    }
    nf_policy_hide_env(&p->ops.semantics, &p->env);
    if (nf_policy_is_outside(c->policy))
        p->env.profiles = NULL; /* by load_profile alone: the layout is ours to change */
    rc = p->ops.init(&p->env, &p->policy);
    if (rc)
        return nf_pool_policy_failed(p, rc);
    rc = load_profiles(p, c);
    if (!rc)
        rc = nf_policy_plans_init(&p->plans, &p->ops, p->policy, p->env.n_profiles ? c->profiles : NULL, p->env.n_profiles);
    if (!rc)
        return 0;
    rc = nf_pool_policy_failed(p, rc);
    p->ops.deinit(p->policy);
    return rc;
}

int nf_pool_open_policy(struct nf_pool *p, const struct nf_pool_config *c)
{
    int rc;

    nf_pool_count_asked(p);
    rc = open_policy(p, c);
    nf_pool_count_asked(p);
    return rc;
}

void nf_pool_close_policy(struct nf_pool *p)
{
    nf_pool_count_asked(p);
    p->ops.deinit(p->policy);
    nf_pool_count_asked(p);
}

/* What follows from a verb that may ask for moves: ticks, its start; rc, what it returned. */
static int follow(struct nf_pool *p, uint64_t ticks, int rc)
{
    nf_pool_answered(p, ticks);
    if (rc)
        return nf_pool_policy_failed(p, rc);
    return p->moves.n || p->moves.stall_ns ? nf_pool_execute(p) : 0;
}

int nf_pool_tell_pressure(struct nf_pool *p, uint64_t bytes)
{
    uint64_t ticks = nf_pool_ask(p);

    p->moves.n = p->moves.stall_ns = 0;
    return follow(p, ticks, p->ops.on_pressure(p->policy, 0, bytes, &p->moves));
}

int nf_pool_enter(struct nf_pool *p, nf_regime regime)
{
    bool other = regime != p->regime;
    uint64_t ticks;
    uint32_t epoch;
    int rc;

    p->regime = regime;
    if (!other || (!p->has_regime && !p->plans.has))
        return 0;
    p->moves.n = p->moves.stall_ns = 0;
    ticks = nf_pool_ask(p);
    rc = nf_policy_plans_enter(&p->plans, regime, &epoch);
    if (!rc)
        rc = p->ops.on_regime(p->policy, regime, epoch, &p->moves);
    return follow(p, ticks, rc);
}

int nf_pool_tick(struct nf_pool *p)
{
    struct nf_policy_counters c = {.ticks = p->told.ticks, .ops = p->told.ops};
    struct nf_pool_stats stats;
    uint64_t ticks;
    int rc;

    if (!p->has_tick)
        return 0;
    nf_pool_stats(p, &stats);
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        const struct nf_pool_tier_stats *s = &stats.tier[t];

        c.tier[t].live_bytes = s->live_bytes;
        c.tier[t].free_bytes = nf_pool_room(p, t);
        c.tier[t].moved_in_bytes = s->moved_in_bytes - p->told.in_bytes[t];
        c.tier[t].moved_out_bytes = s->moved_out_bytes - p->told.out_bytes[t];
        p->told.in_bytes[t] = s->moved_in_bytes;
        p->told.out_bytes[t] = s->moved_out_bytes;
    }
    c.stall_ns = stats.stall_ns - p->told.stall_ns;
    /* An estimate that gets better, and may fall by a few ns. */
    c.policy_ns = stats.policy_ns > p->told.policy_ns ? stats.policy_ns - p->told.policy_ns : 0;
    p->told.stall_ns = stats.stall_ns;
    p->told.policy_ns = stats.policy_ns;
    p->told.ticks++;
    p->told.ops = 0;
    p->moves.n = p->moves.stall_ns = 0;
    ticks = nf_pool_ask(p);
    rc = p->ops.tick(p->policy, &c, &p->moves);
    if (rc == NF_POLICY_PLAN_AGAIN)
        rc = nf_policy_plans_again(&p->plans);
    return follow(p, ticks, rc);
}

bool nf_pool_explain(struct nf_pool *p, const struct nf_policy_question *question, char *text, size_t size)
{
    struct nf_policy_tensor t = {.step_class = question->step_class, .number = question->number};
    struct nf_policy_question q = *question;

    nf_policy_hide_tensor(&p->ops.semantics, &t);
    q.step_class = t.step_class;
    q.number = t.number;
    *text = '\0';
    if (p->ops.explain(p->policy, &q, text, size) != 1)
        return false;
    text[size - 1] = '\0';
    return *text;
}

bool nf_pool_samples(const struct nf_pool *p)
{
    return p->has_access;
}

int nf_pool_touched(struct nf_pool *p, const struct nf_policy_touch *v, size_t n, uint64_t now_ns, const double *latency_ns)
{
    struct nf_policy_touches t = {.v = v, .n = n, .now_ns = now_ns};
    int rc;

    for (uint32_t i = 0; i < p->n_tiers; i++)
        t.latency_ns[i] = latency_ns && latency_ns[i] > 0 ? latency_ns[i] : p->env.latency_ns[i];
    nf_pool_count_asked(p);
    rc = p->ops.on_access(p->policy, &t);
    nf_pool_count_asked(p);
    return rc ? nf_pool_policy_failed(p, rc) : 0;
}
