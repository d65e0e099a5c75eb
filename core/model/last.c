#include "core/model/last.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/model/block-map.h"

struct times {
    uint64_t at[NF_BLOCK_CHUNK];
};

struct nf_last {
    struct nf_block_map map;
    NF_ARRAY(struct times) chunks; /* by the map's index */
};

struct nf_last *nf_last_new(void)
{
    struct nf_last *l = calloc(1, sizeof *l);

    return l && nf_block_map_init(&l->map, 0) ? nf_last_free(l) : l;
}

struct nf_last *nf_last_free(struct nf_last *l)
{
    if (!l)
        return NULL;
    nf_block_map_deinit(&l->map);
    nf_array_free(&l->chunks);
    free(l);
    return NULL;
}

int nf_last_extent(struct nf_last *l, uint64_t first, uint32_t n, uint64_t now, uint64_t *before)
{
    for (uint32_t i = 0, taken; i < n; i += taken) {
        uint64_t block = first + i, *at;
        uint32_t place = (uint32_t)block % NF_BLOCK_CHUNK;
        uint32_t chunk = nf_block_map_find(&l->map, block >> NF_BLOCK_CHUNK_SHIFT);

        taken = n - i < NF_BLOCK_CHUNK - place ? n - i : NF_BLOCK_CHUNK - place;
        if (chunk == NF_BLOCK_NONE) {
            if (nf_array_reserve(&l->chunks, l->chunks.n + 1) ||
                nf_block_map_add(&l->map, block >> NF_BLOCK_CHUNK_SHIFT))
                return -ENOMEM;
            chunk = (uint32_t)l->chunks.n;
            memset(&l->chunks.v[l->chunks.n++], 0xff, sizeof *l->chunks.v); /* NF_LAST_NEVER everywhere */
        }
        at = &l->chunks.v[chunk].at[place];
        for (uint32_t k = 0; k < taken; k++) {
            before[i + k] = at[k];
            at[k] = now + i + k;
        }
    }
    return 0;
}
