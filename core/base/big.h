#pragma once
/* Large tables that are read at random places: on huge pages where the kernel gives them, so that an access costs a cache
 * miss and not a walk through page tables as well. */
#include <stddef.h>

/* Zeroed bytes. NULL: no memory. */
void *nf_big_alloc(size_t size);
/* size as it was asked for. NULL is fine. */
void nf_big_free(void *p, size_t size);
/* A larger table with the old one's contents, zeroed behind them; the old one is freed. NULL: no memory, old one kept. */
void *nf_big_grow(void *p, size_t size, size_t new_size);
