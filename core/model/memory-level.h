#pragma once
/* Where the data of a sampled access came from: out of the kernel's data_src, or out of the event itself. */
#include <stdbool.h>
#include <stdint.h>

enum nf_memory_level {
    NF_LEVEL_UNKNOWN = 0,
    NF_LEVEL_L1,
    NF_LEVEL_FILL,        /* the line was already on its way (line fill buffer): some earlier access missed */
    NF_LEVEL_L2,
    NF_LEVEL_BEYOND_L2,   /* at least the LLC: an event that says no more */
    NF_LEVEL_LLC,
    NF_LEVEL_OTHER_CACHE, /* of another core, CCX or socket */
    NF_LEVEL_BEYOND_LLC,  /* at least memory: an event that says no more */
    NF_LEVEL_DRAM,
    NF_LEVEL_REMOTE_DRAM,
    NF_LEVEL_PMM,         /* persistent memory; CXL memory as Intel shows it */
    NF_LEVEL_REMOTE_PMM,
    NF_LEVEL_CXL,         /* as AMD shows it */
    NF_LEVEL_UNCACHED,    /* I/O or uncached memory */
    NF_LEVEL_COUNT
};

const char *nf_memory_level_name(unsigned level); /* "invalid" outside its range. Static storage */
/* The kernel's union perf_mem_data_src: mem_lvl_num where it is filled, the older mem_lvl bits where not. */
enum nf_memory_level nf_memory_level_of(uint64_t data_src);
/* The level of a sample of the event (perf_event_attr's type and config). Of Intel's events only load and store latency
 * tell it in data_src; for those that count misses the event is the level, and all others know nothing, whatever
 * data_src holds. A PMU of another type (ibs_op) tells it in data_src. */
enum nf_memory_level nf_memory_level_of_sample(uint32_t type, uint64_t config, uint64_t data_src);

static inline bool nf_level_beyond_l2(enum nf_memory_level l)
{
    return l >= NF_LEVEL_BEYOND_L2 && l < NF_LEVEL_UNCACHED;
}
static inline bool nf_level_beyond_llc(enum nf_memory_level l)
{
    return l >= NF_LEVEL_BEYOND_LLC && l < NF_LEVEL_UNCACHED;
}
