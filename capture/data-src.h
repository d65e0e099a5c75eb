#pragma once
/* What the kernel's union perf_mem_data_src says of an access, in words. Kernels differ in what they fill: numbers of levels
 * since 4.14, bits of levels before; only load and store latency events carry a level at all. */
#include <stddef.h>
#include <stdint.h>

/* Where the data came from. */
enum nf_memory_level {
    NF_LEVEL_UNKNOWN, /* none said, or only what it missed */
    NF_LEVEL_L1,
    NF_LEVEL_FILL_BUFFER, /* a line already on its way */
    NF_LEVEL_L2,
    NF_LEVEL_L3,
    NF_LEVEL_L4,
    NF_LEVEL_CACHE, /* some cache */
    NF_LEVEL_REMOTE_CACHE,
    NF_LEVEL_RAM,
    NF_LEVEL_REMOTE_RAM,
    NF_LEVEL_PMEM, /* Intel shows CXL memory so as well */
    NF_LEVEL_REMOTE_PMEM,
    NF_LEVEL_CXL,
    NF_LEVEL_REMOTE_CXL,
    NF_LEVEL_IO,
    NF_LEVEL_UNCACHED,
    NF_LEVEL_COUNT
};

enum { NF_DATA_SRC_TEXT = 320 };

enum nf_memory_level nf_data_src_level(uint64_t data_src);
const char *nf_memory_level_name(unsigned level); /* static storage; "invalid" outside its range */
/* All it says as "load, L3, hitm, L1 dtlb hit, locked"; "" when it says nothing. NF_DATA_SRC_TEXT bytes hold any. Returns
 * out. */
const char *nf_data_src_text(uint64_t data_src, char *out, size_t size);
