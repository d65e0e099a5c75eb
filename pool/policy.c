#include "pool/policy.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "pool/guard.h"
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

static int load_nothing(void *policy, struct nf_policy_reader *profile)
{
    return 0;
}

static int plan_nothing(void *policy, nf_regime regime, uint32_t epoch)
{
    return 0;
}

static int op_nothing(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                      struct nf_policy_moves *moves)
{
    return 0;
}

static int access_nothing(void *policy, const struct nf_policy_touches *t)
{
    return 0;
}

static int op_end_nothing(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    return 0;
}

static void free_nothing(void *policy, uint32_t handle)
{
}

static int regime_nothing(void *policy, nf_regime regime, uint32_t epoch, struct nf_policy_moves *moves)
{
    return 0;
}

static int pressure_nothing(void *policy, uint32_t tier, uint64_t bytes, struct nf_policy_moves *moves)
{
    return 0;
}

static int tick_nothing(void *policy, const struct nf_policy_counters *c, struct nf_policy_moves *moves)
{
    return 0;
}

static int explain_nothing(void *policy, const struct nf_policy_question *q, char *text, size_t size)
{
    return 0;
}

/* Each optional verb, and the bit that declares it. */
static int check_capabilities(const struct nf_policy_ops *ops)
{
    const struct {
        const char *name;
        bool there;
        enum nf_policy_capability bit;
    } verbs[] = {
        {"probe", ops->probe, NF_POLICY_HAS_PROBE},
        {"load_profile", ops->load_profile, NF_POLICY_HAS_LOAD_PROFILE},
        {"plan", ops->plan, NF_POLICY_HAS_PLAN},
        {"on_op", ops->on_op, NF_POLICY_HAS_ON_OP},
        {"on_access", ops->on_access, NF_POLICY_HAS_ON_ACCESS},
        {"on_op_end", ops->on_op_end, NF_POLICY_HAS_ON_OP_END},
        {"on_free", ops->on_free, NF_POLICY_HAS_ON_FREE},
        {"on_regime", ops->on_regime, NF_POLICY_HAS_ON_REGIME},
        {"on_pressure", ops->on_pressure, NF_POLICY_HAS_ON_PRESSURE},
        {"tick", ops->tick, NF_POLICY_HAS_TICK},
        {"explain", ops->explain, NF_POLICY_HAS_EXPLAIN},
        {"recompute", ops->recompute, NF_POLICY_HAS_RECOMPUTE},
    };
    uint64_t known = 0;

    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        bool declared = ops->capabilities & verbs[i].bit;

        known |= verbs[i].bit;
        if (declared && !verbs[i].there)
            return nf_fail(-EINVAL, "policy %s declares the verb %s and lacks it", ops->name, verbs[i].name);
        if (verbs[i].there && !declared)
            return nf_fail(-EINVAL, "policy %s has the verb %s and does not declare it", ops->name, verbs[i].name);
    }
    if (ops->capabilities & ~known)
        return nf_fail(-EINVAL, "policy %s declares capabilities that nobody knows (%#llx)", ops->name,
                       (unsigned long long)(ops->capabilities & ~known));
    return 0;
}

/* It is written into studies, options and file names. */
static bool is_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return n > 0 && n <= NF_POLICY_NAME_MAX && !name[n];
}

static int check_semantics(const struct nf_policy_ops *ops)
{
    const struct nf_policy_semantics *s = &ops->semantics;

    if (s->access > NF_ACCESS_PROMOTE_AFTER_USE || s->insert > NF_INSERT_BYPASS || s->demote > NF_DEMOTE_WRITE_BACK ||
        s->mover > NF_MOVER_KERNEL || s->sync > NF_SYNC_HELPER)
        return nf_fail(-EINVAL, "policy %s declares semantics that nobody knows", ops->name);
    if (s->by_page && s->mover != NF_MOVER_COPY)
        return nf_fail(-EINVAL, "policy %s moves pages, and its mover does not copy", ops->name);
    if (ops->on_access && !s->samples)
        return nf_fail(-EINVAL, "policy %s samples accesses and does not declare it", ops->name);
    if (ops->load_profile && !s->sees_profile)
        return nf_fail(-EINVAL, "policy %s loads profiles and does not declare that it sees a profile", ops->name);
    return 0;
}

int nf_policy_check(const struct nf_policy_ops *ops, struct nf_policy_ops *filled)
{
    const char *name;
    int rc;

    /* Of another build nothing is where it is looked for, but for these two. */
    if (ops->abi != NF_POLICY_ABI || ops->size != sizeof *ops) {
        name = ops->size == sizeof *ops && ops->name ? ops->name : "(unnamed)";
        if (ops->abi != NF_POLICY_ABI)
            return nf_fail(-EINVAL, "policy %s was built for version %u of the policy interface; this nearfar has version %d: build it again",
                           name, ops->abi, NF_POLICY_ABI);
        name = ops->name ? ops->name : name; /* the same version: it is there at least */
        return nf_fail(-EINVAL, "policy %s says its interface has %u bytes; that of version %d has %zu", name, ops->size, NF_POLICY_ABI,
                       sizeof *ops);
    }
    name = ops->name ? ops->name : "(unnamed)";
    if (!ops->name || !ops->about || !ops->init || !ops->deinit || !ops->on_alloc)
        return nf_fail(-EINVAL, "policy %s lacks a required member: name, about, init, deinit or on_alloc", name);
    if (!is_name(name))
        return nf_fail(-EINVAL, "'%.60s' is no name for a policy: a-z, 0-9 and '-', at most %d", name, NF_POLICY_NAME_MAX);
    rc = check_capabilities(ops);
    if (!rc)
        rc = check_semantics(ops);
    if (rc)
        return rc;
    *filled = *ops;
    if (!filled->probe)
        filled->probe = probe_always;
    if (!filled->load_profile)
        filled->load_profile = load_nothing;
    if (!filled->plan)
        filled->plan = plan_nothing;
    if (!filled->on_op)
        filled->on_op = op_nothing;
    if (!filled->on_access)
        filled->on_access = access_nothing;
    if (!filled->on_op_end)
        filled->on_op_end = op_end_nothing;
    if (!filled->on_free)
        filled->on_free = free_nothing;
    if (!filled->on_regime)
        filled->on_regime = regime_nothing;
    if (!filled->on_pressure)
        filled->on_pressure = pressure_nothing;
    if (!filled->tick)
        filled->tick = tick_nothing;
    if (!filled->explain)
        filled->explain = explain_nothing;
    return 0;
}

/* --- from outside --- */

enum { OUTSIDE_MAX = 64 };
static const struct nf_policy_ops *outside[OUTSIDE_MAX]; /* they stay loaded: their structs live in the objects */
static size_t n_outside;

bool nf_policy_is_outside(const struct nf_policy_ops *ops)
{
    for (size_t i = 0; i < n_outside; i++)
        if (!strcmp(outside[i]->name, ops->name))
            return true;
    return false;
}

/* Figures are told apart by name, and `all-near` means something. */
static int admit(const struct nf_policy_ops *ops)
{
    for (const struct nf_policy_ops *const *p = nf_policies; *p; p++)
        if (!strcmp((*p)->name, ops->name))
            return nf_fail(-EINVAL, "policy %s has the name of a built-in one", ops->name);
    for (size_t i = 0; i < n_outside; i++) {
        if (outside[i] == ops)
            return 0;
        if (!strcmp(outside[i]->name, ops->name))
            return nf_fail(-EINVAL, "policy %s has the name of another that is loaded", ops->name);
    }
    if (ops->recompute)
        return nf_fail(-EINVAL, "policy %s recomputes, which only a built-in one may", ops->name);
    if (n_outside == OUTSIDE_MAX)
        return nf_fail(-EINVAL, "more than %d policies are loaded", OUTSIDE_MAX);
    outside[n_outside++] = ops;
    return 0;
}

/* What the object has under the name, at least as large as its own size says; a policy built for another interface may be smaller than
 * what is looked at here. NULL (cause set). */
static const struct nf_policy_ops *find_symbol(void *object)
{
    const struct nf_policy_ops *ops = dlsym(object, NF_POLICY_PLUGIN_SYMBOL);
    const ElfW(Sym) *symbol = NULL;
    Dl_info info;

    if (!ops) {
        nf_fail(-EINVAL, "it exports no '%s'", NF_POLICY_PLUGIN_SYMBOL);
        return NULL;
    }
    if (!dladdr1(ops, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol || symbol->st_size < offsetof(struct nf_policy_ops, capabilities)) {
        nf_fail(-EINVAL, "its '%s' is no policy", NF_POLICY_PLUGIN_SYMBOL);
        return NULL;
    }
    if (ops->abi == NF_POLICY_ABI && (symbol->st_size < ops->size || symbol->st_size < sizeof *ops)) {
        nf_fail(-EINVAL, "its policy says its interface has %u bytes, and the object has %llu of it; that of version %d has %zu", ops->size,
                (unsigned long long)symbol->st_size, NF_POLICY_ABI, sizeof *ops);
        return NULL;
    }
    return ops;
}

static int try_loading(void *path)
{
    dlopen(path, RTLD_NOW | RTLD_LOCAL); /* what it says when it cannot is heard the second time */
    return 0;
}

/* Loading runs what the object has to be run then, so a child does it first, once. */
static int guard_loading(const char *path)
{
    const struct nf_guarded g = {.who = path, .doing = "being loaded", .limit_s = NF_GUARD_LIMIT_S};
    void *loaded = dlopen(path, RTLD_NOW | RTLD_NOLOAD);

    if (!loaded)
        return nf_guard_call(&g, NULL, try_loading, (void *)path);
    dlclose(loaded);
    return 0;
}

static const struct nf_policy_ops *load(const char *path)
{
    const struct nf_policy_ops *ops;
    struct nf_policy_ops filled;
    void *object;

    if (guard_loading(path))
        return NULL;
    object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object) {
        nf_fail(-EINVAL, "cannot load the policy: %s", dlerror());
        return NULL;
    }
    ops = find_symbol(object);
    if (!ops || nf_policy_check(ops, &filled) || admit(ops)) {
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
