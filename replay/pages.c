#include "replay/pages.h"

#include <stdio.h>
#include <string.h>

bool nf_pages_has(const struct nf_tier_ops *provider)
{
    for (const struct nf_option *o = provider->options; o && o->name; o++)
        if (!strcmp(o->name, "page"))
            return true;
    return false;
}

const char *nf_pages_other(const struct nf_tier *t)
{
    return t->facts.huge ? "4k" : "thp";
}

int nf_pages_open(const struct nf_tier *t, const char *page, const struct nf_tier_local *local, struct nf_tier *out)
{
    char spec[2 * sizeof t->spec], copy[sizeof t->spec], *rest = copy, *item;
    size_t at;

    *out = (struct nf_tier){0};
    snprintf(copy, sizeof copy, "%s", t->spec);
    item = strsep(&rest, ":");
    at = (size_t)snprintf(spec, sizeof spec, "%s:page=%s", item, page);
    while ((item = strsep(&rest, ",")))
        if (*item && strncmp(item, "page=", 5))
            at += (size_t)snprintf(spec + at, sizeof spec - at, ",%s", item);
    return nf_tier_open(t->name, spec, local, out);
}
