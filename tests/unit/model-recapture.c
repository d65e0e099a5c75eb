/* The comparison of a replay with its capture: cases by hand, one disagreement each, and at random against a model that looks
 * at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/recapture.h"

enum { PAGE = 4096, TENSORS = 5, OPS = 8, VISITS = 48, BYTES = 6 * PAGE };

struct side {
    struct nf_op ops[OPS];
    struct nf_tensor tensors[TENSORS];
    struct nf_visit visits[VISITS];
    struct nf_step_class c;
};
static struct side captured, replayed;
static struct nf_recapture r;
static uint32_t tensor_of[TENSORS];
static bool ordered;

static void begin(struct side *s)
{
    memset(s, 0, sizeof *s);
    for (uint32_t i = 0; i < TENSORS; i++)
        s->tensors[i] = (struct nf_tensor){.bytes = BYTES, .address = (uint64_t)(i + 1) << 20, .birth = NF_OP_BEFORE,
                                           .death = NF_OP_AFTER};
    s->c = (struct nf_step_class){.ops = s->ops, .visits = s->visits, .tensors = s->tensors, .n_ops = OPS,
                                  .n_tensors = TENSORS, .peak_live_bytes = TENSORS * BYTES};
}

static int setup(void **state)
{
    ordered = true;
    begin(&captured);
    begin(&replayed);
    for (uint32_t i = 0; i < TENSORS; i++)
        tensor_of[i] = i;
    return 0;
}

static int teardown(void **state)
{
    nf_recapture_deinit(&r);
    return 0;
}

static void runs(struct side *s, uint32_t op, uint32_t tensor, uint64_t offset, uint64_t bytes, uint64_t run, uint64_t stride,
                 uint8_t rw)
{
    s->visits[s->c.n_visits++] = (struct nf_visit){.op = op, .tensor = tensor, .offset = offset, .bytes = bytes, .run = run,
                                                   .stride = stride, .rw = rw};
}

static void visit(struct side *s, uint32_t op, uint32_t tensor, uint64_t offset, uint64_t bytes, uint8_t rw)
{
    runs(s, op, tensor, offset, bytes, bytes, bytes, rw);
}

static const struct nf_recapture *compared(uint32_t resolution, bool rw)
{
    const struct nf_recapture_options o = {.resolution_bytes = resolution, .rw = rw, .block_bytes = 64, .ordered = ordered};

    nf_recapture_deinit(&r);
    assert_int_equal(nf_recapture_init(&r, &captured.c, &replayed.c, tensor_of, &o), 0);
    return &r;
}

/* Of every byte: what was captured of it, replayed, lost, stray, and touched otherwise. */
static void sums(const struct nf_recapture_tensor *t, uint64_t both, uint64_t lost, uint64_t stray, uint64_t rw)
{
    assert_int_equal(t->captured_bytes, both + lost);
    assert_int_equal(t->replayed_bytes, both + stray);
    assert_int_equal(t->lost_bytes, lost);
    assert_int_equal(t->stray_bytes, stray);
    assert_int_equal(t->rw_bytes, rw);
    assert_int_equal(nf_recapture_is_same(t), !lost && !stray && !rw);
}

static void test_equal(void **state)
{
    for (struct side *s = &captured;; s = &replayed) {
        visit(s, 0, 0, 0, 1000, NF_RW_WRITE);
        visit(s, 1, 0, 100, 800, NF_RW_READ);
        runs(s, 1, 1, 64, 512, 64, 256, NF_RW_UPDATE);
        visit(s, 3, 0, 0, 1000, NF_RW_READ);
        if (s == &replayed)
            break;
    }
    compared(1, true);
    assert_int_equal(r.visited, 2);
    assert_int_equal(r.same, 2);
    sums(&r.tensors[0], 2800, 0, 0, 0);
    sums(&r.tensors[1], 512, 0, 0, 0);
    sums(&r.tensors[2], 0, 0, 0, 0);
    assert_int_equal(r.captured_bytes, 3312);
    assert_int_equal(r.tensors[0].first_op, UINT32_MAX);
    assert_true(r.reuse_whole == 0 && r.reuse_mean == 0 && r.reuse_most == 0);
    /* The order of an op's own operands is nobody's; how a visit is cut is neither. */
    begin(&replayed);
    visit(&replayed, 0, 0, 500, 500, NF_RW_WRITE);
    visit(&replayed, 0, 0, 0, 500, NF_RW_WRITE);
    for (int i = 7; i >= 0; i--)
        visit(&replayed, 1, 1, 64 + (uint64_t)i * 256, 64, NF_RW_UPDATE);
    visit(&replayed, 1, 0, 100, 800, NF_RW_READ);
    visit(&replayed, 3, 0, 0, 1000, NF_RW_READ);
    compared(1, true);
    assert_int_equal(r.same, 2);
    assert_true(r.reuse_whole > 0); /* in another order, where that is known */
    ordered = false;
    compared(1, true);
    assert_true(r.reuse_whole == 0 && r.reuse_most == 0);
    compared(PAGE, false);
    assert_true(r.reuse_whole == 0 && r.reuse_most == 0);
}

/* What a replay does wrong is found, by tensor and op, with its bytes. */
static void test_disagreements(void **state)
{
    visit(&captured, 0, 0, 0, 3 * PAGE, NF_RW_READ);
    visit(&captured, 2, 0, 0, 3 * PAGE, NF_RW_READ);
    visit(&captured, 2, 1, 0, PAGE, NF_RW_WRITE);
    visit(&captured, 3, 2, 0, PAGE, NF_RW_UPDATE);
    visit(&captured, 4, 3, 0, PAGE, NF_RW_READ);
    /* 0 loses its last page at op 2; 1 gets 100 bytes more; 2 is only read; 3 is replayed one op late. */
    visit(&replayed, 0, 0, 0, 3 * PAGE, NF_RW_READ);
    visit(&replayed, 2, 0, 0, 2 * PAGE, NF_RW_READ);
    visit(&replayed, 2, 1, 0, PAGE + 100, NF_RW_WRITE);
    visit(&replayed, 3, 2, 0, PAGE, NF_RW_READ);
    visit(&replayed, 5, 3, 0, PAGE, NF_RW_READ);
    compared(1, true);
    assert_int_equal(r.visited, 4);
    assert_int_equal(r.same, 0);
    sums(&r.tensors[0], 5 * PAGE, PAGE, 0, 0);
    assert_int_equal(r.tensors[0].first_op, 2);
    sums(&r.tensors[1], PAGE, 0, 100, 0);
    sums(&r.tensors[2], PAGE, 0, 0, PAGE);
    assert_int_equal(r.tensors[2].first_op, 3);
    sums(&r.tensors[3], 0, PAGE, PAGE, 0);
    assert_int_equal(r.tensors[3].first_op, 4);
    assert_int_equal(r.lost_bytes, 2 * PAGE);
    assert_int_equal(r.stray_bytes, PAGE + 100);
    assert_int_equal(r.rw_bytes, PAGE);
    /* Who cannot tell reads from writes does not judge them; pages hide 100 bytes only where the page is touched anyway. */
    compared(1, false);
    assert_int_equal(r.same, 1);
    compared(PAGE, false);
    sums(&r.tensors[1], PAGE, 0, PAGE, 0);
}

static void test_nobody(void **state)
{
    visit(&captured, 0, 0, 0, PAGE, NF_RW_READ);
    visit(&replayed, 0, 4, 0, PAGE, NF_RW_READ);
    visit(&replayed, 1, 3, 0, 10, NF_RW_READ);
    tensor_of[4] = 0;
    tensor_of[3] = NF_RECAPTURE_NOBODY;
    compared(1, true);
    assert_int_equal(r.same, 1);
    assert_int_equal(r.nobodys_bytes, 10);
    assert_int_equal(r.stray_bytes, 10);
    assert_int_equal(r.replayed_bytes, PAGE + 10);
    tensor_of[3] = TENSORS;
    nf_recapture_deinit(&r);
    assert_int_equal(nf_recapture_init(&r, &captured.c, &replayed.c, tensor_of,
                                       &(struct nf_recapture_options){.resolution_bytes = 1}), -EINVAL);
    nf_recapture_deinit(&r);
    tensor_of[3] = 3;
    assert_int_equal(nf_recapture_init(&r, &captured.c, &replayed.c, tensor_of, &(struct nf_recapture_options){0}), -EINVAL);
    nf_recapture_deinit(&r);
    assert_int_equal(nf_recapture_init(&r, &captured.c, &replayed.c, tensor_of,
                                       &(struct nf_recapture_options){.resolution_bytes = 1, .block_bytes = 96}), -EINVAL);
}

static void test_distance(void **state)
{
    static struct nf_histogram a, b, empty;

    assert_true(isnan(nf_recapture_distance(&a, &empty)));
    nf_histogram_add(&a, 0, 10);
    nf_histogram_add(&b, 0, 3);
    assert_true(nf_recapture_distance(&a, &b) == 0); /* shares count, not weights */
    /* Half of b's weight moves from log2(1) to log2(1 + 1): one octave, for half of it. */
    nf_histogram_add(&b, 1, 3);
    assert_true(fabs(nf_recapture_distance(&a, &b) - 0.5) < 1e-12);
    assert_true(nf_recapture_distance(&a, &b) == nf_recapture_distance(&b, &a));
    /* From 2^20 to 2^24 it is four octaves. */
    a = b = empty;
    nf_histogram_add(&a, 1 << 20, 1);
    nf_histogram_add(&b, 1 << 24, 1);
    assert_true(fabs(nf_recapture_distance(&a, &b) - 4) < 1e-5);
    /* What has no distance is one octave beyond the largest there is. */
    a = b = empty;
    nf_histogram_add(&a, 3, 1);
    nf_histogram_add_cold(&b, 1);
    assert_true(fabs(nf_recapture_distance(&a, &b) - 1) < 1e-12);
}

/* Two storages that shared a slot and no longer do: the extents are equal, the reuse is not. */
static void test_reuse(void **state)
{
    for (struct side *s = &captured;; s = &replayed) {
        visit(s, 0, 0, 0, 64, NF_RW_WRITE);
        visit(s, 1, 1, 0, 64, NF_RW_WRITE);
        visit(s, 2, 2, 0, 3 * 64, NF_RW_READ);
        if (s == &replayed)
            break;
    }
    captured.tensors[1].address = captured.tensors[0].address;
    compared(1, true);
    assert_int_equal(r.same, 3);
    /* Captured: 1 finds 0's line at once, 0 finds it after 3 others. Replayed: after 4 each. */
    assert_true(fabs(r.tensors[1].reuse_octaves - log2(5)) < 1e-12);
    assert_true(fabs(r.tensors[0].reuse_octaves - log2(5. / 4)) < 1e-12);
    assert_true(r.reuse_most == r.tensors[1].reuse_octaves);
    assert_true(r.reuse_mean > 0 && r.reuse_mean < r.reuse_most);
    /* The same without an order: each op has one operand. */
    ordered = false;
    compared(1, true);
    assert_true(fabs(r.tensors[1].reuse_octaves - log2(5)) < 1e-12);
    assert_true(fabs(r.tensors[0].reuse_octaves - log2(5. / 4)) < 1e-12);
    /* In pages they share what they shared: the two lines are one page. */
    captured.tensors[1].address = captured.tensors[0].address + 64;
    compared(PAGE, false);
    assert_true(r.tensors[1].reuse_octaves > 0);
    replayed.tensors[1].address = replayed.tensors[0].address;
    compared(PAGE, false);
    assert_true(r.reuse_most > 0);
    captured.tensors[1].address = captured.tensors[0].address;
    compared(PAGE, false);
    assert_true(r.reuse_most == 0);
}

/* --- at random --- */

enum { SEEDS = 400 };
static uint8_t touched[2][OPS][TENSORS][BYTES + PAGE]; /* bit rw of each byte, rounded */

static void touch(int side, const struct side *s, uint32_t resolution)
{
    for (uint32_t i = 0; i < s->c.n_visits; i++) {
        const struct nf_visit *v = &s->visits[i];
        uint8_t bits = v->rw == NF_RW_READ ? 1 : v->rw == NF_RW_WRITE ? 2 : 3;

        for (uint64_t n = 0; n < v->bytes; n++) {
            uint64_t at = v->offset + n / v->run * v->stride + n % v->run, from = at / resolution * resolution;

            for (uint64_t j = from; j < from + resolution; j++)
                touched[side][v->op][v->tensor][j] |= bits;
        }
    }
}

static void random_visits(struct side *s, struct nf_rng *rng, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t run = 1 + nf_rng_below(rng, 300), stride = run + nf_rng_below(rng, 600);
        uint64_t bytes = run * (1 + nf_rng_below(rng, 6)) - nf_rng_below(rng, run);
        uint64_t span = (bytes + run - 1) / run * stride;

        if (nf_rng_below(rng, 2))
            run = stride = bytes;
        runs(s, (uint32_t)nf_rng_below(rng, OPS), (uint32_t)nf_rng_below(rng, TENSORS), nf_rng_below(rng, BYTES - span), bytes,
             run, stride, (uint8_t)nf_rng_below(rng, NF_RW_COUNT));
    }
}

static void test_random(void **state)
{
    static const uint32_t resolutions[] = {1, 8, 64, 4096};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct nf_rng rng = {seed};
        uint32_t resolution = resolutions[seed % 4];
        struct nf_recapture_tensor want[TENSORS] = {{0}};

        setup(NULL);
        memset(touched, 0, sizeof touched);
        random_visits(&captured, &rng, 1 + (uint32_t)nf_rng_below(&rng, 12));
        memcpy(replayed.visits, captured.visits, sizeof captured.visits);
        replayed.c.n_visits = captured.c.n_visits;
        if (seed % 3) /* a replay that errs a little, or is the same */
            replayed.visits[nf_rng_below(&rng, replayed.c.n_visits)].op = (uint32_t)nf_rng_below(&rng, OPS);
        if (seed % 5 == 0)
            random_visits(&replayed, &rng, 2);
        touch(0, &captured, resolution);
        touch(1, &replayed, resolution);
        for (uint32_t op = 0; op < OPS; op++)
            for (uint32_t t = 0; t < TENSORS; t++)
                for (uint32_t at = 0; at < BYTES + PAGE; at++) {
                    uint8_t a = touched[0][op][t][at], b = touched[1][op][t][at];

                    want[t].captured_bytes += a != 0;
                    want[t].replayed_bytes += b != 0;
                    want[t].lost_bytes += a && !b;
                    want[t].stray_bytes += b && !a;
                    want[t].rw_bytes += a && b && a != b;
                }
        compared(resolution, true);
        for (uint32_t t = 0; t < TENSORS; t++)
            sums(&r.tensors[t], want[t].captured_bytes - want[t].lost_bytes, want[t].lost_bytes, want[t].stray_bytes,
                 want[t].rw_bytes);
        if (seed % 3 == 0 && seed % 5) {
            assert_int_equal(r.same, r.visited);
            assert_true(r.reuse_whole == 0);
            ordered = false;
            compared(resolution, true);
            assert_true(r.reuse_whole == 0);
        }
        /* The other way round, lost is stray. */
        struct side swap = captured;
        uint64_t lost = r.lost_bytes, stray = r.stray_bytes;

        captured = replayed;
        replayed = swap;
        captured.c.visits = captured.visits, captured.c.tensors = captured.tensors, captured.c.ops = captured.ops;
        replayed.c.visits = replayed.visits, replayed.c.tensors = replayed.tensors, replayed.c.ops = replayed.ops;
        compared(resolution, true);
        assert_int_equal(r.lost_bytes, stray);
        assert_int_equal(r.stray_bytes, lost);
    }
}

/* Four kilobytes less of one long visit is seen at every resolution, wherever they are missing. */
static void test_drop(void **state)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct nf_rng rng = {seed};
        uint32_t resolution = seed % 2 ? 1 : PAGE;
        uint64_t offset = nf_rng_below(&rng, 3) * PAGE, pages = 2 + nf_rng_below(&rng, 2);

        setup(NULL);
        random_visits(&captured, &rng, 6);
        for (uint32_t i = 0; i < captured.c.n_visits; i++)
            captured.visits[i].op = captured.visits[i].op % (OPS - 1);
        visit(&captured, OPS - 1, 2, offset, pages * PAGE, NF_RW_READ);
        memcpy(replayed.visits, captured.visits, sizeof captured.visits);
        replayed.c.n_visits = captured.c.n_visits;
        replayed.visits[replayed.c.n_visits - 1].bytes -= PAGE;
        replayed.visits[replayed.c.n_visits - 1].run -= PAGE;
        replayed.visits[replayed.c.n_visits - 1].stride -= PAGE;
        if (seed % 3 == 0)
            replayed.visits[replayed.c.n_visits - 1].offset += PAGE;
        compared(resolution, true);
        assert_int_equal(r.lost_bytes, PAGE);
        assert_int_equal(r.tensors[2].lost_bytes, PAGE);
        assert_int_equal(r.tensors[2].first_op, OPS - 1);
        assert_int_equal(r.visited - r.same, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_equal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disagreements, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_distance, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reuse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
