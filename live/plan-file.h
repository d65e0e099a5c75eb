#pragma once
/* The plan that a job's preloaded placer follows: a file both map. The tool writes all but the counters, which are the
 * job's. After the header: sequence, groups, entries, the tiers of all pages, and of plans that move the storages, ops and moves
 * of the steady step, each at its offset. Numbers are the
 * machine's own: the file lives as long as one run. */
#include <stdatomic.h>
#include <stdint.h>

/* Names the file to the placer. */
#define NF_PLAN_ENV "NEARFAR_PLAN"
#define NF_PLAN_MAGIC "nearplan"

enum { NF_PLAN_VERSION = 4, NF_PLAN_TIERS = 8 };
/* Blocks below a page stay in the heap: they are no traffic, and would each take a page. */
enum { NF_PLAN_MIN_BYTES = 4096, NF_PLAN_SLOTS_MAX = 1 << 24 };

/* A storage of a step class, in the order in which the job allocates them. */
struct nf_plan_entry {
    uint64_t bytes, address; /* as captured; storages that shared an address share their pages again */
    uint64_t pages_at;       /* index of the first page's tier in the table */
    uint32_t pages;
    int32_t slot;            /* carry slot in which it outlives its step, or -1 */
    uint64_t name;           /* nf_job_tensor_hash of its name and role; 0: it has none */
    uint32_t born, gone;     /* of the steady step's: the op that begins no later than it is allocated, and is freed; NF_PLAN_NONE */
};

/* A storage of the steady step, by number: where moves find its block. */
struct nf_plan_storage {
    int32_t slot;   /* carried into the step in this slot; -1: allocated in it, as */
    uint32_t entry; /* this one; NF_PLAN_NONE: moves do not name it */
    uint64_t pages_at;        /* its pages' tiers when the step begins, or it is born */
    uint32_t pages; /* 0: not in the plan */
    uint32_t gone;  /* of what is carried into the step: as nf_plan_entry's */
};
enum { NF_PLAN_NONE = UINT32_MAX };

/* An op of the steady step; after the last one stands one more, for what moves when the step ends. */
struct nf_plan_op {
    uint64_t name; /* nf_job_name_hash */
    uint32_t first_move, n_moves; /* made before it runs, in order */
    uint32_t anchor;   /* its moves are made when the job allocates or frees the first block of this op or a later one; 0: the step begins */
    uint32_t reserved;
};

struct nf_plan_move {
    uint32_t storage, to_tier;
    uint32_t first_page, n_pages;
};

/* How a job differs from the step that was planned. From the first difference on nothing is moved. */
enum nf_plan_deviation {
    NF_PLAN_FOLLOWS,
    NF_PLAN_OTHER_OP,   /* at deviation_op of deviation_step (0: the first of the job) another one began */
    NF_PLAN_FEWER_OPS,  /* the step ended before deviation_op */
    NF_PLAN_MORE_OPS,   /* the step went on after its last op, deviation_op */
    NF_PLAN_OTHER_BLOCKS, /* more than a tenth of the step's allocations and frees came otherwise: deviation_count, near deviation_op */
    NF_PLAN_OTHER_SIZES /* more than a tenth of the step's moves, deviation_count of them, found no block of their storage */
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
    uint32_t n_slots;
    uint64_t n_page_tiers, sequence_at, groups_at, entries_at, page_tiers_at; /* offsets in bytes */
    uint32_t n_storages, n_ops, n_moves; /* n_ops 0: nothing moves; n_ops + 1 of them are there */
    uint32_t helper;                     /* 1: a thread beside the ops moves; 0: the op waits */
    uint64_t storages_at, ops_at, moves_at;
    /* sequence[i]: the group of step i, but the first has `before`; the last one's goes on. */

    /* The job's. Of blocks of NF_PLAN_MIN_BYTES and more. */
    _Atomic uint64_t placed, placed_bytes;     /* in steady steps, found in the plan */
    _Atomic uint64_t unplaced, unplaced_bytes; /* in steady steps, not: on the last tier */
    _Atomic uint64_t early_placed, early;      /* before them: found, all */
    _Atomic uint64_t spilled_bytes;            /* near by plan, but there was no room */
    _Atomic uint64_t refused;                  /* no addresses left: the heap's */
    _Atomic uint64_t near_peak_bytes;
    _Atomic uint64_t unbound_bytes;            /* told to the kernel; it would not */
    _Atomic uint32_t jobs;                     /* processes that took it up */
    _Atomic uint32_t steady_steps;             /* ended */
    /* Of steady steps until the job deviates. */
    _Atomic uint64_t due_moves;                /* planned for the ops that began */
    _Atomic uint64_t asked_moves, asked_bytes; /* whose storage was there; pages that changed their tier */
    _Atomic uint64_t absent_moves;             /* whose storage was not */
    _Atomic uint64_t cancelled_bytes;          /* of them, the storage went away before the helper came to it */
    _Atomic uint64_t right_pages, wrong_pages; /* at the end of one step: on the node of their tier, not */
    _Atomic uint64_t deviation_name, deviation_count; /* hash of the op that came; ops or moves counted in that step */
    _Atomic uint32_t deviation, deviation_step, deviation_op;
    _Atomic uint32_t followed_steps;           /* moved through to their end */
};
