#pragma once
/* Texts kept once each, by number. 0 is the empty text. Zero-initialised is empty. */
#include <stddef.h>
#include <stdint.h>

#include "capture/id-map.h"
#include "core/base/array.h"

enum { NF_TEXTS_NONE = UINT32_MAX };

struct nf_texts {
    NF_ARRAY(char *) v;
    size_t bytes; /* of all texts */
    struct nf_id_map by_hash;
};

/* The number of text[0..n); NF_TEXTS_NONE: no memory. */
uint32_t nf_texts_add(struct nf_texts *t, const char *text, size_t n);
const char *nf_texts_get(const struct nf_texts *t, uint32_t number); /* "" for a number that was never given */
void nf_texts_deinit(struct nf_texts *t);
