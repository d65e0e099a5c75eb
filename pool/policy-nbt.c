/* Policies `tpp` and `nbt`: hint faults on far pages tell what is used; near is kept a little free by demoting what was not used.
 * Rules, of both: far pages are unmapped in turn, so many bytes a second, and their next touch faults; memory is allocated near while
 * there is some; near pages stand in an active and an inactive list, and when less than a watermark is free, the oldest inactive ones
 * that were not touched since they came there are demoted.
 * `tpp`: a fault on a page of the inactive list only activates it; one on an active page promotes it. Al Maruf et al.: TPP: Transparent
 * Page Placement for CXL-Enabled Tiered-Memory, ASPLOS 2023, sections 5.1 to 5.3 (demotion watermark 2 %).
 * `nbt`: a fault promotes when it comes within a threshold after the unmapping, 1 s at first, adapted to a rate limit: see policy-nbt.h.
 * Linux 6.1, Documentation/admin-guide/sysctl/kernel.rst (numa_balancing, numa_balancing_promote_rate_limit_MBps), mode 2.
 * Here demotion runs after an op instead of by kswapd, and scanning takes 256 MB a second whatever it finds (the kernel slows down where it
 * finds nothing to move). Linux promotes at once, without threshold and rate limit, and begins with the first threshold again, while the fast
 * node has more free than its promotion watermark and 1 GiB or a sixteenth of its size, whichever is larger: left out here, where near
 * is smaller than peak live and fills up in the first step. Where the machine has both, the kernel's own tiering is a mover of the pool (NF_MOVER_KERNEL).
 * Semantics: in place, insert near, write back, copied by page by a helper; an op waits for pages of its operands that are under way.
 * Samples accesses (which pages fault); sees neither profile nor future. Faults and unmapping are charged to the job, by declared figures.
 * Fail on what is used once or twice a step: the scan comes round in seconds, the tensor's use is long over; and the faults cost although
 * nothing moves. */
#include "pool/policy-nbt.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/page-tracker.h"
#include "pool/policies.h"

struct options {
    struct nf_page_options page;
    double watermark;            /* share of near */
    uint64_t scan_bps, rate_bps; /* bytes per second */
    uint64_t threshold_ns, period_ns;
};

static const struct nf_option table[] = {
    NF_PAGE_OPTION_ROWS("4K", "1: not used"),
    {"watermark", 0, NF_OPTION_F64, offsetof(struct options, watermark), "PERCENT", "of near that is kept free (default 2)"},
    {"scan", 0, NF_OPTION_BYTES, offsetof(struct options, scan_bps), "BYTES", "far memory unmapped per second (default 256M)"},
    {"rate", 0, NF_OPTION_BYTES, offsetof(struct options, rate_bps), "BYTES", "promoted per second at most (default 64G)"},
    {NULL},
};
static const struct options defaults = {
    .page = {.unit_bytes = NF_PAGE_UNIT_BASE, .period = 1, .fault_ns = NF_PAGE_FAULT_NS_ASSUMED,
             .unmap_ns = NF_PAGE_UNMAP_NS_ASSUMED, .speed = 1},
    .watermark = 2,
    .scan_bps = 256ull << 20,
    .rate_bps = 64ull << 30, /* numa_balancing_promote_rate_limit_MBps is 65536 */
    .threshold_ns = 1000000000,
    .period_ns = 60000000000, /* the longest scan period: the threshold changes once in it */
};

/* Reclaim unmaps so many pages before it flushes TLBs (SWAP_CLUSTER_MAX); a page that is promoted is unmapped alone, in its fault. */
enum { RECLAIM_BATCH = 32 };

struct nbt {
    struct nf_page_tracker t;
    struct options o;
    bool by_latency; /* nbt */
    struct nf_page_list near_active, near_inactive, far_active, far_inactive;
    struct nf_page_list wanted; /* far, to be promoted after the op */
    uint64_t now_ns, adapted_ns;
    double threshold_ns, candidates, scan_credit, rate_credit; /* bytes but for the first */
    bool started;
    uint32_t scan_handle, scan_page;
};

double nf_nbt_threshold(double threshold, double ref, double candidates, double limit)
{
    double unit = ref / 8;

    if (candidates > 1.1 * limit)
        return threshold - unit > unit ? threshold - unit : unit;
    if (candidates < 0.9 * limit)
        return threshold + unit < 2 * ref ? threshold + unit : 2 * ref;
    return threshold;
}

static int open_either(const struct nf_policy_env *env, bool by_latency, void **policy)
{
    const struct options *o = env->options;
    struct nbt *p = calloc(1, sizeof *p);
    int rc = p ? nf_page_tracker_init(&p->t, env, &o->page) : nf_fail(-ENOMEM, "no memory");

    if (!rc && !(o->watermark >= 0 && o->watermark <= 100))
        rc = nf_fail(-EINVAL, "watermark=%g: a share of 0 to 100 percent is wanted", o->watermark);
    if (rc) {
        free(p);
        return rc;
    }
    p->o = *o;
    p->t.demoted_at_once = RECLAIM_BATCH;
    p->by_latency = by_latency;
    p->threshold_ns = (double)o->threshold_ns / o->page.speed;
    *policy = p;
    return 0;
}

static int open_tpp(const struct nf_policy_env *env, void **policy)
{
    return open_either(env, false, policy);
}

static int open_nbt(const struct nf_policy_env *env, void **policy)
{
    return open_either(env, true, policy);
}

static void close_policy(void *policy)
{
    struct nbt *p = policy;

    nf_page_tracker_deinit(&p->t);
    free(p);
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    struct nbt *p = policy;
    int rc = nf_page_tracker_place(&p->t, t, out);

    for (uint32_t i = 0; !rc && i < p->t.storages.v[t->handle].n; i++) {
        struct nf_page *page = &p->t.storages.v[t->handle].v[i];

        nf_page_list_push(page->tier ? &p->far_inactive : &p->near_inactive, page);
    }
    return rc;
}

/* --- what touches tell --- */

static void fault(struct nbt *p, struct nf_page *page)
{
    double after_ns = (double)(p->now_ns - page->hinted_ns);

    page->hinted = false;
    p->t.stall_ns += p->t.o.fault_ns;
    if (page->tier == 0)
        return;
    if (p->by_latency) {
        if (after_ns > p->threshold_ns)
            return;
        p->candidates += (double)nf_page_bytes_of(page);
    } else if (page->list != &p->far_active) {
        nf_page_list_push(&p->far_active, page);
        return;
    }
    if (p->rate_credit < (double)nf_page_bytes_of(page))
        return;
    p->rate_credit -= (double)nf_page_bytes_of(page);
    nf_page_list_push(&p->wanted, page);
}

static void touch(void *ctx, struct nf_page *page, bool write)
{
    struct nbt *p = ctx;

    if (page->hinted)
        fault(p, page);
    page->referenced = true;
}

/* The far pages that are unmapped by now. */
static void scan(struct nbt *p, double ns)
{
    size_t storages = p->t.storages.n, gone_by = 0;

    p->scan_credit += ns / 1e9 * (double)p->o.scan_bps * p->o.page.speed;
    while (p->scan_credit >= (double)p->o.page.unit_bytes && gone_by <= storages) {
        struct nf_page_storage *s = &p->t.storages.v[p->scan_handle < storages ? p->scan_handle : 0];

        if (p->scan_handle >= storages || p->scan_page >= s->n) {
            p->scan_handle = p->scan_handle + 1 < storages ? p->scan_handle + 1 : 0;
            p->scan_page = 0;
            gone_by++;
            continue;
        }
        if (s->v[p->scan_page].tier && !s->v[p->scan_page].hinted) {
            s->v[p->scan_page].hinted = true;
            s->v[p->scan_page].hinted_ns = p->now_ns;
            p->scan_credit -= (double)nf_page_bytes_of(&s->v[p->scan_page]);
        }
        p->scan_page++;
    }
    if (gone_by > storages)
        p->scan_credit = 0; /* all of it is unmapped */
}

static int touched(void *policy, const struct nf_policy_touches *t)
{
    struct nbt *p = policy;
    double ns = p->started ? (double)(t->now_ns - p->now_ns) : 0, second = (double)p->o.rate_bps;

    if (!p->started)
        p->adapted_ns = t->now_ns;
    p->started = true;
    p->now_ns = t->now_ns;
    p->rate_credit += ns / 1e9 * second;
    if (p->rate_credit > second)
        p->rate_credit = second;
    nf_page_tracker_walk(&p->t, t, touch, p);
    scan(p, ns);
    ns = (double)(p->now_ns - p->adapted_ns);
    if (p->by_latency && ns >= (double)p->o.period_ns / p->o.page.speed) {
        p->threshold_ns = nf_nbt_threshold(p->threshold_ns, (double)p->o.threshold_ns / p->o.page.speed, p->candidates,
                                           second * ns / 1e9);
        p->candidates = 0;
        p->adapted_ns = p->now_ns;
    }
    return 0;
}

/* --- what is moved --- */

/* Second chances as the kernel gives them: referenced on the inactive list, a page becomes active; the active list's oldest follow. */
static struct nf_page *victim(struct nbt *p)
{
    for (uint64_t looks = p->near_active.pages + p->near_inactive.pages + 1; looks-- > 0;) {
        struct nf_page *page;

        if (p->near_active.pages > p->near_inactive.pages) {
            page = p->near_active.oldest;
            nf_page_list_push(page->referenced ? &p->near_active : &p->near_inactive, page);
            page->referenced = false;
            continue;
        }
        page = p->near_inactive.oldest;
        if (!page || !page->referenced)
            return page;
        page->referenced = false;
        nf_page_list_push(&p->near_active, page);
    }
    return p->near_inactive.oldest;
}

static void demote_to(struct nbt *p, uint64_t free_bytes, struct nf_policy_moves *moves)
{
    while (nf_page_tracker_room(&p->t, 0) < free_bytes) {
        struct nf_page *page = victim(p);
        uint32_t far = page ? nf_page_tracker_far(&p->t, page) : 0;

        if (!page || far == p->t.env->n_tiers || !nf_page_tracker_move(&p->t, page, far, moves))
            return;
        nf_page_list_push(&p->far_inactive, page);
    }
}

static int after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct nbt *p = policy;
    struct nf_page *page;

    while ((page = p->wanted.oldest)) {
        bool moved = nf_page_tracker_move(&p->t, page, 0, moves);

        nf_page_list_push(moved ? &p->near_active : &p->far_active, page); /* without room it stays, and faults again */
        page->hinted &= !moved; /* a page is mapped where it was moved to */
    }
    demote_to(p, (uint64_t)(p->o.watermark / 100 * (double)p->t.env->capacity[0]), moves);
    nf_page_tracker_charge(&p->t, moves);
    return 0;
}

static void freed(void *policy, uint32_t handle)
{
    struct nbt *p = policy;

    nf_page_tracker_freed(&p->t, handle);
}

#define EITHER                                                                                               \
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_ACCESS | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE),           \
    .semantics = NF_PAGE_SEMANTICS, .options = table, .options_size = sizeof(struct options),                \
    .option_defaults = &defaults, .deinit = close_policy, .on_alloc = place, .on_access = touched, .on_op_end = after, \
    .on_free = freed

const struct nf_policy_ops nf_policy_tpp = {
    .name = "tpp",
    .about = "pages demoted early from an inactive list, promoted when a hint fault finds them active",
    .source = "Al Maruf et al., TPP, ASPLOS 2023",
    .init = open_tpp,
    EITHER,
};

const struct nf_policy_ops nf_policy_nbt = {
    .name = "nbt",
    .about = "pages promoted when a hint fault comes soon after their unmapping, demoted as by tpp",
    .source = "Linux 6.1, numa_balancing mode 2",
    .init = open_nbt,
    EITHER,
};
