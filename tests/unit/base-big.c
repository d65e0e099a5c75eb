/* Large tables: zeroed, kept when they grow, of any size around a huge page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/big.h"

static const size_t sizes[] = {0, 1, 4096, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, (6 << 20) - 8, 9 << 20};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void test_zeroed(void **state)
{
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < SIZES; i++) {
            unsigned char *p = nf_big_alloc(sizes[i]);

            assert_non_null(p);
            for (size_t k = 0; k < sizes[i]; k++)
                assert_int_equal(p[k], 0);
            memset(p, 0xa5, sizes[i]);
            nf_big_free(p, sizes[i]);
        }
    }
    nf_big_free(NULL, 0);
    nf_big_free(NULL, 8 << 20);
    assert_null(nf_big_alloc(SIZE_MAX));
    assert_null(nf_big_alloc(SIZE_MAX - (4 << 20)));
}

static void test_grow(void **state)
{
    for (size_t from = 0; from < SIZES; from++) {
        for (size_t to = from + 1; to < SIZES; to++) {
            unsigned char *p = nf_big_alloc(sizes[from]), *larger;

            memset(p, 0x5a, sizes[from]);
            assert_null(nf_big_grow(p, sizes[from], SIZE_MAX));
            larger = nf_big_grow(p, sizes[from], sizes[to]);
            assert_non_null(larger);
            for (size_t k = 0; k < sizes[to]; k += k < sizes[from] ? 1 : 997)
                assert_int_equal(larger[k], k < sizes[from] ? 0x5a : 0);
            nf_big_free(larger, sizes[to]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_zeroed), cmocka_unit_test(test_grow)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
