/* Policy `interval-lp`: the bound's own plan. Over which gaps between uses tensors stay near is decided by the linear program that bounds
 * policies (pool/bound.h), here over a planner's stays (pool/stays.h), rounded to whole pages, or with parts=no to whole tensors.
 * Rule: gaps that the program keeps whole are taken first, then the others by the share it keeps, then by bytes saved per page and op;
 * each with the pages it keeps of it, as far as they fit at every op it holds, until its tensor dies; then what is left of near, by
 * bytes saved per page and op. With parts=no each whole, if that fits. Where the greedy choice alone saves more, that is taken. Moves
 * and fetches as gap-greedy's (pool/gap-plan.h).
 * Source: ours; the program is the linear relaxation of offline caching with sizes (Berger et al., POMACS 2018, section 3).
 * Semantics: in place, insert near or far by the plan, write back, copied by a helper. Sees profile and future.
 * Fails as gap-greedy does: bytes are weighed, not time. Needs COIN-OR CLP, whose time grows
 * faster than the step: ./bench plan says how long it takes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/bound.h"
#include "pool/gap-plan.h"
#include "pool/policies.h"

static int probe(char *why, size_t size)
{
    return nf_bound_lp_probe(why, size) ? -ENODEV : 0;
}

struct ranked {
    uint32_t stay, pages; /* that the program keeps, rounded down */
    double share, density;
};

static int wanted_more(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->share != y->share)
        return x->share > y->share ? -1 : 1;
    return x->density > y->density ? -1 : x->density < y->density;
}

static int denser(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    return x->density > y->density ? -1 : x->density < y->density;
}

/* As many more of a stay's pages as fit, `most` of them in all. */
static void fill(struct nf_load *load, const struct nf_stays *s, const struct ranked *r, uint32_t most, uint32_t capacity, bool parts, uint32_t *kept)
{
    const struct nf_stay *stay = &s->v[r->stay];
    uint32_t room = nf_stay_room(stay, load, s->n_ops, capacity), pages = most - kept[r->stay];

    if (room < pages && !parts)
        return;
    pages = room < pages ? room : pages;
    if (pages)
        nf_stay_hold(stay, load, s->n_ops, pages);
    kept[r->stay] += pages;
}

static int round_shares(const struct nf_stays *s, const double *share, uint32_t capacity, bool parts, uint32_t *kept)
{
    struct ranked *v = malloc((s->n + (size_t)1) * sizeof *v);
    struct nf_load load = {0};
    int rc = v && !nf_load_init(&load, s->n_ops) ? 0 : nf_fail(-ENOMEM, "out of memory for %u stays", s->n);

    for (uint32_t i = 0; !rc && i < s->n; i++) {
        const struct nf_stay *stay = &s->v[i];
        double whole = (double)(int)(share[i] * 1e4 + 0.5); /* a solver's 0.9999999 is a 1 */

        v[i] = (struct ranked){.stay = i, .share = whole, .density = (double)stay->bytes / stay->pages / nf_stay_length(stay, s->n_ops)};
        v[i].pages = whole >= 1e4 ? stay->pages : (uint32_t)(share[i] * stay->pages + 1e-6);
    }
    if (!rc)
        qsort(v, s->n, sizeof *v, wanted_more);
    for (uint32_t i = 0; !rc && i < s->n; i++)
        fill(&load, s, &v[i], parts ? v[i].pages : s->v[v[i].stay].pages, capacity, parts, kept);
    /* What rounding left, and what the program holds until the last use only. */
    if (!rc && parts)
        qsort(v, s->n, sizeof *v, denser);
    for (uint32_t i = 0; !rc && parts && i < s->n; i++)
        fill(&load, s, &v[i], s->v[v[i].stay].pages, capacity, true, kept);
    nf_load_deinit(&load);
    free(v);
    return rc;
}

static int choose(const struct nf_timetable *t, const struct nf_stays *s, uint32_t capacity, bool parts, uint32_t *kept)
{
    double *share = calloc(s->n + (size_t)1, sizeof *share), saved;
    uint32_t *greedy = calloc(s->n + (size_t)1, sizeof *greedy);
    int rc = share && greedy ? nf_stays_choose(s, capacity, parts, greedy) : nf_fail(-ENOMEM, "out of memory for %u stays", s->n);

    if (!rc)
        rc = nf_bound_lp(s, capacity, &saved, share);
    if (!rc)
        rc = round_shares(s, share, capacity, parts, kept);
    if (!rc && nf_stays_saved(s, greedy) > nf_stays_saved(s, kept))
        memcpy(kept, greedy, s->n * sizeof *kept);
    free(share);
    free(greedy);
    return rc;
}

static int make_plan(struct nf_timetable *t)
{
    return nf_gap_plan(t, choose);
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_timetable_policy_open(env, make_plan, policy);
}

const struct nf_policy_ops nf_policy_interval_lp = {
    .name = "interval-lp",
    .about = "tensors or parts of them stay near over the gaps that the bound's linear program keeps",
    .options = nf_gap_option_table,
    .options_size = sizeof(struct nf_gap_options),
    .option_defaults = &nf_gap_option_defaults,
    .probe = probe,
    .init = open_policy,
    NF_TIMETABLE_VERBS_AND(true, NF_POLICY_HAS_PROBE),
};
