#include <errno.h>
#include <stdio.h>

#include "capture/json.h"
#include "core/base/error.h"

static const char REASON[] = "this nearfar was built without jansson, which reads JSON (package libjansson-dev)";

int nf_json_probe(char *why, size_t size)
{
    snprintf(why, size, "%s", REASON);
    return -ENOTSUP;
}

int nf_json_parse(const char *text, size_t n, struct nf_json **out, size_t *at)
{
    *out = NULL;
    *at = 0;
    return nf_fail(-ENOTSUP, "%s", REASON);
}

struct nf_json *nf_json_free(struct nf_json *document)
{
    return NULL;
}

bool nf_json_is_object(const struct nf_json *v)
{
    return false;
}

bool nf_json_is_array(const struct nf_json *v)
{
    return false;
}

const struct nf_json *nf_json_get(const struct nf_json *v, const char *key)
{
    return NULL;
}

size_t nf_json_count(const struct nf_json *v)
{
    return 0;
}

const struct nf_json *nf_json_at(const struct nf_json *v, size_t i)
{
    return NULL;
}

const char *nf_json_text(const struct nf_json *v)
{
    return NULL;
}

bool nf_json_i64(const struct nf_json *v, int64_t *out)
{
    return false;
}

bool nf_json_number(const struct nf_json *v, double *out)
{
    return false;
}
