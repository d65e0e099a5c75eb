#include "replay/variant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

static struct nf_policy_env env_of(const struct nf_engine_config *c, const void *options)
{
    struct nf_policy_env env = {
        .n_tiers = c->pool.n_tiers,
        .seed = c->pool.seed,
        .profiles = c->pool.profiles,
        .n_profiles = c->pool.n_profiles,
        .steady_class = c->pool.steady_class,
        .options = options,
        .fail = nf_fail,
    };

    for (uint32_t i = 0; i < env.n_tiers; i++) {
        env.capacity[i] = c->pool.capacity[i];
        env.latency_ns[i] = c->pool.latency_ns[i];
        env.read_bps[i] = c->pool.read_bps[i];
        env.node[i] = -1;
    }
    nf_policy_hide_env(&c->pool.policy->semantics, &env);
    return env;
}

/* Asks for one class and applies the answer. */
static int replace(struct nf_variant *v, uint32_t i, const struct nf_policy_ops *policy, const struct nf_policy_env *env)
{
    struct nf_recompute r = {0};
    uint8_t *choices = NULL;
    bool any = false;
    int rc = policy->recompute(env, i, v->stream.names, &r, &choices);

    for (uint32_t k = 0; k < r.n_items && choices && !rc; k++)
        any |= choices[k] == NF_RECOMPUTE_AGAIN;
    if (!rc && any)
        rc = nf_recompute_apply(&r, choices, &v->applied[i]);
    if (!rc && any) {
        v->stream.classes[i] = v->applied[i].c;
        v->n_replaced++;
    }
    nf_recompute_deinit(&r);
    free(choices);
    return rc ? nf_fail_in(rc, "policy %s recomputes", policy->name) : 0;
}

/* The compute time of an op that runs again is that of its first run. */
static int inherit(struct nf_variant *v, uint32_t i, const double *const *captured)
{
    const struct nf_recompute_applied *a = &v->applied[i];
    uint32_t n = v->stream.classes[i].n_ops;

    v->residual_ns[i] = calloc(n + (size_t)1, sizeof **v->residual_ns);
    if (!v->residual_ns[i])
        return nf_fail(-ENOMEM, "out of memory for %u ops", n);
    for (uint32_t o = 0; o < n && captured && captured[i]; o++)
        v->residual_ns[i][o] = captured[i][a->op_of ? a->op_of[o] : o];
    v->again[i] = a->again;
    return 0;
}

static int make(struct nf_variant *v, const struct nf_engine_config *c, const struct nf_variant_options *o)
{
    uint32_t n = c->stream->n_classes;
    void *options = NULL;
    struct nf_policy_env env;
    int rc;

    v->stream = *c->stream;
    v->stream.classes = malloc((n + (size_t)1) * sizeof *v->stream.classes);
    v->applied = calloc(n + (size_t)1, sizeof *v->applied);
    v->profiles = calloc(n + (size_t)1, sizeof *v->profiles);
    v->scripts = calloc(n + (size_t)1, sizeof *v->scripts);
    v->residual_ns = calloc(n + (size_t)1, sizeof *v->residual_ns);
    v->again = calloc(n + (size_t)1, sizeof *v->again);
    if (!v->stream.classes || !v->applied || !v->profiles || !v->scripts || !v->residual_ns || !v->again)
        return nf_fail(-ENOMEM, "out of memory for %u step classes", n);
    memcpy(v->stream.classes, c->stream->classes, n * sizeof *v->stream.classes);
    rc = nf_policy_configure(c->pool.policy, c->pool.policy_options, &options);
    env = env_of(c, options);
    for (uint32_t i = 0; i < n && !rc; i++) {
        bool replayed = i == o->steady || o->whole_sequence;
        uint64_t peak = 0;

        if (replayed)
            rc = replace(v, i, c->pool.policy, &env);
        if (!rc)
            rc = nf_profile_init(&v->profiles[i], &v->stream.classes[i], o->llc_bytes, o->burst_bytes);
        if (!rc)
            rc = nf_script_init(&v->scripts[i], &v->profiles[i], o->seed);
        if (!rc)
            rc = inherit(v, i, c->residual_ns);
        if (!rc && replayed)
            rc = nf_step_class_peak(&v->stream.classes[i], &peak);
        v->peak_bytes = peak > v->peak_bytes ? peak : v->peak_bytes;
    }
    free(options);
    return rc;
}

int nf_variant_init(struct nf_variant *v, struct nf_engine_config *c, const struct nf_variant_options *o)
{
    int rc;

    *v = (struct nf_variant){0};
    rc = make(v, c, o);
    if (rc)
        return rc;
    c->stream = &v->stream;
    c->scripts = v->scripts;
    c->pool.profiles = v->profiles;
    c->residual_ns = (const double *const *)v->residual_ns;
    c->again = v->again;
    return 0;
}

void nf_variant_deinit(struct nf_variant *v)
{
    for (uint32_t i = 0; i < v->stream.n_classes; i++) {
        if (v->scripts)
            nf_script_deinit(&v->scripts[i]);
        if (v->profiles)
            nf_profile_deinit(&v->profiles[i]);
        if (v->residual_ns)
            free(v->residual_ns[i]);
        if (v->applied && v->applied[i].op_of)
            nf_recompute_applied_deinit(&v->applied[i]);
    }
    free(v->stream.classes);
    free(v->applied);
    free(v->profiles);
    free(v->scripts);
    free(v->residual_ns);
    free(v->again);
    *v = (struct nf_variant){0};
}

void nf_variant_account(const struct nf_variant *v, uint32_t steady, struct nf_trial *out)
{
    const struct nf_recompute_applied *a = &v->applied[steady];

    out->recomputed = a->recomputed;
    out->recomputed_ops = a->ops;
    out->unheld_bytes = a->unheld_bytes;
    out->unheld_byte_ns = a->unheld_byte_ns;
    out->reissued_bytes = a->reissued_bytes;
    out->recompute_captured_ns = a->captured_ns;
    out->variant_peak_bytes = v->peak_bytes;
}
