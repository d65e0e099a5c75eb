#pragma once
/* Emptying the caches of a range, so that the next access to it goes to memory. */
#include <stddef.h>

/* Written back and dropped on every CPU when it returns. memory NULL with bytes 0 is fine. */
void nf_evict(void *memory, size_t bytes);
