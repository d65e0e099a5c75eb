#include "capture/exact/shadow.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES ((uint64_t)NF_SHADOW_LINE_BYTES * NF_SHADOW_PAGE_LINES)

enum { BATCH = 128 };

static void *reserve(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void release(void *p, uint64_t bytes)
{
    if (p)
        munmap(p, bytes);
}

static void unreserve(struct nf_shadow *s, uint64_t pages)
{
    release(s->lines, pages * NF_SHADOW_PAGE_LINES * sizeof *s->lines);
    release(s->pages, pages * sizeof *s->pages);
    release(s->listed, pages * sizeof *s->listed);
    release(s->list, pages * sizeof *s->list);
    release(s->other_list, pages * sizeof *s->other_list);
    *s = (struct nf_shadow){0};
}

int nf_shadow_init(struct nf_shadow *s, uint64_t base, uint64_t bytes)
{
    uint64_t n;

    *s = (struct nf_shadow){0};
    n = bytes / PAGE_BYTES + (bytes % PAGE_BYTES != 0);
    if (!bytes || base % NF_SHADOW_LINE_BYTES || n >= UINT32_MAX || bytes > UINT64_MAX - base)
        return -EINVAL;
    s->base = base;
    s->lines = reserve(n * NF_SHADOW_PAGE_LINES * sizeof *s->lines);
    s->pages = reserve(n * sizeof *s->pages);
    s->listed = reserve(n * sizeof *s->listed);
    s->list = reserve(n * sizeof *s->list);
    s->other_list = reserve(n * sizeof *s->other_list);
    if (s->lines && s->pages && s->listed && s->list && s->other_list) {
        __atomic_store_n(&s->bytes, bytes, __ATOMIC_RELEASE); /* threads may be touching already */
        return 0;
    }
    unreserve(s, n);
    return -ENOMEM;
}

void nf_shadow_deinit(struct nf_shadow *s)
{
    unreserve(s, (s->bytes + PAGE_BYTES - 1) / PAGE_BYTES);
}

static void lock(struct nf_shadow *s)
{
    while (__atomic_exchange_n(&s->lock, 1, __ATOMIC_ACQUIRE))
        sched_yield();
}

static void unlock(struct nf_shadow *s)
{
    __atomic_store_n(&s->lock, 0, __ATOMIC_RELEASE);
}

void nf_shadow_mark(struct nf_shadow *s, uint64_t line, bool shared)
{
    uint64_t page = line / NF_SHADOW_PAGE_LINES, bit = 1ull << line % NF_SHADOW_PAGE_LINES;

    if (!shared) {
        if (!s->pages[page] && !s->listed[page]) {
            s->listed[page] = 1;
            s->list[s->n_list++] = (uint32_t)page;
        }
        s->pages[page] |= bit;
        return;
    }
    if (__atomic_fetch_or(&s->pages[page], bit, __ATOMIC_SEQ_CST) || __atomic_exchange_n(&s->listed[page], 1, __ATOMIC_SEQ_CST))
        return;
    lock(s);
    s->list[s->n_list++] = (uint32_t)page;
    unlock(s);
}

void nf_shadow_touch_range(struct nf_shadow *s, uint64_t address, uint64_t bytes, unsigned rw, bool shared)
{
    uint64_t end = s->base + s->bytes, accesses = 1;

    if (address < s->base) {
        if (bytes <= s->base - address)
            return;
        bytes -= s->base - address;
        address = s->base;
    }
    if (address >= end)
        return;
    if (bytes > end - address)
        bytes = end - address;
    while (bytes) {
        uint64_t line = (address - s->base) / NF_SHADOW_LINE_BYTES, within = address % NF_SHADOW_LINE_BYTES;
        uint64_t n = NF_SHADOW_LINE_BYTES - within < bytes ? NF_SHADOW_LINE_BYTES - within : bytes;
        uint64_t mask = (~0ull >> (NF_SHADOW_LINE_BYTES - n)) << within;
        struct nf_shadow_line *l = &s->lines[line];

        __atomic_fetch_add(&l->accesses[rw], accesses, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&l->bytes[rw], n, __ATOMIC_SEQ_CST);
        if (!__atomic_fetch_or(&l->mask[rw], mask, __ATOMIC_SEQ_CST))
            nf_shadow_mark(s, line, shared);
        accesses = 0;
        address += n;
        bytes -= n;
    }
}

/* --- flushing --- */

struct run {
    uint64_t start, end, accesses, bytes; /* empty when start == end */
};

struct output {
    nf_touch_sink *sink; /* NULL: nobody wants to know */
    void *context;
    uint32_t owner, n;
    struct run open[2];
    struct nf_event events[BATCH];
};

static void put_run(struct output *o, unsigned rw)
{
    struct run *r = &o->open[rw];

    if (r->start == r->end)
        return;
    o->events[o->n++] = (struct nf_event){.kind = NF_EVENT_TOUCH, .rw = (uint8_t)rw, .id = o->owner, .address = r->start,
                                          .a = r->end - r->start, .b = r->accesses, .c = r->bytes};
    *r = (struct run){0};
    if (o->n == BATCH) {
        o->sink(o->context, o->events, o->n);
        o->n = 0;
    }
}

static void add_piece(struct output *o, unsigned rw, uint64_t start, uint64_t bytes, uint64_t accesses, uint64_t moved)
{
    struct run *r = &o->open[rw];

    if (r->start == r->end || r->end != start || start % PAGE_BYTES == 0) {
        put_run(o, rw);
        *r = (struct run){start, start, 0, 0};
    }
    r->end += bytes;
    r->accesses += accesses;
    r->bytes += moved;
}

static void take_line(struct nf_shadow *s, uint64_t number, struct output *o)
{
    struct nf_shadow_line *line = &s->lines[number];
    uint64_t address = s->base + number * NF_SHADOW_LINE_BYTES;

    for (unsigned rw = 0; rw < 2; rw++) {
        uint64_t mask = __atomic_exchange_n(&line->mask[rw], 0, __ATOMIC_SEQ_CST);
        uint64_t whole = (uint64_t)__builtin_popcountll(mask), before = 0, accesses, bytes;

        if (!mask) /* counts may be there whose mask is just coming */
            continue;
        accesses = __atomic_exchange_n(&line->accesses[rw], 0, __ATOMIC_SEQ_CST);
        bytes = __atomic_exchange_n(&line->bytes[rw], 0, __ATOMIC_SEQ_CST);
        if (!o->sink)
            continue;
        for (unsigned at = 0; mask;) {
            unsigned skip = (unsigned)__builtin_ctzll(mask), n;

            mask >>= skip;
            at += skip;
            n = ~mask ? (unsigned)__builtin_ctzll(~mask) : NF_SHADOW_LINE_BYTES;
            add_piece(o, rw, address + at, n, accesses * (before + n) / whole - accesses * before / whole,
                      bytes * (before + n) / whole - bytes * before / whole);
            before += n;
            at += n;
            mask = n < NF_SHADOW_LINE_BYTES ? mask >> n : 0;
        }
    }
}

static void take_page(struct nf_shadow *s, uint64_t page, uint64_t wanted, struct output *o)
{
    uint64_t bits = __atomic_fetch_and(&s->pages[page], ~wanted, __ATOMIC_SEQ_CST) & wanted;

    for (; bits; bits &= bits - 1)
        take_line(s, page * NF_SHADOW_PAGE_LINES + (uint64_t)__builtin_ctzll(bits), o);
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void take_all(struct nf_shadow *s, struct output *o)
{
    uint32_t *list = s->list;
    bool sorted = true;
    size_t n;

    lock(s);
    n = s->n_list;
    s->list = s->other_list;
    s->other_list = list;
    s->n_list = 0;
    unlock(s);
    for (size_t i = 1; i < n && sorted; i++)
        sorted = list[i - 1] < list[i];
    if (!sorted)
        qsort(list, n, sizeof *list, by_number);
    for (size_t i = 0; i < n; i++) {
        __atomic_store_n(&s->listed[list[i]], 0, __ATOMIC_SEQ_CST);
        take_page(s, list[i], ~0ull, o);
    }
}

/* Pages stay in the list: with no bits left they cost the next flush nothing. */
static void take_some(struct nf_shadow *s, uint64_t address, uint64_t bytes, struct output *o)
{
    uint64_t end = s->base + s->bytes, first, last;

    if (address < s->base) {
        if (bytes <= s->base - address)
            return;
        bytes -= s->base - address;
        address = s->base;
    }
    if (address >= end || !bytes)
        return;
    if (bytes > end - address)
        bytes = end - address;
    first = (address - s->base) / NF_SHADOW_LINE_BYTES;
    last = (address - s->base + bytes - 1) / NF_SHADOW_LINE_BYTES;
    for (uint64_t page = first / NF_SHADOW_PAGE_LINES; page <= last / NF_SHADOW_PAGE_LINES; page++) {
        uint64_t wanted = ~0ull;

        if (page == first / NF_SHADOW_PAGE_LINES)
            wanted <<= first % NF_SHADOW_PAGE_LINES;
        if (page == last / NF_SHADOW_PAGE_LINES)
            wanted &= ~0ull >> (NF_SHADOW_PAGE_LINES - 1 - last % NF_SHADOW_PAGE_LINES);
        if (__atomic_load_n(&s->pages[page], __ATOMIC_SEQ_CST) & wanted)
            take_page(s, page, wanted, o);
    }
}

void nf_shadow_flush(struct nf_shadow *s, uint64_t address, uint64_t bytes, enum nf_touch_owner owner,
                     nf_touch_sink *sink, void *context)
{
    struct output o;

    if (!s->bytes)
        return;
    o.sink = sink;
    o.context = context;
    o.owner = owner;
    o.n = 0;
    memset(o.open, 0, sizeof o.open);
    if (address <= s->base && bytes >= s->bytes)
        take_all(s, &o);
    else
        take_some(s, address, bytes, &o);
    if (!sink)
        return;
    for (unsigned rw = 0; rw < 2; rw++)
        put_run(&o, rw);
    if (o.n)
        sink(context, o.events, o.n);
}

void nf_shadow_discard(struct nf_shadow *s)
{
    nf_shadow_flush(s, s->base, s->bytes, NF_TOUCH_OUTSIDE, NULL, NULL);
}
