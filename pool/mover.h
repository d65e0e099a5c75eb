#pragma once
/* Moves a storage to another tier: copied in chunks, each charged to the tiers it reads from and writes to, or its pages
 * migrated by the kernel, which keeps its address. One thread moves at a time; any may read the counts. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "pool/pages.h"
#include "pool/policy.h"
#include "pool/pool.h"

/* As the replay's chunks are: neither side of a tier's queue waits for a longer one. */
enum { NF_MOVER_CHUNK_BESIDE = 64 * 1024 };

struct nf_mover {
    const struct nf_tier *tiers;
    const struct nf_pages_system *pages;
    uint32_t n_tiers;
    int kind;           /* NF_MOVER_* of nf_policy_semantics; NONE copies */
    uint64_t chunk_bytes; /* of a copy; NF_MOVER_CHUNK_BESIDE while others use the tiers */
    double parallelism; /* line fetches the copy keeps outstanding */
    bool yields;        /* others want its CPU while it waits */
    bool weightless;    /* nothing is read, written or migrated */
    atomic_bool held;   /* it stops between two chunks until this is false again */
    _Atomic uint64_t forgiven_ns; /* lateness beyond what may be caught up */
    _Atomic uint64_t charged_bytes[NF_TIER_MAX]; /* on tiers that inject */
    _Atomic uint64_t moved_pages; /* by the kernel, whoever asked */
};

/* 0, or -ENODEV with why in words: what kind needs and these tiers or this machine do not have. */
int nf_mover_probe(int kind, const struct nf_tier *tiers, uint32_t n_tiers, char *why, size_t size);
/* The same of this machine alone (below `root`, "" for it), before any tier is known. */
int nf_mover_probe_machine(int kind, const char *root, char *why, size_t size);
/* near_latency_ns, near_read_bps: measured; 0 unknown. pages NULL: the kernel's. */
void nf_mover_init(struct nf_mover *m, int kind, const struct nf_tier *tiers, uint32_t n_tiers, double near_latency_ns,
                   double near_read_bps, const struct nf_pages_system *pages);
/* Whether a moved storage keeps its address. */
static inline bool nf_mover_in_place(const struct nf_mover *m)
{
    return m->kind == NF_MOVER_MOVE_PAGES || m->kind == NF_MOVER_KERNEL;
}
/* `bytes` bytes of `from`, from offset on, to the same offset from `to`, which is on to_tier; in place, `to` is where the storage is.
 * Returns when the last chunk's
 * deadline has passed, or earlier once *cancelled (may be NULL) is true. 0, or what nf_pages_move returns (cause set). */
int nf_mover_move(struct nf_mover *m, const struct nf_pool_storage *from, uint64_t offset, uint64_t bytes, char *to,
                  uint32_t to_tier, const atomic_bool *cancelled);
/* Migrates pages to the tier's node, uncharged by injection. As nf_pages_move. */
int nf_mover_migrate(struct nf_mover *m, char *memory, uint64_t bytes, uint32_t to_tier);
