/* Policy `interval-lp`: the bound's own plan. Over which gaps between uses tensors stay near is decided by the linear program whose value
 * bounds every policy (pool/bound.h), and rounded to whole tensors.
 * Rule: gaps that the program keeps whole are taken first, then the others by the share it keeps, then by bytes saved per page and op;
 * each if it fits at every op it holds, until its tensor dies. Where the greedy choice alone saves more, that is taken. Moves and
 * fetches as gap-greedy's (pool/gap-plan.h).
 * Source: ours; the program is the linear relaxation of offline caching with sizes (Berger et al., POMACS 2018, section 3).
 * Semantics: in place, insert near or far by the plan, write back, copied by a helper. Sees profile and future.
 * Fails as gap-greedy does: bytes are weighed, not time. Needs COIN-OR CLP; a step of a million uses takes minutes to plan. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/load.h"
#include "pool/bound.h"
#include "pool/gap-plan.h"
#include "pool/policies.h"

static int probe(char *why, size_t size)
{
    return nf_bound_lp_probe(why, size) ? -ENODEV : 0;
}

struct ranked {
    uint32_t stay;
    double share, density;
};

static int wanted_more(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->share != y->share)
        return x->share > y->share ? -1 : 1;
    return x->density > y->density ? -1 : x->density < y->density;
}

static bool fits(const struct nf_load *load, const struct nf_stay *s, uint32_t n_ops, uint64_t capacity)
{
    if (s->first <= s->last)
        return nf_load_peak(load, s->first, s->until) + (uint64_t)s->pages <= capacity;
    return nf_load_peak(load, s->first, n_ops - 1) + (uint64_t)s->pages <= capacity &&
           nf_load_peak(load, 0, s->last) + (uint64_t)s->pages <= capacity;
}

static void take(struct nf_load *load, const struct nf_stay *s, uint32_t n_ops)
{
    if (s->first <= s->last) {
        nf_load_add(load, s->first, s->until, s->pages);
        return;
    }
    nf_load_add(load, s->first, n_ops - 1, s->pages);
    nf_load_add(load, 0, s->last, s->pages);
}

static double saved_by(const struct nf_stays *s, const bool *kept)
{
    double bytes = 0;

    for (uint32_t i = 0; i < s->n; i++)
        bytes += kept[i] ? (double)s->v[i].bytes : 0;
    return bytes;
}

static int round_shares(const struct nf_stays *s, const double *share, uint64_t capacity, bool *kept)
{
    struct ranked *v = malloc((s->n + (size_t)1) * sizeof *v);
    struct nf_load load = {0};
    int rc = v ? nf_load_init(&load, s->n_ops) : nf_fail(-ENOMEM, "out of memory for %u stays", s->n);

    for (uint32_t i = 0; !rc && i < s->n; i++) {
        const struct nf_stay *stay = &s->v[i];

        /* A solver's 0.9999999 is a 1. */
        v[i] = (struct ranked){i, (double)(int)(share[i] * 1e4 + 0.5), (double)stay->bytes / stay->pages / nf_stay_length(stay, s->n_ops)};
    }
    if (!rc)
        qsort(v, s->n, sizeof *v, wanted_more);
    for (uint32_t i = 0; !rc && i < s->n; i++) {
        const struct nf_stay *stay = &s->v[v[i].stay];

        kept[v[i].stay] = fits(&load, stay, s->n_ops, capacity);
        if (kept[v[i].stay])
            take(&load, stay, s->n_ops);
    }
    nf_load_deinit(&load);
    free(v);
    return rc;
}

static int choose(const struct nf_timetable *t, const struct nf_stays *s, uint64_t capacity, bool *kept)
{
    double *share = calloc(s->n + (size_t)1, sizeof *share), saved;
    bool *greedy = calloc(s->n + (size_t)1, sizeof *greedy);
    int rc = share && greedy ? nf_stays_choose(s, capacity, greedy) : nf_fail(-ENOMEM, "out of memory for %u stays", s->n);

    if (!rc)
        rc = nf_bound_lp(s, capacity, &saved, share);
    if (!rc)
        rc = round_shares(s, share, capacity, kept);
    if (!rc && saved_by(s, greedy) > saved_by(s, kept))
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
    .about = "tensors stay near over the gaps that the bound's linear program keeps, rounded to whole tensors",
    .options = nf_gap_option_table,
    .options_size = sizeof(struct nf_gap_options),
    .option_defaults = &nf_gap_option_defaults,
    .probe = probe,
    .open = open_policy,
    NF_TIMETABLE_VERBS,
};
