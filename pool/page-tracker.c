#include "pool/page-tracker.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/stream.h"
#include "pool/fault-cost.h"
#include "pool/placement.h"

/* Beyond these nothing is a rule of pages any more: published intervals are milliseconds to minutes, a fault microseconds. */
static const double SPEED_MIN = 1e-3, SPEED_MAX = 1e9, COST_MAX_NS = 1e9;
/* Times and counts are added to what has passed: half the range is left to that. */
static const double SCALED_MAX = (double)(UINT64_MAX / 2);

int nf_page_tracker_init(struct nf_page_tracker *t, const struct nf_policy_env *env, const struct nf_page_options *o)
{
    *t = (struct nf_page_tracker){.env = env, .o = *o, .rng = {env->seed}, .demoted_at_once = 1};
    if (o->unit_bytes < NF_PAGE_BYTES || o->unit_bytes % NF_PAGE_BYTES || o->unit_bytes > (1ull << 30))
        return nf_fail(-EINVAL, "page=%llu: whole pages of %d bytes are wanted, at most 1G", (unsigned long long)o->unit_bytes,
                       NF_PAGE_BYTES);
    if (!o->period)
        return nf_fail(-EINVAL, "period=0: one in how many lines is sampled?");
    if (!(o->speed >= SPEED_MIN && o->speed <= SPEED_MAX))
        return nf_fail(-EINVAL, "speed=%g: a factor from %g to %g is wanted", o->speed, SPEED_MIN, SPEED_MAX);
    if (!(o->fault_ns <= COST_MAX_NS && o->unmap_ns <= COST_MAX_NS))
        return nf_fail(-EINVAL, "fault-ns=%g, unmap-ns=%g: at most %g ns, a second, is wanted", o->fault_ns, o->unmap_ns, COST_MAX_NS);
    if (o->fault_ns < 0)
        t->o.fault_ns = nf_fault_cost_ns();
    if (o->unmap_ns < 0)
        t->o.unmap_ns = nf_fault_cost_ns();
    t->unit_pages = (uint32_t)(o->unit_bytes / NF_PAGE_BYTES);
    t->due = (double)nf_rng_below(&t->rng, o->period);
    return 0;
}

uint64_t nf_page_tracker_scaled(const struct nf_page_tracker *t, double published)
{
    double scaled = published / t->o.speed;

    return scaled < SCALED_MAX ? (uint64_t)scaled : UINT64_MAX / 2;
}

void nf_page_tracker_deinit(struct nf_page_tracker *t)
{
    for (size_t i = 0; i < t->storages.n; i++)
        free(t->storages.v[i].v);
    nf_array_free(&t->storages);
}

/* --- lists --- */

void nf_page_list_remove(struct nf_page *page)
{
    struct nf_page_list *l = page->list;

    if (!l)
        return;
    *(page->newer ? &page->newer->older : &l->newest) = page->older;
    *(page->older ? &page->older->newer : &l->oldest) = page->newer;
    l->pages -= page->pages;
    page->list = NULL;
}

void nf_page_list_push(struct nf_page_list *l, struct nf_page *page)
{
    nf_page_list_remove(page);
    page->list = l;
    page->newer = NULL;
    page->older = l->newest;
    *(l->newest ? &l->newest->newer : &l->oldest) = page;
    l->newest = page;
    l->pages += page->pages;
}

void nf_page_list_push_oldest(struct nf_page_list *l, struct nf_page *page)
{
    nf_page_list_remove(page);
    page->list = l;
    page->older = NULL;
    page->newer = l->oldest;
    *(l->oldest ? &l->oldest->older : &l->newest) = page;
    l->oldest = page;
    l->pages += page->pages;
}

/* --- storages --- */

/* Whole pages near as far as there is room, the rest on one far tier; where none takes it, wherever there is room. */
static bool deal(const struct nf_page_tracker *t, uint64_t bytes, uint64_t *on)
{
    uint64_t near = nf_page_tracker_room(t, 0), left = bytes;
    uint32_t tier = 1;

    if (near >= bytes) {
        on[0] = bytes;
        return true;
    }
    on[0] = near - near % t->o.unit_bytes;
    left -= on[0];
    while (tier < t->env->n_tiers && nf_page_tracker_room(t, tier) < left)
        tier++;
    if (tier < t->env->n_tiers) {
        on[tier] = left;
        return true;
    }
    /* Bounds between tiers lie between pages, so that a page is on one of them. */
    for (tier = 1; tier < t->env->n_tiers; tier++) {
        uint64_t room = nf_page_tracker_room(t, tier);

        on[tier] = room < left ? room - room % t->o.unit_bytes : left;
        left -= on[tier];
    }
    return !left;
}

int nf_page_tracker_place(struct nf_page_tracker *t, const struct nf_policy_tensor *tensor, struct nf_placement *out)
{
    uint32_t pages = (uint32_t)(tensor->bytes / NF_PAGE_BYTES), n = (pages + t->unit_pages - 1) / t->unit_pages, tier = 0;
    uint64_t on[NF_TIER_MAX] = {0}, end;
    struct nf_page_storage *s;

    if (nf_array_reserve(&t->storages, tensor->handle + (size_t)1))
        return nf_fail(-ENOMEM, "no memory for %u storages", tensor->handle + 1);
    while (t->storages.n <= tensor->handle)
        t->storages.v[t->storages.n++] = (struct nf_page_storage){0};
    if (!deal(t, tensor->bytes, on))
        return nf_fail(-ENOSPC, "no tiers have %llu bytes free in whole pages", (unsigned long long)tensor->bytes);
    s = &t->storages.v[tensor->handle];
    s->v = calloc(n + (size_t)1, sizeof *s->v);
    if (!s->v)
        return nf_fail(-ENOMEM, "no memory for %u pages", n);
    s->n = n;
    end = on[0];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = i * t->unit_pages;

        while (first * (uint64_t)NF_PAGE_BYTES >= end)
            end += on[++tier];
        s->v[i] = (struct nf_page){.handle = tensor->handle, .index = i, .tier = (uint8_t)tier, .epoch = t->epoch,
                                   .pages = pages - first < t->unit_pages ? pages - first : t->unit_pages};
    }
    for (uint32_t i = 0; i < t->env->n_tiers; i++) {
        out->bytes[i] = on[i];
        t->used[i] += on[i];
    }
    return 0;
}

void nf_page_tracker_freed(struct nf_page_tracker *t, uint32_t handle)
{
    struct nf_page_storage *s = &t->storages.v[handle];

    for (uint32_t i = 0; i < s->n; i++) {
        nf_page_list_remove(&s->v[i]);
        t->used[s->v[i].tier] -= nf_page_bytes_of(&s->v[i]);
    }
    free(s->v);
    *s = (struct nf_page_storage){0};
}

/* --- what is seen --- */

static struct nf_page *page_at(const struct nf_page_tracker *t, uint32_t handle, uint64_t offset)
{
    const struct nf_page_storage *s = &t->storages.v[handle];
    uint64_t i = offset / t->o.unit_bytes;

    return i < s->n ? &s->v[i] : NULL;
}

/* An update both loads and stores each line: a sample of it is either. */
static bool stores(struct nf_page_tracker *t, uint8_t rw)
{
    return rw == NF_RW_WRITE || (rw == NF_RW_UPDATE && nf_rng_below(&t->rng, 2));
}

void nf_page_tracker_sample(struct nf_page_tracker *t, const struct nf_policy_touches *touches,
                            void (*seen)(void *ctx, struct nf_page *page, bool write), void *ctx)
{
    for (size_t i = 0; i < touches->n; i++) {
        const struct nf_policy_touch *v = &touches->v[i];
        double at = t->due;

        for (; at < v->lines; at += (double)t->o.period) {
            struct nf_page *page = page_at(t, v->handle, v->offset + (uint64_t)(at / v->lines * (double)v->span));

            if (page)
                seen(ctx, page, stores(t, v->rw));
        }
        t->due = at - v->lines;
    }
}

void nf_page_tracker_walk(struct nf_page_tracker *t, const struct nf_policy_touches *touches,
                          void (*seen)(void *ctx, struct nf_page *page, bool write), void *ctx)
{
    for (size_t i = 0; i < touches->n; i++) {
        const struct nf_policy_touch *v = &touches->v[i];
        struct nf_page *page = v->span ? page_at(t, v->handle, v->offset) : NULL, *end;

        if (!page)
            continue;
        end = page + ((v->offset + v->span - 1) / t->o.unit_bytes - v->offset / t->o.unit_bytes);
        for (; page <= end; page++)
            seen(ctx, page, v->rw != NF_RW_READ);
    }
}

uint32_t nf_page_count(const struct nf_page_tracker *t, struct nf_page *page)
{
    uint32_t lag = t->epoch - page->epoch;

    if (lag) {
        page->reads = lag < 32 ? page->reads >> lag : 0;
        page->writes = lag < 32 ? page->writes >> lag : 0;
        page->epoch = t->epoch;
    }
    return page->reads + page->writes;
}

/* --- moves --- */

uint32_t nf_page_tracker_far(const struct nf_page_tracker *t, const struct nf_page *page)
{
    uint32_t tier = 1;

    while (tier < t->env->n_tiers && nf_page_tracker_room(t, tier) < nf_page_bytes_of(page))
        tier++;
    return tier;
}

/* Neighbours that go the same way in a row are one move. */
bool nf_page_tracker_move(struct nf_page_tracker *t, struct nf_page *page, uint32_t tier, struct nf_policy_moves *moves)
{
    uint64_t bytes = nf_page_bytes_of(page);
    struct nf_policy_move *last = moves->n ? &moves->v[moves->n - 1] : NULL;
    uint32_t first = page->index * t->unit_pages;

    if (nf_page_tracker_room(t, tier) < bytes)
        return false;
    if (last && last->handle == page->handle && last->to_tier == tier && last->first_page + last->n_pages == first) {
        last->n_pages += page->pages;
    } else {
        if (moves->n == NF_POLICY_MOVES_MAX)
            return false;
        moves->v[moves->n++] = (struct nf_policy_move){page->handle, tier, first, page->pages};
    }
    t->used[page->tier] -= bytes;
    t->used[tier] += bytes;
    page->tier = (uint8_t)tier;
    t->stall_ns += tier ? t->o.unmap_ns / t->demoted_at_once : t->o.unmap_ns;
    return true;
}

void nf_page_tracker_charge(struct nf_page_tracker *t, struct nf_policy_moves *moves)
{
    uint64_t whole = (uint64_t)t->stall_ns;

    moves->stall_ns += whole;
    t->stall_ns -= (double)whole;
}
