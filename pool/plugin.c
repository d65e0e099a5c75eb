#include "pool/plugin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

int nf_plugin_configure(const struct nf_option *table, size_t size, const void *defaults, const char *text, void **out)
{
    size_t n = text ? strlen(text) : 0;
    char *block;
    int rc;

    *out = NULL;
    if (!table && n)
        return nf_fail(-EINVAL, "it takes no options, but '%s' was given", text);
    if (!size)
        return 0;
    block = calloc(1, size + n + 1);
    if (!block)
        return nf_fail(-ENOMEM, "no memory for options");
    if (defaults)
        memcpy(block, defaults, size);
    if (n) {
        memcpy(block + size, text, n + 1);
        rc = nf_options_parse_pairs(table, block + size, block);
        if (rc) {
            free(block);
            return rc;
        }
    }
    *out = block;
    return 0;
}
