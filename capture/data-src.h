#pragma once
/* What the kernel's union perf_mem_data_src says of an access, in words. Kernels differ in what they fill: numbers of levels
 * since 4.14, bits of levels before; only load and store latency events carry a level at all. */
#include <stddef.h>
#include <stdint.h>

enum { NF_DATA_SRC_TEXT = 320 };

/* All it says as "load, LLC, hitm, L1 dtlb hit, locked" (levels as core/model/memory-level.h has them); "" when it says nothing. NF_DATA_SRC_TEXT bytes hold any. Returns
 * out. */
const char *nf_data_src_text(uint64_t data_src, char *out, size_t size);
