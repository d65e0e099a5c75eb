#include "capture/watch-hits.h"

#include <stdbool.h>

#include "core/model/words.h"

/* A write whose first half is missing; no gap is as dear. */
#define ALONE 1e15

/* The hit of the same thread and word before hits[at]; UINT32_MAX: none. */
static uint32_t before(const struct nf_watch_hit *hits, size_t at)
{
    for (size_t i = at; i-- > 0;)
        if (hits[i].slot == hits[at].slot && hits[i].tid == hits[at].tid)
            return (uint32_t)i;
    return UINT32_MAX;
}

static double cost_of(const struct nf_watch_hit *hits, uint32_t at)
{
    return at == UINT32_MAX ? 0.0 : hits[at].cost;
}

/* The cheapest way to read the reports of one thread and word up to hits[i]: either it stands alone, or it and the one before
 * are one access. */
static void extend(struct nf_watch_hit *hits, size_t i)
{
    struct nf_watch_hit *h = &hits[i];
    const struct nf_watch_hit *p;
    double together;

    h->before = before(hits, i);
    h->cost = cost_of(hits, h->before) + (h->write_only ? ALONE : 0.0);
    h->together = 0;
    if (h->before == UINT32_MAX)
        return;
    p = &hits[h->before];
    if (p->write_only == h->write_only || p->ip != h->ip)
        return;
    together = cost_of(hits, p->before) + (double)(h->time_ns - p->time_ns);
    if (together < h->cost) {
        h->cost = together;
        h->together = 1;
    }
}

static void pair(struct nf_watch_hit *a, struct nf_watch_hit *b, uint32_t at_a, uint32_t at_b)
{
    a->with = at_b;
    b->with = at_a;
    a->rw = a->write_only ? NF_WATCH_HALF : NF_RW_WRITE;
    b->rw = b->write_only ? NF_WATCH_HALF : NF_RW_WRITE;
}

size_t nf_watch_pair(struct nf_watch_hit *hits, size_t n)
{
    size_t alone = 0;

    for (size_t i = 0; i < n; i++) {
        hits[i].rw = hits[i].write_only ? NF_RW_WRITE : NF_RW_READ;
        hits[i].with = UINT32_MAX;
        hits[i].last = 1;
        extend(hits, i);
        if (hits[i].before != UINT32_MAX)
            hits[hits[i].before].last = 0;
    }
    /* Back along each thread's and word's reports. */
    for (size_t i = n; i-- > 0;) {
        for (uint32_t at = hits[i].last ? (uint32_t)i : UINT32_MAX; at != UINT32_MAX;) {
            uint32_t next = hits[at].before;

            if (hits[at].together) {
                pair(&hits[next], &hits[at], next, at);
                next = hits[next].before;
            } else {
                alone += hits[at].write_only;
            }
            at = next;
        }
    }
    return alone;
}
