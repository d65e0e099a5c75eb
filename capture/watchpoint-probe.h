#pragma once
/* Do hardware breakpoints fire here, and what does a hit cost? Tried on a word of this very thread. */
#include <stddef.h>

#include "capture/watch-budget.h"

/* 0, or -errno with what is wrong and what would mend it in why. */
int nf_watchpoint_probe(struct nf_watch_costs *costs, char *why, size_t size);
