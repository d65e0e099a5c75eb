/* Arrays beyond a limit lie in files, and are used as if they did not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/spill.h"

enum { N = 1 << 20, PAGE = 4096 };

/* Pages of the array that are in memory and mapped here: of /proc/self/pagemap only the present bit is asked. */
static unsigned mapped_pages(const void *array, size_t bytes)
{
    uintptr_t first = (uintptr_t)array / PAGE;
    unsigned n = 0;
    FILE *f = fopen("/proc/self/pagemap", "rb");

    assert_non_null(f);
    for (size_t i = 0; i <= bytes / PAGE; i++) {
        uint64_t entry;

        assert_int_equal(fseek(f, (long)((first + i) * sizeof entry), SEEK_SET), 0);
        assert_int_equal(fread(&entry, sizeof entry, 1, f), 1);
        n += entry >> 63;
    }
    fclose(f);
    return n;
}

static void only_beyond_the_limit(void **state)
{
    uint32_t *a, *b, *c, *tiny;

    a = nf_spill_alloc(N, sizeof *a); /* no limit yet */
    assert_false(nf_spill_in_file(a));
    nf_spill_limit(N * sizeof *a + 100);
    b = nf_spill_alloc(N, sizeof *b);
    assert_true(nf_spill_in_file(b));
    tiny = nf_spill_alloc(10, sizeof *tiny);
    assert_false(nf_spill_in_file(tiny));
    assert_int_equal(nf_spill_file_bytes(), N * sizeof *b);
    assert_false(nf_spill_in_file(a)); /* what is there stays */
    nf_spill_free(a);
    c = nf_spill_alloc(N, sizeof *c); /* there is room again */
    assert_false(nf_spill_in_file(c));
    for (uint32_t i = 0; i < N; i++)
        assert_true(!b[i] && !c[i]);
    assert_null(nf_spill_free(b));
    assert_int_equal(nf_spill_file_bytes(), 0);
    nf_spill_free(c);
    nf_spill_free(tiny);
    assert_null(nf_spill_free(NULL));
    a = nf_spill_alloc(0, 8);
    assert_non_null(a);
    nf_spill_free(a);
    nf_spill_limit(UINT64_MAX);
}

static void keeps_what_is_written(void **state)
{
    uint32_t *array[3];
    size_t middle = N / 2 * sizeof(uint32_t);

    nf_spill_limit(0);
    for (int k = 0; k < 3; k++) {
        array[k] = nf_spill_alloc(N, sizeof **array);
        assert_true(nf_spill_in_file(array[k]));
        assert_int_equal((uintptr_t)array[k] % 64, 0);
        for (uint32_t i = 0; i < N; i++)
            array[k][i] = i * (uint32_t)(k + 1);
    }
    assert_true(mapped_pages(array[0], N * sizeof **array) >= N * sizeof **array / PAGE);
    assert_int_equal(nf_spill_settle(), 0);
    for (int k = 0; k < 3; k++)
        assert_int_equal(mapped_pages(array[k], N * sizeof **array), 0);
    assert_int_equal(nf_spill_fetch(array[1], middle, 10 * PAGE), 0);
    assert_true(mapped_pages((char *)array[1] + middle, 10 * PAGE) >= 10);
    nf_spill_drop(array[1], middle, 10 * PAGE);
    assert_true(mapped_pages((char *)array[1] + middle, 10 * PAGE) <= 2); /* the ends belong to neighbours, too */
    assert_int_equal(nf_spill_fetch(array[1], middle, SIZE_MAX), 0); /* clamped */
    assert_int_equal(nf_spill_fetch(array[1], SIZE_MAX, 1), 0);
    nf_spill_free(array[1]); /* in the middle of the list */
    for (int k = 0; k < 3; k += 2) {
        for (uint32_t i = 0; i < N; i++)
            assert_int_equal(array[k][i], i * (uint32_t)(k + 1));
    }
    assert_int_equal(nf_spill_settle(), 0);
    nf_spill_free(array[0]);
    nf_spill_free(array[2]);
    nf_spill_limit(UINT64_MAX);
    /* Arrays in memory are never let go of. */
    array[0] = nf_spill_alloc(N, sizeof **array);
    memset(array[0], 1, N * sizeof **array);
    nf_spill_drop(array[0], 0, N * sizeof **array);
    assert_int_equal(nf_spill_settle(), 0);
    assert_int_equal(array[0][N / 2], 0x01010101);
    nf_spill_free(array[0]);
}

static void goes_where_it_is_told(void **state)
{
    char folder[] = "/var/tmp/nearfar-spill-XXXXXX", line[512];
    bool found = false;
    uint32_t *a;
    FILE *maps;

    assert_non_null(mkdtemp(folder));
    setenv("TMPDIR", folder, 1);
    nf_spill_limit(0);
    a = nf_spill_alloc(N, sizeof *a);
    maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        found = found || strstr(line, folder);
    fclose(maps);
    assert_true(found);
    assert_int_equal(rmdir(folder), 0); /* nothing is left lying about, even while it is used */
    nf_spill_free(a);
    a = nf_spill_alloc(N, sizeof *a); /* the folder is gone: another is found */
    assert_non_null(a);
    nf_spill_free(a);
    unsetenv("TMPDIR");
    nf_spill_limit(UINT64_MAX);
}

static void refuses_in_words(void **state)
{
    assert_null(nf_spill_alloc(SIZE_MAX / 2, 4));
    assert_non_null(strstr(nf_error_text(0), "times 4 bytes"));
    nf_spill_limit(0);
    assert_null(nf_spill_alloc(1, (size_t)1 << 60));
    assert_non_null(strstr(nf_error_text(0), "set TMPDIR"));
    nf_spill_limit(UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_beyond_the_limit),
        cmocka_unit_test(keeps_what_is_written),
        cmocka_unit_test(goes_where_it_is_told),
        cmocka_unit_test(refuses_in_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
