/* A placement policy outside nearfar's tree: near goes to the tensors with the most traffic past the caches per byte held.
 *
 * Rule: of the steady step's profile, sort tensors by missed bytes / size and give them near in that order until `share` of it is
 * promised; what is promised and not born yet is kept free. Everything else is born far, and nothing ever moves.
 * Fails where lifetimes differ: two tensors that never live together cannot share a promise.
 *
 * Build: make (pkg-config finds the headers); use: nearfar plan STUDY --policy ./traffic-first.so:share=0.9 --near 20% */
#include <errno.h>
#include <nearfar_policy.h>
#include <stdio.h>
#include <stdlib.h>

struct options {
    double share;
};
static const struct nf_option table[] = {
    {"share", 0, NF_OPTION_F64, offsetof(struct options, share), "X", "of near that may be promised (default 1)"},
    {NULL, 0, NF_OPTION_FLAG, 0, NULL, NULL},
};
static const struct options defaults = {.share = 1};

struct ranked {
    uint32_t number, rank; /* rank: from 1 */
    uint64_t bytes, missed_bytes;
    bool near;
};

struct traffic {
    const struct nf_policy_env *env;
    double share;
    struct ranked *v; /* by number */
    uint32_t n, steady_class;
};

static int init(const struct nf_policy_env *env, void **policy)
{
    const struct options *o = env->options;
    struct traffic *t;

    if (!(o->share > 0 && o->share <= 1))
        return env->fail(-EINVAL, "share is above 0 and at most 1, not %g", o->share);
    t = calloc(1, sizeof *t);
    if (!t)
        return env->fail(-ENOMEM, "out of memory");
    t->env = env;
    t->share = o->share;
    *policy = t;
    return 0;
}

static void deinit(void *policy)
{
    struct traffic *t = policy;

    free(t->v);
    free(t);
}

/* Only the class that is to be planned for; tensors of others are born far. */
static int load_profile(void *policy, struct nf_policy_reader *profile)
{
    struct traffic *t = policy;
    struct nf_policy_profiled one;

    if (!profile->steady)
        return 0;
    t->v = calloc(profile->n_tensors + (size_t)1, sizeof *t->v);
    if (!t->v)
        return t->env->fail(-ENOMEM, "out of memory for %u tensors", profile->n_tensors);
    t->steady_class = profile->step_class;
    while (profile->next_tensor(profile, &one) == 1)
        t->v[t->n++] = (struct ranked){.number = one.number, .bytes = one.bytes,
                                       .missed_bytes = one.miss_read_bytes + one.miss_write_bytes};
    return 0;
}

static int denser(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    double dx = (double)x->missed_bytes / (double)(x->bytes + 1), dy = (double)y->missed_bytes / (double)(y->bytes + 1);

    return dx != dy ? (dx > dy ? -1 : 1) : x->number < y->number ? -1 : x->number > y->number;
}

static int by_number(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

/* One map for all regimes: what is near does not depend on where in the step it is asked. */
static int plan(void *policy, nf_regime regime, uint32_t epoch)
{
    struct traffic *t = policy;
    uint64_t left = (uint64_t)(t->share * (double)t->env->capacity[0]);

    (void)regime;
    if (epoch > 1 || (t->n && t->v[0].rank))
        return 0;
    qsort(t->v, t->n, sizeof *t->v, denser);
    for (uint32_t i = 0; i < t->n; i++) {
        t->v[i].rank = i + 1;
        t->v[i].near = t->v[i].missed_bytes && t->v[i].bytes <= left;
        left -= t->v[i].near ? t->v[i].bytes : 0;
    }
    qsort(t->v, t->n, sizeof *t->v, by_number);
    return 0;
}

static const struct ranked *find(const struct traffic *t, uint32_t step_class, uint32_t number)
{
    return step_class == t->steady_class && number < t->n ? &t->v[number] : NULL;
}

static int on_alloc(void *policy, const struct nf_policy_tensor *tensor, struct nf_policy_moves *evictions, struct nf_placement *out)
{
    const struct traffic *t = policy;
    const struct ranked *r = find(t, tensor->step_class, tensor->number);

    (void)evictions;
    for (uint32_t i = r && r->near ? 0 : 1; i < t->env->n_tiers; i++) {
        if (t->env->free_bytes(t->env->pool, i) < tensor->bytes)
            continue;
        out->bytes[i] = tensor->bytes;
        return 0;
    }
    return t->env->fail(-ENOSPC, "no far tier has room for %llu bytes", (unsigned long long)tensor->bytes);
}

static int explain(void *policy, const struct nf_policy_question *q, char *text, size_t size)
{
    const struct traffic *t = policy;
    const struct ranked *r = find(t, q->step_class, q->number);

    if (!r || q->what != NF_POLICY_WHY_BORN)
        return 0;
    snprintf(text, size, "%.2f bytes past the caches per byte held: rank %u of %u, %s near", (double)r->missed_bytes / (double)r->bytes,
             r->rank, t->n, r->near ? "promised" : "not promised");
    return 1;
}

extern const struct nf_policy_ops nf_policy_plugin;
const struct nf_policy_ops nf_policy_plugin = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_LOAD_PROFILE | NF_POLICY_HAS_PLAN | NF_POLICY_HAS_EXPLAIN),
    .name = "traffic-first",
    .about = "near for the tensors with the most traffic per byte; never moves",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER, .mover = NF_MOVER_NONE,
                  .sees_profile = true},
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = init,
    .deinit = deinit,
    .load_profile = load_profile,
    .plan = plan,
    .on_alloc = on_alloc,
    .explain = explain,
};
