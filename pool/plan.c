#include "pool/plan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/load.h"

/* Least significant digit first: three passes over 11 bits of a key; stable, so equal keys stay in item order. */
enum { RADIX_BITS = 11, RADIX_PASSES = 3, RADIX = 1 << RADIX_BITS };

struct keyed {
    uint32_t key, item;
};

static void sort(struct keyed *v, struct keyed *spare, uint32_t n)
{
    for (unsigned pass = 0; pass < RADIX_PASSES; pass++) {
        uint32_t at[RADIX] = {0}, sum = 0;
        struct keyed *swap = v;

        for (uint32_t i = 0; i < n; i++)
            at[v[i].key >> (pass * RADIX_BITS) & (RADIX - 1)]++;
        for (uint32_t d = 0; d < RADIX; d++) {
            uint32_t count = at[d];

            at[d] = sum;
            sum += count;
        }
        for (uint32_t i = 0; i < n; i++)
            spare[at[v[i].key >> (pass * RADIX_BITS) & (RADIX - 1)]++] = v[i];
        v = spare;
        spare = swap;
    }
}

static uint64_t lifetime(const struct nf_plan_item *item)
{
    uint64_t ops = 0;

    for (uint32_t s = 0; s < item->n_spans; s++)
        ops += item->span[s].last - item->span[s].first + 1;
    return ops;
}

/* The bits of a float that is not negative order like the number; inverted, the largest comes first. */
static uint32_t descending(float density)
{
    uint32_t bits;

    memcpy(&bits, &density, sizeof bits);
    return ~bits;
}

static bool accept(struct nf_load *load, const struct nf_plan_item *item, uint32_t room)
{
    for (uint32_t s = 0; s < item->n_spans; s++) {
        uint32_t first = item->span[s].first, last = item->span[s].last;

        if (item->pages > room ||
            (nf_load_top(load) > room - item->pages && nf_load_peak(load, first, last) > room - item->pages)) {
            while (s-- > 0) /* modulo 2^32 */
                nf_load_add(load, item->span[s].first, item->span[s].last, -item->pages);
            return false;
        }
        nf_load_add(load, first, last, item->pages);
    }
    return true;
}

/* As many of its pages as fit. */
static uint32_t accept_part(struct nf_load *load, const struct nf_plan_item *item, uint32_t room)
{
    uint32_t pages = item->pages < room ? item->pages : room;

    for (uint32_t s = 0; s < item->n_spans && nf_load_top(load) > room - pages; s++) {
        uint32_t peak = nf_load_peak(load, item->span[s].first, item->span[s].last);

        pages = peak > room - pages ? room - peak : pages;
    }
    for (uint32_t s = 0; s < item->n_spans && pages; s++)
        nf_load_add(load, item->span[s].first, item->span[s].last, pages);
    return pages;
}

/* What the greedy runs have in common. */
struct greedy {
    const struct nf_plan_item *items;
    uint32_t n, n_ops, room;
    struct keyed *order, *spare;
};

/* What a unit of benefit is divided by: pages, and pages held for so long or for the root of it. Held long at a low price, or short at a
 * high one: neither alone is best where gaps of most lengths contend. */
enum key { BY_PAGES_AND_TIME, BY_PAGES_AND_ROOT, BY_PAGES };
enum take { WHOLE, PARTS, WHOLE_THEN_PARTS };

static uint32_t accept_rest(struct nf_load *load, const struct nf_plan_item *item, uint32_t taken, uint32_t room)
{
    struct nf_plan_item rest = *item;

    rest.pages -= taken;
    return rest.pages ? taken + accept_part(load, &rest, room) : taken;
}

static double cost_of(const struct nf_plan_item *item, enum key key)
{
    double time = key == BY_PAGES ? 1 : (double)lifetime(item);

    return (double)item->pages * (key == BY_PAGES_AND_ROOT ? sqrt(time) : time);
}

static void rank(const struct greedy *g, enum key key)
{
    for (uint32_t i = 0; i < g->n; i++) {
        double cost = cost_of(&g->items[i], key);

        g->order[i] = (struct keyed){descending(cost > 0 ? (float)(g->items[i].benefit / cost) : 0), i};
    }
    sort(g->order, g->spare, g->n);
}
_Static_assert(RADIX_PASSES % 2 == 1, "the sorted order is read from the second array");

/* What of an item's benefit a run leaves. */
static double lost(const struct nf_plan_item *item, uint32_t taken)
{
    return taken == item->pages ? 0 : item->benefit * (item->pages - taken) / item->pages;
}

/* One run, in the order of rank(). Returns the benefit of what was taken; 0 and nothing of use once it is seen not to exceed `best`;
 * negative when memory is out. */
static double run(const struct greedy *g, enum take take, double best, uint32_t *taken)
{
    enum { AHEAD = 24 }; /* items are looked up all over the list */
    struct nf_load load;
    double left = 0, most = 0;

    if (nf_load_init(&load, g->n_ops))
        return -1;
    for (uint32_t i = 0; i < g->n; i++)
        most += g->items[i].benefit;
    for (uint32_t i = 0; i < g->n && most - left > best; i++) {
        uint32_t number = g->spare[i].item;
        const struct nf_plan_item *item = &g->items[number];

        if (i + AHEAD < g->n)
            __builtin_prefetch(&g->items[g->spare[i + AHEAD].item]);
        if (take == PARTS)
            taken[number] = accept_part(&load, item, g->room);
        else
            taken[number] = accept(&load, item, g->room) ? item->pages : 0;
        left += take == WHOLE_THEN_PARTS ? 0 : lost(item, taken[number]);
    }
    for (uint32_t i = 0; i < g->n && take == WHOLE_THEN_PARTS && most - left > best; i++) {
        uint32_t number = g->spare[i].item;

        if (i + AHEAD < g->n)
            __builtin_prefetch(&g->items[g->spare[i + AHEAD].item]);
        taken[number] = accept_rest(&load, &g->items[number], taken[number], g->room);
        left += lost(&g->items[number], taken[number]);
    }
    nf_load_deinit(&load);
    return most - left > best && most > left ? most - left : 0; /* sums of many may round below 0 */
}

static int best_run(struct greedy g, uint32_t capacity, uint32_t base, bool parts, uint32_t *taken)
{
    static const struct how {
        enum key key;
        enum take take;
    } whole_runs[] = {{BY_PAGES_AND_TIME, WHOLE}, {BY_PAGES, WHOLE}},
      part_runs[] = {{BY_PAGES_AND_TIME, PARTS}, {BY_PAGES_AND_TIME, WHOLE_THEN_PARTS}, {BY_PAGES_AND_ROOT, PARTS}, {BY_PAGES, PARTS}};
    const struct how *how = parts ? part_runs : whole_runs;
    size_t n_runs = parts ? sizeof part_runs / sizeof *part_runs : sizeof whole_runs / sizeof *whole_runs;
    uint32_t *other = malloc(((size_t)g.n + 1) * sizeof *other);
    double best = -1;
    int rc;

    g.room = capacity > base ? capacity - base : 0;
    g.order = malloc(((size_t)g.n + 1) * 2 * sizeof *g.order);
    rc = g.order && other ? 0 : -ENOMEM;
    g.spare = rc ? NULL : g.order + g.n;
    for (size_t i = 0; i < n_runs && !rc; i++) {
        double benefit;

        if (!i || how[i].key != how[i - 1].key)
            rank(&g, how[i].key);
        benefit = run(&g, how[i].take, best, other);
        rc = benefit < 0 ? -ENOMEM : 0;
        if (!rc && benefit > best) {
            memcpy(taken, other, g.n * sizeof *taken);
            best = benefit;
        }
    }
    free(g.order);
    free(other);
    return rc;
}

int nf_plan_choose(const struct nf_plan_item *items, uint32_t n, uint32_t n_ops, uint32_t capacity, uint32_t base,
                   bool *taken)
{
    uint32_t *pages = malloc(((size_t)n + 1) * sizeof *pages);
    int rc = pages ? best_run((struct greedy){.items = items, .n = n, .n_ops = n_ops}, capacity, base, false, pages) : -ENOMEM;

    for (uint32_t i = 0; !rc && i < n; i++)
        taken[i] = pages[i] == items[i].pages; /* without a page it always fits */
    free(pages);
    return rc;
}

int nf_plan_choose_parts(const struct nf_plan_item *items, uint32_t n, uint32_t n_ops, uint32_t capacity, uint32_t base,
                         uint32_t *pages)
{
    return best_run((struct greedy){.items = items, .n = n, .n_ops = n_ops}, capacity, base, true, pages);
}
