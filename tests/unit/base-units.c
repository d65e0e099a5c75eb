/* Numbers people write and read. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/units.h"

static void sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0}, {"4096", 4096}, {"64K", 65536}, {"64KiB", 65536}, {"64k", 65536}, {"64KB", 64000}, {"1.5GiB", 1610612736},
        {"2GB", 2000000000}, {"3T", 3ull << 40}, {"1 MiB", 1 << 20}, {"17B", 17}, {"0.5K", 512},
        {"9000000000000000000", 9000000000000000000ull},
    };
    static const char *const bad[] = {
        "", "-1", "-0", "x", "1Q", "1KiBx", "1Kx", "1iB", "nan", "inf", "1e999", "9.3e18", "9999999T", "K", "1 K B", "1BB",
    };
    uint64_t v;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (nf_parse_bytes(good[i].text, &v))
            fail_msg("%s", nf_error_text(0));
        assert_int_equal(v, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (nf_parse_bytes(bad[i], &v) != -EINVAL)
            fail_msg("'%s' was taken for %llu bytes", bad[i], (unsigned long long)v);
        assert_non_null(strstr(nf_error_text(0), bad[i]));
    }
}

static void whole_numbers(void **state)
{
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "1.0", "0x10", "18446744073709551616", "x"};
    uint64_t v;

    assert_int_equal(nf_parse_u64("18446744073709551615", &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(nf_parse_u64("007", &v), 0);
    assert_int_equal(v, 7);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(nf_parse_u64(bad[i], &v), -EINVAL);
}

static void real_numbers(void **state)
{
    static const char *const bad[] = {"", "x", "1,5", "nan", "inf", "-inf", "1e999", "1x"};
    double v;

    assert_int_equal(nf_parse_f64("-1.5e3", &v), 0);
    assert_true(v == -1500);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(nf_parse_f64(bad[i], &v), -EINVAL);
}

static void shares(void **state)
{
    static const char *const bad[] = {"", ",", "x", "20", "10%..", "..50%", "50%..10%", "10%%", "%", "20%,,x", "nan", "10%..x"};
    static const char *const outside[] = {"0", "0%", "-5%", "101%", "1.01", "10%..200%", "20%,0%"};
    double v[16];
    size_t n;

    assert_int_equal(nf_parse_shares("10%,20%,0.4", v, 16, &n), 0);
    assert_int_equal(n, 3);
    assert_true(v[0] == 0.1 && v[1] == 0.2 && v[2] == 0.4);
    assert_int_equal(nf_parse_shares("10%..100%", v, 16, &n), 0);
    assert_int_equal(n, 10);
    assert_true(v[9] <= 1 && v[9] > 0.999999);
    assert_int_equal(nf_parse_shares("25%..50%,100%", v, 16, &n), 0);
    assert_int_equal(n, 4);
    assert_int_equal(nf_parse_shares("0.0001%", v, 16, &n), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!nf_parse_shares(bad[i], v, 16, &n))
            fail_msg("'%s' was taken for shares", bad[i]);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        assert_int_equal(nf_parse_shares(outside[i], v, 16, &n), -ERANGE);
    assert_int_equal(nf_parse_shares("10%..100%", v, 9, &n), -EINVAL);
}

static void formats(void **state)
{
    char text[NF_UNITS_TEXT];

    assert_string_equal(nf_format_bytes(text, 0), "0 B");
    assert_string_equal(nf_format_bytes(text, 1023), "1023 B");
    assert_string_equal(nf_format_bytes(text, 1536), "1.50 KiB");
    assert_string_equal(nf_format_bytes(text, -2.0 * (1 << 30)), "-2.00 GiB");
    assert_string_equal(nf_format_bytes(text, 5e18), "4547473.51 TiB");
    assert_string_equal(nf_format_ns(text, 12), "12 ns");
    assert_string_equal(nf_format_ns(text, 1500), "1.50 us");
    assert_string_equal(nf_format_ns(text, 12.3e6), "12.30 ms");
    assert_string_equal(nf_format_ns(text, 61e9), "61.00 s");
    /* Whatever the number, it fits. */
    nf_format_bytes(text, 1e300);
    nf_format_ns(text, -1e300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),  cmocka_unit_test(whole_numbers), cmocka_unit_test(real_numbers),
        cmocka_unit_test(shares), cmocka_unit_test(formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
