#include "core/model/reuse.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/rng.h"

/* Time is a bitmap: bit t is set when slot t is the latest access of some block, so a stack distance is the number of
 * set bits behind a slot. Counts per 512 bits, 32 Ki bits and 2 Mi bits keep that sum short at any size. When the slots
 * are used up, the set bits are walked in order and renumbered from 0 (compaction).
 *
 * Names of blocks are mapped in chunks of 16 consecutive ones, one cache line of slots each: an extent costs one hash
 * lookup per chunk, and a chunk never moves to another index, so that slots can point back at it. */
enum {
    CHUNK_SHIFT = 4,
    CHUNK_BLOCKS = 1 << CHUNK_SHIFT,
    LINE_SHIFT = 9,
    GROUP_SHIFT = 15,
    SUPER_SHIFT = 21,
    FANOUT = 64, /* lines per group and groups per super */
    SLOTS_MIN = 1 << GROUP_SHIFT,
    PREFETCH_CHUNKS = 2,
};
#define SLOTS_MAX (1u << 31)
#define SLOT_NONE UINT32_MAX

struct entry {
    uint64_t key;   /* block >> CHUNK_SHIFT */
    uint32_t chunk; /* index + 1; 0: empty */
};

struct chunk {
    uint32_t slot[CHUNK_BLOCKS];
};

struct nf_reuse {
    struct entry *table;
    uint64_t table_mask;
    NF_ARRAY(struct chunk) chunks;

    uint64_t *bits;
    uint16_t *lines;
    uint32_t *groups, *supers;
    uint32_t *owner; /* slot -> chunk index × CHUNK_BLOCKS + place in it */
    uint32_t slots, now, live;
    int (*extent)(struct nf_reuse *r, uint64_t first, uint32_t n, uint32_t *distances);
};

/* Smallest power of two >= n, at least low. */
static uint64_t power_of_two(uint64_t n, uint64_t low)
{
    while (low < n)
        low *= 2;
    return low;
}

static int timeline_new(struct nf_reuse *r, uint32_t slots)
{
    uint64_t *bits = calloc(slots / 64, sizeof *bits);
    uint16_t *lines = calloc(slots >> LINE_SHIFT, sizeof *lines);
    uint32_t *groups = calloc(slots >> GROUP_SHIFT, sizeof *groups);
    uint32_t *supers = calloc((slots >> SUPER_SHIFT) + 1, sizeof *supers);
    uint32_t *owner = malloc((size_t)slots * sizeof *owner);

    if (!bits || !lines || !groups || !supers || !owner) {
        free(bits);
        free(lines);
        free(groups);
        free(supers);
        free(owner);
        return -ENOMEM;
    }
    r->bits = bits;
    r->lines = lines;
    r->groups = groups;
    r->supers = supers;
    r->owner = owner;
    r->slots = slots;
    return 0;
}

static void timeline_free(struct nf_reuse *r)
{
    free(r->bits);
    free(r->lines);
    free(r->groups);
    free(r->supers);
    free(r->owner);
}

static int table_double(struct nf_reuse *r)
{
    uint64_t mask = r->table_mask * 2 + 1;
    struct entry *table = calloc(mask + 1, sizeof *table);

    if (!table)
        return -ENOMEM;
    for (uint64_t i = 0; i <= r->table_mask; i++) {
        uint64_t at = nf_mix64(r->table[i].key) & mask;

        if (!r->table[i].chunk)
            continue;
        while (table[at].chunk)
            at = (at + 1) & mask;
        table[at] = r->table[i];
    }
    free(r->table);
    r->table = table;
    r->table_mask = mask;
    return 0;
}

/* Index of the chunk of a key, made when new. */
static inline int chunk_find(struct nf_reuse *r, uint64_t key, uint32_t *out)
{
    uint64_t at = nf_mix64(key) & r->table_mask;

    for (; r->table[at].chunk; at = (at + 1) & r->table_mask) {
        if (r->table[at].key == key) {
            *out = r->table[at].chunk - 1;
            return 0;
        }
    }
    if (r->chunks.n >= UINT32_MAX / CHUNK_BLOCKS)
        return -ENOMEM;
    if (2 * (r->chunks.n + 1) > r->table_mask) {
        if (table_double(r))
            return -ENOMEM;
        for (at = nf_mix64(key) & r->table_mask; r->table[at].chunk;)
            at = (at + 1) & r->table_mask;
    }
    if (nf_array_reserve(&r->chunks, r->chunks.n + 1))
        return -ENOMEM;
    memset(&r->chunks.v[r->chunks.n++], 0xff, sizeof *r->chunks.v); /* SLOT_NONE everywhere */
    r->table[at] = (struct entry){.key = key, .chunk = (uint32_t)r->chunks.n};
    *out = (uint32_t)r->chunks.n - 1;
    return 0;
}

static inline void slot_set(struct nf_reuse *r, uint32_t t)
{
    r->bits[t / 64] |= 1ull << (t % 64);
    r->lines[t >> LINE_SHIFT]++;
    r->groups[t >> GROUP_SHIFT]++;
    r->supers[t >> SUPER_SHIFT]++;
}

static inline void slot_clear(struct nf_reuse *r, uint32_t t)
{
    r->bits[t / 64] &= ~(1ull << (t % 64));
    r->lines[t >> LINE_SHIFT]--;
    r->groups[t >> GROUP_SHIFT]--;
    r->supers[t >> SUPER_SHIFT]--;
}

/* Set bits behind slot t. */
static inline uint32_t live_after(const struct nf_reuse *r, uint32_t t)
{
    uint32_t word = t / 64, line = t >> LINE_SHIFT, group = t >> GROUP_SHIFT, super = t >> SUPER_SHIFT;
    uint32_t last_line = (r->now - 1) >> LINE_SHIFT, last_group = (r->now - 1) >> GROUP_SHIFT;
    uint32_t last_super = (r->now - 1) >> SUPER_SHIFT, end;
    uint32_t sum = (uint32_t)__builtin_popcountll(r->bits[word] >> (t % 64) >> 1);

    for (uint32_t i = word + 1; i < (line + 1) * (512 / 64); i++)
        sum += (uint32_t)__builtin_popcountll(r->bits[i]);
    end = (group + 1) * FANOUT <= last_line ? (group + 1) * FANOUT : last_line + 1;
    for (uint32_t i = line + 1; i < end; i++)
        sum += r->lines[i];
    end = (super + 1) * FANOUT <= last_group ? (super + 1) * FANOUT : last_group + 1;
    for (uint32_t i = group + 1; i < end; i++)
        sum += r->groups[i];
    for (uint32_t i = super + 1; i <= last_super; i++)
        sum += r->supers[i];
    return sum;
}

/* Renumbers the live slots from 0, in a longer timeline when less than half of this one would be free. */
static int compact(struct nf_reuse *r)
{
    struct nf_reuse old = *r;
    uint32_t slots = r->slots, now = 0;

    while (slots < SLOTS_MAX && slots / 2 <= r->live)
        slots *= 2;
    if (slots <= r->live || timeline_new(r, slots))
        return -ENOMEM;
    for (uint32_t w = 0; w < old.slots / 64; w++) {
        for (uint64_t bits = old.bits[w]; bits; bits &= bits - 1) {
            uint32_t owner = old.owner[w * 64 + (uint32_t)__builtin_ctzll(bits)];

            r->chunks.v[owner / CHUNK_BLOCKS].slot[owner % CHUNK_BLOCKS] = now;
            r->owner[now] = owner;
            slot_set(r, now++);
        }
    }
    r->now = now;
    timeline_free(&old);
    return 0;
}

static inline __attribute__((always_inline)) int extent(struct nf_reuse *r, uint64_t first, uint32_t n,
                                                        uint32_t *distances)
{
    uint32_t previous = SLOT_NONE, chunk = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t block = first + i;
        uint32_t place = (uint32_t)block % CHUNK_BLOCKS, *slot, old;

        if (i == 0 || place == 0) {
            if (n - i > CHUNK_BLOCKS)
                __builtin_prefetch(&r->table[nf_mix64((block >> CHUNK_SHIFT) + PREFETCH_CHUNKS) & r->table_mask]);
            if (chunk_find(r, block >> CHUNK_SHIFT, &chunk))
                return -ENOMEM;
            /* Chunks that follow each other in an extent were most likely made one after the other. */
            __builtin_prefetch(&r->chunks.v[chunk] + 1);
        }
        if (r->now == r->slots) {
            if (compact(r))
                return -ENOMEM;
            previous = SLOT_NONE;
        }
        slot = &r->chunks.v[chunk].slot[place];
        old = *slot;
        if (old == SLOT_NONE) {
            distances[i] = NF_REUSE_COLD;
            r->live++;
        } else {
            /* Last accessed right after its neighbour: the same distance, itself less and the neighbour more. */
            distances[i] = i && previous != SLOT_NONE && old == previous + 1 ? distances[i - 1] : live_after(r, old);
            slot_clear(r, old);
        }
        previous = old;
        slot_set(r, r->now);
        r->owner[r->now] = chunk * CHUNK_BLOCKS + place;
        *slot = r->now++;
    }
    return 0;
}

static int extent_baseline(struct nf_reuse *r, uint64_t first, uint32_t n, uint32_t *distances)
{
    return extent(r, first, n, distances);
}

/* popcnt is not in the x86-64 baseline, where a bit count is a library call. (target_clones would say this in one
 * line, but clang before 16 links it under another name.) */
#if defined(__x86_64__)
static __attribute__((target("avx2,popcnt"))) int extent_avx2(struct nf_reuse *r, uint64_t first, uint32_t n,
                                                              uint32_t *distances)
{
    return extent(r, first, n, distances);
}

static void choose_extent(struct nf_reuse *r)
{
    r->extent = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") ? extent_avx2 : extent_baseline;
}
#else
static void choose_extent(struct nf_reuse *r)
{
    r->extent = extent_baseline;
}
#endif

struct nf_reuse *nf_reuse_new(uint32_t capacity_hint)
{
    struct nf_reuse *r = calloc(1, sizeof *r);
    uint64_t slots = power_of_two(2 * (uint64_t)capacity_hint, SLOTS_MIN);
    uint64_t entries = power_of_two(2 * ((uint64_t)capacity_hint >> CHUNK_SHIFT), 64);

    if (!r)
        return NULL;
    choose_extent(r);
    r->table_mask = entries - 1;
    r->table = calloc(entries, sizeof *r->table);
    if (!r->table || timeline_new(r, slots < SLOTS_MAX ? (uint32_t)slots : SLOTS_MAX))
        return nf_reuse_free(r);
    return r;
}

struct nf_reuse *nf_reuse_free(struct nf_reuse *r)
{
    if (!r)
        return NULL;
    timeline_free(r);
    nf_array_free(&r->chunks);
    free(r->table);
    free(r);
    return NULL;
}

int nf_reuse_access(struct nf_reuse *r, uint64_t block, uint32_t *distance)
{
    return r->extent(r, block, 1, distance);
}

int nf_reuse_extent(struct nf_reuse *r, uint64_t first, uint32_t n, uint32_t *distances)
{
    return r->extent(r, first, n, distances);
}
