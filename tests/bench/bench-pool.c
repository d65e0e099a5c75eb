/* A pair of pool allocation and free, policy and ledger included, against glibc's malloc and free of the same sizes. Both
 * hold a window of live storages and replace a random one, as a training step does; neither touches the memory. */
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "pool/pool.h"
#include "tests/bench/bench.h"

enum { WINDOW = 256, SIZES = 4096, NEAR_BYTES = 64 << 20, FAR_BYTES = 128 << 20 };

struct state {
    struct nf_pool *pool;
    bool slots; /* every storage comes with its captured address, and gets that slot's memory again */
    uint32_t pairs;
    uint32_t sizes[SIZES], victims[SIZES];
};

/* Half the storages are a page or two, some are up to 512 KiB: the sizes of a small GPT's step. */
static void draw(struct state *s)
{
    struct nf_rng rng = {.state = 3};

    for (unsigned i = 0; i < SIZES; i++) {
        s->sizes[i] = 4096u << nf_rng_below(&rng, nf_rng_below(&rng, 2) ? 2 : 8);
        s->victims[i] = (uint32_t)nf_rng_below(&rng, WINDOW);
    }
}

static double run_pool(struct state *s)
{
    uint32_t handles[WINDOW];
    uint64_t begun;
    int rc = 0;

    for (unsigned i = 0; i < WINDOW && !rc; i++)
        rc = nf_pool_allocate(s->pool, &(struct nf_pool_alloc){.bytes = s->sizes[i], .number = UINT32_MAX}, &handles[i]);
    begun = nf_now_ns();
    for (uint32_t i = 0; i < s->pairs && !rc; i++) {
        uint32_t victim = s->victims[i % SIZES], size = s->sizes[(i * 7) % SIZES];
        struct nf_pool_alloc a = {.bytes = size, .number = UINT32_MAX,
                                  .address = s->slots ? (uint64_t)(victim + 1) << 24 | size : 0};

        nf_pool_free(s->pool, handles[victim]);
        rc = nf_pool_allocate(s->pool, &a, &handles[victim]);
    }
    if (rc) {
        printf("pool: %s\n", nf_error_text(rc));
        return -1;
    }
    begun = nf_now_ns() - begun;
    for (unsigned i = 0; i < WINDOW; i++)
        nf_pool_free(s->pool, handles[i]);
    return s->pairs * 1e3 / (double)begun;
}

static double run_malloc(struct state *s)
{
    void *live[WINDOW];
    uint64_t begun;

    for (unsigned i = 0; i < WINDOW; i++)
        live[i] = malloc(s->sizes[i]);
    begun = nf_now_ns();
    for (uint32_t i = 0; i < s->pairs; i++) {
        uint32_t victim = s->victims[i % SIZES];

        free(live[victim]);
        live[victim] = malloc(s->sizes[(i * 7) % SIZES]);
        bench_keep((uintptr_t)live[victim]);
    }
    begun = nf_now_ns() - begun;
    for (unsigned i = 0; i < WINDOW; i++)
        free(live[i]);
    return s->pairs * 1e3 / (double)begun;
}

static double run(void *state, unsigned contender)
{
    return contender ? run_malloc(state) : run_pool(state);
}

int bench_pool(struct bench *b)
{
    const struct nf_tier_local local = {.latency_ns = 100, .read_bps = 1e10, .write_bps = 1e10};
    const struct bench_row rows[] = {
        {.name = "pool alloc + free, fresh", .unit = "M pairs/s", .contender = {"ours", "malloc + free (glibc)"}, .run = run},
        {.name = "pool alloc + free, same slot", .unit = "M pairs/s", .contender = {"ours", "malloc + free (glibc)"},
         .run = run},
    };
    struct state s = {.pairs = b->smoke ? 1000 : 1000000};
    struct nf_tier tiers[2];
    struct nf_pool_config config = {
        .tiers = tiers, .n_tiers = 2, .capacity = {NEAR_BYTES / 2, UINT64_MAX}, .arena_bytes = {NEAR_BYTES, FAR_BYTES},
        .policy = nf_policy_find("near-first"), .policy_options = "", .seed = 1,
    };
    int rc;

    draw(&s);
    rc = nf_tier_open("near", "numa", NULL, &tiers[0]);
    if (rc) {
        printf("pool: %s\n", nf_error_text(rc));
        return 77;
    }
    rc = nf_tier_open("far", "emulated", &local, &tiers[1]);
    if (!rc) {
        rc = nf_pool_open(&config, &s.pool);
        if (rc)
            printf("pool: %s\n", nf_error_text(rc));
        for (unsigned i = 0; i < 2 && !rc; i++) {
            s.slots = i;
            rc = bench_row(b, &rows[i], &s);
        }
        nf_pool_close(s.pool);
        nf_tier_close(&tiers[1]);
    }
    nf_tier_close(&tiers[0]);
    return rc ? -1 : 0;
}
