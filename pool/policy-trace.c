/* Policy `trace`: another policy, with every decision of it written down. Same seed, same workload, same trace. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/policies.h"

struct options {
    const char *inner, *inner_options, *file;
};

static const struct nf_option table[] = {
    {"inner", 0, NF_OPTION_STRING, offsetof(struct options, inner), "NAME", "policy to trace (default: near-first)"},
    {"inner-options", 0, NF_OPTION_STRING, offsetof(struct options, inner_options), "K=V;...",
     "its options, separated by semicolons"},
    {"file", 0, NF_OPTION_STRING, offsetof(struct options, file), "PATH", "where to (default: stderr)"},
    {NULL},
};
static const struct options defaults = {.inner = "near-first", .inner_options = ""};

struct trace {
    struct nf_policy_ops ops;
    struct nf_policy_env env; /* without what the inner policy does not declare to see */
    void *policy, *options;
    FILE *to;
};

/* What is wrapped, and its options as it has them. 0, -EINVAL, -ENOMEM (cause set). Caller frees *text in every case. */
static int find_inner(const struct options *o, const struct nf_policy_ops **ops, char **text)
{
    *text = strdup(o->inner_options);
    *ops = nf_policy_find(o->inner);
    if (!*ops || !*text)
        return *ops ? nf_fail(-ENOMEM, "no memory") : -EINVAL;
    for (char *p = *text; *p; p++)
        if (*p == ';')
            *p = ',';
    return 0;
}

int nf_policy_find_outside(const struct nf_policy_ops *ops, const char *options, const struct nf_policy_ops **out)
{
    const struct nf_policy_ops *inner;
    void *parsed = NULL;
    char *text = NULL;
    int rc;

    *out = nf_policy_is_outside(ops) ? ops : NULL;
    if (ops != &nf_policy_trace)
        return 0;
    rc = nf_policy_configure(ops, options, &parsed);
    if (!rc)
        rc = find_inner(parsed, &inner, &text);
    if (!rc)
        rc = nf_policy_find_outside(inner, text, out);
    free(text);
    free(parsed);
    return rc;
}

static int open_inner(struct trace *t, const struct nf_policy_env *env, const struct options *o)
{
    const struct nf_policy_ops *ops;
    char *text = NULL, why[256] = "";
    int rc = find_inner(o, &ops, &text);

    if (!rc)
        rc = nf_policy_check(ops, &t->ops);
    if (!rc && t->ops.probe(why, sizeof why))
        rc = nf_fail(-ENODEV, "policy %s cannot work here: %s", t->ops.name, why);
    if (!rc)
        rc = nf_policy_configure(&t->ops, text, &t->options);
    free(text);
    if (rc)
        return rc;
    t->env = *env;
    t->env.options = t->options;
    nf_policy_hide_env(&t->ops.semantics, &t->env);
    if (nf_policy_is_outside(ops))
        t->env.profiles = NULL;
    rc = t->ops.init(&t->env, &t->policy);
    return rc ? nf_fail_in(rc, "policy %s", t->ops.name) : 0;
}

static void trace_free(struct trace *t)
{
    if (t->to && t->to != stderr)
        fclose(t->to);
    free(t->options);
    free(t);
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    const struct options *o = env->options;
    struct trace *t = calloc(1, sizeof *t);
    int rc = 0;

    if (!t)
        return nf_fail(-ENOMEM, "no memory");
    t->to = o->file ? fopen(o->file, "we") : stderr;
    if (!t->to)
        rc = nf_fail(-errno, "cannot write %s: %s", o->file, strerror(errno));
    if (!rc)
        rc = open_inner(t, env, o);
    if (rc) {
        trace_free(t);
        return rc;
    }
    fprintf(t->to, "open %s seed=%" PRIu64, t->ops.name, env->seed);
    for (uint32_t i = 0; i < env->n_tiers; i++)
        fprintf(t->to, " %" PRIu64, env->capacity[i]);
    fputc('\n', t->to);
    *policy = t;
    return 0;
}

static void close_policy(void *policy)
{
    struct trace *t = policy;

    t->ops.deinit(t->policy);
    fprintf(t->to, "close\n");
    trace_free(t);
}

static void print_moves(struct trace *t, const struct nf_policy_moves *moves)
{
    for (size_t i = 0; i < moves->n && i < NF_POLICY_MOVES_MAX; i++)
        if (moves->v[i].n_pages)
            fprintf(t->to, "move %u pages=%u+%u to=%u\n", moves->v[i].handle, moves->v[i].first_page, moves->v[i].n_pages,
                    moves->v[i].to_tier);
        else
            fprintf(t->to, "move %u to=%u\n", moves->v[i].handle, moves->v[i].to_tier);
    if (moves->stall_ns)
        fprintf(t->to, "stall %" PRIu64 "\n", moves->stall_ns);
}

static int load_profile(void *policy, struct nf_policy_reader *profile)
{
    struct trace *t = policy;

    fprintf(t->to, "profile %u\n", profile->step_class);
    if (!t->ops.semantics.sees_profile)
        return 0;
    profile->uses_end = t->ops.semantics.sees_future ? profile->uses_end : 0;
    return t->ops.load_profile(t->policy, profile);
}

static int plan(void *policy, nf_regime regime, uint32_t epoch)
{
    struct trace *t = policy;

    fprintf(t->to, "plan %016" PRIx64 " epoch=%u\n", regime, epoch);
    return t->ops.plan(t->policy, regime, epoch);
}

static int place(void *policy, const struct nf_policy_tensor *tensor, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    struct trace *t = policy;
    struct nf_policy_tensor seen = *tensor;
    int rc;

    nf_policy_hide_tensor(&t->ops.semantics, &seen);
    rc = t->ops.on_alloc(t->policy, &seen, evictions, out);
    print_moves(t, evictions);
    fprintf(t->to, "place %u op=%u bytes=%" PRIu64, tensor->handle, tensor->op, tensor->bytes);
    if (rc)
        fprintf(t->to, " failed=%d", -rc);
    for (uint32_t i = 0; !rc && i < t->env.n_tiers; i++)
        fprintf(t->to, " %" PRIu64, out->bytes[i]);
    fprintf(t->to, "%s\n", out->striped ? " striped" : "");
    return rc;
}

static int access_operands(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw,
                           size_t n, struct nf_policy_moves *moves)
{
    struct trace *t = policy;
    int rc = t->ops.on_op(t->policy, regime, op, handles, rw, n, moves);

    fprintf(t->to, "begin %u regime=%016" PRIx64, op, regime);
    for (size_t i = 0; i < n; i++)
        fprintf(t->to, " %u", handles[i]);
    fputc('\n', t->to);
    print_moves(t, moves);
    return rc;
}

static int touched(void *policy, const struct nf_policy_touches *touches)
{
    struct trace *t = policy;

    return t->ops.on_access(t->policy, touches);
}

static int after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct trace *t = policy;
    int rc = t->ops.on_op_end(t->policy, op, moves);

    fprintf(t->to, "end %u\n", op);
    print_moves(t, moves);
    return rc;
}

static void freed(void *policy, uint32_t handle)
{
    struct trace *t = policy;

    t->ops.on_free(t->policy, handle);
    fprintf(t->to, "free %u\n", handle);
}

static int on_regime(void *policy, nf_regime regime, uint32_t epoch, struct nf_policy_moves *moves)
{
    struct trace *t = policy;
    int rc = t->ops.on_regime(t->policy, regime, epoch, moves);

    fprintf(t->to, "regime %016" PRIx64 " epoch=%u\n", regime, epoch);
    print_moves(t, moves);
    return rc;
}

static int on_pressure(void *policy, uint32_t tier, uint64_t bytes, struct nf_policy_moves *moves)
{
    struct trace *t = policy;
    int rc = t->ops.on_pressure(t->policy, tier, bytes, moves);

    fprintf(t->to, "pressure %u bytes=%" PRIu64 "\n", tier, bytes);
    print_moves(t, moves);
    return rc;
}

/* Without the times, which differ from run to run. */
static int tick(void *policy, const struct nf_policy_counters *c, struct nf_policy_moves *moves)
{
    struct trace *t = policy;
    int rc = t->ops.tick(t->policy, c, moves);

    fprintf(t->to, "tick %" PRIu64 " ops=%" PRIu64 "\n", c->ticks, c->ops);
    print_moves(t, moves);
    return rc;
}

static int explain(void *policy, const struct nf_policy_question *q, char *text, size_t size)
{
    struct trace *t = policy;

    return t->ops.explain(t->policy, q, text, size);
}

const struct nf_policy_ops nf_policy_trace = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_LOAD_PROFILE | NF_POLICY_HAS_PLAN | NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_ACCESS |
                        NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE | NF_POLICY_HAS_ON_REGIME | NF_POLICY_HAS_ON_PRESSURE |
                        NF_POLICY_HAS_TICK | NF_POLICY_HAS_EXPLAIN),
    .name = "trace",
    .about = "another policy with its decisions written down; the inner one sees only what it declares",
    /* The widest there are: they must allow whatever the inner policy declares. */
    .semantics = {.access = NF_ACCESS_FETCH_BEFORE_USE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_WRITE_BACK,
                  .mover = NF_MOVER_COPY, .sync = NF_SYNC_INLINE, .sees_profile = true, .sees_future = true,
                  .samples = true,
                  .by_page = true},
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = open_policy,
    .deinit = close_policy,
    .load_profile = load_profile,
    .plan = plan,
    .on_alloc = place,
    .on_op = access_operands,
    .on_access = touched,
    .on_op_end = after,
    .on_free = freed,
    .on_regime = on_regime,
    .on_pressure = on_pressure,
    .tick = tick,
    .explain = explain,
};
