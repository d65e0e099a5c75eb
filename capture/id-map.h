#pragma once
/* A hash map from 64-bit ids to 32-bit numbers. Zero-initialised is empty. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nf_id_map {
    struct nf_id_place {
        uint64_t id;
        uint32_t value;
        bool used;
    } *places;
    size_t n, mask; /* mask + 1 places, a power of two; 0 places while places is NULL */
};

/* The place of id, added with value when new (*is_new). NULL: no memory. Valid until the next add. */
uint32_t *nf_id_map_add(struct nf_id_map *m, uint64_t id, uint32_t value, bool *is_new);
/* NULL when it has none. */
uint32_t *nf_id_map_find(const struct nf_id_map *m, uint64_t id);
void nf_id_map_deinit(struct nf_id_map *m);
