/* Policy `hemem`: pages counted by sampling, hot ones moved near by a thread every ten milliseconds.
 * Rule: loads and stores are sampled (one in 5,000); a page is hot from 8 sampled loads or 4 stores on; when a page collects more than 18
 * samples, all counts are halved, each page's when it is next looked at; memory is allocated near while there is some; every 10 ms a
 * thread moves far hot pages near, written ones first, each for a near page that is not hot where near is full, until there is none of
 * either or 10 GB/s are used up. Raybuck, Stamler, Zhang, Erez, Peter: HeMem: Scalable Tiered Memory Management for Big Data
 * Applications and Real NVM, SOSP 2021, sections 3.2 to 3.4.
 * Here pages do not span storages, near keeps no free reserve for allocations, and the copy engine is the pool's mover. The released code
 * leaves mappings below 1 GiB to the kernel, where here every storage is managed; and it cools when one kind of sample (loads from DRAM,
 * loads from NVM, stores) passes 18 on a page, where here loads and stores count together.
 * Semantics: in place, insert near, write back, copied by page by a helper; an op waits for pages of its operands that are under way.
 * Samples accesses; sees neither profile nor future. Unmapping is charged per page moved, by a declared figure.
 * Fails where memory is used less often than the counts need: a tensor used twice a step is cold, and a step's temporaries are gone before
 * they are hot. Near is then what was allocated first. */
#include "pool/policy-hemem.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/policies.h"

static const struct nf_option table[] = {NF_HEMEM_OPTION_ROWS, {NULL}};
static const struct nf_hemem_options defaults = NF_HEMEM_OPTIONS_INIT;

int nf_hemem_init(struct nf_hemem *h, const struct nf_policy_env *env, const struct nf_hemem_options *o)
{
    *h = (struct nf_hemem){.o = *o};
    if (!o->read_hot || !o->write_hot || !o->cool)
        return nf_fail(-EINVAL, "a page is hot from at least one sample on, and counts are halved beyond at least one");
    return nf_page_tracker_init(&h->t, env, &o->page);
}

bool nf_hemem_hot(const struct nf_hemem *h, struct nf_page *page)
{
    nf_page_count(&h->t, page);
    return page->reads >= h->o.read_hot || page->writes >= h->o.write_hot;
}

void nf_hemem_file(struct nf_hemem *h, struct nf_page *page)
{
    bool hot = nf_hemem_hot(h, page);
    struct nf_page_list *list = page->tier == 0 ? hot ? &h->near_hot : &h->near_cold : hot ? &h->far_hot : &h->far_cold;

    if (page->list == list)
        return;
    if (list == &h->far_hot && page->writes >= h->o.write_hot)
        nf_page_list_push_oldest(list, page);
    else
        nf_page_list_push(list, page);
}

void nf_hemem_sample(void *ctx, struct nf_page *page, bool write)
{
    struct nf_hemem *h = ctx;

    nf_page_count(&h->t, page);
    *(write ? &page->writes : &page->reads) += 1;
    if (page->reads + page->writes > h->o.cool)
        nf_page_tracker_cool(&h->t);
    nf_hemem_file(h, page);
}

int nf_hemem_place(struct nf_hemem *h, const struct nf_policy_tensor *tensor, struct nf_placement *out)
{
    int rc = nf_page_tracker_place(&h->t, tensor, out);

    for (uint32_t i = 0; !rc && i < h->t.storages.v[tensor->handle].n; i++)
        nf_hemem_file(h, &h->t.storages.v[tensor->handle].v[i]);
    return rc;
}

static void file_all(struct nf_hemem *h, struct nf_page_list *list)
{
    for (struct nf_page *page = list->oldest, *next; page; page = next) {
        next = page->newer;
        nf_hemem_file(h, page);
    }
}

bool nf_hemem_due(struct nf_hemem *h)
{
    if (h->now_ns < h->next_ns)
        return false;
    h->next_ns = h->now_ns + nf_page_tracker_scaled(&h->t, (double)h->o.interval_ns);
    if (h->filed != h->t.epoch) { /* only hot pages become something else by cooling */
        h->filed = h->t.epoch;
        file_all(h, &h->near_hot);
        file_all(h, &h->far_hot);
    }
    return true;
}

uint64_t nf_hemem_budget(const struct nf_hemem *h)
{
    return nf_page_tracker_scaled(&h->t, (double)h->o.rate_bps * (double)h->o.interval_ns / 1e9);
}

/* --- the policy --- */

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    struct nf_hemem *h = malloc(sizeof *h);
    int rc = h ? nf_hemem_init(h, env, env->options) : nf_fail(-ENOMEM, "no memory");

    if (rc)
        free(h);
    else
        *policy = h;
    return rc;
}

static void close_policy(void *policy)
{
    struct nf_hemem *h = policy;

    nf_page_tracker_deinit(&h->t);
    free(h);
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    return nf_hemem_place(policy, t, out);
}

static int touched(void *policy, const struct nf_policy_touches *t)
{
    struct nf_hemem *h = policy;

    h->now_ns = t->now_ns;
    nf_page_tracker_sample(&h->t, t, nf_hemem_sample, h);
    return 0;
}

static int after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct nf_hemem *h = policy;
    uint64_t budget = nf_hemem_budget(h), moved = 0;
    struct nf_page *hot;

    if (!nf_hemem_due(h))
        return 0;
    while ((hot = h->far_hot.oldest) && moved < budget) {
        while (nf_page_tracker_room(&h->t, 0) < nf_page_bytes_of(hot)) {
            struct nf_page *cold = h->near_cold.oldest;
            uint32_t far = cold ? nf_page_tracker_far(&h->t, cold) : 0;

            if (!cold || far == h->t.env->n_tiers || !nf_page_tracker_move(&h->t, cold, far, moves))
                goto done;
            moved += nf_page_bytes_of(cold);
            nf_hemem_file(h, cold);
        }
        if (!nf_page_tracker_move(&h->t, hot, 0, moves))
            break;
        moved += nf_page_bytes_of(hot);
        nf_hemem_file(h, hot);
    }
done:
    nf_page_tracker_charge(&h->t, moves);
    return 0;
}

static void freed(void *policy, uint32_t handle)
{
    struct nf_hemem *h = policy;

    nf_page_tracker_freed(&h->t, handle);
}

const struct nf_policy_ops nf_policy_hemem = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_ACCESS | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE),
    .name = "hemem",
    .about = "sampled pages: hot from 8 loads or 4 stores, all halved beyond 18, a thread promotes every 10 ms",
    .source = "Raybuck et al., HeMem, SOSP 2021",
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
