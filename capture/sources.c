#include "capture/source.h"

#include <stdio.h>
#include <string.h>

#include "capture/source-framework.h"
#include "core/base/error.h"

const struct nf_source_ops *const nf_sources[] = {&nf_source_framework, NULL};

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
