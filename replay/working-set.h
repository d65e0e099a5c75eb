#pragma once
/* How large a set of lines has to be for its latency to be the memory's and not a cache's. */
#include <stdbool.h>
#include <stdint.h>

#include "pool/tier.h"

struct nf_working_set {
    uint64_t bytes;          /* a multiple of NF_CHASE_LOCAL_BYTES */
    uint64_t reported_bytes; /* of the last-level cache, as the CPU says it; 0: it does not */
    bool cached;             /* bytes are less than four times that, for want of memory: a cache may answer */
};

/* 256 MiB, or four times the reported last-level cache where that is more: of a random chase three quarters then miss. Half of the
 * available memory at most, and 256 MiB at least. */
struct nf_working_set nf_working_set(uint64_t reported_bytes, uint64_t available_bytes);
/* That for memory of this tier, seen from a CPU. */
struct nf_working_set nf_working_set_of(const struct nf_tier *tier, int cpu);
/* The last-level cache of a CPU as sysfs below `root` ("" for this machine) has it, the part of it that the CPU can fill; where it
 * says nothing, as the C library does. 0: unknown. */
uint64_t nf_working_set_reported(const char *root, int cpu);
