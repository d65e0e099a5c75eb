/* Watched words whose accesses are known beforehand: counts per step, intervals, reuse times with open ends. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/watch-estimate.h"

enum { STEP_NS = 1000000, PARTS_MAX = 20000, ACCESSES_MAX = 200000 };

/* A job whose steps take STEP_NS, and watches of one tensor in it. */
struct job {
    struct nf_watch_part parts[PARTS_MAX];
    struct nf_watch_access accesses[ACCESSES_MAX];
    size_t n_parts, n_accesses;
    uint32_t watches;
};

static struct job job;

/* Of a step: when its word is accessed, in nanoseconds from its beginning. */
struct access {
    uint64_t at_ns;
    int write;
};

/* Watches one word from from_ns on, until to_ns or until `limit` hits; a hit holds the job up for hit_ns. The tensor lives
 * from life_from to life_to in every step; a new one each step when it does not live all of it. */
static void watch(uint64_t from_ns, uint64_t to_ns, const struct access *accesses, size_t n, uint64_t life_from,
                  uint64_t life_to, unsigned limit, uint64_t hit_ns)
{
    size_t first_part = job.n_parts;
    uint64_t held = 0, ended = to_ns;
    unsigned hits = 0;
    int cut = 0;

    for (uint64_t step = from_ns / STEP_NS; step * STEP_NS < to_ns && !cut; step++) {
        uint64_t begin = step * STEP_NS + held, held_before = held;
        struct nf_watch_part p = {.watch = job.watches, .address = 4096 + 8 * (uint64_t)job.watches, .watch_from_ns = from_ns};

        p.from_ns = from_ns > begin ? from_ns : begin;
        for (size_t i = 0; i < n && !cut; i++) {
            uint64_t time_ns = step * STEP_NS + accesses[i].at_ns + held;

            if (time_ns < from_ns || time_ns > to_ns + held)
                continue;
            job.accesses[job.n_accesses++] = (struct nf_watch_access){time_ns, job.watches, (uint8_t)accesses[i].write};
            held += hit_ns;
            ended = time_ns;
            cut = ++hits == limit;
        }
        p.life_from_ns = begin + life_from;
        p.life_to_ns = begin + life_to + (held - held_before);
        p.to_ns = cut ? ended : (step + 1) * STEP_NS + held < to_ns + held ? (step + 1) * STEP_NS + held : to_ns + held;
        if (p.from_ns < p.life_from_ns)
            p.from_ns = p.life_from_ns;
        if (!cut && p.to_ns > p.life_to_ns)
            p.to_ns = p.life_to_ns;
        if (p.to_ns >= p.from_ns)
            job.parts[job.n_parts++] = p;
        if (life_to < STEP_NS && job.n_parts > first_part)
            break; /* freed */
    }
    for (size_t i = first_part; i < job.n_parts; i++) {
        job.parts[i].watch_to_ns = job.parts[job.n_parts - 1].to_ns;
        job.parts[i].cut = (uint8_t)cut;
    }
    job.watches++;
}

static struct nf_watch_estimate estimate(double hit_ns)
{
    struct nf_watch_estimate e;

    assert_int_equal(nf_watch_estimate(job.parts, job.n_parts, job.accesses, job.n_accesses, hit_ns, 1, &e), 0);
    return e;
}

static void reset(void)
{
    job.n_parts = job.n_accesses = 0;
    job.watches = 0;
}

static int near(double v, double to, double within)
{
    return fabs(v - to) <= within;
}

static void test_nothing(void **state)
{
    struct nf_watch_estimate e;

    reset();
    e = estimate(1000);
    assert_true(isnan(e.read.per_step) && isnan(e.read.low) && isnan(e.reuse_median_ns));
    assert_int_equal(e.watches, 0);
    assert_int_equal(e.gaps, 0);
}

/* Five reads and a write a step, seen over whole steps: exactly that, whatever a hit costs. */
static void test_whole_steps(void **state)
{
    static const struct access six[] = {{100000, 0}, {200000, 0}, {300000, 0}, {300001, 0}, {500000, 1}, {900000, 0}};

    for (uint64_t hit_ns = 0; hit_ns <= 40000; hit_ns += 20000) {
        struct nf_watch_estimate e;

        reset();
        for (unsigned i = 0; i < 20; i++)
            watch(i * 10 * STEP_NS, (i * 10 + 4) * STEP_NS, six, 6, 0, STEP_NS, 0, hit_ns);
        e = estimate((double)hit_ns);
        assert_int_equal(e.watches, 20);
        assert_int_equal(e.words, 20);
        assert_int_equal(e.cut, 0);
        assert_int_equal(e.read.hits, 20 * 4 * 5);
        assert_int_equal(e.write.hits, 20 * 4);
        assert_true(near(e.covered, 1, 1e-9));
        assert_true(near(e.read.per_step, 5, 1e-6) && near(e.read.low, 5, 1e-6) && near(e.read.high, 5, 1e-6));
        assert_true(near(e.write.per_step, 1, 1e-6));
        assert_int_equal(e.gaps, 20 * (4 * 6 - 1));
        assert_int_equal(e.open_gaps, 20);
    }
}

/* Watches that begin at any moment and are shorter than a step: right on average, and the interval says how far off. */
static void test_random_windows(void **state)
{
    static const struct access three[] = {{150000, 0}, {700000, 0}, {700500, 0}};
    struct nf_watch_estimate e;
    struct nf_rng rng = {7};

    reset();
    for (unsigned i = 0; i < 4000; i++) {
        uint64_t from = (uint64_t)i * 5 * STEP_NS + nf_rng_below(&rng, STEP_NS);

        watch(from, from + STEP_NS / 4, three, 3, 0, STEP_NS, 0, 10000);
    }
    e = estimate(10000);
    assert_true(near(e.read.per_step, 3, 0.2));
    assert_true(e.read.low < 3 && e.read.high > 3 && e.read.high - e.read.low < 0.6);
    assert_true(e.write.per_step == 0 && e.write.low == 0 && e.write.high > 0 && e.write.high < 0.01);
}

/* Written at the very beginning of its life, read at the end of it; most watches begin after the write. Without the
 * stretches the write would be counted at half its due. */
static void test_early_life(void **state)
{
    static const struct access two[] = {{205000, 1}, {595000, 0}};
    struct nf_watch_estimate e;
    struct nf_rng rng = {11};

    reset();
    for (unsigned i = 0; i < 4000; i++) {
        uint64_t from = (uint64_t)i * 3 * STEP_NS + 200000 + nf_rng_below(&rng, 400000);

        watch(from, from + STEP_NS, two, 2, 200000, 600000, 0, 0);
    }
    e = estimate(0);
    assert_true(near(e.write.per_step, 1, 0.25));
    assert_true(near(e.read.per_step, 1, 0.1));
}

/* A burst that takes the whole budget: no upper end. The same burst when the watch saw a whole step before: left out with
 * its step, and exact. */
static void test_cut(void **state)
{
    struct access burst[50];
    struct nf_watch_estimate e;

    for (unsigned i = 0; i < 50; i++)
        burst[i] = (struct access){500000 + 10 * i, 0};
    reset();
    for (unsigned i = 0; i < 10; i++)
        watch(i * 20 * STEP_NS + 400000, (i * 20 + 9) * STEP_NS, burst, 50, 0, STEP_NS, 30, 10000);
    e = estimate(10000);
    assert_int_equal(e.cut, 10);
    assert_true(isnan(e.read.high));
    reset();
    for (unsigned i = 0; i < 10; i++)
        watch(i * 20 * STEP_NS, (i * 20 + 9) * STEP_NS, burst, 50, 0, STEP_NS, 130, 10000);
    e = estimate(10000);
    assert_int_equal(e.cut, 0);
    assert_true(near(e.read.per_step, 50, 1e-6) && near(e.read.low, 50, 1e-6) && near(e.read.high, 50, 1e-6));
}

/* Kaplan and Meier by hand. Gaps 2, 4, 4, 8; open ones of 3 and 100.
 * S(2) = 5/6; of 4 left at 4: S(4) = 5/6 * 2/4 = 5/12; S(8) = 5/12 * 1/2 = 5/24. */
static void test_reuse(void **state)
{
    static const uint64_t times[2][8] = {{10, 12, 16, 20}, {10, 18}};
    static const size_t n[2] = {4, 2};
    static const uint64_t ends[2] = {23, 118};
    struct nf_watch_estimate e;

    reset();
    for (uint32_t w = 0; w < 2; w++) {
        job.parts[job.n_parts++] = (struct nf_watch_part){.from_ns = 5, .to_ns = ends[w], .life_from_ns = 0, .life_to_ns = 200,
                                                          .watch_from_ns = 5, .watch_to_ns = ends[w], .watch = w};
        for (size_t i = 0; i < n[w]; i++)
            job.accesses[job.n_accesses++] = (struct nf_watch_access){times[w][i], w, 0};
    }
    e = estimate(0);
    assert_int_equal(e.words, 1);
    assert_int_equal(e.gaps, 4);
    assert_int_equal(e.open_gaps, 2);
    assert_true(near(e.reuse[1], 1.0 / 6, 1e-9));
    assert_true(near(e.reuse[2], 5.0 / 12, 1e-9));
    assert_true(near(e.reuse[3], 5.0 / 24, 1e-9));
    assert_true(near(e.reuse_beyond, 5.0 / 24, 1e-9));
    assert_true(near(e.reuse_median_ns, 4, 1e-9));
}

/* A word that is accessed once has no reuse time, not a long one. */
static void test_all_open(void **state)
{
    static const struct access one[] = {{500000, 0}};
    struct nf_watch_estimate e;

    reset();
    for (unsigned i = 0; i < 8; i++)
        watch(i * 3 * STEP_NS, (i * 3 + 1) * STEP_NS, one, 1, 0, STEP_NS, 0, 0);
    e = estimate(0);
    assert_int_equal(e.gaps, 0);
    assert_int_equal(e.open_gaps, 8);
    assert_true(isnan(e.reuse_median_ns));
    assert_true(near(e.reuse_beyond, 1, 1e-9));
}

/* A gap that cannot be told from the hit itself is none. */
static void test_unresolved(void **state)
{
    static const struct access two[] = {{500000, 0}, {500010, 0}};
    struct nf_watch_estimate e;

    reset();
    for (unsigned i = 0; i < 8; i++)
        watch(i * 3 * STEP_NS, (i * 3 + 1) * STEP_NS, two, 2, 0, STEP_NS, 0, 12000);
    e = estimate(10000);
    assert_int_equal(e.gaps, 8);
    assert_true(e.reuse_median_ns == 0);
}

/* Accesses of nobody, and of watches that are not there, are left out. */
static void test_strays(void **state)
{
    static const struct access one[] = {{500000, 0}};
    struct nf_watch_estimate e;

    reset();
    watch(0, 4 * STEP_NS, one, 1, 0, STEP_NS, 0, 0);
    job.watches += 5;
    watch(10 * STEP_NS, 14 * STEP_NS, one, 1, 0, STEP_NS, 0, 0);
    memmove(job.accesses + 5, job.accesses + 4, 4 * sizeof *job.accesses);
    job.accesses[4] = (struct nf_watch_access){9 * STEP_NS, 3, 1};
    job.accesses[9] = (struct nf_watch_access){99 * STEP_NS, 99, 1};
    job.n_accesses = 10;
    e = estimate(0);
    assert_int_equal(e.read.hits, 8);
    assert_int_equal(e.write.hits, 0);
    assert_int_equal(e.gaps, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),    cmocka_unit_test(test_whole_steps), cmocka_unit_test(test_random_windows),
        cmocka_unit_test(test_early_life), cmocka_unit_test(test_cut),         cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_all_open),   cmocka_unit_test(test_unresolved),  cmocka_unit_test(test_strays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
