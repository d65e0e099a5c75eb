#pragma once
/* A pool under test and its independent witness: tiers that watch every charge, a kernel that migrates what it is told, a ledger kept from outside by looking
 * at where storages really are, and a pattern in every page. Any check that fails fails the cmocka test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/profile.h"
#include "pool/pool.h"

enum { FIXTURE_LIVE_MAX = 2048, FIXTURE_OP_NS = 1000000 /* of the clock that sampling policies see */ };

struct fixture;

struct witness_tier {
    struct fixture *of;
    uint32_t number;
    char *memory;
    size_t bytes;
    uint64_t in_flight; /* written to it by the move that is under way */
    _Atomic uint64_t charges;
};

struct live {
    uint32_t handle;
    uint64_t id, bytes; /* whole pages */
    uint64_t where;     /* hash of its pieces when last looked at */
};

struct fixture {
    struct nf_pool *pool;
    struct nf_tier tiers[NF_TIER_MAX];
    struct witness_tier witness[NF_TIER_MAX];
    uint32_t n_tiers;
    bool helper;   /* moves go on while the test looks: the ledger is exact once they are settled */
    bool in_place; /* pages migrate between the nodes of a kernel of our own, one per tier */
    uint8_t *node[NF_TIER_MAX]; /* of each page of each arena */
    uint64_t capacity[NF_TIER_MAX], peak[NF_TIER_MAX]; /* peak: seen from outside, moves in flight counted */
    struct live live[FIXTURE_LIVE_MAX];
    uint32_t n_live;
    uint64_t next_id, moves_seen, all_where;
    uint32_t next_op;
};

/* Near and far capacities in pages; every arena has room to spare. Returns what nf_pool_open returned. */
int fixture_open(struct fixture *f, const struct nf_policy_ops *policy, const char *options, uint32_t n_tiers,
                 const uint64_t *capacity_pages, const struct nf_profile *profiles, uint32_t n_profiles, uint64_t seed);
/* Frees what is live, checks that nothing is left, closes. */
void fixture_close(struct fixture *f);

/* Allocates, fills and checks. 0 or what nf_pool_allocate returned; then nothing has changed. */
int fixture_allocate(struct fixture *f, const struct nf_pool_alloc *a, uint32_t *index);
/* By index in live[]; the last one takes its place. */
void fixture_free(struct fixture *f, uint32_t index);
/* An op on n different live storages; stores into the written ones in between. 0 or what begin or end returned. */
int fixture_op(struct fixture *f, const uint32_t *index, const uint8_t *rw, size_t n);
/* Ledger, tiers, overlap and payload of everything. all_payload: moves under way are settled first. */
void fixture_check(struct fixture *f, bool all_payload);
