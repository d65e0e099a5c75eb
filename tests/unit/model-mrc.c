/* Histograms, miss-ratio curves and every estimator of them, on steps whose curves can be worked out by hand. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/model/aet.h"
#include "core/model/last.h"
#include "core/model/locality.h"

enum { PAGE = NF_PAGE_BYTES, LINES = PAGE / 64 };

static void near(double found, double expected, double by)
{
    if (!(fabs(found - expected) <= by))
        fail_msg("found %.9g, expected %.9g within %g", found, expected, by);
}

static void test_buckets(void **state)
{
    struct nf_rng rng = {.state = 1};

    for (uint64_t v = 0; v < 5000; v++) {
        uint32_t b = nf_histogram_bucket(v);

        assert_true(nf_histogram_edge(b) <= v && v < nf_histogram_edge(b + 1));
    }
    for (int i = 0; i < 100000; i++) {
        uint64_t v = nf_rng_next(&rng) >> (16 + nf_rng_below(&rng, 48));
        uint32_t b = nf_histogram_bucket(v);

        assert_true(nf_histogram_edge(b) <= v && v < nf_histogram_edge(b + 1));
    }
    for (uint32_t b = 0; b < NF_HISTOGRAM_BUCKETS; b++)
        assert_int_equal(nf_histogram_bucket(nf_histogram_edge(b)), b);
    assert_int_equal(nf_histogram_edge(NF_HISTOGRAM_BUCKETS), 1ull << NF_HISTOGRAM_OCTAVES);
    assert_int_equal(nf_histogram_bucket(UINT64_MAX), NF_HISTOGRAM_BUCKETS - 1);
}

static void test_spread(void **state)
{
    struct nf_histogram h = {0};

    nf_histogram_spread(&h, 2.5, 4.5, 10);
    near(h.at[2], 2.5, 1e-9);
    near(h.at[3], 5, 1e-9);
    near(h.at[4], 2.5, 1e-9);
    near(h.total, 10, 1e-9);
    near(nf_histogram_above(&h, 3), 7.5, 1e-9);
    near(nf_histogram_above(&h, 0), 10, 1e-9);
    near(nf_histogram_above(&h, 1e20), 0, 1e-9);
    assert_int_equal(nf_histogram_end(&h), 5);
    nf_histogram_spread(&h, 7, 7, 1);
    near(h.at[7], 1, 1e-9);
    nf_histogram_spread(&h, 1024, 1 << 20, 1);
    near(nf_histogram_above(&h, 1024) - nf_histogram_above(&h, 1 << 20), 1, 1e-9);
    near(nf_histogram_above(&h, ((1 << 20) + 1024) / 2), 0.5, 1e-9);
}

/* Parameter 0 (4 pages) is read at ops 0 and 3; temporary 1 (6 pages) is written at 1 and updated at 2. */
struct sample {
    struct nf_op ops[4];
    struct nf_visit visits[4];
    struct nf_tensor tensors[2];
    struct nf_step_class c;
};

static void sample_init(struct sample *m)
{
    *m = (struct sample){
        .visits = {{.op = 0, .tensor = 0, .bytes = 4 * PAGE, .run = 4 * PAGE, .stride = 4 * PAGE},
                   {.op = 1, .tensor = 1, .bytes = 6 * PAGE, .run = 6 * PAGE, .stride = 6 * PAGE, .rw = NF_RW_WRITE},
                   {.op = 2, .tensor = 1, .bytes = 6 * PAGE, .run = 6 * PAGE, .stride = 6 * PAGE, .rw = NF_RW_UPDATE},
                   {.op = 3, .tensor = 0, .bytes = 4 * PAGE, .run = 4 * PAGE, .stride = 4 * PAGE}},
        .tensors = {{.bytes = 4 * PAGE, .address = 1 << 20, .birth = NF_OP_BEFORE, .death = NF_OP_AFTER},
                    {.bytes = 6 * PAGE, .address = 1 << 21, .birth = 1, .death = 2, .carry_in = -1, .carry_out = -1}},
        .c = {.n_ops = 4, .n_visits = 4, .n_tensors = 2, .peak_live_bytes = 10 * PAGE},
    };
    for (uint32_t i = 0; i < 4; i++)
        m->ops[i] = (struct nf_op){.first_visit = i, .n_visits = 1, .dur_ns = 1000, .gap_ns = 100};
    m->c.ops = m->ops;
    m->c.visits = m->visits;
    m->c.tensors = m->tensors;
}

static const uint32_t each_its_own[] = {0, 1};

/* In pages, steady state: 0 at op 0 after 3 others, 1 at op 1 after 9, 1 at op 2 after 5, 0 at op 3 after 9. */
static void test_exact(void **state)
{
    struct nf_mrc curves[3];
    struct sample m;
    struct nf_locality l = {&m.c, PAGE, {each_its_own, 2}, curves};

    sample_init(&m);
    assert_int_equal(nf_locality_exact(&l), 0);
    assert_string_equal(curves[0].estimator, "exact");
    near(curves[0].distances.total, 20 * PAGE, 0);
    near(curves[0].distances.cold, 0, 0);
    near(nf_mrc_ratio(&curves[0], PAGE), 1, 0);
    near(nf_mrc_ratio(&curves[0], 3 * PAGE), 1, 0);
    near(nf_mrc_ratio(&curves[0], 4 * PAGE), 0.8, 0);
    near(nf_mrc_ratio(&curves[0], 5 * PAGE), 0.8, 0);
    near(nf_mrc_ratio(&curves[0], 6 * PAGE), 0.5, 0);
    near(nf_mrc_ratio(&curves[0], 9 * PAGE), 0.5, 0);
    near(nf_mrc_ratio(&curves[0], 10 * PAGE), 0, 0);
    near(nf_mrc_ratio(&curves[0], 1), 1, 0); /* less than a block is a block */
    near(nf_mrc_ratio(&curves[1], 4 * PAGE), 0.5, 0);
    near(nf_mrc_ratio(&curves[1], 9 * PAGE), 0.5, 0);
    near(nf_mrc_ratio(&curves[2], 6 * PAGE), 0.5, 0);
    assert_int_equal(nf_mrc_reach(&curves[0]), 10 * PAGE);
    /* In lines the same curve, 64 times finer: each line as far away as its page was, less a page's edge. */
    l.block_bytes = 64;
    assert_int_equal(nf_locality_exact(&l), 0);
    near(nf_mrc_ratio(&curves[0], 4 * PAGE), 0.8, 0);
    near(nf_mrc_ratio(&curves[0], 248 * 64), 1, 0); /* the edge below 256 lines */
    near(nf_mrc_ratio(&curves[0], 10 * PAGE), 0, 0);
    near(nf_mrc_ratio(&curves[0], 6 * PAGE), 0.5, 0);
}

/* Bytes count, not blocks: 100 bytes at an odd address are parts of two or three lines; a strided visit with gaps below
 * a block is its span at a density, with larger ones it is its runs. */
static void test_bytes(void **state)
{
    struct nf_mrc curve;
    struct sample m;
    struct nf_locality l = {&m.c, 64, {0}, &curve};

    sample_init(&m);
    m.visits[0] = (struct nf_visit){.op = 0, .tensor = 0, .offset = 60, .bytes = 100, .run = 100, .stride = 100};
    m.visits[1] = (struct nf_visit){.op = 1, .tensor = 1, .bytes = 320, .run = 32, .stride = 64, .rw = NF_RW_WRITE};
    m.visits[2] = (struct nf_visit){.op = 2, .tensor = 1, .bytes = 96, .run = 32, .stride = 1024};
    m.c.n_visits = 3;
    assert_int_equal(nf_locality_exact(&l), 0);
    near(curve.distances.total, 100 + 320 + 96, 1e-9);
    /* Lines: 3 of tensor 0, 10 of tensor 1, then lines 0, 16, 32 of tensor 1, of which 16 and 32 only ever there. */
    near(curve.distances.at[14], 100 + (8 * 64 + 32) * 320.0 / 608 + 2 * 32, 1e-9); /* once per step: all 14 others */
    near(curve.distances.at[5], 64 * 320.0 / 608, 1e-9); /* line 0 at op 1, behind 16, 32 and tensor 0 */
    near(curve.distances.at[9], 32, 1e-9);               /* line 0 at op 2, behind 1 .. 9 */
    near(nf_mrc_ratio(&curve, 15 * 64), 0, 1e-12);
}

static void test_groups(void **state)
{
    struct nf_mrc curves[3];
    struct nf_histogram bytes[3], ns[3];
    struct sample m;
    struct nf_locality l = {&m.c, 64, {each_its_own, 2}, curves};
    int (*const run[])(const struct nf_locality *) = {nf_locality_exact, nf_locality_aet};

    sample_init(&m);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(k < 2 ? run[k](&l) : nf_locality_shards(&l, 0.3, 0), 0);
        for (uint32_t b = 0; b < NF_HISTOGRAM_BUCKETS; b++)
            near(curves[1].distances.at[b] + curves[2].distances.at[b], curves[0].distances.at[b], 1e-6);
        near(curves[0].distances.total, 20 * PAGE, 1e-6);
        near(curves[1].distances.total, 8 * PAGE, 1e-6);
    }
    assert_int_equal(nf_locality_times(&l, bytes, ns), 0);
    /* Other traffic: 0 again at op 3 after 4 + 12 pages less a line, at op 0 after 4 less a line. */
    near(bytes[1].at[nf_histogram_bucket(16 * PAGE - 64)], 4 * PAGE, 0);
    near(bytes[1].at[nf_histogram_bucket(4 * PAGE - 64)], 4 * PAGE, 0);
    near(bytes[2].at[nf_histogram_bucket(6 * PAGE - 64)], 6 * PAGE, 0);
    near(bytes[2].at[nf_histogram_bucket(14 * PAGE - 64)], 6 * PAGE, 0);
    /* Captured time: two ops and three gaps, one gap over the step's end; next to each other; two ops, three gaps. */
    near(ns[1].at[nf_histogram_bucket(2300)], 4 * PAGE, 0);
    near(ns[1].at[nf_histogram_bucket(100)], 4 * PAGE, 0);
    near(ns[2].at[nf_histogram_bucket(100)], 6 * PAGE, 0);
    near(ns[2].at[nf_histogram_bucket(2300)], 6 * PAGE, 0);
    near(ns[0].total, 20 * PAGE, 0);
    near(ns[0].cold, 0, 0);
}

/* At rate 1, and with room for every block, SHARDS is exact; with fewer it is near; only seen visits count when fused.
 */
static void test_estimators(void **state)
{
    enum { N = 40 };
    struct nf_visit visits[N];
    struct nf_op ops[N];
    struct nf_tensor tensors[8];
    struct nf_step_class c = {.ops = ops,
                              .visits = visits,
                              .tensors = tensors,
                              .n_ops = N,
                              .n_visits = N,
                              .n_tensors = 8,
                              .peak_live_bytes = 8 << 20};
    struct nf_mrc truth, estimate;
    struct nf_locality exact = {&c, 64, {0}, &truth}, l = {&c, 64, {0}, &estimate};
    struct nf_mrc_error error;
    struct nf_rng rng = {.state = 4};
    uint8_t seen[N];

    for (uint32_t i = 0; i < 8; i++)
        tensors[i] = (struct nf_tensor){.bytes = 1 << 20, .address = (i + 1) << 20, .birth = -1, .death = NF_OP_AFTER};
    for (uint32_t i = 0; i < N; i++) {
        uint64_t bytes = 64 << nf_rng_below(&rng, 15);

        ops[i] = (struct nf_op){.first_visit = i, .n_visits = 1};
        visits[i] = (struct nf_visit){
            .op = i, .tensor = (uint32_t)nf_rng_below(&rng, 8), .bytes = bytes, .run = bytes, .stride = bytes};
        seen[i] = bytes >= 1 << 12;
    }
    assert_int_equal(nf_locality_exact(&exact), 0);
    assert_int_equal(nf_locality_shards(&l, 1, 0), 0);
    assert_string_equal(estimate.estimator, "SHARDS 1");
    assert_int_equal(nf_mrc_compare(&truth, &estimate, &error), 0);
    near(error.most, 0, 1e-12);
    assert_int_equal(nf_locality_shards(&l, 1, 1 << 20), 0);
    assert_int_equal(nf_mrc_compare(&truth, &estimate, &error), 0);
    near(error.most, 0, 1e-12);
    assert_int_equal(nf_locality_shards(&l, 0.1, 0), 0);
    assert_int_equal(nf_mrc_compare(&truth, &estimate, &error), 0);
    assert_true(error.mean > 0 && error.mean < 0.02);
    assert_int_equal(nf_locality_shards(&l, 1, 5000), 0);
    assert_string_equal(estimate.estimator, "SHARDS s_max=5000");
    assert_int_equal(nf_mrc_compare(&truth, &estimate, &error), 0);
    assert_true(error.mean > 0 && error.mean < 0.03);
    assert_int_equal(nf_locality_aet(&l), 0);
    assert_int_equal(nf_mrc_compare(&truth, &estimate, &error), 0);
    assert_true(error.mean < 0.2);
    assert_int_equal(nf_locality_fused(&l, seen, 10007), 0);
    assert_string_equal(estimate.estimator, "visit-fused P=10007");
    assert_int_equal(nf_mrc_compare(&truth, &estimate, &error), 0);
    assert_true(error.mean > 0 && error.mean < 0.02); /* the small visits are a small part of the bytes */
}

/* Uniformly random accesses to n blocks: reuse times are geometric, and the curve is 1 - c / n. A loop over n blocks:
 * all or nothing. In both AET is exact but for the buckets' width. */
static void test_aet(void **state)
{
    enum { N = 100000 };
    struct nf_histogram times = {0};
    struct nf_mrc m;
    struct nf_aet a;

    for (uint32_t b = 0; b < NF_HISTOGRAM_BUCKETS; b++) {
        double from = pow(1 - 1.0 / N, (double)nf_histogram_edge(b));
        double to = pow(1 - 1.0 / N, (double)nf_histogram_edge(b + 1));

        times.at[b] = from - to;
        times.total += from - to;
    }
    nf_mrc_init(&m, "AET", 64);
    nf_aet_init(&a, &times);
    nf_aet_distances(&a, &times, &m.distances);
    for (uint64_t c = 1000; c < N; c += 1000)
        near(nf_mrc_ratio(&m, c * 64), 1 - (double)c / N, 0.005);

    times = (struct nf_histogram){0};
    nf_histogram_add(&times, 4096, 1);
    nf_mrc_init(&m, "AET", 64);
    nf_aet_init(&a, &times);
    nf_aet_distances(&a, &times, &m.distances);
    near(nf_mrc_ratio(&m, 4096 * 64), 1, 1e-6);
    near(nf_mrc_ratio(&m, 4500 * 64), 0, 1e-6);
    nf_histogram_add_cold(&times, 1);
    nf_mrc_init(&m, "AET", 64);
    nf_aet_init(&a, &times);
    nf_aet_distances(&a, &times, &m.distances);
    near(nf_mrc_ratio(&m, 1ull << 40), 0.5, 1e-6);
}

static void test_compare(void **state)
{
    struct nf_mrc a, b;
    struct nf_mrc_error error;
    uint64_t size, before = 0;
    uint32_t sizes = 0;

    nf_mrc_init(&a, "exact", 64);
    nf_mrc_init(&b, "other", 64);
    assert_true(isnan(nf_mrc_ratio(&a, 1 << 20)));
    assert_int_equal(nf_mrc_compare(&a, &b, &error), -EINVAL);
    assert_non_null(nf_error_text(0));
    /* Truth: half hits from 2^14 lines (1 MiB) on, the rest from 2^16 on; the estimate sees a quarter of all a bucket
     * early, at sizes from 2^14 to 2^16 it is right or 1/4 off. */
    nf_histogram_add(&a.distances, (1 << 14) - 1, 2);
    nf_histogram_add(&a.distances, (1 << 16) - 1, 2);
    nf_histogram_add(&b.distances, (1 << 14) - 1, 3);
    nf_histogram_add(&b.distances, (1 << 16) - 1, 1);
    assert_int_equal(nf_mrc_compare(&a, &b, &error), 0);
    /* 64 KiB .. 4 MiB: six octaves of 16 edges and the last one; off at 2^14 <= c < 2^16, two octaves. */
    assert_int_equal(error.sizes, 6 * 16 + 1);
    near(error.mean, 0.25 * 32 / 97, 1e-12);
    near(error.most, 0.25, 1e-12);
    for (; (size = nf_mrc_size(64, 4 << 20, sizes)); sizes++) {
        assert_true(size > before && size % 64 == 0);
        before = size;
    }
    assert_int_equal(sizes, 97);
    assert_int_equal(before, 4 << 20);
    assert_int_equal(nf_mrc_size(64, 4 << 20, 0), 64 << 10);
    assert_int_equal(nf_mrc_size(64, 1024, 0), 64);
    assert_int_equal(nf_mrc_size(4096, 1 << 20, 0), 64 << 10);
    b.block_bytes = 4096;
    assert_int_equal(nf_mrc_compare(&a, &b, &error), -EINVAL);
}

static void test_last(void **state)
{
    struct nf_last *l = nf_last_new();
    uint64_t last[3000], before[100], now = 0;
    struct nf_rng rng = {.state = 8};

    assert_non_null(l);
    for (int i = 0; i < 3000; i++)
        last[i] = NF_LAST_NEVER;
    for (int round = 0; round < 5000; round++) {
        uint32_t n = (uint32_t)nf_rng_below(&rng, 100) + 1, first = (uint32_t)nf_rng_below(&rng, 3000 - n);

        assert_int_equal(nf_last_extent(l, first + 0x7ffffff00000, n, now, before), 0);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(before[i], last[first + i]);
            last[first + i] = now + i;
        }
        now += n;
    }
    assert_null(nf_last_free(l));
    assert_null(nf_last_free(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets), cmocka_unit_test(test_spread),  cmocka_unit_test(test_exact),
        cmocka_unit_test(test_bytes),   cmocka_unit_test(test_groups),  cmocka_unit_test(test_estimators),
        cmocka_unit_test(test_aet),     cmocka_unit_test(test_compare), cmocka_unit_test(test_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
