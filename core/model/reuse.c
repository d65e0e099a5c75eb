#include "core/model/reuse.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/big.h"
#include "core/model/block-map.h"

/* Time is a bitmap: bit t is set when slot t is the latest access of some block, so a stack distance is the number of
 * set bits behind a slot. Counts per 512 bits, 32 Ki bits and 2 Mi bits keep that sum short at any size; each of its
 * parts has a fixed length, masked instead of cut, because a loop that ends somewhere new each time costs more in
 * mispredicted branches than in additions. When the slots are used up, the set bits are walked in order and renumbered
 * from 0 (compaction). */
enum {
    LINE_SHIFT = 9,
    GROUP_SHIFT = 15,
    SUPER_SHIFT = 21,
    LINE_WORDS = 512 / 64,
    FANOUT = 64, /* lines per group and groups per super */
    SUPERS_ALIGN = 8,
    SLOTS_MIN = 1 << GROUP_SHIFT,
    CHUNKS_MIN = 16,
    SLOTS_PER_LIVE = 3, /* at least, after a compaction: at most half a renumbering per access */
    PREFETCH_CHUNKS = 2,
    AHEAD_COMPACT = 24,
    GROUP = 16, /* accesses of a batch that go through a stage together; see run */
};
#define SLOTS_MAX (1u << 31)
#define SLOT_NONE UINT32_MAX

struct chunk {
    uint32_t slot[NF_BLOCK_CHUNK];
};

struct nf_reuse {
    struct nf_block_map map;
    struct chunk *chunks; /* by the map's index */
    uint32_t n_chunks, chunks_max;

    uint64_t *bits;
    uint16_t *lines;
    uint32_t *groups, *supers;
    uint32_t *owner; /* slot -> chunk index × NF_BLOCK_CHUNK + place in it */
    uint32_t slots, now, live;
    int (*extent)(struct nf_reuse *r, uint64_t first, uint32_t n, uint32_t *distances);
    int (*run)(struct nf_reuse *r, const uint64_t *blocks, size_t n, uint32_t *distances);
};

static size_t n_groups(uint32_t slots)
{
    return ((size_t)(slots >> SUPER_SHIFT) + 1) * FANOUT;
}

static uint32_t n_supers(uint32_t slots)
{
    return ((slots >> SUPER_SHIFT) + SUPERS_ALIGN) / SUPERS_ALIGN * SUPERS_ALIGN;
}

/* All but owner. */
static void timeline_free(struct nf_reuse *r)
{
    nf_big_free(r->bits, r->slots / 8);
    nf_big_free(r->lines, (r->slots >> LINE_SHIFT) * sizeof *r->lines);
    free(r->groups);
    free(r->supers);
}

/* Makes the timeline longer; the contents of all but owner are the caller's to fill. */
static int timeline_grow(struct nf_reuse *r, uint32_t slots)
{
    uint64_t *bits = nf_big_alloc(slots / 8);
    uint16_t *lines = nf_big_alloc((slots >> LINE_SHIFT) * sizeof *lines);
    uint32_t *groups = malloc(n_groups(slots) * sizeof *groups);
    uint32_t *supers = malloc(n_supers(slots) * sizeof *supers);
    uint32_t *owner = NULL;

    if (bits && lines && groups && supers)
        owner = nf_big_grow(r->owner, r->slots * sizeof *owner, slots * sizeof *owner);
    if (!owner) {
        nf_big_free(bits, slots / 8);
        nf_big_free(lines, (slots >> LINE_SHIFT) * sizeof *lines);
        free(groups);
        free(supers);
        return -ENOMEM;
    }
    timeline_free(r);
    r->bits = bits;
    r->lines = lines;
    r->groups = groups;
    r->supers = supers;
    r->owner = owner;
    r->slots = slots;
    return 0;
}

static inline void slot_clear(struct nf_reuse *r, uint32_t t)
{
    r->bits[t / 64] &= ~(1ull << (t % 64));
    r->lines[t >> LINE_SHIFT]--;
    r->groups[t >> GROUP_SHIFT]--;
    r->supers[t >> SUPER_SHIFT]--;
}

/* Bits t % 64 and on, at most n of them, at most to the word's end; *taken says how many. */
static inline uint64_t word_part(uint32_t t, uint32_t n, uint32_t *taken)
{
    *taken = n < 64 - t % 64 ? n : 64 - t % 64;
    return ~0ull >> (64 - *taken) << (t % 64);
}

static inline void slots_set(struct nf_reuse *r, uint32_t t, uint32_t n)
{
    for (uint32_t taken; n; t += taken, n -= taken) {
        r->bits[t / 64] |= word_part(t, n, &taken);
        r->lines[t >> LINE_SHIFT] += (uint16_t)taken;
        r->groups[t >> GROUP_SHIFT] += taken;
        r->supers[t >> SUPER_SHIFT] += taken;
    }
}

static inline void slots_clear(struct nf_reuse *r, uint32_t t, uint32_t n)
{
    for (uint32_t taken; n; t += taken, n -= taken) {
        r->bits[t / 64] &= ~word_part(t, n, &taken);
        r->lines[t >> LINE_SHIFT] -= (uint16_t)taken;
        r->groups[t >> GROUP_SHIFT] -= taken;
        r->supers[t >> SUPER_SHIFT] -= taken;
    }
}

/* The first `live` slots set, the others clear. */
static void timeline_fill(struct nf_reuse *r, uint32_t live)
{
    memset(r->bits, 0, r->slots / 8);
    memset(r->lines, 0, (r->slots >> LINE_SHIFT) * sizeof *r->lines);
    memset(r->groups, 0, n_groups(r->slots) * sizeof *r->groups);
    memset(r->supers, 0, n_supers(r->slots) * sizeof *r->supers);
    slots_set(r, 0, live);
    r->now = live;
}

/* Vectors of the compiler's own: one source for every width. */
typedef uint16_t u16x16 __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint32_t u32x8 __attribute__((vector_size(32), aligned(4), may_alias));

/* FANOUT zeros, FANOUT ones: read from FANOUT - 1 - i on it is the mask of what lies behind i. */
#define ONES8 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff
static const uint16_t behind16[2 * FANOUT] = {[FANOUT] = ONES8, ONES8, ONES8, ONES8, ONES8, ONES8, ONES8, ONES8};
#undef ONES8
#define ONES8 ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u
static const uint32_t behind32[2 * FANOUT] = {[FANOUT] = ONES8, ONES8, ONES8, ONES8, ONES8, ONES8, ONES8, ONES8};
#undef ONES8

/* Set bits behind slot t. */
static inline __attribute__((always_inline)) uint32_t live_after(const struct nf_reuse *r, uint32_t t)
{
    const uint64_t *bits = r->bits + (size_t)(t >> LINE_SHIFT) * LINE_WORDS;
    const u16x16 *lines = (const u16x16 *)(r->lines + (size_t)(t >> GROUP_SHIFT) * FANOUT);
    const u16x16 *line_mask = (const u16x16 *)(behind16 + FANOUT - 1 - (t >> LINE_SHIFT) % FANOUT);
    const u32x8 *groups = (const u32x8 *)(r->groups + (size_t)(t >> SUPER_SHIFT) * FANOUT);
    const u32x8 *group_mask = (const u32x8 *)(behind32 + FANOUT - 1 - (t >> GROUP_SHIFT) % FANOUT);
    uint32_t word = t / 64 % LINE_WORDS, super = t >> SUPER_SHIFT;
    uint32_t sum = (uint32_t)__builtin_popcountll(bits[word] >> (t % 64) >> 1);
    u16x16 line_sum = {0}; /* its parts stay below 4 × 512 */
    union {
        u32x8 v;
        uint32_t part[8];
    } total = {.part = {0}};

    for (uint32_t i = 1; i < LINE_WORDS; i++)
        sum += (uint32_t)__builtin_popcountll(bits[i] & -(uint64_t)(i > word));
    for (int i = 0; i < FANOUT / 16; i++)
        line_sum += lines[i] & line_mask[i];
    for (int i = 0; i < FANOUT / 8; i++)
        total.v += groups[i] & group_mask[i];
    total.v += ((u32x8)line_sum & 0xffff) + ((u32x8)line_sum >> 16);
    for (uint32_t at = super / SUPERS_ALIGN * SUPERS_ALIGN; at <= r->slots >> SUPER_SHIFT; at += SUPERS_ALIGN) {
        for (uint32_t i = at; i < at + SUPERS_ALIGN; i++)
            sum += r->supers[i] & -(uint32_t)(i > super);
    }
    for (int i = 0; i < 8; i++)
        sum += total.part[i];
    return sum;
}

/* Renumbers the live slots from 0, in a longer timeline when too few of this one would be free. */
static int compact(struct nf_reuse *r)
{
    uint32_t slots = r->slots, n = 0;

    while (slots < SLOTS_MAX && slots / SLOTS_PER_LIVE < r->live)
        slots *= 2;
    if (slots - r->live < GROUP)
        return -ENOMEM;
    for (uint32_t w = 0; w < r->slots / 64; w++) {
        for (uint64_t bits = r->bits[w]; bits; bits &= bits - 1)
            r->owner[n++] = r->owner[w * 64 + (uint32_t)__builtin_ctzll(bits)];
    }
    if (slots > r->slots && timeline_grow(r, slots))
        return -ENOMEM;
    timeline_fill(r, n);
    for (uint32_t t = 0; t < n; t++) {
        uint32_t owner = r->owner[t];

        if (t + AHEAD_COMPACT < n)
            __builtin_prefetch(&r->chunks[r->owner[t + AHEAD_COMPACT] / NF_BLOCK_CHUNK], 1);
        r->chunks[owner / NF_BLOCK_CHUNK].slot[owner % NF_BLOCK_CHUNK] = t;
    }
    return 0;
}

static int chunk_add(struct nf_reuse *r, uint64_t chunk, uint32_t *index)
{
    if (r->n_chunks == r->chunks_max) {
        uint32_t most = r->chunks_max ? 2 * r->chunks_max : CHUNKS_MIN; /* the map ends before this wraps */
        struct chunk *chunks = nf_big_grow(r->chunks, r->chunks_max * sizeof *chunks, most * sizeof *chunks);

        if (!chunks)
            return -ENOMEM;
        r->chunks = chunks;
        r->chunks_max = most;
    }
    if (nf_block_map_add(&r->map, chunk))
        return -ENOMEM;
    *index = r->n_chunks++;
    memset(&r->chunks[*index], 0xff, sizeof *r->chunks); /* SLOT_NONE everywhere */
    return 0;
}

/* Index of a chunk, made when new. */
static inline __attribute__((always_inline)) int chunk_find(struct nf_reuse *r, uint64_t chunk, uint32_t *index)
{
    *index = nf_block_map_find(&r->map, chunk);
    return *index == NF_BLOCK_NONE ? chunk_add(r, chunk, index) : 0;
}

static inline __attribute__((always_inline)) bool all_follow(const uint32_t *slot, uint32_t n)
{
    bool follow = true;

    for (uint32_t i = 1; i < n; i++)
        follow &= slot[i] == slot[0] + i;
    return follow;
}

static inline __attribute__((always_inline)) bool all_cold(const uint32_t *slot, uint32_t n)
{
    bool cold = true;

    for (uint32_t i = 0; i < n; i++)
        cold &= slot[i] == SLOT_NONE;
    return cold;
}

/* The access of n neighbours in one chunk, for which there are free slots. *previous: the last slot of the block below
 * when that was accessed just before with the distance distances[-1], else SLOT_NONE; becomes that of the last block.
 *
 * A block that was last accessed right after the block below it has the same distance: itself less, the one below more.
 */
static inline __attribute__((always_inline)) void touch(struct nf_reuse *r, uint32_t owner, uint32_t n,
                                                        uint32_t *previous, uint32_t *distances)
{
    uint32_t *slot = &r->chunks[owner / NF_BLOCK_CHUNK].slot[owner % NF_BLOCK_CHUNK], before = *previous;

    *previous = slot[n - 1];
    if (all_cold(slot, n)) {
        for (uint32_t i = 0; i < n; i++)
            distances[i] = NF_REUSE_COLD;
        r->live += n;
        slots_set(r, r->now, n);
    } else if (slot[0] != SLOT_NONE && all_follow(slot, n)) {
        uint32_t distance = before != SLOT_NONE && slot[0] == before + 1 ? distances[-1] : live_after(r, slot[0]);

        for (uint32_t i = 0; i < n; i++)
            distances[i] = distance;
        slots_clear(r, slot[0], n);
        slots_set(r, r->now, n);
    } else {
        for (uint32_t i = 0; i < n; before = slot[i], i++) {
            if (slot[i] == SLOT_NONE) {
                distances[i] = NF_REUSE_COLD;
                r->live++;
            } else {
                distances[i] =
                    before != SLOT_NONE && slot[i] == before + 1 ? distances[(int64_t)i - 1] : live_after(r, slot[i]);
                slot_clear(r, slot[i]);
            }
            slots_set(r, r->now + i, 1);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        slot[i] = r->now + i;
        r->owner[r->now + i] = owner + i;
    }
    r->now += n;
}

static inline __attribute__((always_inline)) int extent(struct nf_reuse *r, uint64_t first, uint32_t n,
                                                        uint32_t *distances)
{
    uint32_t previous = SLOT_NONE;

    for (uint32_t i = 0, taken; i < n; i += taken) {
        uint64_t block = first + i;
        uint32_t place = (uint32_t)block % NF_BLOCK_CHUNK, chunk;

        taken = n - i < NF_BLOCK_CHUNK - place ? n - i : NF_BLOCK_CHUNK - place;
        nf_block_map_prefetch(&r->map, (block >> NF_BLOCK_CHUNK_SHIFT) + PREFETCH_CHUNKS);
        if (chunk_find(r, block >> NF_BLOCK_CHUNK_SHIFT, &chunk))
            return -ENOMEM;
        /* Chunks that follow each other in an extent were most likely made one after the other. */
        __builtin_prefetch(&r->chunks[chunk] + 1, 1);
        if (r->slots - r->now < taken) {
            if (compact(r))
                return -ENOMEM;
            previous = SLOT_NONE;
        }
        touch(r, chunk * NF_BLOCK_CHUNK + place, taken, &previous, &distances[i]);
    }
    return 0;
}

/* Accesses of a batch that are in flight. */
struct group {
    uint32_t owner[GROUP];
    uint32_t old[GROUP]; /* the slots they leave; 0 for cold ones */
    bool cold[GROUP];
    uint32_t n;
};

static inline __attribute__((always_inline)) int group_find(struct nf_reuse *r, struct group *g, const uint64_t *blocks,
                                                            uint32_t n)
{
    g->n = n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t chunk;

        if (chunk_find(r, blocks[i] >> NF_BLOCK_CHUNK_SHIFT, &chunk))
            return -ENOMEM;
        g->owner[i] = chunk * NF_BLOCK_CHUNK + (uint32_t)blocks[i] % NF_BLOCK_CHUNK;
        __builtin_prefetch(&r->chunks[chunk].slot[g->owner[i] % NF_BLOCK_CHUNK], 1);
    }
    return 0;
}

/* Moves the blocks to the slots from `to` on; their bits follow in group_finish. */
static inline __attribute__((always_inline)) void group_take(struct nf_reuse *r, struct group *g, uint32_t to)
{
    for (uint32_t i = 0; i < g->n; i++) {
        uint32_t *slot = &r->chunks[g->owner[i] / NF_BLOCK_CHUNK].slot[g->owner[i] % NF_BLOCK_CHUNK], old = *slot;

        *slot = to + i;
        r->owner[to + i] = g->owner[i];
        g->cold[i] = old == SLOT_NONE;
        g->old[i] = g->cold[i] ? 0 : old;
        __builtin_prefetch(&r->bits[(size_t)(g->old[i] >> LINE_SHIFT) * LINE_WORDS], 1);
        __builtin_prefetch(&r->lines[g->old[i] >> LINE_SHIFT], 1);
    }
}

/* The distances of a group against the timeline before any of its accesses, so that no sum waits for the stores of the
 * one before; what the group's earlier accesses changed is added: each set a bit at the end and cleared the one it
 * left. */
static inline __attribute__((always_inline)) void group_finish(struct nf_reuse *r, struct group *g, uint32_t *distances)
{
    uint32_t change[GROUP];

    for (uint32_t i = 0; i < g->n; i++) {
        uint32_t sum = 0, old = g->old[i];

        for (uint32_t k = 0; k < GROUP; k++)
            sum += -(uint32_t)(k < i) & ((uint32_t)(r->now + k > old) - (uint32_t)(g->old[k] > old));
        change[i] = sum;
    }
    for (uint32_t i = 0; i < g->n; i++)
        distances[i] = g->cold[i] ? NF_REUSE_COLD : live_after(r, g->old[i]) + change[i];
    slots_set(r, r->now, g->n);
    r->now += g->n;
    for (uint32_t i = 0; i < g->n; i++) {
        if (g->cold[i])
            r->live++;
        else
            slot_clear(r, g->old[i]);
    }
}

/* A batch passes through four stages, each a group behind the one before: fetch the table entries, find the chunks and
 * fetch them, take the slots and fetch their bits, sum. */
static inline __attribute__((always_inline)) int run(struct nf_reuse *r, const uint64_t *blocks, size_t n,
                                                     uint32_t *distances)
{
    struct group groups[3] = {0}, *finding = &groups[0], *taking = &groups[1], *finishing = &groups[2], *free;

    for (size_t at = 0; at < n + 3 * GROUP; at += GROUP) {
        size_t find_at = at - GROUP, finish_at = at - (size_t)3 * GROUP; /* wrap before their time: not below n */

        for (size_t i = at; i < at + GROUP && i < n; i++)
            nf_block_map_prefetch(&r->map, blocks[i] >> NF_BLOCK_CHUNK_SHIFT);
        if (find_at < n) {
            if (group_find(r, finding, blocks + find_at, n - find_at < GROUP ? (uint32_t)(n - find_at) : GROUP))
                return -ENOMEM;
        }
        if (taking->n) {
            if (r->slots - r->now - finishing->n < taking->n) {
                if (finishing->n)
                    group_finish(r, finishing, distances + finish_at);
                finishing->n = 0;
                if (compact(r))
                    return -ENOMEM;
            }
            group_take(r, taking, r->now + finishing->n);
        }
        if (finishing->n)
            group_finish(r, finishing, distances + finish_at);
        free = finishing;
        free->n = 0;
        finishing = taking;
        taking = finding;
        finding = free;
    }
    return 0;
}

static int extent_baseline(struct nf_reuse *r, uint64_t first, uint32_t n, uint32_t *distances)
{
    return extent(r, first, n, distances);
}

static int run_baseline(struct nf_reuse *r, const uint64_t *blocks, size_t n, uint32_t *distances)
{
    return run(r, blocks, n, distances);
}

/* popcnt is not in the x86-64 baseline, where a bit count is a library call. (target_clones would say this in one
 * line, but clang before 16 links it under another name.) */
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,popcnt,bmi,bmi2")))
static AVX2 int extent_avx2(struct nf_reuse *r, uint64_t first, uint32_t n, uint32_t *distances)
{
    return extent(r, first, n, distances);
}

static AVX2 int run_avx2(struct nf_reuse *r, const uint64_t *blocks, size_t n, uint32_t *distances)
{
    return run(r, blocks, n, distances);
}

static void choose(struct nf_reuse *r)
{
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi") &&
                __builtin_cpu_supports("bmi2");

    r->extent = avx2 ? extent_avx2 : extent_baseline;
    r->run = avx2 ? run_avx2 : run_baseline;
}
#else
static void choose(struct nf_reuse *r)
{
    r->extent = extent_baseline;
    r->run = run_baseline;
}
#endif

struct nf_reuse *nf_reuse_new(uint32_t capacity_hint)
{
    struct nf_reuse *r = calloc(1, sizeof *r);
    uint32_t slots = SLOTS_MIN;

    if (!r)
        return NULL;
    choose(r);
    while (slots < SLOTS_MAX && slots / SLOTS_PER_LIVE < capacity_hint)
        slots *= 2;
    if (nf_block_map_init(&r->map, capacity_hint / NF_BLOCK_CHUNK) || timeline_grow(r, slots))
        return nf_reuse_free(r);
    timeline_fill(r, 0);
    return r;
}

struct nf_reuse *nf_reuse_free(struct nf_reuse *r)
{
    if (!r)
        return NULL;
    nf_block_map_deinit(&r->map);
    nf_big_free(r->chunks, r->chunks_max * sizeof *r->chunks);
    nf_big_free(r->owner, r->slots * sizeof *r->owner);
    timeline_free(r);
    free(r);
    return NULL;
}

int nf_reuse_run(struct nf_reuse *r, const uint64_t *blocks, size_t n, uint32_t *distances)
{
    return r->run(r, blocks, n, distances);
}

int nf_reuse_extent(struct nf_reuse *r, uint64_t first, uint32_t n, uint32_t *distances)
{
    return r->extent(r, first, n, distances);
}

void nf_reuse_forget(struct nf_reuse *r, uint64_t block)
{
    uint32_t chunk = nf_block_map_find(&r->map, block >> NF_BLOCK_CHUNK_SHIFT), *slot;

    if (chunk == NF_BLOCK_NONE)
        return;
    slot = &r->chunks[chunk].slot[block % NF_BLOCK_CHUNK];
    if (*slot == SLOT_NONE)
        return;
    slot_clear(r, *slot);
    *slot = SLOT_NONE;
    r->live--;
}
