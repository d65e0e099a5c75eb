#pragma once
/* Belady's rule with bypass, the yardstick of caches, over stays (pool/stays.h): each begins when its tensor has just been used, and
 * where near is too small the ones that end latest are given up, the newest among them. */
#include <stdint.h>

#include "pool/stays.h"

/* Bytes saved, of the steady step of a job that repeats it. No choice of stays saves more where all take the same pages and save the
 * same bytes, and none goes round the end of the step; otherwise it is a heuristic, and others may do better. NAN: out of memory. */
double nf_belady_saved(const struct nf_stays *s, uint64_t capacity_pages);
