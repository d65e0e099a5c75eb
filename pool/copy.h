#pragma once
/* Copying whole pages that nobody is about to read. copy.c streams past the caches; copy-fallback.c is for CPUs it
 * does not know. */
#include <stdbool.h>
#include <stddef.h>

/* Stores first fetch the line they write, and write it back later. */
extern const bool nf_copy_fetches_destination;
/* Times the ways below on some 50 MiB of its own, the first time it is called in a process, and keeps the fastest. */
void nf_copy_choose(void);
/* As chosen. bytes: a multiple of NF_PAGE_BYTES; both sides page-aligned, not overlapping. */
void nf_copy_pages(char *to, const char *from, size_t bytes);

/* The same in a given way: page after page, or several side by side. */
enum nf_copy_way { NF_COPY_ORDERED, NF_COPY_ORDERED_AVX2, NF_COPY_ASIDE, NF_COPY_ASIDE_AVX512, NF_COPY_WAYS };
/* Whether this CPU has the instructions. */
bool nf_copy_way_works(enum nf_copy_way way);
void nf_copy_pages_by(enum nf_copy_way way, char *to, const char *from, size_t bytes);
