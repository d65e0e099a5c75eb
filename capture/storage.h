#pragma once
/* The storages alive in the job, found by any address inside them. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/array.h"
#include "core/model/words.h"

/* A role or name the framework announced. */
struct nf_storage_role {
    uint8_t role;  /* enum nf_role */
    uint32_t name; /* text number of the job's ring */
};

struct nf_storage {
    uint64_t address, bytes;
    uint32_t number;       /* in the current step: index of its tensor; UINT32_MAX before it is numbered */
    int32_t birth, death;  /* op indices of the current step */
    int32_t carry_in;      /* slot it entered the step with, -1 */
    uint8_t birth_phase;
    bool alive, foreign;   /* foreign: not from the interposed allocator, its end is not seen */
    bool is_operand;       /* visited in any step */
    bool visited_backward; /* in the current step, backward or recompute phase */
    bool visited_step;     /* in the current step */
    bool checkpoint;       /* given to torch.utils.checkpoint in this step */
    uint32_t dtype, shape, name, module, device; /* text numbers; 0 unknown, of the device the CPU */
    uint32_t born_by;      /* op index that first wrote it, to inherit its module; UINT32_MAX none */
    NF_ARRAY(struct nf_storage_role) roles;
};

/* Sorted by address; a few thousand at most, so an array with memmove beats a tree. What is zeroed is empty. */
struct nf_storage_map {
    NF_ARRAY(struct nf_storage *) live;
    NF_ARRAY(uint64_t) starts; /* live's addresses: a search stays in these */
};

/* Does not free the storages. */
void nf_storage_map_deinit(struct nf_storage_map *m);
struct nf_storage *nf_storage_new(uint64_t address, uint64_t bytes); /* NULL: no memory */
struct nf_storage *nf_storage_free(struct nf_storage *s);
/* The live storage containing address, or NULL. */
struct nf_storage *nf_storage_map_find(const struct nf_storage_map *m, uint64_t address);
/* The same for n addresses at once: several times faster than one by one. */
void nf_storage_map_find_each(const struct nf_storage_map *m, const uint64_t *addresses, size_t n, struct nf_storage **out);
/* 0 or -ENOMEM. The caller removed what overlaps before. */
int nf_storage_map_add(struct nf_storage_map *m, struct nf_storage *s);
/* A live storage overlapping [address, address + bytes), or NULL. */
struct nf_storage *nf_storage_map_overlap(const struct nf_storage_map *m, uint64_t address, uint64_t bytes);
void nf_storage_map_remove(struct nf_storage_map *m, struct nf_storage *s);
/* Records an announced role once. 0 or -ENOMEM. */
int nf_storage_add_role(struct nf_storage *s, uint8_t role, uint32_t name);
bool nf_storage_has_role(const struct nf_storage *s, uint8_t role);
