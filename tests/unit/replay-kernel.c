/* Access kernels touch exactly the bytes they claim, in every variant this CPU runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "replay/kernel.h"

enum { PAGE = 4096, PAGES = 4, ROOM = PAGES * PAGE, FILL = 0x5a };

/* ROOM bytes between two pages that may not be touched. */
static char *guarded;

static int map_guarded(void **state)
{
    char *all = mmap(NULL, ROOM + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (all == MAP_FAILED || mprotect(all + PAGE, ROOM, PROT_READ | PROT_WRITE))
        return -1;
    guarded = all + PAGE;
    return 0;
}

/* Only bytes that mark (zero) names may differ from FILL. */
static void expect_rest_untouched(const char *mark, const char *got)
{
    for (size_t i = 0; i < ROOM; i++) {
        if (mark[i] == FILL && got[i] != FILL)
            fail_msg("byte %zu outside the extent changed", i);
    }
}

static void walk(nf_kernel_fn *ascending, nf_kernel_rows_fn *in_order, bool rows, size_t offset, size_t run, size_t stride,
                 size_t runs)
{
    struct nf_rows order;

    if (!rows) {
        ascending(guarded + offset, run, stride, runs);
        return;
    }
    /* In two parts, as chunks are. */
    nf_rows_init(&order, runs, run + stride);
    in_order(guarded + offset, run, stride, &order, 0, runs / 3);
    in_order(guarded + offset, run, stride, &order, runs / 3, runs - runs / 3);
}

/* The extent is written throughout, updated once, and only read by a read; as well in an order of rows. */
static void check_walk(const struct nf_kernels *k, bool rows, size_t offset, size_t run, size_t stride, size_t runs)
{
    static char mark[ROOM], before[ROOM];

    memset(mark, FILL, sizeof mark);
    for (size_t r = 0; r < runs; r++)
        memset(mark + offset + r * stride, 0, run);

    memset(guarded, FILL, ROOM);
    walk(k->touch[NF_RW_WRITE], k->touch_rows[NF_RW_WRITE], rows, offset, run, stride, runs);
    expect_rest_untouched(mark, guarded);
    for (size_t i = 0; i < ROOM; i++) {
        if (mark[i] != FILL && guarded[i] == FILL)
            fail_msg("%s write: byte %zu of %zu+%zux%zu/%zu was not stored", k->name, i, offset, run, runs, stride);
    }

    memset(guarded, FILL, ROOM);
    walk(k->stream_out, k->stream_out_rows, rows, offset, run, stride, runs);
    expect_rest_untouched(mark, guarded);
    for (size_t i = 0; i < ROOM; i++) {
        if (mark[i] != FILL && guarded[i] == FILL)
            fail_msg("%s non-temporal: byte %zu of %zu+%zux%zu/%zu was not stored", k->name, i, offset, run, runs, stride);
    }

    memset(guarded, FILL, ROOM);
    walk(k->touch[NF_RW_UPDATE], k->touch_rows[NF_RW_UPDATE], rows, offset, run, stride, runs);
    expect_rest_untouched(mark, guarded);
    for (size_t r = 0; r < runs && run; r++) { /* the lowest byte of each word carries the added one */
        if (guarded[offset + r * stride] != FILL + 1)
            fail_msg("%s update: run %zu of %zu+%zux%zu/%zu was not touched once", k->name, r, offset, run, runs, stride);
    }

    for (size_t i = 0; i < ROOM; i++)
        guarded[i] = before[i] = (char)nf_mix64(i);
    walk(k->touch[NF_RW_READ], k->touch_rows[NF_RW_READ], rows, offset, run, stride, runs);
    assert_memory_equal(guarded, before, ROOM);
}

static void check(const struct nf_kernels *k, size_t offset, size_t run, size_t stride, size_t runs)
{
    check_walk(k, false, offset, run, stride, runs);
    check_walk(k, true, offset, run, stride, runs);
}

static void touches_exactly(void **state)
{
    for (unsigned isa = 0; isa < NF_KERNEL_ISA_COUNT; isa++) {
        const struct nf_kernels *k = nf_kernels_of(isa);
        struct nf_rng rng = {isa};

        if (!k) {
            print_message("this CPU does not run variant %u\n", isa);
            continue;
        }
        check(k, 0, ROOM, ROOM, 1); /* up to both guards */
        check(k, 0, 0, 0, 1);
        check(k, ROOM - 1, 1, 1, 1);
        check(k, ROOM - 63, 63, 63, 1);
        for (int i = 0; i < 400; i++) {
            size_t run = 1 + nf_rng_below(&rng, 700), gap = nf_rng_below(&rng, 200), offset, runs;

            runs = 1 + nf_rng_below(&rng, (ROOM - run) / (run + gap) + 1);
            offset = nf_rng_below(&rng, ROOM - ((runs - 1) * (run + gap) + run) + 1);
            check(k, offset, run, run + gap, runs);
        }
        for (size_t n = 1; n <= 300; n++) /* vectors of words: whole batches, powers of two and what is left over */
            check(k, 3, 8, 8 + n % 5, n);
        for (size_t n = 0; n < 300; n++) /* every end, against the guard */
            check(k, ROOM - n, n, n, 1);
    }
}

/* An update of whole words adds one to each. */
static void updates_once(void **state)
{
    uint64_t *word = (uint64_t *)guarded;

    for (unsigned isa = 0; isa < NF_KERNEL_ISA_COUNT; isa++) {
        if (!nf_kernels_of(isa))
            continue;
        memset(guarded, 0, ROOM);
        nf_kernels_of(isa)->touch[NF_RW_UPDATE](guarded + 8, ROOM - 16, ROOM - 16, 1);
        assert_int_equal(word[0], 0);
        assert_int_equal(word[ROOM / 8 - 1], 0);
        for (size_t i = 1; i < ROOM / 8 - 1; i++)
            assert_int_equal(word[i], 1);
    }
}

static void rows_are_a_permutation(void **state)
{
    static const uint64_t sizes[] = {1, 2, 3, 5, 64, 100, 127, 128, 129, 4096, 50000};

    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        uint64_t n = sizes[s], in_place = 0;
        char *seen = calloc(n, 1);
        struct nf_rows rows;

        nf_rows_init(&rows, n, 7 + s);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t r = nf_rows_at(&rows, i);

            assert_in_range(r, 0, n - 1);
            assert_int_equal(seen[r], 0);
            seen[r] = 1;
            in_place += r == i;
        }
        if (n >= 64)
            assert_true(in_place < n / 8);
        free(seen);
    }
}

static void the_best_runs_here(void **state)
{
    assert_non_null(nf_kernels_best());
    assert_non_null(nf_kernels_of(NF_KERNEL_PORTABLE));
    assert_string_equal(nf_kernels_of(NF_KERNEL_PORTABLE)->name, "portable");
    assert_null(nf_kernels_of(NF_KERNEL_ISA_COUNT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(touches_exactly),
        cmocka_unit_test(updates_once),
        cmocka_unit_test(rows_are_a_permutation),
        cmocka_unit_test(the_best_runs_here),
    };

    return cmocka_run_group_tests(tests, map_guarded, NULL);
}
