#include "pool/arena.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/model/stream.h"

/* Size classes as in TLSF (Masmano et al. 2004): powers of two cut into 2^SPLIT_BITS steps, so that a block from the
 * next class wastes at most 1/32 of a request; below 32 pages every size has its own. */
enum { SPLIT_BITS = 5, SPLITS = 1 << SPLIT_BITS, BINS = (32 - SPLIT_BITS) * SPLITS, BIN_WORDS = (BINS + 63) / 64 };
/* How many blocks of a request's own class are looked at for the tightest fit before the next class is taken. */
enum { TIGHT_FIT_TRIES = 16 };
enum { PLACES_MIN = 1024 };

struct nf_arena_block {
    uint32_t pages : 31, free : 1;
    uint32_t next, prev; /* in its free list */
    uint32_t reserved;   /* 16 bytes: never across two cache lines */
};

struct nf_arena_place {
    uint64_t address; /* 0: empty */
    uint32_t first;
};

/* Zeroes whose pages exist: a fault inside a trial would be timed. (malloc and memset alone become calloc.) */
static void *faulted_zeroes(size_t n, size_t size)
{
    char *p = calloc(n, size);

    for (size_t i = 0; p && i < n * size; i += NF_PAGE_BYTES)
        *(volatile char *)(p + i) = 0;
    return p;
}

static unsigned bin_of(uint32_t pages)
{
    unsigned log;

    if (pages < SPLITS)
        return pages;
    log = 31 - (unsigned)__builtin_clz(pages);
    return ((log - SPLIT_BITS + 1) << SPLIT_BITS) + ((pages >> (log - SPLIT_BITS)) & (SPLITS - 1));
}

static void starts_set(struct nf_arena *a, uint32_t page)
{
    for (unsigned level = 0; level < a->n_levels; level++) {
        uint64_t *word = &a->starts[level][page >> 6], before = *word;

        *word = before | 1ull << (page & 63);
        if (before)
            return; /* the levels above know of this word */
        page >>= 6;
    }
}

static void starts_clear(struct nf_arena *a, uint32_t page)
{
    for (unsigned level = 0; level < a->n_levels; level++) {
        uint64_t *word = &a->starts[level][page >> 6];

        *word &= ~(1ull << (page & 63));
        if (*word)
            return;
        page >>= 6;
    }
}

static bool starts_at(const struct nf_arena *a, uint32_t page)
{
    return a->starts[0][page >> 6] >> (page & 63) & 1;
}

/* Start of the block that holds the page. Page 0 always starts one. */
static uint32_t block_of(const struct nf_arena *a, uint32_t page)
{
    for (unsigned level = 0;; level++) {
        /* At level 0 the page itself counts; above it only words before the one just found empty. */
        uint64_t mask = level ? (1ull << (page & 63)) - 1 : ~0ull >> (63 - (page & 63));
        uint64_t word = a->starts[level][page >> 6] & mask;

        if (!word) {
            page >>= 6;
            assert(level + 1 < a->n_levels);
            continue;
        }
        page = (page & ~63u) + 63 - (uint32_t)__builtin_clzll(word);
        while (level-- > 0)
            page = (page << 6) + 63 - (uint32_t)__builtin_clzll(a->starts[level][page]);
        return page;
    }
}

static void list_add(struct nf_arena *a, uint32_t first, uint32_t pages)
{
    unsigned bin = bin_of(pages);
    struct nf_arena_block *b = &a->block[first];

    b->pages = pages;
    b->free = 1;
    b->prev = NF_ARENA_NONE;
    b->next = a->bin[bin];
    if (b->next != NF_ARENA_NONE)
        a->block[b->next].prev = first;
    a->bin[bin] = first;
    a->bin_used[bin >> 6] |= 1ull << (bin & 63);
}

static void list_remove(struct nf_arena *a, uint32_t first)
{
    struct nf_arena_block *b = &a->block[first];

    if (b->next != NF_ARENA_NONE)
        a->block[b->next].prev = b->prev;
    if (b->prev != NF_ARENA_NONE) {
        a->block[b->prev].next = b->next;
    } else {
        unsigned bin = bin_of(b->pages);

        a->bin[bin] = b->next;
        if (b->next == NF_ARENA_NONE)
            a->bin_used[bin >> 6] &= ~(1ull << (bin & 63));
    }
}

/* The tightest of the first `tries` blocks of a bin that hold the request. */
static uint32_t search_bin(const struct nf_arena *a, unsigned bin, uint32_t pages, uint32_t tries)
{
    uint32_t best = NF_ARENA_NONE;

    for (uint32_t b = a->bin[bin]; b != NF_ARENA_NONE && tries; b = a->block[b].next, tries--) {
        if (a->block[b].pages < pages || (best != NF_ARENA_NONE && a->block[b].pages >= a->block[best].pages))
            continue;
        best = b;
        if (a->block[b].pages == pages)
            break;
    }
    return best;
}

/* A free block for the request: tight in its own class, else any of the next class that has one. */
static uint32_t search(const struct nf_arena *a, uint32_t pages)
{
    unsigned bin = bin_of(pages), word = (bin + 1) >> 6;
    uint32_t found = search_bin(a, bin, pages, TIGHT_FIT_TRIES);
    uint64_t bits;

    if (found != NF_ARENA_NONE)
        return found;
    bits = word < BIN_WORDS ? a->bin_used[word] & ~0ull << ((bin + 1) & 63) : 0;
    while (!bits && ++word < BIN_WORDS)
        bits = a->bin_used[word];
    if (bits)
        return a->bin[word * 64 + (unsigned)__builtin_ctzll(bits)];
    return search_bin(a, bin, pages, UINT32_MAX);
}

/* Takes [first, first + pages) out of the free block at `block`; what is left on either side stays free. */
static void carve(struct nf_arena *a, uint32_t block, uint32_t first, uint32_t pages)
{
    uint32_t before = first - block, after = a->block[block].pages - before - pages;

    list_remove(a, block);
    if (before) {
        list_add(a, block, before);
        starts_set(a, first);
    }
    if (after) {
        list_add(a, first + pages, after);
        starts_set(a, first + pages);
    }
    a->block[first].pages = pages;
    a->block[first].free = 0;
    a->used_pages += pages;
}

static struct nf_arena_place *place_find(struct nf_arena *a, uint64_t address)
{
    uint32_t i = (uint32_t)nf_mix64(address) & a->place_mask;

    while (a->place[i].address && a->place[i].address != address)
        i = (i + 1) & a->place_mask;
    return &a->place[i];
}

static int places_init(struct nf_arena *a, uint32_t n)
{
    a->place = faulted_zeroes(n, sizeof *a->place);
    if (!a->place)
        return -ENOMEM;
    a->place_mask = n - 1;
    return 0;
}

/* A table more than half full makes probes long. When it cannot grow it stays as it is: new addresses then have no
 * place of their own, which costs fidelity but no memory. */
static void places_grow(struct nf_arena *a)
{
    struct nf_arena_place *old = a->place;
    uint32_t n = a->place_mask + 1;

    if (n > UINT32_MAX / 2 || places_init(a, n * 2)) {
        a->place = old;
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        if (old[i].address)
            *place_find(a, old[i].address) = old[i];
    free(old);
}

uint32_t nf_arena_take(struct nf_arena *a, uint64_t address, uint32_t pages)
{
    struct nf_arena_place *place = NULL;
    uint32_t first, block;

    assert(pages > 0);
    if (pages > a->pages - a->used_pages)
        return NF_ARENA_NONE;
    if (address) {
        place = place_find(a, address);
        if (place->address) {
            first = place->first;
            block = starts_at(a, first) ? first : block_of(a, first);
            if (a->block[block].free && a->block[block].pages - (first - block) >= pages) {
                carve(a, block, first, pages);
                return first;
            }
        }
    }
    first = search(a, pages);
    if (first == NF_ARENA_NONE)
        return NF_ARENA_NONE;
    carve(a, first, first, pages);
    if (place && !place->address && a->n_places * 2ull > a->place_mask) {
        places_grow(a);
        place = place_find(a, address);
    }
    /* One empty place must stay, or a probe would never end. */
    if (place && (place->address || a->n_places < a->place_mask)) {
        a->n_places += !place->address;
        *place = (struct nf_arena_place){address, first};
    }
    return first;
}

uint32_t nf_arena_give(struct nf_arena *a, uint32_t first)
{
    uint32_t pages, start = first, end, given;

    assert(first < a->pages && starts_at(a, first) && !a->block[first].free);
    given = pages = a->block[first].pages;
    a->used_pages -= given;
    end = first + pages;
    if (end < a->pages && a->block[end].free) {
        list_remove(a, end);
        starts_clear(a, end);
        pages += a->block[end].pages;
    }
    if (first > 0) {
        uint32_t before = block_of(a, first - 1);

        if (a->block[before].free) {
            list_remove(a, before);
            starts_clear(a, first);
            pages += a->block[before].pages;
            start = before;
        }
    }
    list_add(a, start, pages);
    return given;
}

bool nf_arena_next_used(const struct nf_arena *a, uint32_t *next, uint32_t *first, uint32_t *pages)
{
    uint32_t at = *next;

    while (at < a->pages && a->block[at].free)
        at += a->block[at].pages;
    *first = at;
    while (at < a->pages && !a->block[at].free)
        at += a->block[at].pages;
    *pages = at - *first;
    *next = at;
    return *pages > 0;
}

int nf_arena_init(struct nf_arena *a, uint64_t pages)
{
    uint64_t n = pages;

    memset(a, 0, sizeof *a);
    if (pages > NF_ARENA_PAGES_MAX)
        return nf_fail(-EFBIG, "an arena of %llu pages is more than %d", (unsigned long long)pages,
                       NF_ARENA_PAGES_MAX);
    a->pages = (uint32_t)pages;
    a->block = faulted_zeroes(pages + 1, sizeof *a->block);
    a->bin = malloc(BINS * sizeof *a->bin);
    a->bin_used = calloc(BIN_WORDS, sizeof *a->bin_used);
    if (!a->block || !a->bin || !a->bin_used || places_init(a, PLACES_MIN))
        goto nomem;
    memset(a->bin, 0xff, BINS * sizeof *a->bin);
    do {
        n = (n + 63) / 64;
        a->starts[a->n_levels] = faulted_zeroes(n + 1, sizeof(uint64_t));
        if (!a->starts[a->n_levels++])
            goto nomem;
    } while (n > 1);
    if (pages) {
        starts_set(a, 0);
        list_add(a, 0, (uint32_t)pages);
    }
    return 0;
nomem:
    nf_arena_deinit(a);
    return nf_fail(-ENOMEM, "no memory for the ledger of %llu pages", (unsigned long long)pages);
}

void nf_arena_deinit(struct nf_arena *a)
{
    free(a->block);
    free(a->place);
    for (unsigned i = 0; i < a->n_levels; i++)
        free(a->starts[i]);
    free(a->bin);
    free(a->bin_used);
    memset(a, 0, sizeof *a);
}
