#include "tests/conformance/pool-fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/error.h"
#include "pool/pages.h"

/* Space between what a policy may use and what the arena has, so that fragmentation never decides a test. */
enum { ARENA_SLACK = 4, ARENA_SLACK_PAGES = 256 };

static uint64_t where_is(const struct nf_pool_storage *s)
{
    uint64_t hash = s->striped;

    for (uint32_t t = 0; t < NF_TIER_MAX; t++) {
        hash = nf_hash_add(hash, (uintptr_t)s->piece[t].memory);
        hash = nf_hash_add(hash, s->piece[t].bytes);
    }
    for (uint64_t i = 0; s->page_tier && i < s->bytes / NF_PAGE_BYTES; i++)
        hash = nf_hash_add(hash, s->page_tier[i] & (NF_PAGE_UNDER_WAY - 1));
    return hash;
}

static uint64_t bytes_on(const struct fixture *f, uint32_t tier)
{
    struct nf_pool_stats stats;
    uint64_t bytes;

    nf_pool_stats(f->pool, &stats);
    bytes = stats.tier[tier].copy_bytes;
    for (uint32_t i = 0; i < f->n_live; i++)
        bytes += nf_pool_storage(f->pool, f->live[i].handle)->piece[tier].bytes;
    return bytes;
}

static uint64_t where_all(const struct fixture *f)
{
    uint64_t hash = 0;

    for (uint32_t i = 0; i < f->n_live; i++)
        hash = nf_hash_add(hash, where_is(nf_pool_storage(f->pool, f->live[i].handle)));
    return hash;
}

/* --- the tier that watches --- */

static int witness_probe(char *why, size_t size)
{
    return 0;
}

static int witness_open(const void *options, const struct nf_tier_local *local, void **tier)
{
    return 0;
}

static void witness_close(void *tier)
{
}

static void witness_facts(const void *tier, struct nf_tier_facts *out)
{
    *out = (struct nf_tier_facts){.node = -1};
}

static int witness_map(void *tier, size_t bytes, void **memory)
{
    struct witness_tier *w = tier;

    *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(*memory != MAP_FAILED);
    w->memory = *memory;
    w->bytes = bytes;
    w->of->node[w->number] = malloc(bytes / NF_PAGE_BYTES);
    assert_non_null(w->of->node[w->number]);
    memset(w->of->node[w->number], (int)w->number, bytes / NF_PAGE_BYTES);
    return 0;
}

static void witness_unmap(void *tier, void *memory, size_t bytes)
{
    struct witness_tier *w = tier;

    assert_ptr_equal(memory, w->memory);
    assert_int_equal(bytes, w->bytes);
    munmap(memory, bytes);
    free(w->of->node[w->number]);
    w->memory = NULL;
}

/* --- the kernel that migrates; one thread at a time asks it --- */

static struct fixture *migrating;

static uint8_t *node_of(const struct fixture *f, const void *page)
{
    for (uint32_t t = 0; t < f->n_tiers; t++) {
        const struct witness_tier *w = &f->witness[t];

        if (w->memory && (const char *)page >= w->memory && (const char *)page < w->memory + w->bytes)
            return &f->node[t][((const char *)page - w->memory) / NF_PAGE_BYTES];
    }
    return NULL;
}

static long kernel_move_pages(unsigned long n, void **pages, const int *nodes, int *status)
{
    for (unsigned long i = 0; i < n; i++) {
        uint8_t *node = node_of(migrating, pages[i]);

        if (node && nodes)
            *node = (uint8_t)nodes[i];
        status[i] = node ? *node : -EFAULT;
    }
    return 0;
}

static const struct nf_pages_system kernel_system = {.move_pages = kernel_move_pages};

static int witness_verify(void *tier, const void *memory, size_t bytes)
{
    struct witness_tier *w = tier;

    if (w->of->in_place) {
        for (size_t i = 0; i < bytes; i += NF_PAGE_BYTES)
            assert_int_equal(*node_of(w->of, (const char *)memory + i), w->number);
        return 0;
    }
    assert_true((const char *)memory >= w->memory && (const char *)memory + bytes <= w->memory + w->bytes);
    return 0;
}

/* In the middle of a move: the source is still held, and what was written so far is there as well. */
static uint64_t witness_charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    struct witness_tier *w = tier;
    struct fixture *f = w->of;
    uint64_t where, held;

    w->charges++;
    assert_true(c->parallelism > 0);
    if (f->helper || !f->pool || !c->write_bytes) /* another thread must not look at what this test holds */
        return start_ns;
    where = where_all(f);
    if (where != f->all_where) { /* the move before this one is complete */
        for (uint32_t t = 0; t < f->n_tiers; t++)
            f->witness[t].in_flight = 0;
        f->all_where = where;
    }
    w->in_flight += c->write_bytes;
    held = bytes_on(f, w->number) + w->in_flight;
    assert_true(held <= f->capacity[w->number]);
    f->peak[w->number] = held > f->peak[w->number] ? held : f->peak[w->number];
    return start_ns;
}

static const struct nf_tier_ops witness_ops = {
    .abi = NF_TIER_ABI,
    .name = "witness",
    .about = "watches a pool",
    .probe = witness_probe,
    .open = witness_open,
    .close = witness_close,
    .facts = witness_facts,
    .map = witness_map,
    .unmap = witness_unmap,
    .verify = witness_verify,
    .charge = witness_charge,
};

/* --- payload --- */

/* A word at the start and the end of each page, different for every page of every storage. */
static void each_word(const struct fixture *f, const struct live *l, bool write)
{
    const struct nf_pool_storage *s = nf_pool_storage(f->pool, l->handle);
    uint64_t on[NF_TIER_MAX] = {0};

    for (uint64_t at = 0; at < l->bytes; at += NF_PAGE_BYTES) {
        uint64_t run, inner_run, word = nf_hash_add(l->id, at);
        uint32_t tier, inner_tier;
        char *page = nf_pool_locate(s, at, &tier, &run), *end = page + NF_PAGE_BYTES - sizeof word;

        assert_true(tier < f->n_tiers && run >= NF_PAGE_BYTES && run <= l->bytes - at);
        assert_ptr_equal(nf_pool_locate(s, at + 100, &inner_tier, &inner_run), page + 100);
        assert_true(inner_tier == tier && inner_run == run - 100);
        on[tier] += NF_PAGE_BYTES;
        if (write) {
            memcpy(page, &word, sizeof word);
            memcpy(end, &word, sizeof word);
        } else {
            assert_memory_equal(page, &word, sizeof word);
            assert_memory_equal(end, &word, sizeof word);
        }
    }
    for (uint32_t t = 0; t < f->n_tiers; t++)
        assert_int_equal(on[t], s->piece[t].bytes);
}

static int by_start(const void *a, const void *b)
{
    const struct nf_extent *x = a, *y = b;

    return x->memory < y->memory ? -1 : x->memory > y->memory;
}

void fixture_check(struct fixture *f, bool all_payload)
{
    static struct nf_extent extents[FIXTURE_LIVE_MAX];
    struct nf_pool_stats stats;

    if (all_payload)
        assert_int_equal(nf_pool_settle(f->pool), 0);
    nf_pool_stats(f->pool, &stats);
    assert_int_equal(stats.live_storages, f->n_live);
    for (uint32_t t = 0; t < f->n_tiers; t++) {
        const struct witness_tier *w = &f->witness[t];
        uint64_t held = stats.tier[t].copy_bytes;
        size_t n = 0;

        for (uint32_t i = 0; i < f->n_live; i++) {
            const struct nf_pool_storage *s = nf_pool_storage(f->pool, f->live[i].handle);
            const struct nf_extent *e = &s->piece[t];

            assert_int_equal(e->bytes % NF_PAGE_BYTES, 0);
            if (!e->bytes)
                continue;
            if (s->page_tier) { /* addresses for all of it, wherever its pages are */
                extents[n++] = (struct nf_extent){e->memory, s->bytes};
                held += e->bytes;
                continue;
            }
            if (!f->in_place)
                assert_true(e->memory >= w->memory && e->memory + e->bytes <= w->memory + w->bytes);
            else
                assert_non_null(node_of(f, e->memory));
            extents[n++] = *e;
            held += e->bytes;
        }
        qsort(extents, n, sizeof *extents, by_start);
        for (size_t i = 1; i < n; i++)
            assert_true(extents[i - 1].memory + extents[i - 1].bytes <= extents[i].memory);
        assert_true(held <= f->capacity[t]);
        f->peak[t] = held > f->peak[t] ? held : f->peak[t];
        assert_true(stats.tier[t].live_bytes >= held && stats.tier[t].live_bytes <= f->capacity[t]);
        assert_true(stats.tier[t].peak_bytes >= f->peak[t] && stats.tier[t].peak_bytes <= f->capacity[t]);
        if (!f->helper || all_payload)
            assert_int_equal(stats.tier[t].live_bytes, held);
        if (!f->helper && !f->in_place) /* whose charges tell of both copies */
            assert_int_equal(stats.tier[t].peak_bytes, f->peak[t]);
    }
    assert_true(nf_pool_near_bytes(f->pool) <= stats.tier[0].live_bytes);
    if (!f->helper || all_payload)
        assert_int_equal(nf_pool_near_bytes(f->pool), stats.tier[0].live_bytes);
    for (uint32_t i = 0; i < f->n_live; i++) {
        struct live *l = &f->live[i];
        const struct nf_pool_storage *s = nf_pool_storage(f->pool, l->handle);
        uint64_t sum = 0, where = where_is(s);

        for (uint32_t t = 0; t < NF_TIER_MAX; t++) {
            assert_true(t < f->n_tiers || !s->piece[t].bytes);
            sum += s->piece[t].bytes;
        }
        assert_int_equal(sum, l->bytes);
        assert_int_equal(s->bytes, l->bytes);
        if (all_payload || where != l->where)
            each_word(f, l, false);
        f->moves_seen += where != l->where;
        l->where = where;
    }
}

/* --- the pool --- */

int fixture_open(struct fixture *f, const struct nf_policy_ops *policy, const char *options, uint32_t n_tiers,
                 const uint64_t *capacity_pages, const struct nf_profile *profiles, uint32_t n_profiles, uint64_t seed)
{
    struct nf_pool_config c = {.tiers = f->tiers, .n_tiers = n_tiers, .policy = policy, .policy_options = options,
                               .profiles = profiles, .n_profiles = n_profiles, .seed = seed};

    uint64_t most = 0;

    memset(f, 0, sizeof *f);
    f->n_tiers = n_tiers;
    f->helper = policy->semantics.sync == NF_SYNC_HELPER;
    f->in_place = policy->semantics.mover == NF_MOVER_MOVE_PAGES;
    migrating = f;
    c.pages = &kernel_system;
    for (uint32_t t = 0; t < n_tiers; t++) {
        f->witness[t] = (struct witness_tier){.of = f, .number = t};
        f->tiers[t] = (struct nf_tier){.ops = &witness_ops, .state = &f->witness[t], .name = "witness",
                                        .facts.node = (int)t};
        f->capacity[t] = c.capacity[t] = capacity_pages[t] * NF_PAGE_BYTES;
        c.arena_bytes[t] = (capacity_pages[t] * ARENA_SLACK + ARENA_SLACK_PAGES) * NF_PAGE_BYTES;
        most = c.arena_bytes[t] > most ? c.arena_bytes[t] : most;
    }
    for (uint32_t t = 0; policy->semantics.by_page && t < n_tiers; t++)
        c.arena_bytes[t] = most * n_tiers;
    return nf_pool_open(&c, &f->pool);
}

void fixture_close(struct fixture *f)
{
    struct nf_pool_stats stats;

    fixture_check(f, true);
    while (f->n_live)
        fixture_free(f, f->n_live - 1);
    assert_int_equal(nf_pool_settle(f->pool), 0);
    for (uint32_t t = 0; t < f->n_tiers; t++) {
        for (size_t i = 0; i < f->witness[t].bytes / NF_PAGE_BYTES; i++)
            assert_int_equal(f->node[t][i], t); /* all at home again */
    }
    nf_pool_stats(f->pool, &stats);
    assert_int_equal(stats.live_storages, 0);
    for (uint32_t t = 0; t < f->n_tiers; t++)
        assert_int_equal(stats.tier[t].live_bytes, 0);
    assert_int_equal(nf_pool_verify(f->pool), 0);
    f->pool = nf_pool_close(f->pool);
    for (uint32_t t = 0; t < f->n_tiers; t++)
        assert_null(f->witness[t].memory);
}

static void move_over(struct fixture *f)
{
    for (uint32_t t = 0; t < f->n_tiers; t++)
        f->witness[t].in_flight = 0;
    f->all_where = where_all(f);
}

int fixture_allocate(struct fixture *f, const struct nf_pool_alloc *a, uint32_t *index)
{
    struct live *l = &f->live[f->n_live];
    uint32_t handle;
    int rc;

    assert_true(f->n_live < FIXTURE_LIVE_MAX);
    move_over(f);
    rc = nf_pool_allocate(f->pool, a, &handle);
    if (rc) {
        assert_true(strlen(nf_error_text(rc)) > 0);
        fixture_check(f, false);
        return rc;
    }
    for (uint32_t i = 0; i < f->n_live; i++)
        assert_int_not_equal(f->live[i].handle, handle);
    *l = (struct live){.handle = handle, .id = ++f->next_id, .bytes = nf_page_bytes(a->bytes)};
    l->where = where_is(nf_pool_storage(f->pool, handle));
    each_word(f, l, true);
    *index = f->n_live++;
    fixture_check(f, false);
    return 0;
}

void fixture_free(struct fixture *f, uint32_t index)
{
    nf_pool_free(f->pool, f->live[index].handle);
    f->live[index] = f->live[--f->n_live];
    move_over(f);
}

int fixture_op(struct fixture *f, const uint32_t *index, const uint8_t *rw, size_t n)
{
    uint64_t near_before[8], where[8];
    uint32_t handles[8], op = f->next_op++;
    int rc;

    assert_true(n <= 8);
    for (size_t i = 0; i < n; i++) {
        handles[i] = f->live[index[i]].handle;
        near_before[i] = nf_pool_storage(f->pool, handles[i])->piece[0].bytes;
    }
    move_over(f);
    rc = nf_pool_begin(f->pool, op, handles, rw, n);
    fixture_check(f, false);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) {
        /* An operand never leaves near, unless it was on its way out already. */
        assert_true(f->helper || nf_pool_storage(f->pool, handles[i])->piece[0].bytes >= near_before[i]);
        if (rw[i] != NF_RW_READ) {
            f->live[index[i]].id = ++f->next_id;
            each_word(f, &f->live[index[i]], true);
        }
        where[i] = where_is(nf_pool_storage(f->pool, handles[i]));
    }
    for (size_t i = 0; i < n; i++)
        assert_int_equal(where_is(nf_pool_storage(f->pool, handles[i])), where[i]);
    move_over(f);
    if (nf_pool_samples(f->pool)) {
        /* Near is the faster one for a while, then the slower one. */
        double latency_ns[NF_TIER_MAX] = {op / 64 % 2 ? 300 : 100, 200, 200};
        struct nf_policy_touch touches[8];

        for (size_t i = 0; i < n; i++)
            touches[i] = (struct nf_policy_touch){.handle = handles[i], .rw = rw[i], .span = f->live[index[i]].bytes,
                                                  .lines = (double)f->live[index[i]].bytes / NF_LINE_BYTES};
        assert_int_equal(nf_pool_touched(f->pool, touches, n, f->next_op * (uint64_t)FIXTURE_OP_NS, latency_ns), 0);
    }
    rc = nf_pool_end(f->pool, op);
    fixture_check(f, false);
    return rc;
}
