#include "core/model/memory-level.h"

#include <linux/perf_event.h>

static const char *const names[NF_LEVEL_COUNT] = {
    "unknown", "L1", "fill buffer", "L2", "beyond L2", "LLC", "other cache", "beyond LLC", "DRAM", "remote DRAM", "PMM",
    "remote PMM", "CXL", "uncached",
};

const char *nf_memory_level_name(unsigned level)
{
    return level < NF_LEVEL_COUNT ? names[level] : "invalid";
}

/* Positions and values from linux/perf_event.h; newer than the headers this may be built with. */
enum {
    LVL_NUM_SHIFT = 33, REMOTE_SHIFT = 37,
    NUM_L1 = 1, NUM_L2 = 2, NUM_L3 = 3, NUM_L4 = 4, NUM_L2_MHB = 5, NUM_MSC = 6, NUM_L0 = 7, NUM_UNCACHED = 8, NUM_CXL = 9,
    NUM_IO = 10, NUM_ANY_CACHE = 11, NUM_FILL = 12, NUM_RAM = 13, NUM_PMEM = 14,
};

static enum nf_memory_level of_number(unsigned number, bool remote)
{
    switch (number) {
    case NUM_L0:
    case NUM_L1: return NF_LEVEL_L1;
    case NUM_FILL:
    case NUM_L2_MHB: return NF_LEVEL_FILL;
    case NUM_L2: return NF_LEVEL_L2;
    case NUM_L3: return remote ? NF_LEVEL_OTHER_CACHE : NF_LEVEL_LLC;
    case NUM_L4:
    case NUM_MSC: return NF_LEVEL_LLC;
    /* AMD before Zen 4 calls its own L3 that, and another CCX's a remote one. */
    case NUM_ANY_CACHE: return remote ? NF_LEVEL_OTHER_CACHE : NF_LEVEL_LLC;
    case NUM_RAM: return remote ? NF_LEVEL_REMOTE_DRAM : NF_LEVEL_DRAM;
    case NUM_PMEM: return remote ? NF_LEVEL_REMOTE_PMM : NF_LEVEL_PMM;
    case NUM_CXL: return NF_LEVEL_CXL;
    case NUM_UNCACHED:
    case NUM_IO: return NF_LEVEL_UNCACHED;
    default: return NF_LEVEL_UNKNOWN;
    }
}

static enum nf_memory_level of_bits(uint64_t level)
{
    if (level & PERF_MEM_LVL_NA)
        return NF_LEVEL_UNKNOWN;
    if (level & PERF_MEM_LVL_L1)
        return NF_LEVEL_L1;
    if (level & PERF_MEM_LVL_LFB)
        return NF_LEVEL_FILL;
    if (level & PERF_MEM_LVL_L2)
        return NF_LEVEL_L2;
    if (level & (PERF_MEM_LVL_REM_CCE1 | PERF_MEM_LVL_REM_CCE2))
        return NF_LEVEL_OTHER_CACHE;
    if (level & PERF_MEM_LVL_L3)
        return NF_LEVEL_LLC;
    if (level & PERF_MEM_LVL_LOC_RAM)
        return NF_LEVEL_DRAM;
    if (level & (PERF_MEM_LVL_REM_RAM1 | PERF_MEM_LVL_REM_RAM2))
        return NF_LEVEL_REMOTE_DRAM;
    return level & (PERF_MEM_LVL_IO | PERF_MEM_LVL_UNC) ? NF_LEVEL_UNCACHED : NF_LEVEL_UNKNOWN;
}

/* A miss tells where the data was not: Intel's "unknown L3 miss". */
static enum nf_memory_level of_miss(unsigned number, uint64_t level)
{
    if (number == NUM_L3 || level & PERF_MEM_LVL_L3)
        return NF_LEVEL_BEYOND_LLC;
    return number == NUM_L2 || level & PERF_MEM_LVL_L2 ? NF_LEVEL_BEYOND_L2 : NF_LEVEL_UNKNOWN;
}

enum nf_memory_level nf_memory_level_of(uint64_t data_src)
{
    enum { LVL_MASK = 0x3fff };
    unsigned number = data_src >> LVL_NUM_SHIFT & 15;
    uint64_t level = data_src >> PERF_MEM_LVL_SHIFT & LVL_MASK;
    enum nf_memory_level l;

    if (level & PERF_MEM_LVL_MISS && !(level & PERF_MEM_LVL_HIT))
        return of_miss(number, level);
    l = of_number(number, data_src >> REMOTE_SHIFT & 1);
    return l == NF_LEVEL_UNKNOWN ? of_bits(level) : l; /* older kernels fill the bits alone */
}

enum nf_memory_level nf_memory_level_of_sample(uint32_t type, uint64_t config, uint64_t data_src)
{
    static const struct {
        uint16_t code;
        uint8_t level; /* UNKNOWN: data_src tells */
    } events[] = {
        {0x1cd, NF_LEVEL_UNKNOWN}, {0x2cd, NF_LEVEL_UNKNOWN}, {0x10d1, NF_LEVEL_BEYOND_L2}, {0x20d1, NF_LEVEL_BEYOND_LLC},
        {0x1d3, NF_LEVEL_DRAM}, {0x2d3, NF_LEVEL_REMOTE_DRAM}, {0x4d3, NF_LEVEL_REMOTE_DRAM}, {0x80d1, NF_LEVEL_PMM},
        {0x10d3, NF_LEVEL_REMOTE_PMM},
    };

    if (type != PERF_TYPE_RAW)
        return type < PERF_TYPE_MAX ? NF_LEVEL_UNKNOWN : nf_memory_level_of(data_src);
    for (unsigned i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i].code == (config & 0xffff))
            return events[i].level ? (enum nf_memory_level)events[i].level : nf_memory_level_of(data_src);
    return NF_LEVEL_UNKNOWN;
}
