/* Where the pages of a pool really are, held against its ledger. */
#include <errno.h>

#include "pool/pool-state.h"

static int verify_range(struct nf_pool *p, uint32_t tier, const char *memory, uint64_t bytes)
{
    int rc = p->tiers[tier].ops->verify(p->tiers[tier].state, memory, bytes);

    return rc ? nf_fail_in(rc, "tier '%s'", p->tiers[tier].name) : 0;
}

/* Storages whose pages migrate lie in any tier's arena. Those under way are on both. */
static int verify_storages(struct nf_pool *p)
{
    for (size_t b = 0; b < p->blocks.n; b++) {
        for (uint32_t i = 0; i < NF_POOL_BLOCK; i++) {
            const struct nf_pool_entry *e = &p->blocks.v[b][i];

            for (uint32_t t = 0; t < p->n_tiers && e->live && !e->move; t++) {
                int rc = e->s.piece[t].bytes ? verify_range(p, t, e->s.piece[t].memory, e->s.piece[t].bytes) : 0;

                if (rc)
                    return rc;
            }
        }
    }
    return 0;
}

/* Where the tier says that its memory is on huge pages: free parts may be used next. */
static int verify_page_sizes(struct nf_pool *p)
{
    for (uint32_t t = 0; t < p->n_tiers; t++) {
        const struct nf_pool_place *place = &p->place[t];
        int rc = place->memory ? nf_tier_verify_page_size(&p->tiers[t], place->memory, place->arena_bytes) : 0;

        if (rc)
            return nf_fail_in(rc, "tier '%s'", p->tiers[t].name);
    }
    return 0;
}

static uint32_t tier_of_node(const struct nf_pool *p, int node)
{
    uint32_t t = 0;

    while (t < p->n_tiers && p->tiers[t].facts.node != node)
        t++;
    return t;
}

/* Pages of one run: where the kernel took them since they were last seen, and how many are near now. */
static int read_back(struct nf_pool *p, uint32_t tier, uint32_t first, uint32_t pages, uint64_t *near_pages)
{
    enum { LOOK = 4096 };
    struct nf_pool_place *place = &p->place[tier];
    int node[LOOK], rc = 0;

    for (uint32_t done = 0; done < pages && !rc; done += LOOK) {
        uint32_t n = pages - done < LOOK ? pages - done : LOOK, at = first + done;

        rc = nf_pages_where(p->mover.pages, place->memory + (uint64_t)at * NF_PAGE_BYTES, (uint64_t)n * NF_PAGE_BYTES, node);
        for (uint32_t i = 0; i < n && !rc; i++) {
            uint32_t now = tier_of_node(p, node[i]), before = place->seen[at + i];

            if (now == p->n_tiers)
                return nf_fail(-EXDEV, node[i] < 0 ? "a page of tier '%s' is nowhere (%d)"
                               : "the kernel took a page of tier '%s' to node %d, which is no tier", p->tiers[tier].name, node[i]);
            *near_pages += now == 0;
            if (now == before)
                continue;
            place->seen[at + i] = (uint8_t)now;
            p->place[before].stats.moved_out_bytes += NF_PAGE_BYTES;
            p->place[now].stats.moved_in_bytes += NF_PAGE_BYTES;
            p->moved_bytes += NF_PAGE_BYTES;
            p->moves_done++;
            atomic_fetch_add_explicit(&p->mover.moved_pages, 1, memory_order_relaxed);
        }
    }
    return rc;
}

int nf_pool_verify(struct nf_pool *p)
{
    uint64_t near_pages = 0;
    int rc = nf_pool_failed(p);

    if (!rc)
        rc = verify_page_sizes(p);
    if (!rc && p->mover.kind == NF_MOVER_MOVE_PAGES)
        return verify_storages(p);
    for (uint32_t t = 0; t < p->n_tiers && !rc; t++) {
        uint32_t next = 0, first, pages;

        while (!rc && nf_arena_next_used(&p->place[t].arena, &next, &first, &pages)) {
            if (p->place[t].seen)
                rc = read_back(p, t, first, pages, &near_pages);
            else
                rc = verify_range(p, t, p->place[t].memory + (uint64_t)first * NF_PAGE_BYTES, (uint64_t)pages * NF_PAGE_BYTES);
        }
    }
    if (!rc && p->mover.kind == NF_MOVER_KERNEL && near_pages * NF_PAGE_BYTES > p->place[0].capacity)
        return nf_fail(-EXDEV, "the kernel promoted to %llu bytes near, and %llu is what near may hold: its node has too much "
                       "free memory for this near share", (unsigned long long)(near_pages * NF_PAGE_BYTES),
                       (unsigned long long)p->place[0].capacity);
    return rc;
}
