#pragma once
/* Anonymous memory of a tier: mapped, optionally bound to a NUMA node, and faulted by writing. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum nf_tier_pages { NF_TIER_PAGES_4K, NF_TIER_PAGES_THP };
/* "4k", "2m": what they are, as figures say it. */
const char *nf_tier_pages_size(enum nf_tier_pages pages);

/* "4k" or "thp". 0 or -EINVAL (cause set). */
int nf_tier_pages_parse(const char *text, enum nf_tier_pages *out);
/* node -1: unbound. bytes: a multiple of NF_PAGE_BYTES. THP: all whole 2 MiB of it are seen to be on huge pages. A page without access
 * lies on either side of it. 0, -ENOMEM, -ENODEV (the kernel gave no huge pages, or too few), -errno, with the cause set. */
int nf_tier_memory_map(size_t bytes, enum nf_tier_pages pages, int node, void **memory);
void nf_tier_memory_unmap(void *memory, size_t bytes);
/* Memory mapped with NF_TIER_PAGES_THP, whole, is still on huge pages. 0, -EXDEV (cause set: how much is not), -EIO (cause set). */
int nf_tier_memory_verify_huge(const void *memory, size_t bytes);

/* Times of this node's memory are an emulator's: they pass for nothing else, whatever is added to them. -1: that of the CPU here. */
bool nf_tier_is_emulated_node(int node);
/* The CPU is QEMU's translated code: no time means anything here. */
bool nf_tier_is_translated(void);
/* That, or a QEMU guest: its memory devices and memory-only nodes are host memory under another name. */
bool nf_tier_is_modelled_machine(void);
