/* What is taken from accesses: one chunk far beyond the others of its op, and nothing that memory alone explains. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replay/absence.h"

enum { US = 1000, OPS = 4, CHUNK = 6 * US, LONG = 100 * US };

/* Returns what was taken from all of them. */
static uint64_t run_op(struct nf_absence *a, uint64_t at, const uint64_t *took, unsigned n)
{
    uint64_t taken = 0;

    nf_absence_op(a, at);
    for (unsigned i = 0; i < n; i++)
        taken += nf_absence_chunk(a, took[i]);
    return taken + nf_absence_end(a);
}

#define RUN(a, at, ...) run_op(a, at, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void assert_about(uint64_t taken, uint64_t expected)
{
    assert_in_range(taken, expected - expected / 20, expected + expected / 20);
}

static struct nf_absence fresh(void)
{
    struct nf_absence a;

    assert_int_equal(nf_absence_init(&a, OPS), 0);
    return a;
}

static void one_long_chunk_is_an_absence(void **state)
{
    struct nf_absence a = fresh();

    assert_int_equal(RUN(&a, 0, CHUNK, CHUNK, CHUNK, CHUNK), 0);
    assert_about(RUN(&a, 0, CHUNK, LONG, CHUNK, CHUNK), LONG - CHUNK);
    assert_about(RUN(&a, 0, CHUNK, CHUNK, CHUNK, LONG), LONG - CHUNK); /* the last one */
    assert_about(RUN(&a, 0, LONG, CHUNK, LONG, CHUNK), 2 * (LONG - CHUNK));
    assert_int_equal(RUN(&a, 0, CHUNK, CHUNK), 0);
    nf_absence_deinit(&a);
}

/* Each op has its own: a short one is not held against a long one. */
static void an_op_is_held_against_itself(void **state)
{
    struct nf_absence a = fresh();

    for (int step = 0; step < 10; step++) {
        assert_int_equal(RUN(&a, 0, US), 0);
        assert_int_equal(RUN(&a, 1, LONG), 0);
    }
    assert_about(RUN(&a, 0, LONG), LONG - US); /* its only chunk: the steps before tell */
    nf_absence_deinit(&a);
}

/* Another memory makes all chunks slower, in an op that moves or from then on. */
static void slow_memory_is_no_absence(void **state)
{
    struct nf_absence a = fresh();
    uint64_t taken = 0;

    assert_int_equal(RUN(&a, 0, CHUNK, CHUNK, CHUNK), 0);
    assert_int_equal(RUN(&a, 0, 4 * CHUNK, 4 * CHUNK, 4 * CHUNK), 0);
    assert_int_equal(RUN(&a, 0, LONG, LONG, LONG), 0);
    assert_int_equal(RUN(&a, 0, LONG, LONG, LONG), 0);
    assert_int_equal(RUN(&a, 1, US), 0);
    for (int step = 0; step < 100; step++)
        taken = RUN(&a, 1, LONG); /* of one chunk nobody knows at first */
    assert_int_equal(taken, 0);
    nf_absence_deinit(&a);
}

/* A first chunk that was taken away must not hide the next absences for long. */
static void a_bad_beginning_is_forgotten(void **state)
{
    struct nf_absence a = fresh();

    assert_int_equal(RUN(&a, 0, 100 * LONG), 0);
    for (int step = 0; step < 60; step++)
        assert_int_equal(RUN(&a, 0, CHUNK), 0);
    assert_about(RUN(&a, 0, LONG), LONG - CHUNK);
    nf_absence_deinit(&a);
}

/* Beyond the table an op knows its own chunks only. */
static void strangers_know_themselves(void **state)
{
    struct nf_absence a = fresh();

    assert_int_equal(RUN(&a, OPS + 7, CHUNK), 0);
    assert_int_equal(RUN(&a, OPS + 7, LONG), 0);
    assert_about(RUN(&a, OPS + 7, CHUNK, CHUNK, LONG, CHUNK), LONG - CHUNK);
    nf_absence_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_long_chunk_is_an_absence), cmocka_unit_test(an_op_is_held_against_itself),
        cmocka_unit_test(slow_memory_is_no_absence),    cmocka_unit_test(a_bad_beginning_is_forgotten),
        cmocka_unit_test(strangers_know_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
