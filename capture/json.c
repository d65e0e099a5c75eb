#include "capture/json.h"

#include <errno.h>
#include <jansson.h>

#include "core/base/error.h"

int nf_json_probe(char *why, size_t size)
{
    return 0;
}

int nf_json_parse(const char *text, size_t n, struct nf_json **out, size_t *at)
{
    json_error_t e;
    json_t *v = json_loadb(text, n, JSON_DECODE_ANY, &e);

    *out = (struct nf_json *)v;
    *at = 0;
    if (v)
        return 0;
    /* It counts the bytes it took, the offending one among them. */
    if (e.position > 0 && (size_t)e.position <= n)
        *at = (size_t)e.position - 1;
    return json_error_code(&e) == json_error_out_of_memory ? nf_fail(-ENOMEM, "out of memory")
                                                           : nf_fail(-EBADMSG, "%s", e.text);
}

struct nf_json *nf_json_free(struct nf_json *document)
{
    json_decref((json_t *)document);
    return NULL;
}

bool nf_json_is_object(const struct nf_json *v)
{
    return json_is_object((const json_t *)v);
}

bool nf_json_is_array(const struct nf_json *v)
{
    return json_is_array((const json_t *)v);
}

const struct nf_json *nf_json_get(const struct nf_json *v, const char *key)
{
    return (const struct nf_json *)json_object_get((const json_t *)v, key);
}

size_t nf_json_count(const struct nf_json *v)
{
    return json_array_size((const json_t *)v);
}

const struct nf_json *nf_json_at(const struct nf_json *v, size_t i)
{
    return (const struct nf_json *)json_array_get((const json_t *)v, i);
}

const char *nf_json_text(const struct nf_json *v)
{
    return json_string_value((const json_t *)v);
}

bool nf_json_i64(const struct nf_json *v, int64_t *out)
{
    if (!json_is_integer((const json_t *)v))
        return false;
    *out = json_integer_value((const json_t *)v);
    return true;
}

bool nf_json_number(const struct nf_json *v, double *out)
{
    if (!json_is_number((const json_t *)v))
        return false;
    *out = json_number_value((const json_t *)v);
    return true;
}
