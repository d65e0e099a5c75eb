/* The sampled stack distances: every compiled filter against the plain one, the hash, and the two kinds of sample. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/reuse.h"
#include "core/model/shards-filter.h"
#include "core/model/shards.h"

/* Bit for bit, at every length around the vectors' and at thresholds up to everything. */
static void test_filters(void **state)
{
    static const double rates[] = {0x1p-32, 0.001, 0.01, 0.1, 0.5, 1};
    uint64_t blocks[777];
    uint32_t found[777], expected[777];
    int tried = 0;

    for (const struct nf_shards_filter *f = nf_shards_filters; f->name; f++) {
        if (!f->supported()) {
            printf("not tried, this processor lacks it: %s\n", f->name);
            continue;
        }
        tried++;
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct nf_rng rng = {.state = seed};

            for (size_t i = 0; i < 777; i++)
                blocks[i] = seed % 2 ? nf_rng_next(&rng) : seed * 4096 + i;
            for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
                uint64_t threshold = (uint64_t)(rates[r] * 0x1p32);

                for (size_t n = 0; n <= 777; n += n < 70 ? 1 : 101) {
                    size_t kept = 0;

                    for (size_t i = 0; i < n; i++)
                        if (nf_shards_hash(blocks[i]) < threshold)
                            expected[kept++] = (uint32_t)i;
                    assert_int_equal(f->run(blocks, n, threshold, found), kept);
                    if (memcmp(found, expected, kept * sizeof *found))
                        fail_msg("%s keeps others than the plain filter, %zu blocks at rate %g", f->name, n, rates[r]);
                }
            }
        }
    }
    assert_true(tried >= 1);
    assert_true(nf_shards_filter_best()->supported());
}

/* Each bit of a name changes each bit of the hash half of the time. */
static void test_avalanche(void **state)
{
    enum { ROUNDS = 4096 };
    struct nf_rng rng = {.state = 3};

    for (int in = 0; in < 64; in++) {
        int flips[32] = {0};

        for (int i = 0; i < ROUNDS; i++) {
            uint64_t x = i % 2 ? nf_rng_next(&rng) : (uint64_t)i;
            uint32_t d = nf_shards_hash(x) ^ nf_shards_hash(x ^ 1ull << in);

            for (int out = 0; out < 32; out++)
                flips[out] += d >> out & 1;
        }
        for (int out = 0; out < 32; out++)
            assert_true(abs(flips[out] - ROUNDS / 2) < 6 * 32); /* six standard deviations */
    }
}

/* Names as jobs make them: the share kept is the rate within five standard deviations. */
static void test_rate(void **state)
{
    enum { BLOCKS = 1 << 20 };
    static const uint64_t strides[] = {1, 2, 64, 4096, 1 << 20, 977, 0x100000001ull};
    static const double rates[] = {0.001, 0.01, 0.1};

    for (size_t s = 0; s < sizeof strides / sizeof *strides; s++) {
        for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
            uint32_t kept = 0;

            for (uint64_t i = 0; i < BLOCKS; i++)
                kept += nf_shards_hash(0x7f0000000000 / 64 + i * strides[s]) < rates[r] * 0x1p32;
            assert_true(fabs(kept - BLOCKS * rates[r]) < 5 * sqrt(BLOCKS * rates[r] * (1 - rates[r])));
        }
    }
}

/* At rate 1 SHARDS is the exact method. */
static void test_everything(void **state)
{
    struct nf_shards *s = nf_shards_new(1, 0);
    struct nf_reuse *r = nf_reuse_new(0);
    struct nf_rng rng = {.state = 9};

    assert_non_null(s);
    assert_non_null(r);
    for (int i = 0; i < 200; i++) {
        uint64_t blocks[100];
        uint32_t exact[100], n;
        const struct nf_shards_hit *hits;

        for (int k = 0; k < 100; k++)
            blocks[k] = nf_rng_below(&rng, 3000);
        assert_int_equal(nf_reuse_run(r, blocks, 100, exact), 0);
        assert_int_equal(nf_shards_run(s, blocks, 100, &hits, &n), 0);
        assert_int_equal(n, 100);
        for (uint32_t k = 0; k < n; k++) {
            assert_int_equal(hits[k].index, k);
            assert_true(hits[k].weight == 1);
            assert_true(hits[k].distance == (exact[k] == NF_REUSE_COLD ? NF_SHARDS_COLD : exact[k]));
        }
    }
    assert_null(nf_shards_free(s));
    assert_null(nf_shards_free(NULL));
    nf_reuse_free(r);
}

/* A loop over more and more blocks has one distance; the fixed rate finds it within its sampling error, the fixed size
 * never holds more blocks than it may, and what its samples stand for adds up. */
static void test_loop(void **state)
{
    enum { BLOCKS = 400000, BATCH = 1000, KEEP = 2000 };
    struct nf_shards *rate = nf_shards_new(0.01, 0), *size = nf_shards_new(1, KEEP);
    uint64_t *blocks = malloc(BLOCKS * sizeof *blocks);
    double rate_sum = 0, rate_weight = 0, size_sum = 0, size_weight = 0;
    uint32_t last_n = 0;

    assert_non_null(rate);
    assert_non_null(size);
    assert_non_null(blocks);
    for (uint64_t i = 0; i < BLOCKS; i++)
        blocks[i] = i;
    for (int pass = 0; pass < 3; pass++) {
        last_n = 0;
        for (uint32_t at = 0; at < BLOCKS; at += BATCH) {
            const struct nf_shards_hit *hits;
            uint32_t n;

            assert_int_equal(nf_shards_run(rate, blocks + at, BATCH, &hits, &n), 0);
            for (uint32_t i = 0; i < n; i++) {
                assert_int_equal(hits[i].distance == NF_SHARDS_COLD, pass == 0);
                rate_sum += pass ? (double)hits[i].distance * hits[i].weight : 0;
                rate_weight += pass ? hits[i].weight : 0;
            }
            assert_int_equal(nf_shards_run(size, blocks + at, BATCH, &hits, &n), 0);
            last_n += n;
            for (uint32_t i = 0; i < n && pass; i++) {
                assert_true(hits[i].distance != NF_SHARDS_COLD);
                size_sum += (double)hits[i].distance * hits[i].weight;
                size_weight += hits[i].weight;
            }
        }
    }
    assert_true(nf_shards_rate(rate) > 0.00999 && nf_shards_rate(rate) < 0.01001);
    assert_true(fabs(rate_sum / rate_weight / BLOCKS - 1) < 0.08); /* 4000 blocks: 1.6 % is one standard deviation */
    assert_true(fabs(rate_weight / (2.0 * BLOCKS) - 1) < 0.08);
    assert_true(last_n <= KEEP && last_n > KEEP / 2);
    assert_true(fabs(nf_shards_rate(size) / ((double)KEEP / BLOCKS) - 1) < 0.12);
    assert_true(fabs(size_sum / size_weight / BLOCKS - 1) < 0.12); /* 2000 blocks: 2.2 % */
    assert_true(fabs(size_weight / (2.0 * BLOCKS) - 1) < 0.12);
    free(blocks);
    nf_shards_free(rate);
    nf_shards_free(size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters),    cmocka_unit_test(test_avalanche), cmocka_unit_test(test_rate),
        cmocka_unit_test(test_everything), cmocka_unit_test(test_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
