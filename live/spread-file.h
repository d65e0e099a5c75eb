#pragma once
/* What a job's preloaded spreader is told and what it counts: a file both map. The tool writes all but the counters. Numbers are the
 * machine's own: the file lives as long as one run. */
#include <stdatomic.h>
#include <stdint.h>

/* Names the file to the spreader. */
#define NF_SPREAD_ENV "NEARFAR_SPREAD"
#define NF_SPREAD_MAGIC "nearsprd"

enum { NF_SPREAD_VERSION = 1, NF_SPREAD_TIERS = 8 };
/* Blocks below a page stay in the heap. */
enum { NF_SPREAD_MIN_BYTES = 4096 };

struct nf_spread_file {
    char magic[8];
    uint32_t version, n_tiers;
    int32_t node[NF_SPREAD_TIERS];
    uint32_t weight[NF_SPREAD_TIERS]; /* pages in a row, 1 or more */
    uint64_t arena_bytes;             /* addresses to reserve for blocks */

    /* The job's. */
    _Atomic uint32_t jobs;   /* processes that trained */
    _Atomic uint32_t looked; /* at where all pages are, after the second step */
    _Atomic uint64_t refused; /* blocks for which there were no addresses left: the heap's */
    /* Of anonymous pages, as the kernel said then. */
    _Atomic uint64_t blocks[NF_SPREAD_TIERS]; /* of the job's blocks, on each tier's node */
    _Atomic uint64_t others[NF_SPREAD_TIERS]; /* of what else it has, the same */
    _Atomic uint64_t wrong;                   /* of its blocks, not on the node of their turn */
    _Atomic uint64_t elsewhere;               /* of what else it has, on none of the nodes */
};
