/* Which items are kept near, kept far or made again: what choices cost, the greedy planner, and the best by enumeration. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/load.h"
#include "core/model/recompute.h"

enum { IMPOSSIBLE = -1 };

static double transfer_ns(double pages, const struct nf_recompute_prices *p)
{
    return 2 * pages * NF_PAGE_BYTES / p->far_bps * 1e9;
}

double nf_recompute_far_ns(const struct nf_recompute_item *i, const struct nf_recompute_prices *p)
{
    double ns = transfer_ns(i->pages, p);

    return p->hidden ? (ns > i->gap_ns ? ns - i->gap_ns : 0) : p->exposed * ns;
}

/* With what its scratch costs that finds no room near at the item's next use. */
static double again_ns(const struct nf_recompute_chain *chain, uint64_t taken, const struct nf_recompute_prices *p)
{
    uint64_t room = p->near_pages > taken ? p->near_pages - taken : 0;
    uint64_t over = chain->scratch_pages > room ? chain->scratch_pages - room : 0;

    return chain->ns / p->compute_x + p->exposed * transfer_ns((double)over, p);
}

/* --- what choices cost --- */

/* Pages near at each op. */
static bool fill_load(const struct nf_recompute *r, const uint8_t *choices, const struct nf_recompute_prices *p, uint64_t *load)
{
    uint32_t range[2][2];

    for (uint32_t o = 0; o < r->of->n_ops; o++)
        load[o] = r->base[o];
    for (uint32_t i = 0; i < r->n_items; i++) {
        if (choices[i] != NF_RECOMPUTE_NEAR)
            continue;
        nf_recompute_ranges(r, &r->items[i], range);
        for (unsigned k = 0; k < 2; k++)
            for (uint32_t o = range[k][0]; o < range[k][1]; o++) {
                load[o] += r->items[i].pages;
                if (load[o] > p->near_pages)
                    return false;
            }
    }
    return true;
}

double nf_recompute_cost(const struct nf_recompute *r, const uint8_t *choices, const struct nf_recompute_prices *p)
{
    uint64_t *load = calloc(r->of->n_ops + (size_t)1, sizeof *load);
    struct nf_recompute_chain chain = {0};
    double sum = 0;

    if (!load)
        return -ENOMEM;
    if (!fill_load(r, choices, p, load))
        sum = IMPOSSIBLE;
    for (uint32_t i = 0; i < r->n_items && sum >= 0; i++) {
        if (choices[i] == NF_RECOMPUTE_FAR)
            sum += nf_recompute_far_ns(&r->items[i], p);
        if (choices[i] != NF_RECOMPUTE_AGAIN)
            continue;
        if (!p->no_again && nf_recompute_chain(r, choices, i, &chain))
            sum += again_ns(&chain, load[r->items[i].to_op], p);
        else
            sum = IMPOSSIBLE;
    }
    nf_recompute_chain_deinit(&chain);
    free(load);
    return sum;
}

/* --- greedy --- */

/* Items made again by the tensors their chains read: whose cost changes when one of those is made again, too. */
struct dependant {
    uint32_t item, next;
};

struct greedy {
    const struct nf_recompute *r;
    const struct nf_recompute_prices *p;
    uint8_t *choices;
    struct nf_load load; /* pages near, at most near_pages */
    uint32_t room;
    double *key;       /* per item */
    uint32_t *order;
    double *spent;     /* per item that is made again: its chain's cost */
    uint32_t *first;   /* per tensor: into dependants, or UINT32_MAX */
    NF_ARRAY(struct dependant) dependants;
    struct nf_recompute_chain chain;
};

static double cheapest(const struct nf_recompute_item *i, const struct nf_recompute_prices *p)
{
    double far = nf_recompute_far_ns(i, p), again = i->c_ns / p->compute_x;

    return i->can && !p->no_again && again < far ? again : far;
}

static _Thread_local const double *sort_key;

static int by_key(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    if (sort_key[x] != sort_key[y])
        return sort_key[x] < sort_key[y] ? 1 : -1;
    return (x > y) - (x < y);
}

static uint32_t length_of(const struct greedy *g, const struct nf_recompute_item *i)
{
    uint32_t range[2][2], n = 0;

    nf_recompute_ranges(g->r, i, range);
    for (unsigned k = 0; k < 2; k++)
        n += range[k][1] > range[k][0] ? range[k][1] - range[k][0] : 0;
    return n;
}

static void add(struct greedy *g, const struct nf_recompute_item *i)
{
    uint32_t range[2][2];

    nf_recompute_ranges(g->r, i, range);
    for (unsigned k = 0; k < 2; k++)
        if (range[k][1] > range[k][0])
            nf_load_add(&g->load, range[k][0], range[k][1] - 1, i->pages);
}

static bool fits(const struct greedy *g, const struct nf_recompute_item *i)
{
    uint32_t range[2][2];

    if (i->pages > g->room)
        return false;
    nf_recompute_ranges(g->r, i, range);
    for (unsigned k = 0; k < 2; k++)
        if (range[k][1] > range[k][0] && nf_load_peak(&g->load, range[k][0], range[k][1] - 1) > g->room - i->pages)
            return false;
    return true;
}

static void keep_near(struct greedy *g)
{
    for (uint32_t n = 0; n < g->r->n_items; n++) {
        uint32_t i = g->order[n];

        if (g->choices[i] != NF_RECOMPUTE_NEAR && fits(g, &g->r->items[i])) {
            g->choices[i] = NF_RECOMPUTE_NEAR;
            add(g, &g->r->items[i]);
        }
    }
}

static double chain_cost(struct greedy *g, uint32_t item)
{
    uint32_t op = g->r->items[item].to_op;

    if (!nf_recompute_chain(g->r, g->choices, item, &g->chain))
        return IMPOSSIBLE;
    return again_ns(&g->chain, nf_load_peak(&g->load, op, op), g->p);
}

static int depend(struct greedy *g, uint32_t item)
{
    for (size_t k = 0; k < g->chain.parents.n; k++) {
        uint32_t tensor = g->chain.parents.v[k];

        if (nf_array_push(&g->dependants, (struct dependant){item, g->first[tensor]}))
            return -ENOMEM;
        g->first[tensor] = (uint32_t)g->dependants.n - 1;
    }
    return 0;
}

/* What the chains of others would cost more if this one were made again, as choices[] says already; negative: one would break. */
static double burden(struct greedy *g, uint32_t item)
{
    double more = 0;

    for (uint32_t d = g->first[g->r->items[item].tensor]; d != UINT32_MAX; d = g->dependants.v[d].next) {
        uint32_t other = g->dependants.v[d].item;
        double now;

        if (other == item || g->choices[other] != NF_RECOMPUTE_AGAIN)
            continue;
        now = chain_cost(g, other);
        if (now < 0)
            return IMPOSSIBLE;
        more += now > g->spent[other] ? now - g->spent[other] : 0;
    }
    return more;
}

/* The chains that read it are longer from now on, and may read others. */
static int settle_others(struct greedy *g, uint32_t item)
{
    int rc = 0;

    for (uint32_t d = g->first[g->r->items[item].tensor]; d != UINT32_MAX && !rc; d = g->dependants.v[d].next) {
        uint32_t other = g->dependants.v[d].item;

        if (other == item || g->choices[other] != NF_RECOMPUTE_AGAIN)
            continue;
        g->spent[other] = chain_cost(g, other);
        rc = depend(g, other);
    }
    return rc;
}

static int choose_again(struct greedy *g)
{
    int rc = 0;

    for (uint32_t n = 0; n < g->r->n_items && !rc && !g->p->no_again; n++) {
        uint32_t i = g->order[n];
        double far = nf_recompute_far_ns(&g->r->items[i], g->p), cost, more;

        if (g->choices[i] == NF_RECOMPUTE_NEAR || !g->r->items[i].can)
            continue;
        cost = chain_cost(g, i);
        g->choices[i] = NF_RECOMPUTE_AGAIN;
        more = cost < 0 ? IMPOSSIBLE : burden(g, i);
        if (cost < 0 || more < 0 || cost + more >= far) {
            g->choices[i] = NF_RECOMPUTE_FAR;
            continue;
        }
        g->spent[i] = chain_cost(g, i);
        rc = depend(g, i);
        if (!rc)
            rc = settle_others(g, i);
    }
    return rc;
}

/* One run by one key: cost saved per page and op, or per page. *cost: of all choices. */
static int run(struct greedy *g, bool by_time, double *cost)
{
    const struct nf_recompute *r = g->r;
    int rc = nf_load_init(&g->load, r->of->n_ops ? r->of->n_ops : 1);

    g->dependants.n = 0;
    memset(g->first, 0xff, r->of->n_tensors * sizeof *g->first);
    for (uint32_t o = 0; o < r->of->n_ops && !rc; o++)
        nf_load_add(&g->load, o, o, r->base[o] < g->room ? r->base[o] : g->room);
    for (uint32_t i = 0; i < r->n_items && !rc; i++) {
        double held = (double)r->items[i].pages * (by_time ? (double)length_of(g, &r->items[i]) : 1);

        g->key[i] = held > 0 ? cheapest(&r->items[i], g->p) / held : 0;
        g->order[i] = i;
        g->choices[i] = NF_RECOMPUTE_FAR;
    }
    sort_key = g->key;
    qsort(g->order, r->n_items, sizeof *g->order, by_key);
    if (!rc) {
        keep_near(g);
        rc = choose_again(g);
    }
    nf_load_deinit(&g->load);
    *cost = rc ? 0 : nf_recompute_cost(r, g->choices, g->p);
    return *cost == -ENOMEM ? -ENOMEM : rc;
}

int nf_recompute_choose(const struct nf_recompute *r, const struct nf_recompute_prices *p, uint8_t *choices)
{
    size_t n = r->n_items + (size_t)1, tensors = r->of->n_tensors + (size_t)1;
    struct greedy g = {.r = r, .p = p, .choices = malloc(n), .room = p->near_pages < UINT32_MAX / 4 ? (uint32_t)p->near_pages : UINT32_MAX / 4};
    double cost, other = IMPOSSIBLE;
    int rc;

    g.key = malloc(n * sizeof *g.key);
    g.order = malloc(n * sizeof *g.order);
    g.spent = calloc(n, sizeof *g.spent);
    g.first = malloc(tensors * sizeof *g.first);
    rc = g.choices && g.key && g.order && g.spent && g.first ? run(&g, true, &cost) : -ENOMEM;
    if (!rc) {
        memcpy(choices, g.choices, r->n_items);
        rc = run(&g, false, &other);
    }
    if (!rc && other >= 0 && (cost < 0 || other < cost))
        memcpy(choices, g.choices, r->n_items);
    free(g.choices);
    free(g.key);
    free(g.order);
    free(g.spent);
    free(g.first);
    nf_array_free(&g.dependants);
    nf_recompute_chain_deinit(&g.chain);
    return rc ? nf_fail(rc, "out of memory to plan %u gaps", r->n_items) : 0;
}

/* --- exact --- */

int nf_recompute_exact(const struct nf_recompute *r, const struct nf_recompute_prices *p, uint8_t *choices)
{
    uint8_t now[NF_RECOMPUTE_EXACT_MAX] = {0};
    double best = IMPOSSIBLE;
    uint32_t i;

    if (r->n_items > NF_RECOMPUTE_EXACT_MAX)
        return nf_fail(-E2BIG, "%u gaps are too many to try all choices: at most %d", r->n_items, NF_RECOMPUTE_EXACT_MAX);
    do {
        double cost = nf_recompute_cost(r, now, p);

        if (cost == -ENOMEM)
            return nf_fail(-ENOMEM, "out of memory to plan %u gaps", r->n_items);
        if (cost >= 0 && (best < 0 || cost < best)) {
            best = cost;
            memcpy(choices, now, r->n_items);
        }
        for (i = 0; i < r->n_items && ++now[i] > NF_RECOMPUTE_AGAIN; i++)
            now[i] = NF_RECOMPUTE_NEAR;
    } while (i < r->n_items);
    return 0;
}
