#include "pool/tier.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "pool/plugin.h"
#include "pool/tier-memory.h"

static int no_node(const void *options, int here)
{
    return -1;
}

static int verify_nothing(void *tier, const void *memory, size_t bytes)
{
    return 0;
}

static uint64_t charge_nothing(void *tier, const struct nf_tier_charge *charge, uint64_t start_ns)
{
    return start_ns;
}

int nf_tier_check(const struct nf_tier_ops *ops, struct nf_tier_ops *filled)
{
    const char *name = ops->name ? ops->name : "(unnamed)";

    if (ops->abi != NF_TIER_ABI)
        return nf_fail(-EINVAL, "tier provider %s was built for interface %u; this one is %d", name, ops->abi,
                       NF_TIER_ABI);
    if (!ops->name || !ops->about || !ops->probe || !ops->open || !ops->close || !ops->facts || !ops->map ||
        !ops->unmap)
        return nf_fail(-EINVAL, "tier provider %s lacks a required member", name);
    *filled = *ops;
    if (!filled->node)
        filled->node = no_node;
    if (!filled->verify)
        filled->verify = verify_nothing;
    if (!filled->charge)
        filled->charge = charge_nothing;
    return 0;
}

const char *nf_tier_unnamed(const char *spec)
{
    size_t n = strcspn(spec, "=:");

    return spec[n] == '=' ? spec + n + 1 : spec; /* a '=' behind the ':' is an option's */
}

const struct nf_tier_ops *nf_tier_provider(const char *spec)
{
    size_t n = strcspn(spec, ":");
    struct nf_buf names = {0};

    for (const struct nf_tier_ops *const *p = nf_tier_providers; *p; p++)
        if (strlen((*p)->name) == n && !memcmp((*p)->name, spec, n))
            return *p;
    for (const struct nf_tier_ops *const *p = nf_tier_providers; *p; p++)
        nf_buf_printf(&names, "%s%s", p == nf_tier_providers ? "" : ", ", (*p)->name);
    nf_fail(-EINVAL, "no tier provider '%.*s'; there are: %s", (int)n, spec, names.data ? names.data : "");
    nf_buf_deinit(&names);
    return NULL;
}

/* The options of a spec. 0, -EINVAL, -ENOMEM (cause set). */
static int configure(const struct nf_tier_ops *provider, const char *spec, void **options)
{
    size_t n = strcspn(spec, ":");

    return nf_plugin_configure(provider->options, provider->options_size, provider->option_defaults, spec[n] ? spec + n + 1 : "", options);
}

int nf_tier_wanted_node(const char *spec, int here)
{
    const struct nf_tier_ops *provider = nf_tier_provider(spec);
    void *options = NULL;
    int node = -1;

    if (provider && provider->node && !configure(provider, spec, &options))
        node = provider->node(options, here);
    free(options);
    nf_error_clear(); /* who opens it will say what is wrong */
    return node;
}

bool nf_tier_is_node(const struct nf_tier_ops *provider)
{
    return provider->node && !provider->charge;
}

int nf_tier_open(const char *name, const char *spec, const struct nf_tier_local *local, struct nf_tier *out)
{
    const struct nf_tier_ops *provider;
    struct nf_tier_ops *filled = NULL;
    void *options = NULL;
    char why[256] = "";
    int rc;

    memset(out, 0, sizeof *out);
    if (strlen(spec) >= sizeof out->spec || strlen(name) >= sizeof out->name)
        return nf_fail(-EINVAL, "tier '%s': the name or '%s' is too long", name, spec);
    provider = nf_tier_provider(spec);
    if (!provider)
        return -EINVAL;
    filled = malloc(sizeof *filled);
    if (!filled)
        return nf_fail(-ENOMEM, "no memory for tier '%s'", name);
    rc = nf_tier_check(provider, filled);
    if (rc)
        goto out;
    rc = filled->probe(why, sizeof why);
    if (rc) {
        rc = nf_fail(-ENODEV, "%s cannot work here: %s", filled->name, why);
        goto out;
    }
    rc = configure(filled, spec, &options);
    if (!rc)
        rc = filled->open(options, local, &out->state);
    if (rc) {
        nf_fail_in(rc, "tier '%s' (%s)", name, spec);
        goto out;
    }
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->spec, sizeof out->spec, "%s", spec);
    filled->facts(out->state, &out->facts);
    out->facts.unproved |= !provider->verify;
    out->ops = filled;
    filled = NULL;
out:
    free(options);
    free(filled);
    return rc;
}

int nf_tier_verify_page_size(const struct nf_tier *t, const void *memory, size_t bytes)
{
    return t->facts.huge ? nf_tier_memory_verify_huge(memory, bytes) : 0;
}

int nf_tier_verify(const struct nf_tier *t, const void *memory, size_t bytes)
{
    int rc = t->ops->verify(t->state, memory, bytes);

    return rc ? rc : nf_tier_verify_page_size(t, memory, bytes);
}

void nf_tier_close(struct nf_tier *t)
{
    if (t->ops)
        t->ops->close(t->state);
    free((void *)t->ops);
    memset(t, 0, sizeof *t);
}
