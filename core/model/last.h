#pragma once
/* When each block was accessed last: reuse times, at a fraction of what stack distances cost. */
#include <stddef.h>
#include <stdint.h>

struct nf_last;

#define NF_LAST_NEVER UINT64_MAX

/* NULL: no memory. */
struct nf_last *nf_last_new(void);
struct nf_last *nf_last_free(struct nf_last *l);
/* Accesses n blocks first, first + 1, ... at the times now, now + 1, ...; before[i] becomes the time of the last access
 * of its block, or NF_LAST_NEVER. Times are below NF_LAST_NEVER. 0, or -ENOMEM, after which l is only good for
 * nf_last_free. */
int nf_last_extent(struct nf_last *l, uint64_t first, uint32_t n, uint64_t now, uint64_t *before);
