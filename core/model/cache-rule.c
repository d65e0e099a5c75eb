#include "core/model/cache-rule.h"

#include <errno.h>
#include <string.h>

#include "core/base/big.h"

/* Where an object is. The first ring is the only one of LRU and CLOCK, and S3-FIFO's small one. */
enum { SMALL, MAIN, GHOST, HEAP, NOWHERE };
enum { RINGS = 3 };

/* S3-FIFO (Yang et al., SOSP 2023): two uses in the small queue are enough for the main one; more than three are not told
 * apart. */
enum { S3_USES_FOR_MAIN = 2, S3_USES_MAX = 3 };

#define INLINE static inline __attribute__((always_inline))

/* --- rings --- */

INLINE uint64_t size_of(const struct nf_cache *c, uint32_t id)
{
    return c->size ? c->size[id] : 1;
}

INLINE bool counts(const struct nf_cache *c, uint32_t queue, uint32_t slot, uint32_t id)
{
    return c->record[id].at == slot && c->record[id].queue == queue;
}

/* Throws out what no longer counts; then at least half is empty. Objects are walked in their order and only move towards the
 * head, so that no slot is written before it was read. */
static void compact(struct nf_cache *c, uint32_t queue)
{
    struct nf_cache_ring *r = &c->ring[queue];
    uint32_t kept = 0;

    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t from = (r->head + i) & r->mask, to = (r->head + kept) & r->mask, id = r->id[from];

        if (!counts(c, queue, from, id))
            continue;
        r->id[to] = id;
        c->record[id].at = to;
        kept++;
    }
    r->n = kept;
}

/* The object's record says where it is now; an entry of before no longer counts. */
INLINE void push(struct nf_cache *c, uint32_t queue, uint32_t id)
{
    struct nf_cache_ring *r = &c->ring[queue];
    uint32_t slot;

    if (r->n > r->mask)
        compact(c, queue);
    slot = (r->head + r->n++) & r->mask;
    r->id[slot] = id;
    c->record[id].at = slot;
    c->record[id].queue = (uint8_t)queue;
}

INLINE void enter(struct nf_cache *c, uint32_t queue, uint32_t id)
{
    push(c, queue, id);
    c->ring[queue].bytes += size_of(c, id);
    c->ring[queue].free_to_go += !c->record[id].pinned;
}

INLINE void leave(struct nf_cache *c, uint32_t id)
{
    struct nf_cache_ring *r = &c->ring[c->record[id].queue];

    r->bytes -= size_of(c, id);
    r->free_to_go -= !c->record[id].pinned;
    c->record[id].queue = NOWHERE;
}

/* The oldest of a ring that has one, still in its books and no longer in the ring. */
INLINE uint32_t pop(struct nf_cache *c, uint32_t queue)
{
    struct nf_cache_ring *r = &c->ring[queue];

    for (;;) {
        uint32_t slot = r->head, id = r->id[slot];

        /* What comes out next is known: its record is fetched meanwhile. */
        __builtin_prefetch(&c->record[r->id[(slot + 8) & r->mask]]);
        r->head = (slot + 1) & r->mask;
        r->n--;
        if (counts(c, queue, slot, id))
            return id;
    }
}

/* --- the heap of GDSF --- */

static bool before(const struct nf_cache *c, uint32_t a, uint32_t b)
{
    const struct nf_cache_rank *x = &c->rank[a], *y = &c->rank[b];

    return x->priority < y->priority || (x->priority <= y->priority && x->order < y->order);
}

static void heap_put(struct nf_cache *c, uint32_t at, uint32_t id)
{
    c->heap[at] = id;
    c->record[id].at = at;
}

static void heap_rise(struct nf_cache *c, uint32_t at, uint32_t id)
{
    while (at && before(c, id, c->heap[(at - 1) / 2])) {
        heap_put(c, at, c->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(c, at, id);
}

static void heap_sink(struct nf_cache *c, uint32_t at, uint32_t id)
{
    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child + 1 < c->heap_n && before(c, c->heap[child + 1], c->heap[child]))
            child++;
        if (child >= c->heap_n || before(c, id, c->heap[child]))
            break;
        heap_put(c, at, c->heap[child]);
        at = child;
    }
    heap_put(c, at, id);
}

static void heap_take(struct nf_cache *c, uint32_t id)
{
    uint32_t at = c->record[id].at, last = c->heap[--c->heap_n];

    if (last == id)
        return;
    if (before(c, last, id))
        heap_rise(c, at, last);
    else
        heap_sink(c, at, last);
}

static void rank_anew(struct nf_cache *c, uint32_t id)
{
    struct nf_cache_rank *r = &c->rank[id];
    uint64_t size = size_of(c, id);

    r->priority = c->floor + (double)r->uses / (double)(size ? size : 1);
    r->order = c->clock++;
}

/* --- the rules --- */

INLINE bool holds(const struct nf_cache *c, uint32_t id)
{
    uint8_t queue = c->record[id].queue;

    return queue != NOWHERE && queue != GHOST;
}

INLINE void use(struct nf_cache *c, enum nf_cache_rule rule, uint32_t id)
{
    struct nf_cache_record *r = &c->record[id];

    switch (rule) {
    case NF_CACHE_LRU:
        push(c, SMALL, id);
        break;
    case NF_CACHE_CLOCK:
        r->uses = 1;
        break;
    case NF_CACHE_S3_FIFO:
        if (r->uses < S3_USES_MAX) /* what is not written stays clean in the caches */
            r->uses++;
        break;
    default:
        c->rank[id].uses++;
        if (!r->pinned)
            heap_take(c, id);
        rank_anew(c, id);
        if (!r->pinned)
            heap_rise(c, c->heap_n++, id);
    }
}

INLINE void recall(struct nf_cache *c, enum nf_cache_rule rule, uint32_t id)
{
    struct nf_cache_record *r = &c->record[id];

    r->uses = 0;
    if (rule == NF_CACHE_S3_FIFO && r->queue == GHOST) {
        leave(c, id);
        r->uses = 1;
    }
}

INLINE void admit(struct nf_cache *c, enum nf_cache_rule rule, uint32_t id, uint64_t bytes)
{
    bool remembered = c->record[id].uses;

    if (c->size)
        c->size[id] = bytes;
    c->bytes += size_of(c, id);
    c->record[id].uses = 0;
    if (rule == NF_CACHE_GDSF) {
        c->record[id].queue = HEAP;
        c->rank[id].uses = 1;
        rank_anew(c, id);
        if (!c->record[id].pinned)
            heap_rise(c, c->heap_n++, id);
        return;
    }
    enter(c, rule == NF_CACHE_S3_FIFO && remembered ? MAIN : SMALL, id);
}

/* A ghost has a size and no bytes. */
INLINE void remember(struct nf_cache *c, uint32_t id)
{
    struct nf_cache_ring *ghost = &c->ring[GHOST];

    if (size_of(c, id) > ghost->limit)
        return;
    while (ghost->bytes + size_of(c, id) > ghost->limit)
        leave(c, pop(c, GHOST));
    enter(c, GHOST, id);
}

/* Main has one that may go. */
INLINE uint32_t evict_main(struct nf_cache *c)
{
    for (;;) {
        uint32_t id = pop(c, MAIN);
        struct nf_cache_record *r = &c->record[id];

        if (!r->pinned && !r->uses) {
            leave(c, id);
            return id;
        }
        r->uses -= !r->pinned;
        push(c, MAIN, id);
    }
}

INLINE uint32_t evict_s3(struct nf_cache *c)
{
    struct nf_cache_ring *small = &c->ring[SMALL], *main = &c->ring[MAIN];

    while (small->free_to_go || main->free_to_go) {
        if ((main->bytes > main->limit && main->free_to_go) || !small->free_to_go)
            return evict_main(c);
        /* Once begun, the small queue is gone through to the end, however large main becomes by that. */
        while (small->free_to_go) {
            uint32_t id = pop(c, SMALL);
            struct nf_cache_record *r = &c->record[id];

            if (r->pinned) {
                push(c, SMALL, id);
                continue;
            }
            leave(c, id);
            if (r->uses < S3_USES_FOR_MAIN) {
                remember(c, id);
                return id;
            }
            r->uses = 0;
            enter(c, MAIN, id);
        }
    }
    return NF_CACHE_NONE;
}

INLINE uint32_t evict_ring(struct nf_cache *c)
{
    while (c->ring[SMALL].free_to_go) {
        uint32_t id = pop(c, SMALL);

        if (!c->record[id].pinned && !c->record[id].uses) { /* LRU notes no uses */
            leave(c, id);
            return id;
        }
        if (!c->record[id].pinned)
            c->record[id].uses = 0;
        push(c, SMALL, id);
    }
    return NF_CACHE_NONE;
}

INLINE uint32_t evict(struct nf_cache *c, enum nf_cache_rule rule)
{
    uint32_t id;

    if (rule == NF_CACHE_GDSF) {
        id = c->heap_n ? c->heap[0] : NF_CACHE_NONE;
        if (id != NF_CACHE_NONE) {
            heap_take(c, id);
            c->floor = c->rank[id].priority;
            c->record[id].queue = NOWHERE;
        }
    } else {
        id = rule == NF_CACHE_S3_FIFO ? evict_s3(c) : evict_ring(c);
    }
    if (id != NF_CACHE_NONE)
        c->bytes -= size_of(c, id);
    return id;
}

/* --- for those who know the rule only at run time --- */

void nf_cache_init(struct nf_cache *c, enum nf_cache_rule rule, uint64_t capacity, bool sized)
{
    *c = (struct nf_cache){.rule = rule, .capacity = capacity, .sized = sized};
    c->ring[SMALL].limit = capacity / 10;
    c->ring[MAIN].limit = c->ring[GHOST].limit = capacity - capacity / 10;
    c->ring[GHOST].limit -= capacity % 10 > 0; /* nine tenths rounded down, where main's are rounded up */
}

/* The tables by id, with the width of an entry; those that a rule has no use for are left out. */
enum { TABLES = 4 };
struct table {
    void **at;
    size_t width;
};

static uint32_t tables(struct nf_cache *c, struct table out[TABLES])
{
    uint32_t n = 0;

    out[n++] = (struct table){(void **)&c->record, sizeof *c->record};
    if (c->sized)
        out[n++] = (struct table){(void **)&c->size, sizeof *c->size};
    if (c->rule == NF_CACHE_GDSF) {
        out[n++] = (struct table){(void **)&c->rank, sizeof *c->rank};
        out[n++] = (struct table){(void **)&c->heap, sizeof *c->heap};
    }
    return n;
}

static uint32_t rings(const struct nf_cache *c)
{
    return c->rule == NF_CACHE_S3_FIFO ? RINGS : c->rule == NF_CACHE_GDSF ? 0 : 1;
}

static size_t ring_bytes(uint32_t mask)
{
    return ((size_t)mask + 1) * sizeof(uint32_t);
}

void nf_cache_deinit(struct nf_cache *c)
{
    struct table t[TABLES];

    for (uint32_t i = tables(c, t); i-- > 0;)
        nf_big_free(*t[i].at, c->n_ids * t[i].width);
    for (uint32_t q = 0; q < RINGS; q++)
        nf_big_free(c->ring[q].id, ring_bytes(c->ring[q].mask));
    *c = (struct nf_cache){0};
}

/* What counts, in a larger ring. */
static void ring_move(struct nf_cache *c, uint32_t queue, uint32_t *id, uint32_t mask)
{
    struct nf_cache_ring *r = &c->ring[queue];
    uint32_t kept = 0;

    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t from = (r->head + i) & r->mask, name = r->id[from];

        if (!counts(c, queue, from, name))
            continue;
        id[kept] = name;
        c->record[name].at = kept++;
    }
    nf_big_free(r->id, ring_bytes(r->mask));
    r->id = id;
    r->head = 0;
    r->n = kept;
    r->mask = mask;
}

int nf_cache_grow(struct nf_cache *c, uint32_t n)
{
    uint32_t slots = 64, n_tables, n_rings = rings(c), *ring[RINGS] = {0};
    struct table t[TABLES];
    void *grown[TABLES] = {0};
    bool all = true;

    if (n <= c->n_ids)
        return 0;
    if (n < 2 * c->n_ids)
        n = 2 * c->n_ids;
    while (slots < 2 * n) /* at most half of a full ring counts, whatever it holds */
        slots *= 2;
    n_tables = tables(c, t);
    for (uint32_t i = 0; i < n_tables; i++) {
        grown[i] = nf_big_alloc(n * t[i].width);
        all = all && grown[i];
    }
    for (uint32_t q = 0; q < n_rings; q++) {
        ring[q] = nf_big_alloc(ring_bytes(slots - 1)); /* zeroed: what is prefetched ahead names a record */
        all = all && ring[q];
    }
    for (uint32_t i = 0; i < n_tables; i++) {
        if (all && c->n_ids)
            memcpy(grown[i], *t[i].at, c->n_ids * t[i].width);
        nf_big_free(all ? *t[i].at : grown[i], (all ? c->n_ids : n) * t[i].width);
        if (all)
            *t[i].at = grown[i];
    }
    for (uint32_t q = 0; q < n_rings; q++) {
        if (all)
            ring_move(c, q, ring[q], slots - 1);
        else
            nf_big_free(ring[q], ring_bytes(slots - 1));
    }
    if (!all)
        return -ENOMEM;
    for (uint32_t i = c->n_ids; i < n; i++)
        c->record[i] = (struct nf_cache_record){.queue = NOWHERE};
    c->n_ids = n;
    return 0;
}

bool nf_cache_holds(const struct nf_cache *c, uint32_t id)
{
    return holds(c, id);
}

void nf_cache_use(struct nf_cache *c, uint32_t id)
{
    use(c, c->rule, id);
}

void nf_cache_recall(struct nf_cache *c, uint32_t id)
{
    recall(c, c->rule, id);
}

void nf_cache_admit(struct nf_cache *c, uint32_t id, uint64_t bytes)
{
    admit(c, c->rule, id, bytes);
}

uint32_t nf_cache_evict(struct nf_cache *c)
{
    return evict(c, c->rule);
}

void nf_cache_pin(struct nf_cache *c, uint32_t id, bool pinned)
{
    struct nf_cache_record *r = &c->record[id];

    if (r->pinned == pinned)
        return;
    if (r->queue < RINGS)
        c->ring[r->queue].free_to_go += pinned ? UINT32_MAX : 1; /* modulo 2^32 */
    if (r->queue == HEAP && pinned)
        heap_take(c, id);
    if (r->queue == HEAP && !pinned)
        heap_rise(c, c->heap_n++, id);
    r->pinned = pinned;
}

void nf_cache_forget(struct nf_cache *c, uint32_t id)
{
    struct nf_cache_record *r = &c->record[id];

    nf_cache_pin(c, id, false);
    if (holds(c, id))
        c->bytes -= size_of(c, id);
    if (r->queue < RINGS)
        leave(c, id);
    if (r->queue == HEAP)
        heap_take(c, id);
    *r = (struct nf_cache_record){.queue = NOWHERE};
}

/* --- the simulator --- */

/* Records are fetched this many requests ahead: a miss in the caches takes as long as several requests. */
enum { AHEAD = 16 };

INLINE void run(struct nf_cache *c, enum nf_cache_rule rule, const uint32_t *ids, size_t n, const uint64_t *sizes,
                uint8_t *hit, struct nf_cache_result *out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t id = ids[i];
        uint64_t bytes = sizes ? sizes[id] : 1;
        bool held = holds(c, id);

        __builtin_prefetch(&c->record[ids[i + AHEAD < n ? i + AHEAD : i]], 1);
        if (hit)
            hit[i] = held;
        if (held) {
            use(c, rule, id);
            out->hits++;
            out->hit_bytes += bytes;
            continue;
        }
        recall(c, rule, id);
        if (bytes > c->capacity)
            continue;
        while (c->bytes + bytes > c->capacity) {
            evict(c, rule);
            out->evictions++;
        }
        admit(c, rule, id, bytes);
    }
}

int nf_cache_sim(enum nf_cache_rule rule, uint64_t capacity, const uint32_t *ids, size_t n, uint32_t n_ids,
                 const uint64_t *sizes, uint8_t *hit, struct nf_cache_result *out)
{
    struct nf_cache c;
    int rc;

    *out = (struct nf_cache_result){0};
    nf_cache_init(&c, rule, capacity, sizes);
    rc = nf_cache_grow(&c, n_ids);
    if (rc) {
        nf_cache_deinit(&c);
        return rc;
    }
    switch (rule) {
    case NF_CACHE_LRU:
        run(&c, NF_CACHE_LRU, ids, n, sizes, hit, out);
        break;
    case NF_CACHE_CLOCK:
        run(&c, NF_CACHE_CLOCK, ids, n, sizes, hit, out);
        break;
    case NF_CACHE_S3_FIFO:
        run(&c, NF_CACHE_S3_FIFO, ids, n, sizes, hit, out);
        break;
    default:
        run(&c, NF_CACHE_GDSF, ids, n, sizes, hit, out);
    }
    nf_cache_deinit(&c);
    return 0;
}
