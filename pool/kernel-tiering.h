#pragma once
/* The kernel's own tiering: cold pages demoted by reclaim, hot ones promoted by NUMA balancing. */
#include <stddef.h>

/* Below `root` ("" for this machine). 0, or -ENODEV with why in words: what is missing here and what would mend it. */
int nf_kernel_tiering_probe(const char *root, char *why, size_t size);
