/* perf's clock against CLOCK_MONOTONIC: on made-up pages and points, and on this kernel's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "capture/perf-clock.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"

/* A 2.1 GHz counter as the kernel describes one: mult / 2^shift nanoseconds a cycle. */
static struct perf_event_mmap_page page_of(double ghz)
{
    struct perf_event_mmap_page p = {0};

    p.cap_user_time = 1;
    p.cap_user_time_zero = 1;
    p.time_shift = 31;
    p.time_mult = (uint32_t)(2147483648.0 / ghz + 0.5);
    p.time_zero = 123456789;
    return p;
}

static void test_page(void **state)
{
    static const double ghz[] = {1.0, 2.1, 3.9};
    struct perf_event_mmap_page p;
    uint64_t ns;

    for (size_t i = 0; i < sizeof ghz / sizeof *ghz; i++) {
        p = page_of(ghz[i]);
        assert_int_equal(nf_perf_clock_of_tsc(&p, 0, &ns), 0);
        assert_int_equal(ns, 123456789);
        /* A year up: no overflow on the way, and no rounding beyond mult's own. */
        for (uint64_t tsc = 1; tsc < 1ull << 57; tsc = tsc * 3 + 1) {
            nf_u128 exact = ((nf_u128)tsc * p.time_mult) >> p.time_shift;

            assert_int_equal(nf_perf_clock_of_tsc(&p, tsc, &ns), 0);
            assert_true(ns - p.time_zero == (uint64_t)exact);
            assert_true(fabs((double)(ns - p.time_zero) - (double)tsc / ghz[i]) <= 1 + (double)tsc / ghz[i] * 1e-9);
        }
    }
    /* A counter of 32 bits that went around since time_cycles. */
    p = page_of(1.0);
    p.cap_user_time_short = 1;
    p.time_mask = 0xffffffff;
    p.time_cycles = 0x1fffffff0ull;
    assert_int_equal(nf_perf_clock_of_tsc(&p, 0x10, &ns), 0);
    assert_int_equal(ns, p.time_zero + 0x200000010ull);
    p.cap_user_time_zero = 0;
    assert_int_equal(nf_perf_clock_of_tsc(&p, 1, &ns), -ENODATA);
    p = page_of(1.0);
    p.time_shift = 64;
    assert_int_equal(nf_perf_clock_of_tsc(&p, 1, &ns), -ENODATA);
}

static void test_points(void **state)
{
    struct nf_perf_clock c = {0};
    uint64_t error;

    assert_int_equal(nf_perf_clock_monotonic(&c, 5, &error), 0);
    assert_true(error == UINT64_MAX);
    nf_perf_clock_add(&c, &(struct nf_perf_clock_point){1000000000, 9000000000, 40});
    assert_int_equal(nf_perf_clock_monotonic(&c, 1000000000, &error), 9000000000);
    assert_int_equal(error, 40);
    assert_int_equal(nf_perf_clock_monotonic(&c, 1001000000, &error), 9001000000);
    assert_int_equal(error, 540); /* 500 ppm of a millisecond more */
    assert_int_equal(nf_perf_clock_monotonic(&c, 999000000, &error), 8999000000);
    assert_int_equal(error, 540);
    assert_int_equal(nf_perf_clock_monotonic(&c, 0, NULL), 8000000000);
    /* The monotonic clock is steered to run 400 ppm fast. */
    nf_perf_clock_add(&c, &(struct nf_perf_clock_point){2000000000, 10000400000, 90});
    assert_int_equal(nf_perf_clock_monotonic(&c, 1500000000, &error), 9500200000);
    assert_int_equal(error, 90);
    assert_int_equal(nf_perf_clock_monotonic(&c, 2000000000, NULL), 10000400000);
    assert_int_equal(nf_perf_clock_monotonic(&c, 2000000001, NULL), 10000400001);
    /* Points that do not lie after the last are passed over. */
    nf_perf_clock_add(&c, &(struct nf_perf_clock_point){2000000000, 11000000000, 1});
    nf_perf_clock_add(&c, &(struct nf_perf_clock_point){3000000000, 10000400000, 1});
    assert_int_equal(c.n, 2);
    /* Before the first point time does not go below nothing. */
    c = (struct nf_perf_clock){0};
    nf_perf_clock_add(&c, &(struct nf_perf_clock_point){5000, 100, 1});
    assert_int_equal(nf_perf_clock_monotonic(&c, 1, NULL), 0);
}

/* A steered clock, points with errors: the conversion never goes back and stays within the bound it states. */
static void test_steered(void **state)
{
    struct nf_rng rng = {42};
    struct nf_perf_clock c = {0};
    double slope = 1, monotonic = 7e9;
    uint64_t perf = 1000000000, last = 0;
    struct {
        uint64_t perf;
        double truth;
    } seen[4000];
    size_t n = 0;

    for (int i = 0; i < 40; i++) {
        uint64_t noise = nf_rng_below(&rng, 100);

        nf_perf_clock_add(&c, &(struct nf_perf_clock_point){perf, (uint64_t)monotonic + noise - 50, 51});
        slope = 1 + ((double)nf_rng_below(&rng, 1001) - 500) * 1e-6;
        for (int k = 0; k < 100; k++) {
            perf += 1000000;
            monotonic += 1000000 * slope;
            seen[n].perf = perf;
            seen[n++].truth = monotonic;
        }
    }
    nf_perf_clock_add(&c, &(struct nf_perf_clock_point){perf + 1, (uint64_t)monotonic + 1, 51});
    assert_int_equal(c.n, NF_PERF_CLOCK_POINTS); /* the oldest were forgotten */
    for (size_t i = 0; i < n; i++) {
        uint64_t error, ns = nf_perf_clock_monotonic(&c, seen[i].perf, &error);

        assert_true(ns >= last);
        last = ns;
        if (fabs((double)ns - seen[i].truth) > (double)error + 2)
            fail_msg("at %zu: %.0f ns off, said %llu", i, (double)ns - seen[i].truth, (unsigned long long)error);
    }
}

static void test_here(void **state)
{
    struct nf_perf_meter *m;
    struct nf_perf_clock c = {0};
    uint64_t error;
    int rc = nf_perf_meter_new(&m);

    if (rc) {
        print_message("%s\n", nf_error_text(rc));
        skip();
    }
    for (int i = 0; i < 20; i++) {
        uint64_t last = c.n ? c.points[c.n - 1].perf_ns : 0;

        assert_int_equal(nf_perf_meter_take(m, &c), 0);
        assert_int_equal(c.n, i + 1);
        assert_true(c.points[i].perf_ns > last);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    print_message("perf's clock by %s; error of the points %llu to %llu ns\n",
                  nf_perf_meter_by_tsc(m) ? "its page" : "page faults",
                  (unsigned long long)c.points[0].error_ns, (unsigned long long)c.points[19].error_ns);
    /* Leave the last one out, and predict it from the ones before. */
    c.n--;
    assert_true(nf_perf_clock_monotonic(&c, c.points[19].perf_ns, &error) + error + c.points[19].error_ns >=
                c.points[19].monotonic_ns);
    assert_true(nf_perf_clock_monotonic(&c, c.points[19].perf_ns, &error) <=
                c.points[19].monotonic_ns + error + c.points[19].error_ns);
    assert_null(nf_perf_meter_free(m));
    assert_null(nf_perf_meter_free(NULL));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page), cmocka_unit_test(test_points), cmocka_unit_test(test_steered),
        cmocka_unit_test(test_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
