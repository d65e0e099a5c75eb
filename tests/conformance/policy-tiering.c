/* What the policies that sample pages decide in cases small enough to work out by hand: thresholds, cooling, bins, faults, balance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "pool/fault-cost.h"
#include "pool/policy-colloid.h"
#include "pool/policy-hemem.h"
#include "pool/policy-memtis.h"
#include "pool/policy-nbt.h"
#include "pool/policy.h"

enum { PAGE = NF_PAGE_BYTES, MS = 1000000 };

/* --- a pool of two tiers that does as it is told; one page of 4 KiB is one page of the policy --- */

static struct {
    const struct nf_policy_ops *ops;
    struct nf_policy_env env;
    void *policy, *options;
    uint64_t now_ns;
    struct nf_policy_moves moves;
    char moved[256]; /* "handle.page>tier ..." */
    uint64_t stall_ns;
} p;

static uint64_t free_bytes(void *pool, uint32_t tier)
{
    return 0; /* they count for themselves */
}

static void start(const char *name, const char *options, uint64_t near_pages)
{
    static struct nf_policy_move list[NF_POLICY_MOVES_MAX];

    memset(&p, 0, sizeof p);
    p.moves.v = list;
    p.ops = nf_policy_find(name);
    assert_non_null(p.ops);
    assert_int_equal(nf_policy_configure(p.ops, options, &p.options), 0);
    p.env = (struct nf_policy_env){.n_tiers = 2, .capacity = {near_pages * PAGE, 8000 * PAGE}, .options = p.options, .seed = 1,
                                   .free_bytes = free_bytes};
    assert_int_equal(p.ops->init(&p.env, &p.policy), 0);
}

static void stop(void)
{
    p.ops->deinit(p.policy);
    free(p.options);
}

/* Returns how many of its pages are near. */
static uint64_t born(uint32_t handle, uint64_t pages)
{
    struct nf_policy_tensor t = {.handle = handle, .bytes = pages * PAGE, .number = UINT32_MAX};
    struct nf_placement out = {0};

    assert_int_equal(p.ops->on_alloc(p.policy, &t, &p.moves, &out), 0);
    assert_int_equal(out.bytes[0] + out.bytes[1], pages * PAGE);
    assert_false(out.striped);
    return out.bytes[0] / PAGE;
}

/* An op that touches one page, so many lines of it from memory, and ends `ms` later than the one before. */
static void touch_at(uint32_t handle, uint64_t page, enum nf_rw rw, double lines, double ms, const double *latency_ns)
{
    struct nf_policy_touch touch = {.handle = handle, .rw = (uint8_t)rw, .offset = page * PAGE, .span = PAGE, .lines = lines};
    struct nf_policy_touches t = {.v = &touch, .n = 1};

    p.now_ns += (uint64_t)(ms * MS);
    t.now_ns = p.now_ns;
    for (int i = 0; i < 2 && latency_ns; i++)
        t.latency_ns[i] = latency_ns[i];
    p.moves.n = p.moves.stall_ns = 0;
    *p.moved = '\0';
    assert_int_equal(p.ops->on_access(p.policy, &t), 0);
    assert_int_equal(p.ops->on_op_end(p.policy, 0, &p.moves), 0);
    p.stall_ns = p.moves.stall_ns;
    for (size_t i = 0; i < p.moves.n; i++)
        for (uint32_t j = 0; j < p.moves.v[i].n_pages; j++) {
            size_t n = strlen(p.moved);

            snprintf(p.moved + n, sizeof p.moved - n, "%s%u.%u>%u", n ? " " : "", p.moves.v[i].handle,
                     p.moves.v[i].first_page + j, p.moves.v[i].to_tier);
        }
}

static void touch(uint32_t handle, uint64_t page, enum nf_rw rw, double lines, double ms)
{
    touch_at(handle, page, rw, lines, ms, NULL);
}

/* --- hemem: every line is a sample --- */

#define HEMEM "page=4K,period=1,unmap-ns=5"

static void test_hemem_thresholds(void **state)
{
    start("hemem", HEMEM, 2);
    assert_int_equal(born(0, 2), 2);
    assert_int_equal(born(1, 3), 0);
    touch(1, 0, NF_RW_READ, 7, 11);
    assert_string_equal(p.moved, "");
    touch(1, 1, NF_RW_WRITE, 3, 11);
    assert_string_equal(p.moved, "");
    /* The eighth load makes it hot; the coldest near page leaves first. Two pages are unmapped. */
    touch(1, 0, NF_RW_READ, 1, 11);
    assert_string_equal(p.moved, "0.0>1 1.0>0");
    assert_int_equal(p.stall_ns, 10);
    /* The fourth store; ten milliseconds are not over. */
    touch(1, 1, NF_RW_WRITE, 1, 9);
    assert_string_equal(p.moved, "");
    touch(1, 2, NF_RW_READ, 1, 1);
    assert_string_equal(p.moved, "0.1>1 1.1>0");
    /* All of near is hot: nobody makes room. */
    touch(1, 2, NF_RW_READ, 7, 11);
    assert_string_equal(p.moved, "");
    stop();
}

/* A page with more than 18 samples halves all counts: 10 loads become 5, no longer hot, and make room for one that is. */
static void test_hemem_cools(void **state)
{
    start("hemem", HEMEM, 1);
    assert_int_equal(born(0, 1), 1);
    assert_int_equal(born(1, 1), 0);
    touch(0, 0, NF_RW_READ, 10, 1);
    touch(1, 0, NF_RW_READ, 18, 11);
    assert_string_equal(p.moved, ""); /* 18 are not more than 18 */
    touch(1, 0, NF_RW_READ, 1, 11);
    assert_string_equal(p.moved, "0.0>1 1.0>0"); /* 19 are 9 now, and still hot */
    stop();
}

/* Written pages first. */
static void test_hemem_prefers_written(void **state)
{
    start("hemem", HEMEM, 1);
    assert_int_equal(born(0, 1), 1);
    assert_int_equal(born(1, 2), 0);
    touch(0, 0, NF_RW_READ, 0, 0); /* the thread has run */
    touch(1, 0, NF_RW_READ, 9, 1);
    touch(1, 1, NF_RW_WRITE, 5, 11);
    assert_string_equal(p.moved, "0.0>1 1.1>0");
    stop();
}

/* One line in `period`, whatever the ops are cut into. */
static void test_sampling_rate(void **state)
{
    struct nf_page_options o = {.unit_bytes = 2 * PAGE, .period = 10, .speed = 1};
    struct nf_policy_env env = {.n_tiers = 1, .capacity = {100 * PAGE}, .seed = 7};
    struct nf_policy_tensor tensor = {.bytes = 5 * PAGE};
    struct nf_hemem h = {.o = {.read_hot = 1000000, .write_hot = 1000000, .cool = 1000000}};
    struct nf_placement out = {0};
    struct nf_page_storage *s;
    uint64_t sum = 0;

    assert_int_equal(nf_page_tracker_init(&h.t, &env, &o), 0);
    assert_int_equal(nf_hemem_place(&h, &tensor, &out), 0);
    s = &h.t.storages.v[0];
    assert_int_equal(s->n, 3); /* the last one half */
    assert_int_equal(s->v[2].pages, 1);
    for (int i = 0; i < 100; i++) {
        struct nf_policy_touch touch = {.span = 5 * PAGE, .lines = 33};
        struct nf_policy_touches t = {.v = &touch, .n = 1};

        nf_page_tracker_sample(&h.t, &t, nf_hemem_sample, &h);
    }
    for (int i = 0; i < 3; i++) {
        assert_true(s->v[i].reads > (i < 2 ? 100 : 40));
        sum += s->v[i].reads;
    }
    assert_true(sum == 330 || sum == 329);
    nf_page_tracker_deinit(&h.t);
}

/* --- memtis --- */

static void test_memtis_bins(void **state)
{
    static const struct {
        uint64_t count;
        uint32_t bin;
    } bins[] = {{0, 0}, {1, 0}, {2, 1}, {3, 1}, {4, 2}, {7, 2}, {8, 3}, {32767, 14}, {32768, 15}, {1ull << 40, 15}};
    uint64_t bytes[NF_MEMTIS_BINS] = {[0] = 500, [1] = 300, [2] = 40, [5] = 30, [15] = 20};
    uint32_t hot, warm;

    for (size_t i = 0; i < sizeof bins / sizeof *bins; i++)
        assert_int_equal(nf_memtis_bin(bins[i].count), bins[i].bin);
    nf_memtis_thresholds(bytes, 90, &hot, &warm); /* 20 + 30 + 40, exactly full */
    assert_true(hot == 2 && warm == 2);
    nf_memtis_thresholds(bytes, 89, &hot, &warm); /* 50 of 89: bin 2 is warm */
    assert_true(hot == 3 && warm == 2);
    nf_memtis_thresholds(bytes, 55, &hot, &warm); /* 50 of 55 is more than nine tenths */
    assert_true(hot == 3 && warm == 3);
    nf_memtis_thresholds(bytes, 19, &hot, &warm);
    assert_true(hot == 16 && warm == 15);
    nf_memtis_thresholds(bytes, 10000, &hot, &warm);
    assert_true(hot == 0 && warm == 0);
}

/* Every line a sample, thresholds every 10 of them, moves every 500 ms. */
static void test_memtis_moves(void **state)
{
    start("memtis", "page=4K,period=1,adapt=9,unmap-ns=5", 2);
    assert_int_equal(born(0, 2), 2);
    assert_int_equal(born(1, 2), 0);
    touch(0, 0, NF_RW_READ, 3, 1);    /* bin 1 */
    touch(0, 1, NF_RW_READ, 1, 1);    /* bin 0 */
    touch(1, 0, NF_RW_READ, 9, 100);  /* bin 3; bins 1 and 3 fill near */
    assert_string_equal(p.moved, "");
    touch(1, 1, NF_RW_READ, 1, 400);
    assert_string_equal(p.moved, "0.1>1 1.0>0");
    assert_int_equal(p.stall_ns, 10);
    stop();
}

/* Every eleventh sample halves. Twelve of the near page become 5, and one more, 6; ten of the far one and they are 3 and 5: bins 1
 * and 2. Not halved, both would stand in bin 3, which does not fit. */
static void test_memtis_cools(void **state)
{
    start("memtis", "page=4K,period=1,adapt=1000,cool=10,unmap-ns=5", 1);
    assert_int_equal(born(0, 1), 1);
    assert_int_equal(born(1, 1), 0);
    touch(0, 0, NF_RW_READ, 12, 1);
    touch(1, 0, NF_RW_READ, 10, 600);
    assert_string_equal(p.moved, "0.0>1 1.0>0");
    stop();
}

/* --- tpp and nbt --- */

/* A scan of a page a millisecond. The first fault finds the page inactive and activates it; the second one promotes it, for the
 * oldest near page that was not touched. */
static void test_tpp_promotes(void **state)
{
    start("tpp", "scan=4096000,watermark=50,fault-ns=100,unmap-ns=64", 2);
    assert_int_equal(born(0, 2), 2);
    assert_int_equal(born(1, 2), 0);
    touch(0, 0, NF_RW_READ, 1, 0); /* one of two is to be free: the untouched one leaves */
    assert_string_equal(p.moved, "0.1>1");
    assert_int_equal(p.stall_ns, 2); /* of 32 unmapped at once */
    touch(0, 0, NF_RW_READ, 1, 3); /* all three far pages are unmapped */
    touch(1, 0, NF_RW_READ, 1, 0.1);
    assert_int_equal(p.stall_ns, 100);
    assert_string_equal(p.moved, "");
    touch(1, 0, NF_RW_READ, 1, 0.1); /* mapped: no fault */
    assert_int_equal(p.stall_ns, 0);
    touch(0, 0, NF_RW_READ, 1, 3);
    touch(1, 0, NF_RW_READ, 1, 0.1);
    assert_true(strstr(p.moved, "1.0>0") == p.moved);
    assert_int_equal(p.stall_ns, 100 + 64 + 2); /* and one leaves for it: half of near is to be free */
    stop();
}

static void test_nbt_threshold(void **state)
{
    /* An eighth of 1000 down above 110 %, up under 90 %; between 125 and 2000. */
    assert_true(nf_nbt_threshold(1000, 1000, 111, 100) == 875);
    assert_true(nf_nbt_threshold(1000, 1000, 110, 100) == 1000);
    assert_true(nf_nbt_threshold(1000, 1000, 90, 100) == 1000);
    assert_true(nf_nbt_threshold(1000, 1000, 89, 100) == 1125);
    assert_true(nf_nbt_threshold(1950, 1000, 0, 100) == 2000);
    assert_true(nf_nbt_threshold(200, 1000, 1000, 100) == 125);
}

/* A fault soon after the unmapping promotes at once; one later than a second does not. */
static void test_nbt_latency(void **state)
{
    start("nbt", "scan=1G,watermark=0,fault-ns=100,unmap-ns=10", 2);
    assert_int_equal(born(0, 1), 1);
    assert_int_equal(born(1, 2), 1);
    assert_int_equal(born(2, 1), 0);
    touch(0, 0, NF_RW_READ, 1, 0);
    touch(0, 0, NF_RW_READ, 1, 1); /* unmapped: 1.1 and 2.0 */
    p.ops->on_free(p.policy, 0);
    touch(1, 1, NF_RW_READ, 1, 1001);
    assert_string_equal(p.moved, "");
    assert_int_equal(p.stall_ns, 100);
    touch(1, 0, NF_RW_READ, 1, 1); /* 1.1 is unmapped anew */
    touch(1, 1, NF_RW_READ, 1, 500);
    assert_string_equal(p.moved, "1.1>0");
    stop();
}

/* Nothing is promoted that the rate does not allow: two pages a second, the third waits for the next half second. */
static void test_nbt_rate(void **state)
{
    start("nbt", "scan=1G,watermark=0,rate=8K,fault-ns=100,unmap-ns=10", 4);
    assert_int_equal(born(0, 4), 4);
    assert_int_equal(born(1, 3), 0);
    p.ops->on_free(p.policy, 0);
    touch(1, 0, NF_RW_READ, 1, 0);
    touch(1, 0, NF_RW_READ, 1, 500); /* all are unmapped, one may be promoted */
    touch(1, 0, NF_RW_READ, 1, 0.001);
    assert_string_equal(p.moved, "1.0>0");
    touch(1, 1, NF_RW_READ, 1, 0.001);
    assert_string_equal(p.moved, "");
    assert_int_equal(p.stall_ns, 100);
    touch(1, 2, NF_RW_READ, 1, 500);
    assert_string_equal(p.moved, "1.2>0");
    stop();
}

/* A minute with few candidates, and a second's threshold is 1.125 s; with more than the rate allows, 0.875 s. */
static void test_nbt_adapts(void **state)
{
    start("nbt", "scan=1G,watermark=0", 2);
    assert_int_equal(born(0, 2), 2);
    assert_int_equal(born(1, 1), 0);
    p.ops->on_free(p.policy, 0);
    touch(1, 0, NF_RW_READ, 1, 0);
    touch(1, 0, NF_RW_READ, 1, 1);
    touch(1, 0, NF_RW_READ, 1, 1100);
    assert_string_equal(p.moved, "");
    touch(1, 0, NF_RW_READ, 1, 59000);
    assert_string_equal(p.moved, "");
    touch(1, 0, NF_RW_READ, 1, 1100);
    assert_string_equal(p.moved, "1.0>0");
    stop();
    start("nbt", "scan=1G,watermark=0,rate=4K", 2);
    assert_int_equal(born(0, 2), 2);
    assert_int_equal(born(1, 1), 0);
    touch(1, 0, NF_RW_READ, 1, 0);
    for (int i = 0; i < 80; i++) /* 79 candidates without room near; a minute's rate is 60 */
        touch(1, 0, NF_RW_READ, 1, 0.5);
    p.ops->on_free(p.policy, 0);
    touch(1, 0, NF_RW_READ, 1, 60000);
    assert_string_equal(p.moved, "");
    touch(1, 0, NF_RW_READ, 1, 900);
    assert_string_equal(p.moved, "");
    touch(1, 0, NF_RW_READ, 1, 800);
    assert_string_equal(p.moved, "1.0>0");
    stop();
}

/* --- of either size --- */

static const struct size {
    const char *page;
    uint32_t pages; /* of 4 KiB in one */
} sizes[] = {{"4K", 1}, {"2M", 512}};

static void start_sized(const char *name, const struct size *s, const char *more, uint64_t near_units)
{
    char options[128];

    snprintf(options, sizeof options, "page=%s,%s", s->page, more);
    start(name, options, near_units * s->pages);
}

static void moves_one(size_t i, uint32_t handle, uint32_t unit, uint32_t tier, const struct size *s)
{
    const struct nf_policy_move *m = &p.moves.v[i];

    assert_true(i < p.moves.n);
    assert_true(m->handle == handle && m->to_tier == tier && m->first_page == unit * s->pages && m->n_pages == s->pages);
}

/* Storages of two pages and a half: a page is counted, faults, moves and is charged as one, however large it is. */
static void test_page_sizes(void **state)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const struct size *s = &sizes[i];
        uint32_t long_one = 2 * s->pages + s->pages / 2;

        start_sized("hemem", s, "period=1,unmap-ns=5", 1);
        assert_int_equal(born(0, s->pages), s->pages);
        assert_int_equal(born(1, long_one), 0);
        touch(1, s->pages, NF_RW_READ, 7, 11);
        assert_int_equal(p.moves.n, 0);
        touch(1, 2 * s->pages - 1, NF_RW_READ, 1, 11); /* its other end: the eighth load of one page */
        assert_int_equal(p.moves.n, 2);
        moves_one(0, 0, 0, 1, s);
        moves_one(1, 1, 1, 0, s);
        assert_int_equal(p.stall_ns, 2 * 5);
        stop();
        start_sized("memtis", s, "period=1,adapt=9,unmap-ns=5", 2);
        assert_int_equal(born(0, 2 * s->pages), 2 * s->pages);
        assert_int_equal(born(1, long_one), 0);
        touch(0, 0, NF_RW_READ, 3, 1);
        touch(0, s->pages, NF_RW_READ, 1, 1);
        touch(1, 0, NF_RW_READ, 9, 100);
        touch(1, s->pages, NF_RW_READ, 1, 400);
        assert_int_equal(p.moves.n, 2);
        moves_one(0, 0, 1, 1, s);
        moves_one(1, 1, 0, 0, s);
        assert_int_equal(p.stall_ns, 2 * 5);
        stop();
        for (int by_latency = 0; by_latency < 2; by_latency++) {
            start_sized(by_latency ? "nbt" : "tpp", s, "scan=64G,watermark=0,fault-ns=100,unmap-ns=10", 2);
            assert_int_equal(born(0, 2 * s->pages), 2 * s->pages);
            assert_int_equal(born(1, long_one), 0);
            p.ops->on_free(p.policy, 0);
            touch(1, 0, NF_RW_READ, 1, 0);
            touch(1, 0, NF_RW_READ, 1, 1); /* all is unmapped */
            touch(1, s->pages, NF_RW_READ, 1, 0.5);
            if (!by_latency) { /* activated by its first fault, promoted by its second one */
                assert_int_equal(p.moves.n, 0);
                assert_int_equal(p.stall_ns, 100);
                touch(1, s->pages, NF_RW_READ, 1, 0.5);
            }
            assert_int_equal(p.moves.n, 1);
            moves_one(0, 1, 1, 0, s);
            assert_int_equal(p.stall_ns, 100 + 10);
            touch(1, 2 * s->pages - 1, NF_RW_READ, 1, 0.5); /* near and mapped */
            assert_int_equal(p.stall_ns, 0);
            stop();
        }
    }
}

static void test_fault_cost(void **state)
{
    double ns = nf_fault_cost_ns();

    assert_true(ns > 50 && ns < 1e6);
    assert_true(nf_fault_cost_ns() == ns);
}

/* --- colloid --- */

static void test_colloid_balance(void **state)
{
    struct nf_colloid_share s = NF_COLLOID_SHARE_INIT;

    assert_true(nf_colloid_ewma(0, 100) == 100);
    assert_true(nf_colloid_ewma(100, 132) == 101);
    assert_true(nf_colloid_shift(&s, 0.5, 100, 104) == 0); /* within 5 % */
    assert_true(fabs(nf_colloid_shift(&s, 0.5, 100, 200) - 0.25) < 1e-12);  /* to the middle of 0.5 and 1 */
    assert_true(fabs(nf_colloid_shift(&s, 0.75, 200, 100) + 0.125) < 1e-12); /* too much: the middle of 0.5 and 0.75 */
    assert_true(fabs(nf_colloid_shift(&s, 0.625, 100, 200) - 0.0625) < 1e-12);
    /* The bounds meet and near is still faster: the balance has moved up. */
    s = (struct nf_colloid_share){0.6, 0.605};
    assert_true(fabs(nf_colloid_shift(&s, 0.6, 100, 200) - 0.2) < 1e-12);
    assert_true(s.low == 0.6 && s.high == 1);
    s = (struct nf_colloid_share){0.6, 0.605};
    assert_true(fabs(nf_colloid_shift(&s, 0.605, 200, 100) + 0.3025) < 1e-12);
}

/* Near slower than far: nothing is promoted, hot pages are pushed down. */
static void test_colloid_moves(void **state)
{
    const double near_slow[2] = {400, 200}, far_slow[2] = {100, 200};

    start("colloid", "page=4K,period=1,unmap-ns=5", 4);
    assert_int_equal(born(0, 3), 3);
    assert_int_equal(born(1, 2), 1);
    touch_at(0, 0, NF_RW_READ, 9, 0, near_slow); /* starts the clock; all accesses are near: half of them are too many by a half */
    touch_at(0, 1, NF_RW_READ, 9, 11, near_slow);
    assert_string_equal(p.moved, "0.0>1");
    stop();
    start("colloid", "page=4K,period=1,unmap-ns=5", 4);
    assert_int_equal(born(0, 3), 3);
    assert_int_equal(born(1, 2), 1);
    touch_at(1, 1, NF_RW_READ, 3, 0, far_slow);
    touch_at(0, 0, NF_RW_READ, 9, 11, far_slow);
    assert_string_equal(p.moved, ""); /* a quarter of all: more than an eighth, the middle of 3/4 and 1 */
    stop();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hemem_thresholds), cmocka_unit_test(test_hemem_cools),
        cmocka_unit_test(test_hemem_prefers_written), cmocka_unit_test(test_sampling_rate),
        cmocka_unit_test(test_memtis_bins), cmocka_unit_test(test_memtis_moves), cmocka_unit_test(test_memtis_cools),
        cmocka_unit_test(test_tpp_promotes), cmocka_unit_test(test_nbt_threshold), cmocka_unit_test(test_nbt_latency),
        cmocka_unit_test(test_nbt_rate), cmocka_unit_test(test_nbt_adapts), cmocka_unit_test(test_page_sizes),
        cmocka_unit_test(test_fault_cost), cmocka_unit_test(test_colloid_balance), cmocka_unit_test(test_colloid_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
