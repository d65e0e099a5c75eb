#include "capture/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/source-exact.h"
#include "capture/source-framework.h"
#include "capture/source-ibs.h"
#include "capture/source-page-fault.h"
#include "capture/source-pebs.h"
#include "capture/source-watchpoint.h"
#include "core/base/error.h"

const struct nf_source_ops *const nf_sources[] = {
    &nf_source_framework, &nf_source_page_fault, &nf_source_pebs, &nf_source_ibs, &nf_source_watchpoint, &nf_source_exact,
    NULL,
};

const struct nf_source_ops *nf_source_find(const char *name)
{
    char names[256] = "";

    for (size_t i = 0; nf_sources[i]; i++) {
        if (!strcmp(nf_sources[i]->name, name))
            return nf_sources[i];
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", nf_sources[i]->name);
    }
    nf_fail(-1, "there is no capture source '%s'; there are: %s", name, names);
    return NULL;
}

int nf_source_parse(const char *spec, const struct nf_source_ops **out, void **options)
{
    const char *colon = strchr(spec, ':');
    char *name = strndup(spec, colon ? (size_t)(colon - spec) : strlen(spec)), *pairs;
    int rc = 0;

    *options = NULL;
    if (!name)
        return -ENOMEM;
    *out = nf_source_find(name);
    free(name);
    if (!*out)
        return -EINVAL;
    if (!(*out)->options)
        return colon ? nf_fail(-EINVAL, "source %s takes no options", (*out)->name) : 0;
    /* Texts among the options point into what was parsed: it lives behind them. */
    *options = calloc(1, (*out)->options_size + strlen(spec) + 1);
    if (!*options)
        return -ENOMEM;
    if (colon) {
        pairs = (char *)*options + (*out)->options_size;
        memcpy(pairs, colon + 1, strlen(colon + 1) + 1);
        rc = nf_options_parse_pairs((*out)->options, pairs, *options);
    }
    if (rc) {
        free(*options);
        *options = NULL;
        return rc == -EINVAL ? nf_fail_in(rc, "source %s", (*out)->name) : rc;
    }
    return 0;
}
