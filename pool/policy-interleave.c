/* Policies `interleave` and `weighted`: every storage striped over all tiers page by page; nothing ever moves.
 * Rule: `interleave` deals pages round robin, as MPOL_INTERLEAVE does; `weighted` in proportion to measured read bandwidth, as
 * MPOL_WEIGHTED_INTERLEAVE does with the kernel's default weights (Linux 6.9, Documentation/mm/mempolicy), evenly where a
 * bandwidth is unknown. A tier that is full gets min(its share, its room); the rest goes far. Option ratio: near's share of
 * every storage, the far tiers sharing the rest by bandwidth (or by weights): replayed over a grid of ratios, the lowest time is
 * the best static interleave at that capacity.
 * Semantics: in place, insert near, no moves. Sees nothing of the job.
 * Fails where near is small: the hottest and the coldest storage get the same share of it, and once the near pages are dealt
 * out, what is born later lies far altogether. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/units.h"
#include "core/model/stream.h"
#include "pool/placement.h"
#include "pool/policies.h"

/* Weights are whole parts of this many, so that shares are exact and equal on every machine. 1024: a tenth of a
 * percent, finer than any bandwidth is measured. Whole numbers that the kernel takes as weights (1 to 255; 0: no page)
 * stay as they are, so that page counts are the kernel's. */
enum { WEIGHT_SUM = 1024, KERNEL_WEIGHT_MAX = 255 };

struct options {
    const char *weights;
    double ratio; /* percent near; below 0: by weights */
};

static const struct nf_option table[] = {
    {"weights", 0, NF_OPTION_STRING, offsetof(struct options, weights), "A:B...",
     "one number per tier, near first (default: interleave evenly, weighted by measured bandwidth)"},
    {"ratio", 0, NF_OPTION_F64, offsetof(struct options, ratio), "PERCENT",
     "near's share of every storage; the others share the rest by bandwidth"},
    {NULL},
};
static const struct options defaults = {.ratio = -1};

struct interleave {
    const struct nf_policy_env *env;
    uint32_t weight[NF_TIER_MAX], sum;
    uint32_t dealt[NF_TIER_MAX];  /* parts of a page owed to the tier: storages of one page alternate too */
};

static int parse_weights(const char *text, uint32_t n, double *weight)
{
    char copy[256], *save = NULL, *item;
    uint32_t i = 0;
    double sum = 0;

    if (strlen(text) >= sizeof copy)
        return nf_fail(-EINVAL, "weights=%.20s... is too long", text);
    memcpy(copy, text, strlen(text) + 1);
    for (item = strtok_r(copy, ":", &save); item; item = strtok_r(NULL, ":", &save), i++) {
        int rc = i < n ? nf_parse_f64(item, &weight[i]) : 0;

        if (rc)
            return rc;
        if (i < n && weight[i] < 0)
            return nf_fail(-EINVAL, "weights=%s: a weight is not below 0", text);
        sum += i < n ? weight[i] : 0;
    }
    if (i != n || !(sum > 0))
        return nf_fail(-EINVAL, "weights=%s: %u numbers are wanted, one above 0", text, n);
    return 0;
}

/* Largest remainders go to the first tiers: the parts sum up exactly. Returns their sum. */
static uint32_t round_weights(const double *weight, uint32_t n, uint32_t *parts)
{
    double sum = 0, seen = 0;
    uint32_t given = 0;
    bool whole = true;

    for (uint32_t i = 0; i < n; i++) {
        sum += weight[i];
        whole = whole && weight[i] <= KERNEL_WEIGHT_MAX && weight[i] == (double)(uint32_t)weight[i];
    }
    for (uint32_t i = 0; i < n && whole; i++)
        parts[i] = (uint32_t)weight[i];
    if (whole)
        return (uint32_t)sum;
    for (uint32_t i = 0; i < n; i++) {
        seen += weight[i];
        parts[i] = (uint32_t)(seen / sum * WEIGHT_SUM + 0.5) - given;
        given += parts[i];
    }
    return WEIGHT_SUM;
}

static void weigh_evenly(const struct nf_policy_env *env, double *weight)
{
    for (uint32_t t = 0; t < env->n_tiers; t++)
        weight[t] = 1;
}

static void weigh_by_bandwidth(const struct nf_policy_env *env, double *weight)
{
    for (uint32_t t = 0; t < env->n_tiers; t++) {
        if (!(env->read_bps[t] > 0)) {
            weigh_evenly(env, weight);
            return;
        }
        weight[t] = env->read_bps[t];
    }
}

/* Near gets its share of a hundred; the others keep the proportions that they have. */
static int set_ratio(double *weight, uint32_t n, double percent)
{
    double others = 0;

    if (!(percent <= 100))
        return nf_fail(-EINVAL, "ratio=%g: a share of 0 to 100 percent is wanted", percent);
    for (uint32_t t = 1; t < n; t++)
        others += weight[t];
    for (uint32_t t = 1; t < n; t++)
        weight[t] = (100 - percent) * (others > 0 ? weight[t] / others : 1.0 / (n - 1));
    weight[0] = n > 1 ? percent : 100;
    return 0;
}

static int open_weighing(const struct nf_policy_env *env, void (*weigh)(const struct nf_policy_env *, double *), void **policy)
{
    const struct options *o = env->options;
    double weight[NF_TIER_MAX];
    struct interleave *p;
    int rc = 0;

    (o->ratio >= 0 ? weigh_by_bandwidth : weigh)(env, weight);
    if (o->weights)
        rc = parse_weights(o->weights, env->n_tiers, weight);
    if (!rc && o->ratio >= 0)
        rc = set_ratio(weight, env->n_tiers, o->ratio);
    if (rc)
        return rc;
    p = calloc(1, sizeof *p);
    if (!p)
        return nf_fail(-ENOMEM, "no memory");
    p->env = env;
    p->sum = round_weights(weight, env->n_tiers, p->weight);
    *policy = p;
    return 0;
}

static int open_even(const struct nf_policy_env *env, void **policy)
{
    return open_weighing(env, weigh_evenly, policy);
}

static int open_weighted(const struct nf_policy_env *env, void **policy)
{
    return open_weighing(env, weigh_by_bandwidth, policy);
}

static void close_policy(void *policy)
{
    free(policy);
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    struct interleave *p = policy;
    const struct nf_policy_env *env = p->env;
    uint64_t pages = t->bytes / NF_PAGE_BYTES, left = pages;
    uint32_t n_used = 0;

    /* Shares by weight; what rounding leaves is the last tier's. */
    for (uint32_t i = 0; i < env->n_tiers; i++) {
        uint64_t due = p->dealt[i] + pages * p->weight[i], share = due / p->sum, room;

        p->dealt[i] = due % p->sum;
        if (i + 1 == env->n_tiers || share > left)
            share = left;
        room = nf_placement_room(env, i) / NF_PAGE_BYTES;
        out->bytes[i] = (share < room ? share : room) * NF_PAGE_BYTES;
        left -= out->bytes[i] / NF_PAGE_BYTES;
    }
    /* What did not fit goes to the farthest tiers first, and near only when nothing else is left. */
    for (uint32_t i = env->n_tiers; i-- > 0 && left;) {
        uint64_t room = (nf_placement_room(env, i) - out->bytes[i]) / NF_PAGE_BYTES;
        uint64_t more = left < room ? left : room;

        out->bytes[i] += more * NF_PAGE_BYTES;
        left -= more;
    }
    if (left)
        return nf_fail(-ENOSPC, "%llu pages find no room on any tier", (unsigned long long)left);
    for (uint32_t i = 0; i < env->n_tiers; i++)
        n_used += out->bytes[i] > 0;
    out->striped = n_used > 1;
    return 0;
}

const struct nf_policy_ops nf_policy_interleave = {
    NF_POLICY_INTERFACE(0),
    .name = "interleave",
    .about = "pages dealt round robin over all tiers, or near by ratio; never moves",
    .source = "Linux, MPOL_INTERLEAVE",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER,
                  .mover = NF_MOVER_NONE},
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = open_even,
    .deinit = close_policy,
    .on_alloc = place,
};

const struct nf_policy_ops nf_policy_weighted = {
    NF_POLICY_INTERFACE(0),
    .name = "weighted",
    .about = "pages striped over all tiers in proportion to measured bandwidth; never moves",
    .source = "Linux 6.9, MPOL_WEIGHTED_INTERLEAVE with the kernel's own weights",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER,
                  .mover = NF_MOVER_NONE},
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = open_weighted,
    .deinit = close_policy,
    .on_alloc = place,
};
