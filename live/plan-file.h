#pragma once
/* The plan that a job's preloaded placer follows: a file both map. The tool writes all but the counters, which are the
 * job's. After the header: sequence, groups, entries, and the tiers of all pages, each at its offset. Numbers are the
 * machine's own: the file lives as long as one run. */
#include <stdatomic.h>
#include <stdint.h>

/* Names the file to the placer. */
#define NF_PLAN_ENV "NEARFAR_PLAN"
#define NF_PLAN_MAGIC "nearplan"

enum { NF_PLAN_VERSION = 1, NF_PLAN_TIERS = 8 };
/* Blocks below a page stay in the heap: they are no traffic, and would each take a page. */
enum { NF_PLAN_MIN_BYTES = 4096 };

/* A storage of a step class, in the order in which the job allocates them. */
struct nf_plan_entry {
    uint64_t bytes, address; /* as captured; storages that shared an address share their pages again */
    uint64_t pages_at;       /* index of the first page's tier in the table */
    uint32_t pages;
    uint32_t reserved;
};

struct nf_plan_group {
    uint32_t first, n; /* entries */
};

struct nf_plan_file {
    char magic[8];
    uint32_t version, n_tiers;
    int32_t node[NF_PLAN_TIERS]; /* pages are bound to it; -1: nowhere, only counted */
    uint64_t capacity;           /* of the first tier, bytes */
    uint64_t arena_bytes;        /* addresses to reserve */
    uint32_t n_sequence, n_groups, n_entries;
    uint32_t before;             /* the group until the first step ends: its order is not known, a size is enough */
    uint32_t steady;             /* the group of the step that was planned: of others only what they hand on is in the plan */
    uint32_t reserved;
    uint64_t n_page_tiers, sequence_at, groups_at, entries_at, page_tiers_at; /* offsets in bytes */
    /* sequence[i]: the group of step i, but the first has `before`; the last one's goes on. */

    /* The job's. Of blocks of NF_PLAN_MIN_BYTES and more. */
    _Atomic uint64_t placed, placed_bytes;     /* in steady steps, found in the plan */
    _Atomic uint64_t unplaced, unplaced_bytes; /* in steady steps, not: on the last tier */
    _Atomic uint64_t early_placed, early;      /* before them: found, all */
    _Atomic uint64_t spilled_bytes;            /* near by plan, but there was no room */
    _Atomic uint64_t refused;                  /* no addresses left: the heap's */
    _Atomic uint64_t near_bytes, near_peak_bytes;
    _Atomic uint64_t bound_bytes, unbound_bytes; /* told to the kernel; it would not */
    _Atomic uint32_t jobs;                     /* processes that took it up */
    _Atomic uint32_t steady_steps;             /* ended */
};
