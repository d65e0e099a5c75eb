/* Policy `colloid`: pages are hot as `hemem` counts them, and hot pages are placed so that both tiers take equally long.
 * Rule: each tier's loaded latency is observed and smoothed (weight 1/32); where near is the faster one, its share of accesses may grow;
 * where it is slower, nothing is promoted and hot pages are pushed down; how far is found by halving the range between the last share
 * that was too small and the last that was too large, reopened when they meet (within 1 %) and the balance is elsewhere; latencies within
 * 5 % are balanced. Pages are chosen by their share of sampled accesses, hot ones, until the change is made up or the limit of an
 * interval is reached. Vuppalapati, Agarwal: Tiered Memory Management: Access Latency is the Key!, SOSP 2024, section 3, on HeMem.
 * Here a far tier's loaded latency is what the replay charged on it lately; near's is its idle latency, unless a counter observes it: then
 * near is never seen to be slower, and this is `hemem` without a threshold of heat.
 * Other differences: latencies are smoothed as they come, one value per op, where the paper smooths once a quantum, and the released
 * kernel (colloid-mon) smooths queue occupancy and arrivals apart at each reading of the counters and divides then; what an interval moves
 * is limited by hemem's fixed rate alone, without the paper's dynamic limit below it.
 * Semantics: in place, insert near, write back, copied by page by a helper. Samples accesses; sees neither profile nor future.
 * Fails where latencies change faster than it halves (an op of training is a millisecond), and as `hemem` does on tensors used rarely. */
#include "pool/policy-colloid.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/policies.h"
#include "pool/policy-hemem.h"

static const struct nf_option table[] = {NF_HEMEM_OPTION_ROWS, {NULL}};
static const struct nf_hemem_options defaults = NF_HEMEM_OPTIONS_INIT;

/* As published: delta of latencies, epsilon of shares. */
static const double BALANCED = 0.05, MET = 0.01;

struct colloid {
    struct nf_hemem h;
    struct nf_colloid_share range;
    double near_ns, far_ns;           /* smoothed */
    double near_samples, far_samples; /* of the interval */
    double recent;                    /* samples that counts hold: halved with them */
    uint32_t epoch;
};

double nf_colloid_ewma(double latency_ns, double observed_ns)
{
    return latency_ns > 0 ? latency_ns + (observed_ns - latency_ns) / 32 : observed_ns;
}

double nf_colloid_shift(struct nf_colloid_share *s, double share, double near_ns, double far_ns)
{
    bool grow = near_ns < far_ns;

    if (fabs(near_ns - far_ns) < BALANCED * near_ns)
        return 0;
    *(grow ? &s->low : &s->high) = share;
    if (s->high < s->low + MET)
        *(grow ? &s->high : &s->low) = grow ? 1 : 0;
    return (s->low + s->high) / 2 - share;
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    struct colloid *c = calloc(1, sizeof *c);
    int rc = c ? nf_hemem_init(&c->h, env, env->options) : nf_fail(-ENOMEM, "no memory");

    if (rc) {
        free(c);
        return rc;
    }
    c->range = (struct nf_colloid_share)NF_COLLOID_SHARE_INIT;
    *policy = c;
    return 0;
}

static void close_policy(void *policy)
{
    struct colloid *c = policy;

    nf_page_tracker_deinit(&c->h.t);
    free(c);
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    return nf_hemem_place(&((struct colloid *)policy)->h, t, out);
}

static void sample(void *ctx, struct nf_page *page, bool write)
{
    struct colloid *c = ctx;

    *(page->tier ? &c->far_samples : &c->near_samples) += 1;
    c->recent += 1;
    nf_hemem_sample(&c->h, page, write);
    for (; c->epoch != c->h.t.epoch; c->epoch++)
        c->recent /= 2;
}

/* The slowest far tier that is known stands for all. */
static int touched(void *policy, const struct nf_policy_touches *t)
{
    struct colloid *c = policy;
    double far_ns = 0;

    c->h.now_ns = t->now_ns;
    for (uint32_t i = 1; i < c->h.t.env->n_tiers; i++)
        far_ns = t->latency_ns[i] > far_ns ? t->latency_ns[i] : far_ns;
    if (t->latency_ns[0] > 0 && far_ns > 0) {
        c->near_ns = nf_colloid_ewma(c->near_ns, t->latency_ns[0]);
        c->far_ns = nf_colloid_ewma(c->far_ns, far_ns);
    }
    nf_page_tracker_sample(&c->h.t, t, sample, c);
    return 0;
}

static double share_of(const struct colloid *c, struct nf_page *page)
{
    return c->recent > 0 ? nf_page_count(&c->h.t, page) / c->recent : 0;
}

/* A near page that has fewer samples than the one that wants its place. */
static bool make_room(struct colloid *c, struct nf_page *page, uint64_t *moved, struct nf_policy_moves *moves)
{
    struct nf_hemem *h = &c->h;

    while (nf_page_tracker_room(&h->t, 0) < nf_page_bytes_of(page)) {
        struct nf_page *cold = h->near_cold.oldest;
        uint32_t far = cold ? nf_page_tracker_far(&h->t, cold) : 0;

        if (!cold || far == h->t.env->n_tiers || nf_page_count(&h->t, cold) >= nf_page_count(&h->t, page) ||
            !nf_page_tracker_move(&h->t, cold, far, moves))
            return false;
        *moved += nf_page_bytes_of(cold);
        nf_hemem_file(h, cold);
    }
    return true;
}

/* Pages whose share of accesses is not more than what is still wanted; at most so many are looked at that an interval stays cheap. */
static void shift(struct colloid *c, double wanted, bool promote, struct nf_policy_moves *moves)
{
    enum { LOOKS = 4096 };
    struct nf_hemem *h = &c->h;
    struct nf_page_list *hot = promote ? &h->far_hot : &h->near_hot, *cold = promote ? &h->far_cold : &h->near_cold;
    uint64_t budget = nf_hemem_budget(h), moved = 0;
    struct nf_page *next;
    int looks = 0;

    for (int list = 0; list < 2; list++)
        for (struct nf_page *page = (list ? cold : hot)->oldest; page && moved < budget && looks < LOOKS; page = next, looks++) {
            double share = share_of(c, page);
            uint32_t to = promote ? 0 : nf_page_tracker_far(&h->t, page);

            next = page->newer;
            if (!(share > 0) || share > wanted || to == h->t.env->n_tiers)
                continue;
            if (promote && !make_room(c, page, &moved, moves))
                return;
            if (!nf_page_tracker_move(&h->t, page, to, moves))
                return;
            wanted -= share;
            moved += nf_page_bytes_of(page);
            if (next && next->list != page->list) /* it was moved to make room */
                next = NULL;
            nf_hemem_file(h, page);
        }
}

static int after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct colloid *c = policy;
    double all = c->near_samples + c->far_samples, change;

    if (!nf_hemem_due(&c->h))
        return 0;
    if (all > 0 && c->near_ns > 0) {
        change = nf_colloid_shift(&c->range, c->near_samples / all, c->near_ns, c->far_ns);
        if (change != 0)
            shift(c, fabs(change), change > 0, moves);
    }
    c->near_samples = c->far_samples = 0;
    nf_page_tracker_charge(&c->h.t, moves);
    return 0;
}

static void freed(void *policy, uint32_t handle)
{
    struct colloid *c = policy;

    nf_page_tracker_freed(&c->h.t, handle);
}

const struct nf_policy_ops nf_policy_colloid = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_ACCESS | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE),
    .name = "colloid",
    .about = "hemem's pages, moved so that near and far take equally long under load",
    .source = "Vuppalapati, Agarwal, Tiered Memory Management: Access Latency is the Key!, SOSP 2024",
    .semantics = NF_PAGE_SEMANTICS,
    .options = table,
    .options_size = sizeof(struct nf_hemem_options),
    .option_defaults = &defaults,
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
    .on_access = touched,
    .on_op_end = after,
    .on_free = freed,
};
