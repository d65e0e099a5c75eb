#pragma once
/* The threshold of policy `memtis`, apart from where its histogram comes from. */
#include <stdint.h>

enum { NF_MEMTIS_BINS = 16 };
/* Bin of a count: bin n holds counts of 2^n to 2^(n+1) - 1, the first one also 0, the last one all beyond. */
uint32_t nf_memtis_bin(uint64_t count);
/* hot: the lowest bin from which on all bins together fit into near (NF_MEMTIS_BINS: not even the last one does); warm: the one below it
 * where those fill less than nine tenths of near, the same otherwise. */
void nf_memtis_thresholds(const uint64_t *bytes, uint64_t near_bytes, uint32_t *hot, uint32_t *warm);
