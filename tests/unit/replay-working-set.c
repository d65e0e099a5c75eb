/* How large a set has to be to be memory's, and what becomes of the knee of one that is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay/measure.h"
#include "replay/working-set.h"
#include "tests/unit/pmu-tree.h"

enum { MIB = 1 << 20 };
static const uint64_t PLENTY = 1ull << 40;

static void it_is_four_times_the_cache(void **state)
{
    static const struct {
        uint64_t cache_mib, available_mib, want_mib;
        bool cached;
    } cases[] = {
        {0, 1 << 20, 256, false},   {32, 1 << 20, 256, false},    {64, 1 << 20, 256, false}, {105, 1 << 20, 420, false},
        {504, 1 << 20, 2016, false}, {504, 4032, 2016, false},     {504, 3000, 1500, true},   {504, 500, 256, true},
        {64, 300, 256, false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_working_set s = nf_working_set(cases[i].cache_mib * MIB, cases[i].available_mib * MIB);

        assert_int_equal(s.bytes, cases[i].want_mib * MIB);
        assert_int_equal(s.reported_bytes, cases[i].cache_mib * MIB);
        assert_true(s.cached == cases[i].cached);
    }
    assert_int_equal(nf_working_set(100 * MIB + 1, PLENTY).bytes, 400 * MIB + NF_CHASE_LOCAL_BYTES);
}

/* --- what the CPU says --- */

static struct pmu_tree tree;

static void put(unsigned index, const char *file, const char *text)
{
    char path[128];

    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu3/cache/index%u/%s", index, file);
    pmu_tree_put(&tree, path, text);
}

static int remove_root(void **state)
{
    pmu_tree_delete(&tree);
    return 0;
}

static void the_last_cache_counts(void **state)
{
    static const char *const caches[][2] = {{"1\n", "48K\n"}, {"1\n", "32K\n"}, {"2\n", "2048K\n"}, {"3\n", "327680K\n"}};

    pmu_tree_new(&tree);
    for (unsigned i = 0; i < 3; i++) {
        put(i, "level", caches[i][0]);
        put(i, "size", caches[i][1]);
    }
    assert_int_equal(nf_working_set_reported(tree.root, 3), 2 * MIB);
    put(3, "level", caches[3][0]);
    put(3, "size", caches[3][1]);
    assert_int_equal(nf_working_set_reported(tree.root, 3), 320 * MIB);
}

/* --- the knee --- */

/* A random chase over `bytes` on a CPU with a second level of 2 MiB and a last one of 240: the share of each that hits. */
static double chase_ns(double bytes)
{
    double second = bytes > 2 * MIB ? 2 * MIB / bytes : 1, last = bytes > 240.0 * MIB ? 240.0 * MIB / bytes : 1;

    return 4 * second + 30 * (last - second) + 120 * (1 - last);
}

static uint64_t knee_of(uint64_t set_bytes)
{
    uint64_t sizes[40];
    double ns[40];
    uint32_t n = 0;

    for (double bytes = MIB; bytes <= (double)set_bytes; bytes *= 1.41421356) {
        sizes[n] = (uint64_t)bytes;
        ns[n++] = chase_ns(bytes);
    }
    return nf_measure_knee(sizes, ns, n, 2 * MIB);
}

/* Up to 256 MiB the curve leaves the second level and then stays in the last: its middle is that of the second. The set that is
 * chosen for such a cache goes on to where it ends. */
static void the_curve_has_to_leave_the_last_cache(void **state)
{
    struct nf_working_set s = nf_working_set(240 * MIB, PLENTY);

    assert_in_range(knee_of(256 * MIB), 2 * MIB, 10 * MIB);
    assert_in_range(knee_of(s.bytes), 200 * MIB, 400 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_four_times_the_cache),
        cmocka_unit_test_teardown(the_last_cache_counts, remove_root),
        cmocka_unit_test(the_curve_has_to_leave_the_last_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
