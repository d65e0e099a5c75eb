/* Policy `interleave`: every storage striped over all tiers page by page, weighted by measured bandwidth where that is
 * known, else evenly. A tier that is full gets min(its share, its room); the rest goes far. */
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
 * percent, finer than any bandwidth is measured. */
enum { WEIGHT_SUM = 1024 };

struct options {
    const char *weights;
};

static const struct nf_option table[] = {
    {"weights", 0, NF_OPTION_STRING, offsetof(struct options, weights), "A:B...",
     "one number per tier, near first (default: measured bandwidth)"},
    {NULL},
};

struct interleave {
    const struct nf_policy_env *env;
    uint32_t weight[NF_TIER_MAX]; /* sum WEIGHT_SUM */
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

/* Largest remainders go to the first tiers: the parts sum up exactly. */
static void round_weights(const double *weight, uint32_t n, uint32_t *parts)
{
    double sum = 0, seen = 0;
    uint32_t given = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += weight[i];
    for (uint32_t i = 0; i < n; i++) {
        seen += weight[i];
        parts[i] = (uint32_t)(seen / sum * WEIGHT_SUM + 0.5) - given;
        given += parts[i];
    }
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    const struct options *o = env->options;
    double weight[NF_TIER_MAX];
    struct interleave *p;
    bool known = true;

    for (uint32_t t = 0; t < env->n_tiers; t++) {
        weight[t] = env->read_bps[t];
        known = known && weight[t] > 0;
    }
    for (uint32_t t = 0; !known && t < env->n_tiers; t++)
        weight[t] = 1;
    if (o->weights) {
        int rc = parse_weights(o->weights, env->n_tiers, weight);

        if (rc)
            return rc;
    }
    p = calloc(1, sizeof *p);
    if (!p)
        return nf_fail(-ENOMEM, "no memory");
    p->env = env;
    round_weights(weight, env->n_tiers, p->weight);
    *policy = p;
    return 0;
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
        uint64_t due = p->dealt[i] + pages * p->weight[i], share = due / WEIGHT_SUM, room;

        p->dealt[i] = due % WEIGHT_SUM;
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
    .abi = NF_POLICY_ABI,
    .name = "interleave",
    .about = "pages striped over all tiers in proportion to bandwidth; never moves",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER,
                  .mover = NF_MOVER_NONE},
    .options = table,
    .options_size = sizeof(struct options),
    .open = open_policy,
    .close = close_policy,
    .place = place,
};
