#pragma once
/* Sorting what is ordered by one number, as times and places are: sorted input costs one look, the rest a few passes. */
#include <stddef.h>
#include <stdint.h>

struct nf_key {
    uint64_t key;
    uint32_t at; /* of whom */
};

/* By key; equal ones stay in the order they have. scratch: room for n more. */
void nf_keys_sort(struct nf_key *v, size_t n, struct nf_key *scratch);
