/* Which page of a storage lies where. */
#include "core/model/stream.h"
#include "pool/pool.h"

/* Longest run looked for in a striped storage: each page of it costs a look-up. */
enum { STRIPED_RUN_MAX = 64 };
/* Of one whose pages move: a byte each. */
enum { PAGED_RUN_MAX = 1024 };

/* Pages of a stripe are dealt out in proportion: of the first i pages the first tier holds ceil(i·a / n), where a of
 * all n are its own; the second holds the same share of what is left; and so on. Returns the tier of page i and its
 * index in that tier's piece. */
static uint32_t striped_page(const struct nf_pool_storage *s, uint64_t i, uint64_t *index)
{
    uint64_t n = s->bytes / NF_PAGE_BYTES;

    for (uint32_t t = 0;; t++) {
        uint64_t a = s->piece[t].bytes / NF_PAGE_BYTES, before;

        if (!a)
            continue;
        before = (i * a + n - 1) / n;
        if (((i + 1) * a + n - 1) / n > before) {
            *index = before;
            return t;
        }
        i -= before;
        n -= a;
    }
}

char *nf_pool_locate(const struct nf_pool_storage *s, uint64_t offset, uint32_t *tier, uint64_t *run)
{
    uint64_t in_page = offset % NF_PAGE_BYTES, page = offset / NF_PAGE_BYTES, pages = s->bytes / NF_PAGE_BYTES;
    uint64_t index, next_index, n = 1;
    uint32_t t = 0;

    if (s->page_tier) {
        t = atomic_load_explicit(&s->page_tier[page], memory_order_relaxed) & (NF_PAGE_UNDER_WAY - 1);
        while (n < PAGED_RUN_MAX && page + n < pages &&
               (atomic_load_explicit(&s->page_tier[page + n], memory_order_relaxed) & (NF_PAGE_UNDER_WAY - 1)) == t)
            n++;
        *tier = t;
        *run = n * NF_PAGE_BYTES - in_page;
        return s->piece[t].memory + offset;
    }
    if (!s->striped) {
        while (offset >= s->piece[t].bytes)
            offset -= s->piece[t++].bytes;
        *tier = t;
        *run = s->piece[t].bytes - offset;
        return s->piece[t].memory + offset;
    }
    t = striped_page(s, page, &index);
    while (n < STRIPED_RUN_MAX && page + n < pages && striped_page(s, page + n, &next_index) == t)
        n++;
    *tier = t;
    *run = n * NF_PAGE_BYTES - in_page;
    return s->piece[t].memory + index * NF_PAGE_BYTES + in_page;
}
