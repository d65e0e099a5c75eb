#pragma once
/* Copying whole pages that nobody is about to read. copy.c streams past the caches; copy-fallback.c is for CPUs it
 * does not know. */
#include <stdbool.h>
#include <stddef.h>

/* Stores first fetch the line they write, and write it back later. */
extern const bool nf_copy_fetches_destination;
/* bytes: a multiple of NF_PAGE_BYTES; both sides page-aligned, not overlapping. */
void nf_copy_pages(char *to, const char *from, size_t bytes);
