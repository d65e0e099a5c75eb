#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "pool/arena.h"

static void test_slots_recycle(void **state)
{
    struct nf_arena a;
    uint32_t x, y, z;

    assert_int_equal(nf_arena_init(&a, 100), 0);
    x = nf_arena_take(&a, 0x1000, 10);
    y = nf_arena_take(&a, 0x2000, 10);
    z = nf_arena_take(&a, 0x3000, 10);
    nf_arena_give(&a, x);
    nf_arena_give(&a, y); /* joins with x: y's old start is inside a larger free run now */
    assert_int_equal(nf_arena_take(&a, 0x2000, 7), y);
    assert_int_equal(nf_arena_take(&a, 0x1000, 10), x);
    nf_arena_give(&a, y);
    /* Too big for its old place: goes elsewhere, and that is its place from then on. */
    y = nf_arena_take(&a, 0x2000, 20);
    assert_true(y >= z + 10);
    nf_arena_give(&a, y);
    assert_int_equal(nf_arena_take(&a, 0x2000, 5), y);
    nf_arena_deinit(&a);
}

static void test_tightest_fit(void **state)
{
    struct nf_arena a;
    uint32_t hole[4], pages[4] = {100, 103, 101, 140};

    assert_int_equal(nf_arena_init(&a, 10000), 0);
    for (int i = 0; i < 4; i++) {
        hole[i] = nf_arena_take(&a, 0, pages[i]);
        nf_arena_take(&a, 0, 1); /* keeps the holes apart */
    }
    for (int i = 0; i < 4; i++)
        nf_arena_give(&a, hole[i]);
    assert_int_equal(nf_arena_take(&a, 0, 101), hole[2]);
    assert_int_equal(nf_arena_take(&a, 0, 102), hole[1]);
    assert_int_equal(nf_arena_take(&a, 0, 100), hole[0]);
    nf_arena_deinit(&a);
}

static void test_full_and_empty(void **state)
{
    struct nf_arena a;

    assert_int_equal(nf_arena_init(&a, 0), 0);
    assert_int_equal(nf_arena_take(&a, 1, 1), NF_ARENA_NONE);
    nf_arena_deinit(&a);
    assert_int_equal(nf_arena_init(&a, 64), 0);
    assert_int_equal(nf_arena_take(&a, 0, 65), NF_ARENA_NONE);
    assert_int_equal(nf_arena_take(&a, 0, 64), 0);
    assert_int_equal(nf_arena_take(&a, 0, 1), NF_ARENA_NONE);
    assert_int_equal(nf_arena_give(&a, 0), 64);
    assert_int_equal(nf_arena_take(&a, 0, 64), 0);
    nf_arena_deinit(&a);
    assert_int_not_equal(nf_arena_init(&a, (uint64_t)NF_ARENA_PAGES_MAX + 1), 0);
}

/* Against a map of pages: runs never overlap, a request fails only when no run is long enough, an old place is given
 * back exactly when it is free, and the list of used runs is right. */
static void random_against_map(uint32_t size, uint64_t seed, unsigned actions, uint32_t longest)
{
    enum { LIVE_MAX = 4096, ADDRESSES = 300 };
    static uint8_t used[1 << 18];
    static uint32_t first[LIVE_MAX], length[LIVE_MAX], place[ADDRESSES];
    struct nf_rng r = {seed};
    struct nf_arena a;
    uint32_t n = 0, total = 0;

    assert_true(size <= sizeof used);
    memset(used, 0, sizeof used);
    memset(place, 0xff, sizeof place);
    assert_int_equal(nf_arena_init(&a, size), 0);
    for (unsigned i = 0; i < actions; i++) {
        if (n < LIVE_MAX && nf_rng_below(&r, 2)) {
            uint32_t pages = 1 + (uint32_t)nf_rng_below(&r, nf_rng_below(&r, 4) ? longest / 8 + 1 : longest);
            uint64_t address = nf_rng_below(&r, ADDRESSES), old = place[address];
            uint32_t got = nf_arena_take(&a, address, pages);
            bool old_free = address && old != UINT32_MAX && old + pages <= size && !memchr(used + old, 1, pages);

            if (got == NF_ARENA_NONE) {
                uint32_t run = 0;

                for (uint32_t p = 0; p < size; p++) {
                    run = used[p] ? 0 : run + 1;
                    assert_true(run < pages);
                }
                continue;
            }
            assert_true(got + pages <= size && !memchr(used + got, 1, pages));
            if (old_free)
                assert_int_equal(got, old);
            memset(used + got, 1, pages);
            place[address] = got;
            first[n] = got;
            length[n++] = pages;
            total += pages;
        } else if (n) {
            uint32_t j = (uint32_t)nf_rng_below(&r, n);

            assert_int_equal(nf_arena_give(&a, first[j]), length[j]);
            memset(used + first[j], 0, length[j]);
            total -= length[j];
            first[j] = first[--n];
            length[j] = length[n];
        }
        assert_int_equal(a.used_pages, total);
        if (i % 64 == 0) {
            uint32_t next = 0, from, pages, seen = 0;

            while (nf_arena_next_used(&a, &next, &from, &pages)) {
                assert_null(memchr(used + from, 0, pages));
                assert_true(from + pages == size || !used[from + pages]);
                seen += pages;
            }
            assert_int_equal(seen, total);
        }
    }
    while (n)
        nf_arena_give(&a, first[--n]);
    assert_int_equal(nf_arena_take(&a, 0, size), 0); /* all joined again */
    nf_arena_deinit(&a);
}

static void test_random(void **state)
{
    static const uint32_t sizes[] = {1, 2, 63, 64, 65, 500, 4096, 4097, 100000, 1 << 18};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (uint64_t seed = 1; seed <= 3; seed++)
            random_against_map(sizes[i], seed, sizes[i] > 5000 ? 6000 : 20000, sizes[i] > 40 ? sizes[i] / 20 : sizes[i]);
}

/* More addresses than the table starts with. */
static void test_many_addresses(void **state)
{
    enum { N = 100000 };
    static uint32_t at[N];
    struct nf_arena a;

    assert_int_equal(nf_arena_init(&a, N), 0);
    for (uint32_t i = 0; i < N; i++)
        at[i] = nf_arena_take(&a, 0x1000 + i * 512ull, 1);
    for (uint32_t i = 0; i < N; i++)
        nf_arena_give(&a, at[i]);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t j = (i * 7919u) % N;

        assert_int_equal(nf_arena_take(&a, 0x1000 + j * 512ull, 1), at[j]);
    }
    nf_arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_recycle), cmocka_unit_test(test_tightest_fit),
        cmocka_unit_test(test_full_and_empty), cmocka_unit_test(test_random), cmocka_unit_test(test_many_addresses),
    };

    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
