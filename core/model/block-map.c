#include "core/model/block-map.h"

#include <errno.h>

#include "core/base/big.h"

enum { ENTRIES_MIN = 64 };
/* A fact per block is addressed in 32 bits, NF_BLOCK_NONE left out. */
#define CHUNKS_MAX (UINT32_MAX / NF_BLOCK_CHUNK)

int nf_block_map_init(struct nf_block_map *m, uint64_t hint)
{
    uint64_t entries = ENTRIES_MIN;

    while (entries / 2 < hint && entries <= CHUNKS_MAX)
        entries *= 2;
    *m = (struct nf_block_map){.entries = nf_big_alloc(entries * sizeof *m->entries), .mask = entries - 1};
    return m->entries ? 0 : -ENOMEM;
}

void nf_block_map_deinit(struct nf_block_map *m)
{
    nf_big_free(m->entries, (m->mask + 1) * sizeof *m->entries);
    *m = (struct nf_block_map){0};
}

static void put(struct nf_block_entry *entries, uint64_t mask, struct nf_block_entry e)
{
    uint64_t at = nf_mix64(e.chunk) & mask;

    while (entries[at].index)
        at = (at + 1) & mask;
    entries[at] = e;
}

int nf_block_map_add(struct nf_block_map *m, uint64_t chunk)
{
    if (m->n >= CHUNKS_MAX)
        return -ENOMEM;
    /* Linear probing stays short up to two thirds. */
    if (3 * ((uint64_t)m->n + 1) > 2 * m->mask) {
        uint64_t mask = m->mask * 2 + 1;
        struct nf_block_entry *entries = nf_big_alloc((mask + 1) * sizeof *entries);

        if (!entries)
            return -ENOMEM;
        for (uint64_t i = 0; i <= m->mask; i++) {
            if (m->entries[i].index)
                put(entries, mask, m->entries[i]);
        }
        nf_big_free(m->entries, (m->mask + 1) * sizeof *m->entries);
        m->entries = entries;
        m->mask = mask;
    }
    put(m->entries, m->mask, (struct nf_block_entry){.chunk = chunk, .index = ++m->n});
    return 0;
}
