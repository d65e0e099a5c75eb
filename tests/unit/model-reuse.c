/* Stack distances against a naive LRU stack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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
        uint32_t found;

        assert_int_equal(nf_reuse_access(r, steps[i].block, &found), 0);
        assert_int_equal(found, steps[i].distance);
    }
    assert_null(nf_reuse_free(r));
    assert_null(nf_reuse_free(NULL));
}

/* Short and long, dense and sparse: enough accesses to compact the smallest timeline several times. */
static void test_random(void **state)
{
    static const uint64_t spreads[] = {1, 15, 16, 1000003, 1ull << 40};

    for (size_t s = 0; s < sizeof spreads / sizeof *spreads; s++) {
        struct nf_rng rng = {.state = s};
        struct check c;

        check_init(&c, 0, 512);
        for (int i = 0; i < 100000; i++)
            check_extent(&c, nf_rng_below(&rng, 300) * spreads[s], 1);
        check_deinit(&c);
    }
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
        uint32_t distance;

        assert_int_equal(nf_reuse_access(r, 12345 + BLOCKS - 1 - i, &distance), 0);
        assert_int_equal(distance, i);
    }
    free(found);
    nf_reuse_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known), cmocka_unit_test(test_random), cmocka_unit_test(test_extents),
        cmocka_unit_test(test_loops), cmocka_unit_test(test_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
