#include <string.h>

#include "capture/import-et.h"
#include "capture/import-perf-data.h"
#include "capture/import.h"
#include "core/base/error.h"

const struct nf_import_ops *const nf_imports[] = {
    &nf_import_pytorch_et,
    &nf_import_perf_data,
    NULL,
};

const struct nf_import_ops *nf_import_find(const char *name)
{
    char names[256] = "";

    for (size_t i = 0; nf_imports[i]; i++) {
        if (!strcmp(nf_imports[i]->name, name))
            return nf_imports[i];
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", nf_imports[i]->name);
    }
    nf_fail(-1, "there is no format '%s'; there are: %s", name, names);
    return NULL;
}
