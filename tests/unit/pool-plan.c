#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/load.h"
#include "pool/plan.h"

enum { OPS_MAX = 300, ITEMS_MAX = 400 };

static void test_load_against_array(void **state)
{
    for (uint32_t n = 1; n < OPS_MAX; n += 1 + n / 3) {
        struct nf_rng r = {n};
        uint32_t load[OPS_MAX] = {0};
        struct nf_load l;

        assert_int_equal(nf_load_init(&l, n), 0);
        for (int i = 0; i < 2000; i++) {
            uint32_t a = (uint32_t)nf_rng_below(&r, n), b = (uint32_t)nf_rng_below(&r, n), peak = 0, top = 0;
            uint32_t first = a < b ? a : b, last = a < b ? b : a, pages = (uint32_t)nf_rng_below(&r, 1000);

            for (uint32_t op = 0; op < n; op++)
                top = load[op] > top ? load[op] : top;
            for (uint32_t op = first; op <= last; op++)
                peak = load[op] > peak ? load[op] : peak;
            assert_int_equal(nf_load_peak(&l, first, last), peak);
            assert_int_equal(nf_load_top(&l), top);
            nf_load_add(&l, first, last, pages);
            for (uint32_t op = first; op <= last; op++)
                load[op] += pages;
            if (i % 3 == 0) { /* taken back, modulo 2^32 */
                nf_load_add(&l, first, last, -pages);
                for (uint32_t op = first; op <= last; op++)
                    load[op] -= pages;
            }
        }
        nf_load_deinit(&l);
    }
}

static uint32_t random_items(struct nf_rng *r, struct nf_plan_item *items, uint32_t n_ops)
{
    uint32_t n = 1 + (uint32_t)nf_rng_below(r, ITEMS_MAX - 1);

    for (uint32_t i = 0; i < n; i++) {
        uint32_t a = (uint32_t)nf_rng_below(r, n_ops), b = (uint32_t)nf_rng_below(r, n_ops);

        items[i] = (struct nf_plan_item){.pages = (uint32_t)nf_rng_below(r, 50), .n_spans = 1,
                                         .benefit = (double)nf_rng_below(r, 100000)};
        items[i].span[0].first = a < b ? a : b;
        items[i].span[0].last = a < b ? b : a;
        if (nf_rng_below(r, 4) == 0) {
            items[i].n_spans = 2;
            items[i].span[1].first = (uint32_t)nf_rng_below(r, n_ops);
            items[i].span[1].last = n_ops - 1;
        }
    }
    return n;
}

/* Loads of what was taken, or of that and one more. False when it exceeds the room. */
static bool fits(const struct nf_plan_item *items, uint32_t n, const bool *taken, uint32_t more, uint32_t room)
{
    uint64_t load[OPS_MAX] = {0};

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t s = 0; (taken[i] || i == more) && s < items[i].n_spans; s++)
            for (uint32_t op = items[i].span[s].first; op <= items[i].span[s].last; op++) {
                load[op] += items[i].pages;
                if (load[op] > room)
                    return false;
            }
    return true;
}

/* A plan holds its capacity at every op, and leaves nothing out that would still fit. */
static void test_plan_is_full_but_not_more(void **state)
{
    struct nf_plan_item items[ITEMS_MAX];
    bool taken[ITEMS_MAX];

    for (uint64_t seed = 1; seed < 60; seed++) {
        struct nf_rng r = {seed};
        uint32_t n_ops = 1 + (uint32_t)nf_rng_below(&r, OPS_MAX - 1), n = random_items(&r, items, n_ops);
        uint32_t base = (uint32_t)nf_rng_below(&r, 100), capacity = (uint32_t)nf_rng_below(&r, 1000);
        uint32_t room = capacity > base ? capacity - base : 0;

        assert_int_equal(nf_plan_choose(items, n, n_ops, capacity, base, taken), 0);
        assert_true(fits(items, n, taken, UINT32_MAX, room));
        for (uint32_t i = 0; i < n; i++)
            if (!taken[i])
                assert_false(fits(items, n, taken, i, room));
    }
}

static void test_lifetimes_count(void **state)
{
    /* Ten that follow each other share the place of one that lives all the time and is used more than each of them. */
    struct nf_plan_item items[11] = {{.pages = 10, .n_spans = 1, .span = {{0, 99}}, .benefit = 500}};
    bool taken[11];

    for (uint32_t i = 1; i <= 10; i++)
        items[i] = (struct nf_plan_item){.pages = 10, .n_spans = 1, .span = {{10 * i - 10, 10 * i - 1}}, .benefit = 100};
    assert_int_equal(nf_plan_choose(items, 11, 100, 10, 0, taken), 0);
    assert_false(taken[0]);
    for (uint32_t i = 1; i <= 10; i++)
        assert_true(taken[i]);
}

static void test_better_key_wins(void **state)
{
    /* Per byte and time the short one is denser, but it blocks the long one that saves far more. */
    struct nf_plan_item items[2] = {{.pages = 10, .n_spans = 1, .span = {{50, 50}}, .benefit = 100},
                                    {.pages = 10, .n_spans = 1, .span = {{0, 99}}, .benefit = 1000}};
    bool taken[2];

    assert_int_equal(nf_plan_choose(items, 2, 100, 10, 0, taken), 0);
    assert_false(taken[0]);
    assert_true(taken[1]);
}

/* In parts: near is full wherever something of an item was left out, and the whole of one that goes first is taken. */
static void test_parts(void **state)
{
    struct nf_plan_item items[ITEMS_MAX];
    uint32_t pages[ITEMS_MAX];

    for (uint64_t seed = 1; seed < 60; seed++) {
        struct nf_rng r = {seed};
        uint32_t n_ops = 1 + (uint32_t)nf_rng_below(&r, OPS_MAX - 1), n = random_items(&r, items, n_ops), room = (uint32_t)nf_rng_below(&r, 1000);
        uint32_t load[OPS_MAX] = {0};

        for (uint32_t i = 0; i < n; i++)
            items[i].n_spans = 1;
        assert_int_equal(nf_plan_choose_parts(items, n, n_ops, room + 7, 7, pages), 0);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(pages[i] <= items[i].pages);
            for (uint32_t op = items[i].span[0].first; op <= items[i].span[0].last; op++)
                load[op] += pages[i];
        }
        for (uint32_t i = 0; i < n; i++) {
            uint32_t peak = 0;

            for (uint32_t op = items[i].span[0].first; op <= items[i].span[0].last; op++)
                peak = load[op] > peak ? load[op] : peak;
            assert_true(peak <= room);
            assert_true(pages[i] == items[i].pages || peak == room);
        }
    }
    items[0] = (struct nf_plan_item){.pages = 10, .n_spans = 2, .span = {{0, 1}, {3, 4}}, .benefit = 100};
    items[1] = (struct nf_plan_item){.pages = 10, .n_spans = 1, .span = {{1, 2}}, .benefit = 10};
    assert_int_equal(nf_plan_choose_parts(items, 2, 5, 14, 0, pages), 0);
    assert_int_equal(pages[0], 10);
    assert_int_equal(pages[1], 4);
}

static void test_edges(void **state)
{
    struct nf_plan_item items[2] = {{.pages = 0, .n_spans = 1, .benefit = 5}, {.pages = 5, .n_spans = 1, .benefit = 5}};
    bool taken[2] = {false, true};

    assert_int_equal(nf_plan_choose(items, 2, 1, 0, 0, taken), 0);
    assert_true(taken[0]);
    assert_false(taken[1]);
    assert_int_equal(nf_plan_choose(items, 2, 1, 7, 9, taken), 0); /* more is taken already than there is */
    assert_false(taken[1]);
    assert_int_equal(nf_plan_choose(NULL, 0, 1, 7, 0, taken), 0);
}

/* Many ranges at once are as one after the other, and more can be added. */
static void load_is_filled_as_added(void **state)
{
    enum { OPS = 37, RANGES = 60 };
    uint32_t change[OPS + 1] = {0};
    struct nf_load one, all;
    struct nf_rng r = {5};

    assert_int_equal(nf_load_init(&one, OPS), 0);
    assert_int_equal(nf_load_init(&all, OPS), 0);
    for (unsigned i = 0; i < RANGES; i++) {
        uint32_t first = (uint32_t)nf_rng_below(&r, OPS), last = first + (uint32_t)nf_rng_below(&r, OPS - first), pages = (uint32_t)nf_rng_below(&r, 100);

        nf_load_add(&one, first, last, pages);
        change[first] += pages;
        change[last + 1] -= pages;
    }
    nf_load_fill(&all, change, OPS);
    nf_load_add(&one, 3, 20, 7);
    nf_load_add(&all, 3, 20, 7);
    for (uint32_t first = 0; first < OPS; first++)
        for (uint32_t last = first; last < OPS; last++)
            assert_int_equal(nf_load_peak(&all, first, last), nf_load_peak(&one, first, last));
    assert_int_equal(nf_load_top(&all), nf_load_top(&one));
    nf_load_deinit(&one);
    nf_load_deinit(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_is_filled_as_added), cmocka_unit_test(test_load_against_array), cmocka_unit_test(test_plan_is_full_but_not_more),
        cmocka_unit_test(test_lifetimes_count), cmocka_unit_test(test_better_key_wins), cmocka_unit_test(test_parts), cmocka_unit_test(test_edges),
    };

    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
