/* Stack distances against a naive LRU stack. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/reuse.h"

struct stack {
    uint64_t *v; /* most recent last */
    uint32_t n;
};

static uint32_t stack_access(struct stack *s, uint64_t block)
{
    uint32_t at = s->n, distance = NF_REUSE_COLD;

    while (at > 0 && s->v[at - 1] != block)
        at--;
    if (at) {
        distance = s->n - at;
        memmove(&s->v[at - 1], &s->v[at], (s->n - at) * sizeof *s->v);
        s->n--;
    }
    s->v[s->n++] = block;
    return distance;
}

struct check {
    struct nf_reuse *reuse;
    struct stack stack;
};

static void check_init(struct check *c, uint32_t hint, uint32_t blocks_max)
{
    c->reuse = nf_reuse_new(hint);
    c->stack = (struct stack){.v = malloc(blocks_max * sizeof(uint64_t))};
    assert_non_null(c->reuse);
    assert_non_null(c->stack.v);
}

static void check_deinit(struct check *c)
{
    c->reuse = nf_reuse_free(c->reuse);
    free(c->stack.v);
}

static uint32_t access_one(struct nf_reuse *r, uint64_t block)
{
    uint32_t found;

    assert_int_equal(nf_reuse_run(r, &block, 1, &found), 0);
    return found;
}

static void check_run(struct check *c, const uint64_t *blocks, size_t n)
{
    uint32_t found[4096];

    assert_true(n <= 4096);
    assert_int_equal(nf_reuse_run(c->reuse, blocks, n, found), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(found[i], stack_access(&c->stack, blocks[i]));
}

static void check_extent(struct check *c, uint64_t first, uint32_t n)
{
    uint32_t found[4096];

    assert_true(n <= 4096);
    assert_int_equal(nf_reuse_extent(c->reuse, first, n, found), 0);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(found[i], stack_access(&c->stack, first + i));
}

static void test_known(void **state)
{
    static const struct {
        uint64_t block;
        uint32_t distance;
    } steps[] = {{7, NF_REUSE_COLD},
                 {7, 0},
                 {9, NF_REUSE_COLD},
                 {7, 1},
                 {UINT64_MAX, NF_REUSE_COLD},
                 {0, NF_REUSE_COLD},
                 {9, 3},
                 {9, 0}};
    struct nf_reuse *r = nf_reuse_new(0);

    assert_non_null(r);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(access_one(r, steps[i].block), steps[i].distance);
    }
    assert_null(nf_reuse_free(r));
    assert_null(nf_reuse_free(NULL));
}

/* Dense and sparse names, few blocks (many returns within a batch's stages) and many, in batches of every length: enough
 * accesses to compact the smallest timeline several times. */
static void test_batches(void **state)
{
    static const uint64_t spreads[] = {1, 15, 16, 1000003, 1ull << 40, UINT64_MAX / 7};
    static const uint32_t blocks[] = {1, 2, 5, 17, 40, 300, 2000};

    for (size_t s = 0; s < sizeof spreads / sizeof *spreads; s++) {
        for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
            struct nf_rng rng = {.state = s * 100 + b};
            struct check c;

            check_init(&c, 0, 2048);
            for (int done = 0; done < (blocks[b] > 1000 ? 40000 : 70000);) {
                uint64_t batch[200];
                size_t n = nf_rng_below(&rng, 200) + 1;

                if (!nf_rng_below(&rng, 8))
                    n = nf_rng_below(&rng, 3) + 1;
                for (size_t i = 0; i < n; i++)
                    batch[i] = nf_rng_below(&rng, blocks[b]) * spreads[s];
                check_run(&c, batch, n);
                done += (int)n;
            }
            check_deinit(&c);
        }
    }
}

/* Batches, extents and forgotten blocks mixed, over names that wrap around the end of the 64-bit space. */
static void test_mixed(void **state)
{
    struct nf_rng rng = {.state = 11};
    struct check c;

    check_init(&c, 0, 4096);
    for (int i = 0; i < 3000; i++) {
        uint64_t base = UINT64_MAX - 700, batch[64];
        size_t n = nf_rng_below(&rng, 64) + 1;

        switch (nf_rng_below(&rng, 3)) {
        case 0:
            check_extent(&c, base + nf_rng_below(&rng, 1400), (uint32_t)n);
            break;
        case 1:
            for (size_t k = 0; k < n; k++)
                batch[k] = base + nf_rng_below(&rng, 1400);
            check_run(&c, batch, n);
            break;
        default:
            for (size_t k = 0; k < n / 4; k++) {
                uint64_t block = base + nf_rng_below(&rng, 1500); /* also ones that never came, and twice */

                nf_reuse_forget(c.reuse, block);
                for (uint32_t at = 0; at < c.stack.n; at++) {
                    if (c.stack.v[at] == block) {
                        memmove(&c.stack.v[at], &c.stack.v[at + 1], (c.stack.n - at - 1) * sizeof *c.stack.v);
                        c.stack.n--;
                    }
                }
            }
        }
    }
    assert_int_equal(nf_reuse_run(c.reuse, NULL, 0, NULL), 0);
    check_deinit(&c);
}

/* Enough blocks for several counts of the highest level, in batches: against a sum that needs no stack. A random walk over
 * a permutation visits each block once per round, so that the distance is known from the two rounds' positions alone. */
static void test_levels(void **state)
{
    enum { BLOCKS = 5000011, STRIDE_A = 3, STRIDE_B = 7 };
    struct nf_reuse *r = nf_reuse_new(0);
    uint64_t *batch = malloc(BLOCKS * sizeof *batch);
    uint32_t *found = malloc(BLOCKS * sizeof *found);

    assert_non_null(r);
    assert_non_null(batch);
    assert_non_null(found);
    for (uint64_t i = 0; i < BLOCKS; i++)
        batch[i] = i * STRIDE_A % BLOCKS * 31;
    assert_int_equal(nf_reuse_run(r, batch, BLOCKS, found), 0);
    for (uint32_t i = 0; i < BLOCKS; i++)
        assert_int_equal(found[i], NF_REUSE_COLD);
    assert_int_equal(nf_reuse_run(r, batch, BLOCKS, found), 0);
    for (uint32_t i = 0; i < BLOCKS; i++)
        assert_int_equal(found[i], BLOCKS - 1);
    /* Backwards: what was accessed since is what lies behind in both rounds. */
    for (uint64_t i = 0; i < BLOCKS; i++)
        batch[i] = (BLOCKS - 1 - i) * STRIDE_A % BLOCKS * 31;
    assert_int_equal(nf_reuse_run(r, batch, BLOCKS, found), 0);
    for (uint32_t i = 0; i < BLOCKS; i++)
        assert_int_equal(found[i], i);
    free(batch);
    free(found);
    nf_reuse_free(r);
}

/* Out of memory in every place it can be: an error, and the object can still be freed. */
static void test_no_memory(void **state)
{
    struct rlimit before, limit;
    int refused = 0;

#if defined(__SANITIZE_ADDRESS__)
    skip(); /* its shadow is larger than any limit */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    skip();
#endif
#endif
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    for (rlim_t mib = 1; mib <= 256; mib = mib * 3 / 2 + 1) {
        struct nf_reuse *r = nf_reuse_new(0);
        long pages = 0;
        FILE *statm = fopen("/proc/self/statm", "re");
        int rc = 0;

        assert_non_null(r);
        assert_non_null(statm);
        assert_int_equal(fscanf(statm, "%ld", &pages), 1);
        fclose(statm);
        limit = before;
        limit.rlim_cur = (rlim_t)pages * 4096 + (mib << 20);
        assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
        for (uint64_t i = 0; i < 4000000 && !rc; i += 256) {
            uint64_t batch[256];
            uint32_t found[256];

            for (uint64_t k = 0; k < 256; k++)
                batch[k] = (i + k) * (mib % 2 ? 1 : 1 << 20);
            rc = nf_reuse_run(r, batch, 256, found);
        }
        assert_true(rc == 0 || rc == -ENOMEM);
        refused += rc != 0;
        r = nf_reuse_free(r);
        assert_null(nf_reuse_new(UINT32_MAX)); /* the hint alone is too much */
        assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    }
    assert_true(refused >= 4);
}

static void test_extents(void **state)
{
    struct nf_rng rng = {.state = 5};
    struct check c;

    check_init(&c, 100, 1 << 12);
    for (int i = 0; i < 3000; i++) {
        uint32_t n = (uint32_t)nf_rng_below(&rng, 100) + 1;

        check_extent(&c, nf_rng_below(&rng, 3000), n);
    }
    check_deinit(&c);
}

/* The same pass over and over, forwards and backwards: worst cases for neighbour shortcuts and for compaction, with
 * more live blocks than the hint promised. */
static void test_loops(void **state)
{
    enum { BLOCKS = 3000 };
    struct check c;

    check_init(&c, 0, BLOCKS);
    for (int pass = 0; pass < 30; pass++) {
        if (pass % 3 < 2) {
            check_extent(&c, 1000, BLOCKS);
        } else {
            for (uint32_t i = BLOCKS; i-- > 0;)
                check_extent(&c, 1000 + i, 1);
        }
    }
    check_deinit(&c);
}

/* More live blocks than the first timeline has slots. A cyclic pass has the distance blocks - 1 everywhere. */
static void test_grows(void **state)
{
    enum { BLOCKS = 3000000 };
    struct nf_reuse *r = nf_reuse_new(0);
    uint32_t *found = malloc(BLOCKS * sizeof *found);

    assert_non_null(r);
    assert_non_null(found);
    for (int pass = 0; pass < 3; pass++) {
        assert_int_equal(nf_reuse_extent(r, 12345, BLOCKS, found), 0);
        for (uint32_t i = 0; i < BLOCKS; i++)
            assert_int_equal(found[i], pass ? BLOCKS - 1 : NF_REUSE_COLD);
    }
    /* Backwards, block by block: the distance grows by one with each. */
    for (uint32_t i = 0; i < BLOCKS; i += 997) {
        assert_int_equal(access_one(r, 12345 + BLOCKS - 1 - i), i);
    }
    free(found);
    nf_reuse_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known), cmocka_unit_test(test_batches),   cmocka_unit_test(test_extents),
        cmocka_unit_test(test_mixed), cmocka_unit_test(test_loops),     cmocka_unit_test(test_grows),
        cmocka_unit_test(test_levels), cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
