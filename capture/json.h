#pragma once
/* One JSON value in memory, read through a library. Values are borrowed from their document. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nf_json;

/* 0, or -ENOTSUP with why this build cannot read JSON. */
int nf_json_probe(char *why, size_t size);
/* Exactly one value in text[0..n). 0; -EBADMSG with *at the byte the trouble was met at (cause set: what, without a place);
 * -ENOTSUP. */
int nf_json_parse(const char *text, size_t n, struct nf_json **out, size_t *at);
struct nf_json *nf_json_free(struct nf_json *document); /* NULL is fine; returns NULL */

bool nf_json_is_object(const struct nf_json *v);
bool nf_json_is_array(const struct nf_json *v);
/* NULL where v is no object or has no such member. */
const struct nf_json *nf_json_get(const struct nf_json *v, const char *key);
size_t nf_json_count(const struct nf_json *v); /* 0 for all but arrays */
const struct nf_json *nf_json_at(const struct nf_json *v, size_t i);
const char *nf_json_text(const struct nf_json *v); /* NULL: no string */
bool nf_json_i64(const struct nf_json *v, int64_t *out);    /* false: no integer */
bool nf_json_number(const struct nf_json *v, double *out);  /* false: no number */
