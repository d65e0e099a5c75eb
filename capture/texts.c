#include "capture/texts.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"

uint32_t nf_texts_add(struct nf_texts *t, const char *text, size_t n)
{
    uint64_t hash = nf_hash_bytes(text, n);
    uint32_t *number;
    bool is_new;
    char *copy;

    if (!t->v.n && nf_array_push(&t->v, NULL))
        return NF_TEXTS_NONE;
    if (!n)
        return 0;
    /* Two texts of one hash stand one hash further on. */
    for (;; hash++) {
        number = nf_id_map_add(&t->by_hash, hash, (uint32_t)t->v.n, &is_new);
        if (!number)
            return NF_TEXTS_NONE;
        if (is_new)
            break;
        if (strlen(t->v.v[*number]) == n && !memcmp(t->v.v[*number], text, n))
            return *number;
    }
    copy = strndup(text, n);
    if (!copy)
        return NF_TEXTS_NONE; /* its place in the map names no text: the caller gives up */
    if (nf_array_push(&t->v, copy)) {
        free(copy);
        return NF_TEXTS_NONE;
    }
    t->bytes += n;
    return (uint32_t)t->v.n - 1;
}

const char *nf_texts_get(const struct nf_texts *t, uint32_t number)
{
    return number && number < t->v.n ? t->v.v[number] : "";
}

void nf_texts_deinit(struct nf_texts *t)
{
    for (size_t i = 0; i < t->v.n; i++)
        free(t->v.v[i]);
    nf_array_free(&t->v);
    nf_id_map_deinit(&t->by_hash);
}
