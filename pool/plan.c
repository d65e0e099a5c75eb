#include "pool/plan.h"

#include <errno.h>
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

/* One greedy run. Returns the benefit of what was taken; negative when memory is out. */
static double run(const struct nf_plan_item *items, uint32_t n, uint32_t n_ops, uint32_t room, bool by_time,
                  struct keyed *order, struct keyed *spare, bool *taken)
{
    struct nf_load load;
    double benefit = 0;

    if (nf_load_init(&load, n_ops))
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        double cost = (double)items[i].pages * (by_time ? (double)lifetime(&items[i]) : 1);

        order[i] = (struct keyed){descending(cost > 0 ? (float)(items[i].benefit / cost) : 0), i};
    }
    sort(order, spare, n);
    for (uint32_t i = 0; i < n; i++) {
        /* An odd number of passes leaves the result in the other array. */
        uint32_t item = spare[i].item;

        taken[item] = accept(&load, &items[item], room);
        if (taken[item])
            benefit += items[item].benefit;
    }
    nf_load_deinit(&load);
    return benefit;
}
_Static_assert(RADIX_PASSES % 2 == 1, "the sorted order is read from the second array");

int nf_plan_choose(const struct nf_plan_item *items, uint32_t n, uint32_t n_ops, uint32_t capacity, uint32_t base,
                   bool *taken)
{
    struct keyed *order = malloc(((size_t)n + 1) * 2 * sizeof *order);
    bool *other = malloc((size_t)n + 1);
    uint32_t room = capacity > base ? capacity - base : 0;
    double by_time = -1, by_size = -1;

    if (order && other) {
        by_time = run(items, n, n_ops, room, true, order, order + n, taken);
        by_size = run(items, n, n_ops, room, false, order, order + n, other);
        if (by_size > by_time)
            memcpy(taken, other, n * sizeof *taken);
    }
    free(order);
    free(other);
    return by_time < 0 || by_size < 0 ? -ENOMEM : 0;
}
