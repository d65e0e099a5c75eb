/* Policy `memtis`: a histogram of sampled heat says how hot a page must be for the hot ones to fit near.
 * Rule: sampled accesses are counted per page; pages stand in 16 bins by the power of two of their count; hot is the lowest bin
 * from which on all pages fit near; where those fill less than nine tenths of near, the next lower bin is warm, and stays where it is.
 * Thresholds are adapted every 100,000 samples, counts halved (and bins shifted) every 2,000,000; every 500 ms a thread moves hot far
 * pages near, for cold near pages and then warm ones where near is full. Memory is allocated near while there is some. Lee, Monga, Min,
 * Eom: MEMTIS: Efficient Memory Tiering with Dynamic Page Classification and Page Size Determination, SOSP 2023, sections 4.1 and 4.2.
 * Here the sampling period is fixed, not steered by CPU use, and huge pages are not split by the skew within them (section 4.3): page=4K
 * and page=2M are two runs. The released kernel keeps 2 to 3 % of the fast tier free, at least 50 MB, for allocations and promotions: here
 * near keeps no reserve.
 * Semantics: in place, insert near, write back, copied by page by a helper; an op waits for pages of its operands that are under way.
 * Samples accesses; sees neither profile nor future. Unmapping is charged per page moved, by a declared figure.
 * Fails on jobs that change faster than it adapts: half a second is many training steps of a small model, and less than a phase of a large
 * one. A replay shorter than its intervals shows its allocation rule and no more (option speed). */
#include "pool/policy-memtis.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/page-tracker.h"
#include "pool/policies.h"

struct options {
    struct nf_page_options page;
    uint64_t adapt, cool, interval_ns;
};

static const struct nf_option table[] = {
    NF_PAGE_OPTION_ROWS("2M", "200"),
    {"adapt", 0, NF_OPTION_U64, offsetof(struct options, adapt), "N", "samples between two thresholds (default 100000)"},
    {"cool", 0, NF_OPTION_U64, offsetof(struct options, cool), "N", "samples after which counts are halved (default 2000000)"},
    {NULL},
};
static const struct options defaults = {
    .page = {.unit_bytes = NF_PAGE_UNIT_HUGE, .period = 200, .fault_ns = NF_PAGE_FAULT_NS_ASSUMED,
             .unmap_ns = NF_PAGE_UNMAP_NS_ASSUMED, .speed = 1},
    .adapt = 100000,
    .cool = 2000000,
    .interval_ns = 500000000,
};
/* Of near: with less than that hot, the next bin is kept there as well. */
static const double FULL_SHARE = 0.9;

struct memtis {
    struct nf_page_tracker t;
    struct options o;
    struct nf_page_list near[NF_MEMTIS_BINS], far[NF_MEMTIS_BINS]; /* by bin when last filed */
    uint64_t samples, next_adapt, next_cool, now_ns, next_ns;
    uint32_t hot, warm; /* bins */
};

uint32_t nf_memtis_bin(uint64_t count)
{
    uint32_t bin = count > 1 ? 63 - (uint32_t)__builtin_clzll(count) : 0;

    return bin < NF_MEMTIS_BINS ? bin : NF_MEMTIS_BINS - 1;
}

void nf_memtis_thresholds(const uint64_t *bytes, uint64_t near_bytes, uint32_t *hot, uint32_t *warm)
{
    uint64_t sum = 0;

    *hot = NF_MEMTIS_BINS;
    while (*hot > 0 && bytes[*hot - 1] <= near_bytes - sum)
        sum += bytes[--*hot];
    *warm = *hot > 0 && (double)sum < FULL_SHARE * (double)near_bytes ? *hot - 1 : *hot;
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    struct memtis *m = calloc(1, sizeof *m);
    int rc = m ? nf_page_tracker_init(&m->t, env, env->options) : nf_fail(-ENOMEM, "no memory");

    if (!rc) {
        m->o = *(const struct options *)env->options;
        if (!m->o.adapt || !m->o.cool)
            rc = nf_fail(-EINVAL, "thresholds and cooling come after at least one sample");
    }
    if (rc) {
        free(m);
        return rc;
    }
    m->next_adapt = nf_page_tracker_scaled(&m->t, (double)m->o.adapt) + 1;
    m->next_cool = nf_page_tracker_scaled(&m->t, (double)m->o.cool) + 1;
    m->next_ns = nf_page_tracker_scaled(&m->t, (double)m->o.interval_ns);
    m->hot = m->warm = 1; /* before the first samples: what was seen twice */
    *policy = m;
    return 0;
}

static void close_policy(void *policy)
{
    struct memtis *m = policy;

    nf_page_tracker_deinit(&m->t);
    free(m);
}

static void file(struct memtis *m, struct nf_page *page)
{
    struct nf_page_list *list = (page->tier ? m->far : m->near) + nf_memtis_bin(nf_page_count(&m->t, page));

    if (page->list != list)
        nf_page_list_push(list, page);
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    struct memtis *m = policy;
    int rc = nf_page_tracker_place(&m->t, t, out);

    for (uint32_t i = 0; !rc && i < m->t.storages.v[t->handle].n; i++)
        file(m, &m->t.storages.v[t->handle].v[i]);
    return rc;
}

/* Halved counts stand one bin lower; the lowest keeps what it has. */
static void cool(struct memtis *m)
{
    nf_page_tracker_cool(&m->t);
    for (uint32_t b = 1; b < NF_MEMTIS_BINS; b++)
        for (int far = 0; far < 2; far++) {
            struct nf_page_list *list = (far ? m->far : m->near) + b;

            for (struct nf_page *page = list->oldest, *next; page; page = next) {
                next = page->newer;
                file(m, page);
            }
        }
}

static void adapt(struct memtis *m)
{
    uint64_t bytes[NF_MEMTIS_BINS];

    for (uint32_t b = 0; b < NF_MEMTIS_BINS; b++)
        bytes[b] = (m->near[b].pages + m->far[b].pages) * NF_PAGE_UNIT_BASE;
    nf_memtis_thresholds(bytes, m->t.env->capacity[0], &m->hot, &m->warm);
}

static void sample(void *ctx, struct nf_page *page, bool write)
{
    struct memtis *m = ctx;

    nf_page_count(&m->t, page);
    page->reads++; /* of either kind */
    file(m, page);
    m->samples++;
    if (m->samples >= m->next_cool) {
        m->next_cool = m->samples + nf_page_tracker_scaled(&m->t, (double)m->o.cool) + 1;
        cool(m);
        adapt(m);
    }
    if (m->samples >= m->next_adapt) {
        m->next_adapt = m->samples + nf_page_tracker_scaled(&m->t, (double)m->o.adapt) + 1;
        adapt(m);
    }
}

static int touched(void *policy, const struct nf_policy_touches *t)
{
    struct memtis *m = policy;

    m->now_ns = t->now_ns;
    nf_page_tracker_sample(&m->t, t, sample, m);
    return 0;
}

/* The coldest near page below the hot bins: cold ones, then warm ones. */
static struct nf_page *coldest_near(const struct memtis *m)
{
    for (uint32_t b = 0; b < m->hot && b < NF_MEMTIS_BINS; b++)
        if (m->near[b].oldest)
            return m->near[b].oldest;
    return NULL;
}

static struct nf_page *hottest_far(const struct memtis *m)
{
    for (uint32_t b = NF_MEMTIS_BINS; b-- > m->hot;)
        if (m->far[b].newest)
            return m->far[b].newest;
    return NULL;
}

static int after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct memtis *m = policy;
    struct nf_page *hot;

    if (m->now_ns < m->next_ns)
        return 0;
    m->next_ns = m->now_ns + nf_page_tracker_scaled(&m->t, (double)m->o.interval_ns);
    while ((hot = hottest_far(m))) {
        while (nf_page_tracker_room(&m->t, 0) < nf_page_bytes_of(hot)) {
            struct nf_page *cold = coldest_near(m);
            uint32_t far = cold ? nf_page_tracker_far(&m->t, cold) : 0;

            if (!cold || far == m->t.env->n_tiers || !nf_page_tracker_move(&m->t, cold, far, moves))
                goto done;
            file(m, cold);
        }
        if (!nf_page_tracker_move(&m->t, hot, 0, moves))
            break;
        file(m, hot);
    }
done:
    nf_page_tracker_charge(&m->t, moves);
    return 0;
}

static void freed(void *policy, uint32_t handle)
{
    struct memtis *m = policy;

    nf_page_tracker_freed(&m->t, handle);
}

const struct nf_policy_ops nf_policy_memtis = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_ACCESS | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE),
    .name = "memtis",
    .about = "sampled pages in 16 bins of heat: the hottest that fit are promoted, every 500 ms",
    .source = "Lee et al., MEMTIS, SOSP 2023",
    .semantics = NF_PAGE_SEMANTICS,
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
    .on_access = touched,
    .on_op_end = after,
    .on_free = freed,
};
