/* Places the blocks of a job by a plan: preloaded behind the library that follows its allocator (core/base/job-placer.h).
 *
 * Blocks lie in one range of addresses. A block of the plan comes to the place that its captured address had before, so
 * that pages keep their tier from step to step; where they do not, they are bound to its node (and moved there). Within
 * a step blocks come in the plan's order; one that is missing or added shifts nothing, as sizes are compared. A plan may also
 * move blocks as the job goes on, which shows in the blocks that come and go: pages go to another node and keep their addresses. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/job-placer.h"
#include "live/follow.h"
#include "live/plan-file.h"
#include "live/preload/blocks.h"
#include "live/preload/move-thread.h"

/* How far a block is looked for: library scratch comes and goes between the plan's. */
enum { LOOK_AHEAD = 256 };
enum { NO_ENTRY = UINT32_MAX, NOWHERE = UINT32_MAX };
/* Where pages are is looked at once, at the end of this followed step: the first ones have pages that nobody touched yet. */
enum { CHECKED_STEP = 2 };

static struct {
    struct nf_plan_file *plan; /* NULL: there is none */
    const uint32_t *sequence;
    const struct nf_plan_group *groups;
    const struct nf_plan_entry *entries;
    const uint8_t *page_tiers;
    uint32_t *entry;      /* of the block that begins at a page; NO_ENTRY: not of the plan */
    uint8_t *taken;       /* by entry of the running group */
    uint32_t *born_at;    /* first page of the running step's block, by entry; NOWHERE: none. NULL: nothing moves */
    uint32_t *holder;     /* the same of what a slot carries */
    uint32_t *slot_gone;  /* when the planned step frees what a slot carries (nf_plan_storage) */
    const struct nf_plan_storage *storages;
    struct nf_follower follower;
    bool moves, checked;
    uint32_t group, cursor, step;
    uint64_t near_pages;
    bool training;
} placer;

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    if (!nf_blocks.child)
        atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static bool fits(uint64_t at, uint64_t n, size_t each, uint64_t size)
{
    return at % 8 == 0 && at <= size && n <= (size - at) / each;
}

static bool moves_are_sound(const struct nf_plan_file *f, uint64_t size)
{
    const struct nf_plan_entry *entries = (const void *)((const char *)f + f->entries_at);
    const struct nf_plan_storage *storages = (const void *)((const char *)f + f->storages_at);
    const struct nf_plan_op *ops = (const void *)((const char *)f + f->ops_at);
    const struct nf_plan_move *moves = (const void *)((const char *)f + f->moves_at);

    if (f->n_ops == UINT32_MAX || f->n_slots > NF_PLAN_SLOTS_MAX || !fits(f->storages_at, f->n_storages, sizeof *storages, size) ||
        !fits(f->ops_at, f->n_ops + (uint64_t)1, sizeof *ops, size) || !fits(f->moves_at, f->n_moves, sizeof *moves, size))
        return false;
    for (uint32_t i = 0; i < f->n_entries; i++) {
        if (entries[i].slot >= (int64_t)f->n_slots)
            return false;
    }
    for (uint32_t i = 0; i < f->n_storages; i++) {
        if (storages[i].slot >= (int64_t)f->n_slots || (storages[i].slot < 0 && storages[i].entry != NF_PLAN_NONE && storages[i].entry >= f->n_entries) ||
            storages[i].pages_at > f->n_page_tiers || storages[i].pages > f->n_page_tiers - storages[i].pages_at)
            return false;
    }
    for (uint32_t i = 0; i <= f->n_ops; i++) {
        if (ops[i].first_move > f->n_moves || ops[i].n_moves > f->n_moves - ops[i].first_move)
            return false;
    }
    for (uint32_t i = 0; i < f->n_moves; i++) {
        if (moves[i].storage >= f->n_storages || moves[i].to_tier >= f->n_tiers)
            return false;
    }
    return true;
}

/* Whether every index of the file stays inside it. */
static bool is_sound(const struct nf_plan_file *f, uint64_t size)
{
    const struct nf_plan_group *groups = (const void *)((const char *)f + f->groups_at);
    const struct nf_plan_entry *entries = (const void *)((const char *)f + f->entries_at);
    const uint32_t *sequence = (const void *)((const char *)f + f->sequence_at);
    const uint8_t *tiers = (const uint8_t *)f + f->page_tiers_at;

    if (memcmp(f->magic, NF_PLAN_MAGIC, sizeof f->magic) || f->version != NF_PLAN_VERSION || !f->n_tiers ||
        f->n_tiers > NF_PLAN_TIERS || f->arena_bytes / NF_PAGE_BYTES > 2 * (uint64_t)sysconf(_SC_PHYS_PAGES) || !f->n_sequence || f->before >= f->n_groups || f->steady >= f->n_groups ||
        !fits(f->sequence_at, f->n_sequence, sizeof *sequence, size) ||
        !fits(f->groups_at, f->n_groups, sizeof *groups, size) ||
        !fits(f->entries_at, f->n_entries, sizeof *entries, size) || !fits(f->page_tiers_at, f->n_page_tiers, 1, size))
        return false;
    for (uint32_t i = 0; i < f->n_sequence; i++) {
        if (sequence[i] >= f->n_groups)
            return false;
    }
    for (uint32_t i = 0; i < f->n_groups; i++) {
        if (groups[i].first > f->n_entries || groups[i].n > f->n_entries - groups[i].first)
            return false;
    }
    for (uint32_t i = 0; i < f->n_entries; i++) {
        if (entries[i].pages_at > f->n_page_tiers || entries[i].pages > f->n_page_tiers - entries[i].pages_at ||
            (uint64_t)entries[i].pages * NF_PAGE_BYTES < entries[i].bytes)
            return false;
    }
    for (uint64_t i = 0; i < f->n_page_tiers; i++) {
        if (tiers[i] >= f->n_tiers)
            return false;
    }
    return !f->n_ops || moves_are_sound(f, size);
}

static struct nf_plan_file *map_plan(const char *path)
{
    size_t size;
    struct nf_plan_file *f = nf_blocks_map_file(path, sizeof *f, &size);

    if (!f || is_sound(f, size))
        return f;
    munmap(f, size);
    return NULL;
}

static void enter_group(uint32_t group)
{
    placer.group = group;
    placer.cursor = 0;
    memset(placer.taken, 0, placer.groups[group].n);
}

static bool move(void *context, const struct nf_plan_move *m);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv(NF_PLAN_ENV);
    struct nf_plan_file *f = path ? map_plan(path) : NULL;

    /* A huge page holds parts of several blocks: binding one would take its neighbours along. Only where nothing is bound, the
     * job keeps the pages that it has alone. */
    if (!f || !nf_blocks_begin(f->arena_bytes, f->node[0] >= 0, nf_move_thread_forget))
        return;
    placer.sequence = (const void *)((const char *)f + f->sequence_at);
    placer.groups = (const void *)((const char *)f + f->groups_at);
    placer.entries = (const void *)((const char *)f + f->entries_at);
    placer.page_tiers = (const uint8_t *)f + f->page_tiers_at;
    placer.entry = nf_blocks_zeroes(nf_blocks.n_pages * sizeof *placer.entry);
    placer.taken = nf_blocks_zeroes(f->n_entries + (size_t)1);
    if (!placer.entry || !placer.taken)
        return;
    if (f->n_ops) {
        placer.storages = (const void *)((const char *)f + f->storages_at);
        placer.born_at = nf_blocks_zeroes((f->n_entries + (size_t)1) * sizeof *placer.born_at);
        placer.holder = nf_blocks_zeroes((f->n_slots + (size_t)1) * sizeof *placer.holder);
        placer.slot_gone = nf_blocks_zeroes((f->n_slots + (size_t)1) * sizeof *placer.slot_gone);
        if (!placer.born_at || !placer.holder || !placer.slot_gone)
            return;
        memset(placer.born_at, 0xff, f->n_entries * sizeof *placer.born_at);
        memset(placer.holder, 0xff, f->n_slots * sizeof *placer.holder);
        memset(placer.slot_gone, 0xff, f->n_slots * sizeof *placer.slot_gone);
        for (uint32_t i = 0; i < f->n_storages; i++) {
            if (placer.storages[i].slot >= 0)
                placer.slot_gone[placer.storages[i].slot] = placer.storages[i].gone;
        }
        nf_follower_init(&placer.follower, f, move, NULL);
        placer.moves = true;
    }
    enter_group(f->before);
    placer.plan = f;
}

/* The next block of these bytes in the running group. Until the first step ends, any will do. */
static uint32_t find_entry(size_t bytes)
{
    const struct nf_plan_group *g = &placer.groups[placer.group];
    bool any = placer.group == placer.plan->before;
    uint32_t end = any || g->n - placer.cursor < LOOK_AHEAD ? g->n : placer.cursor + LOOK_AHEAD;

    for (uint32_t i = placer.cursor; i < end; i++) {
        if (placer.taken[i] || placer.entries[g->first + i].bytes != bytes)
            continue;
        placer.taken[i] = 1;
        while (placer.cursor < g->n && placer.taken[placer.cursor])
            placer.cursor++;
        return g->first + i;
    }
    return NO_ENTRY;
}

static void bind_run(uint32_t first, uint32_t pages, uint8_t tier)
{
    int node = placer.plan->node[tier];
    unsigned long mask[16] = {0};
    uint64_t bytes = (uint64_t)pages * NF_PAGE_BYTES;

    if (node < 0 || node >= (int)(sizeof mask * 8))
        return;
    mask[(size_t)node / (sizeof *mask * 8)] = 1ul << ((size_t)node % (sizeof *mask * 8));
    if (syscall(SYS_mbind, nf_blocks_at(first), bytes, MPOL_BIND, mask, sizeof mask * 8,
                MPOL_MF_MOVE))
        count(&placer.plan->unbound_bytes, bytes);
}

static void tell_near(void)
{
    uint64_t near = placer.near_pages * NF_PAGE_BYTES;

    if (near > atomic_load_explicit(&placer.plan->near_peak_bytes, memory_order_relaxed))
        atomic_store_explicit(&placer.plan->near_peak_bytes, near, memory_order_relaxed);
}

/* Gives each page its tier: that of the plan; what the plan does not know goes last, so that near is the plan's alone. */
static void place_pages(uint32_t first, uint32_t pages, uint32_t entry)
{
    struct nf_plan_file *f = placer.plan;
    const uint8_t *want = entry == NO_ENTRY ? NULL : placer.page_tiers + placer.entries[entry].pages_at;
    uint64_t room = f->capacity / NF_PAGE_BYTES;
    uint32_t run = 0;

    for (uint32_t i = 0; i < pages; i++) {
        uint8_t tier = want ? want[i] : (uint8_t)(f->n_tiers - 1);
        bool full = !tier && placer.near_pages >= room;

        if (full && want)
            count(&f->spilled_bytes, NF_PAGE_BYTES);
        tier = full ? (uint8_t)(f->n_tiers - 1) : tier;
        placer.near_pages += !tier;
        if (run && (nf_blocks.tier[first + i] == tier || tier != nf_blocks.tier[first + i - 1])) {
            bind_run(first + i - run, run, nf_blocks.tier[first + i - 1]);
            run = 0;
        }
        if (nf_blocks.tier[first + i] != tier) {
            nf_blocks.tier[first + i] = tier;
            run++;
        }
    }
    if (run)
        bind_run(first + pages - run, run, nf_blocks.tier[first + pages - 1]);
    if (!nf_blocks.child)
        tell_near();
}

static void count_block(size_t bytes, bool found)
{
    struct nf_plan_file *f = placer.plan;

    if (placer.training && placer.group == f->steady) {
        count(found ? &f->placed : &f->unplaced, 1);
        count(found ? &f->placed_bytes : &f->unplaced_bytes, bytes);
    } else {
        count(&f->early, 1);
        count(&f->early_placed, found);
    }
}

/* --- moves --- */

static void move_pages(uint32_t first, uint32_t n, uint8_t tier)
{
    uint64_t room = placer.plan->capacity / NF_PAGE_BYTES;
    struct nf_move_run run = {.tier = tier};
    uint32_t end = first + n;

    for (uint32_t i = first; i <= end; i++) {
        bool goes = i < end && nf_blocks.tier[i] != run.tier;

        if (goes && !run.tier && placer.near_pages >= room) {
            count(&placer.plan->spilled_bytes, NF_PAGE_BYTES);
            goes = false;
        }
        if (goes) {
            placer.near_pages += !run.tier;
            placer.near_pages -= !nf_blocks.tier[i];
            nf_blocks.tier[i] = run.tier;
            run.first = run.pages ? run.first : i;
            run.pages++;
        } else if (run.pages) {
            count(&placer.plan->asked_bytes, (uint64_t)run.pages * NF_PAGE_BYTES);
            if (!placer.plan->helper || !nf_move_thread_post(&run))
                bind_run(run.first, run.pages, run.tier);
            run.pages = 0;
        }
    }
    tell_near();
}

static bool move(void *context, const struct nf_plan_move *m)
{
    const struct nf_plan_storage *s = &placer.storages[m->storage];
    uint32_t first = s->slot >= 0 ? placer.holder[s->slot] : s->entry != NF_PLAN_NONE ? placer.born_at[s->entry] : NOWHERE;

    if (first == NOWHERE || m->n_pages > nf_blocks.pages[first] || m->first_page > nf_blocks.pages[first] - m->n_pages)
        return false;
    move_pages(first + m->first_page, m->n_pages, (uint8_t)m->to_tier);
    return true;
}

/* Steps that are not followed leave what lasts where it was born, or where there was room: the planned step begins with each
 * page where it was in the plan. What leaves near goes first. */
static void begin_planned(void)
{
    for (uint32_t i = 0; i < 2 * placer.plan->n_storages; i++) {
        const struct nf_plan_storage *s = &placer.storages[i % placer.plan->n_storages];
        uint32_t first = s->slot >= 0 ? placer.holder[s->slot] : NOWHERE;
        bool near = i >= placer.plan->n_storages;

        if (first == NOWHERE || nf_blocks.pages[first] != s->pages)
            continue;
        for (uint32_t k = 0, n; k < s->pages; k += n) {
            const uint8_t *tier = placer.page_tiers + s->pages_at + k;

            for (n = 1; n < s->pages - k && tier[n] == *tier; n++)
                ;
            if ((*tier == 0) == near)
                move_pages(first + k, n, *tier);
        }
    }
}

/* The pages are elsewhere than was asked: whoever comes next binds them anew. */
static void cancelled(const struct nf_move_run *run)
{
    count(&placer.plan->cancelled_bytes, (uint64_t)run->pages * NF_PAGE_BYTES);
    for (uint32_t i = run->first; i < run->first + run->pages; i++) {
        placer.near_pages -= !nf_blocks.tier[i];
        nf_blocks.tier[i] = NF_BLOCKS_NO_TIER;
    }
}

/* A block goes away. Whether the plan knows when, as the running step made it or found it in a slot. */
static bool leave(uint32_t first, uint32_t *gone)
{
    bool known = false;
    uint32_t entry = placer.entry[first];
    int32_t slot = entry == NO_ENTRY ? -1 : placer.entries[entry].slot;

    if (entry != NO_ENTRY && placer.born_at[entry] == first) {
        placer.born_at[entry] = NOWHERE;
        *gone = placer.entries[entry].gone;
        known = true;
    }
    if (slot >= 0 && placer.holder[slot] == first) {
        placer.holder[slot] = NOWHERE;
        *gone = placer.slot_gone[slot];
        known = true;
    }
    if (placer.plan->helper)
        nf_move_thread_settle(first, nf_blocks.pages[first], cancelled);
    return known;
}

/* On which node each page of the plan's blocks is, as the kernel says. */
static void check_pages(void)
{
    enum { BATCH = 512 };
    void *pages[BATCH];
    int node[BATCH];
    uint8_t tier[BATCH];

    for (uint32_t i = 0; i < nf_blocks.n_pages;) {
        uint32_t n = 0, left = nf_blocks.pages[i];

        if (!left || placer.entry[i] == NO_ENTRY) {
            i += left ? left : 1;
            continue;
        }
        for (; left; left -= n, i += n) {
            n = left < BATCH ? left : BATCH;
            for (uint32_t k = 0; k < n; k++) {
                pages[k] = nf_blocks_at(i + k);
                tier[k] = nf_blocks.tier[i + k];
            }
            if (syscall(SYS_move_pages, 0, (unsigned long)n, pages, NULL, node, 0))
                continue;
            for (uint32_t k = 0; k < n; k++) {
                /* A negative number: nobody has touched it. */
                if (node[k] >= 0 && tier[k] != NF_BLOCKS_NO_TIER)
                    count(node[k] == placer.plan->node[tier[k]] ? &placer.plan->right_pages : &placer.plan->wrong_pages, 1);
            }
        }
    }
}

/* What the step made that outlives it takes its slot. */
static void end_moves(void)
{
    const struct nf_plan_group *g = &placer.groups[placer.group];

    nf_follower_leave(&placer.follower);
    if (!placer.checked && placer.plan->node[0] >= 0 && atomic_load(&placer.plan->followed_steps) >= CHECKED_STEP) {
        placer.checked = true;
        if (placer.plan->helper)
            nf_move_thread_drain();
        check_pages();
    }
    for (uint32_t i = g->first; i < g->first + g->n; i++) {
        if (placer.entries[i].slot >= 0 && placer.born_at[i] != NOWHERE)
            placer.holder[placer.entries[i].slot] = placer.born_at[i];
        placer.born_at[i] = NOWHERE;
    }
}

static void *allocate(size_t alignment, size_t bytes)
{
    struct nf_plan_file *f = placer.plan;
    uint32_t entry, first;
    int saved_errno = errno;

    if (!f || !nf_blocks_wants(alignment, bytes, NF_PLAN_MIN_BYTES))
        return NULL;
    pthread_mutex_lock(&nf_blocks.lock);
    entry = find_entry(bytes);
    if (placer.moves) /* before it: room is made for it */
        nf_follower_born(&placer.follower, entry == NO_ENTRY ? NF_PLAN_NONE : entry - placer.groups[placer.group].first);
    first = nf_blocks_take(entry == NO_ENTRY ? 0 : placer.entries[entry].address, bytes);
    if (first == NF_ARENA_NONE) {
        count(&f->refused, 1);
    } else {
        placer.entry[first] = entry;
        if (placer.moves && entry != NO_ENTRY)
            placer.born_at[entry] = first;
        place_pages(first, nf_blocks.pages[first], entry);
        count_block(bytes, entry != NO_ENTRY);
        if (placer.moves)
            nf_follower_placed(&placer.follower);
    }
    pthread_mutex_unlock(&nf_blocks.lock);
    errno = saved_errno;
    return first == NF_ARENA_NONE ? NULL : nf_blocks_at(first);
}

static void release(void *block)
{
    uint32_t first = nf_blocks_page(block), entry, gone;
    int saved_errno = errno;
    bool known = false;

    pthread_mutex_lock(&nf_blocks.lock);
    entry = placer.entry[first];
    if (placer.moves && !nf_blocks.child)
        known = leave(first, &gone);
    for (uint32_t i = 0; i < nf_blocks.pages[first]; i++)
        placer.near_pages -= !nf_blocks.tier[first + i];
    nf_blocks_give(first);
    placer.entry[first] = NO_ENTRY;
    /* It was not the one that lives on: the next of its size may be. */
    if (!placer.training && entry != NO_ENTRY) {
        uint32_t i = entry - placer.groups[placer.group].first;

        placer.taken[i] = 0;
        placer.cursor = i < placer.cursor ? i : placer.cursor;
    }
    if (known) /* after it: it has made room */
        nf_follower_gone(&placer.follower, gone);
    if (!nf_blocks.child)
        tell_near();
    pthread_mutex_unlock(&nf_blocks.lock);
    errno = saved_errno;
}

static void training(void)
{
    if (!placer.plan || nf_blocks.child)
        return;
    pthread_mutex_lock(&nf_blocks.lock);
    atomic_fetch_add(&placer.plan->jobs, 1);
    placer.training = true;
    /* Not at load: a job may close its files and fork before it trains. */
    if (placer.moves && placer.plan->helper)
        nf_move_thread_start(bind_run);
    pthread_mutex_unlock(&nf_blocks.lock);
}

static void step(void)
{
    bool followed;

    if (!placer.plan || nf_blocks.child || !placer.training)
        return;
    pthread_mutex_lock(&nf_blocks.lock);
    if (placer.moves)
        end_moves();
    placer.step += placer.step + 1 < placer.plan->n_sequence;
    atomic_fetch_add(&placer.plan->steady_steps, placer.group == placer.plan->steady);
    followed = placer.group == placer.plan->steady;
    enter_group(placer.sequence[placer.step]);
    if (placer.moves && !followed && placer.group == placer.plan->steady)
        begin_planned();
    if (placer.moves)
        nf_follower_enter(&placer.follower, placer.group == placer.plan->steady);
    pthread_mutex_unlock(&nf_blocks.lock);
}

static void boundary(uint64_t op)
{
    if (!placer.moves || nf_blocks.child || !placer.training)
        return;
    pthread_mutex_lock(&nf_blocks.lock);
    nf_follower_op(&placer.follower, op);
    pthread_mutex_unlock(&nf_blocks.lock);
}

static uint32_t entry_named(uint64_t name, uint32_t pages)
{
    const struct nf_plan_group *g = &placer.groups[placer.group];

    for (uint32_t i = g->first; i < g->first + g->n; i++) {
        if (placer.entries[i].name == name && placer.entries[i].pages == pages)
            return i;
    }
    return NO_ENTRY;
}

/* A block takes the place of an entry in the plan. */
static void become(uint32_t first, uint32_t entry)
{
    uint32_t pages = nf_blocks.pages[first];

    placer.entry[first] = entry;
    if (entry != NO_ENTRY)
        placer.born_at[entry] = first;
    for (uint32_t i = first; i < first + pages; i++)
        placer.near_pages -= !nf_blocks.tier[i];
    place_pages(first, pages, entry);
}

/* Before the first step ends blocks are known by their sizes only: of several of one size each is the right one by its name. */
static void named(const void *block, uint64_t name)
{
    uint32_t first = nf_blocks_page(block), have, want, other;

    if (!placer.moves || nf_blocks.child)
        return;
    pthread_mutex_lock(&nf_blocks.lock);
    have = placer.entry[first];
    if (placer.group == placer.plan->before && nf_blocks.pages[first] && (have == NO_ENTRY || placer.entries[have].name != name) &&
        (want = entry_named(name, nf_blocks.pages[first])) != NO_ENTRY) {
        other = placer.born_at[want];
        if (have != NO_ENTRY)
            placer.born_at[have] = NOWHERE;
        if (other == NOWHERE && have != NO_ENTRY)
            placer.taken[have - placer.groups[placer.group].first] = 0;
        placer.taken[want - placer.groups[placer.group].first] = 1;
        if (other != NOWHERE)
            become(other, have);
        become(first, want);
        placer.cursor = 0;
    }
    pthread_mutex_unlock(&nf_blocks.lock);
}

__attribute__((visibility("default"))) const struct nf_job_placer nf_job_placer_library = {
    .allocate = allocate,
    .owns = nf_blocks_own,
    .release = release,
    .usable = nf_blocks_usable,
    .training = training,
    .step = step,
    .boundary = boundary,
    .named = named,
};
