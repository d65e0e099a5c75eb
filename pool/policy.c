#include "pool/policy.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "pool/plugin.h"

char *nf_policy_semantics_text(const struct nf_policy_semantics *s, char *text, size_t size)
{
    static const char *const access[] = {"in-place", "fetch-before-use", "promote-after-use"};
    static const char *const insert[] = {"insert near", "insert far", "insert bypass"};
    static const char *const demote[] = {"never demotes", "drop-clean", "write-back"};
    static const char *const mover[] = {"no migration", "copied", "moved by move_pages", "moved by the kernel"};
    static const char *const sync[] = {"inline", "by a helper"};
    const char *samples = s->samples ? "samples accesses, " : "";
    const char *page = s->by_page ? " by page" : "", *sees = s->sees_profile && s->sees_future ? "sees profile and future"
                       : s->sees_profile                 ? "sees profile"
                       : s->sees_future                  ? "sees future"
                                                         : "sees neither profile nor future";

    if (s->mover == NF_MOVER_NONE)
        snprintf(text, size, "%s, %s, %s; %s%s", access[s->access], insert[s->insert], mover[s->mover], samples, sees);
    else
        snprintf(text, size, "%s, %s, %s, %s%s %s; %s%s", access[s->access], insert[s->insert], demote[s->demote],
                 mover[s->mover], page, sync[s->sync], samples, sees);
    return text;
}

static int probe_always(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

static int access_nothing(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw,
                          size_t n, struct nf_policy_moves *moves)
{
    return 0;
}

static int touched_nothing(void *policy, const struct nf_policy_touches *t)
{
    return 0;
}

static int after_nothing(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    return 0;
}

static void freed_nothing(void *policy, uint32_t handle)
{
}

int nf_policy_check(const struct nf_policy_ops *ops, struct nf_policy_ops *filled)
{
    const char *name = ops->name ? ops->name : "(unnamed)";

    if (ops->abi != NF_POLICY_ABI)
        return nf_fail(-EINVAL, "policy %s was built for interface %u; this one is %d", name, ops->abi, NF_POLICY_ABI);
    if (!ops->name || !ops->about || !ops->open || !ops->close || !ops->place)
        return nf_fail(-EINVAL, "policy %s lacks a required member", name);
    if (ops->semantics.by_page && ops->semantics.mover != NF_MOVER_COPY)
        return nf_fail(-EINVAL, "policy %s moves pages, and its mover does not copy", name);
    if (ops->touched && !ops->semantics.samples)
        return nf_fail(-EINVAL, "policy %s samples accesses and does not declare it", name);
    *filled = *ops;
    if (!filled->probe)
        filled->probe = probe_always;
    if (!filled->access)
        filled->access = access_nothing;
    if (!filled->touched)
        filled->touched = touched_nothing;
    if (!filled->after)
        filled->after = after_nothing;
    if (!filled->freed)
        filled->freed = freed_nothing;
    return 0;
}

/* The object stays loaded: the ops struct lives in it. Opening one twice gives the same struct. */
static const struct nf_policy_ops *load(const char *path)
{
    const struct nf_policy_ops *ops;
    struct nf_policy_ops filled;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!object) {
        nf_fail(-EINVAL, "cannot load the policy: %s", dlerror());
        return NULL;
    }
    ops = dlsym(object, NF_POLICY_PLUGIN_SYMBOL);
    if (!ops) {
        nf_fail(-EINVAL, "%s exports no '%s'", path, NF_POLICY_PLUGIN_SYMBOL);
    } else if (nf_policy_check(ops, &filled)) {
        nf_fail_in(-EINVAL, "%s", path);
        ops = NULL;
    }
    if (!ops)
        dlclose(object);
    return ops;
}

const struct nf_policy_ops *nf_policy_find(const char *name)
{
    struct nf_buf names = {0};

    if (strchr(name, '/'))
        return load(name);
    for (const struct nf_policy_ops *const *p = nf_policies; *p; p++)
        if (!strcmp((*p)->name, name))
            return *p;
    for (const struct nf_policy_ops *const *p = nf_policies; *p; p++)
        nf_buf_printf(&names, "%s%s", p == nf_policies ? "" : ", ", (*p)->name);
    nf_fail(-EINVAL, "no policy '%s'; there are: %s (or ./yours.so)", name, names.data ? names.data : "");
    nf_buf_deinit(&names);
    return NULL;
}

int nf_policy_configure(const struct nf_policy_ops *ops, const char *text, void **options)
{
    int rc = nf_plugin_configure(ops->options, ops->options_size, ops->option_defaults, text, options);

    return rc ? nf_fail_in(rc, "policy %s", ops->name) : 0;
}

void nf_policy_hide_tensor(const struct nf_policy_semantics *s, struct nf_policy_tensor *t)
{
    if (s->sees_profile)
        return;
    t->step_class = 0;
    t->number = UINT32_MAX;
    t->role = NF_ROLE_UNKNOWN;
}

void nf_policy_hide_env(const struct nf_policy_semantics *s, struct nf_policy_env *env)
{
    if (s->sees_profile)
        return;
    env->profiles = NULL;
    env->n_profiles = env->steady_class = 0;
}
