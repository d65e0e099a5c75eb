#pragma once
/* How much memory a replay maps, and how much this machine has. */
#include <stdint.h>

/* Of the available memory, the share that a replay may take; the rest is for the kernel and everybody else. */
#define NF_MEMORY_SHARE 0.9

/* Bytes of an arena in which `bytes` can be live at once: free runs of pages are never all as long as wanted, so it is larger
 * by a quarter, and by a little for small ones. Whole pages. */
uint64_t nf_memory_with_slack(uint64_t bytes);
/* What the kernel says is available without swapping; UINT64_MAX where it does not say. */
uint64_t nf_memory_available(void);
