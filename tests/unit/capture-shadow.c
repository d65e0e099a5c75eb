/* The shadow of a watched range: against a byte-by-byte model, across lines and pages, per block, and under threads. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/exact/shadow.h"

enum { BYTES = 64 << 10, BLOCK = 8192 };
#define BASE 0x7f0000000000ull

/* What arrived at the sink, per byte of the range and in all. */
struct sums {
    uint8_t touched[2][BYTES];
    uint64_t runs, accesses[2], bytes[2], last[2];
    enum nf_touch_owner owner;
};

static void take(void *context, const struct nf_event *events, uint32_t n)
{
    struct sums *s = context;

    for (uint32_t i = 0; i < n; i++) {
        const struct nf_event *e = &events[i];

        assert_int_equal(e->kind, NF_EVENT_TOUCH);
        assert_int_equal(e->id, s->owner);
        assert_true(e->rw < 2 && e->a > 0 && e->address >= BASE && e->address + e->a <= BASE + BYTES);
        /* Within one page, in order, never touching the run before. */
        assert_int_equal(e->address / 4096, (e->address + e->a - 1) / 4096);
        assert_true(e->address > s->last[e->rw] || e->address % 4096 == 0);
        s->last[e->rw] = e->address + e->a;
        for (uint64_t b = 0; b < e->a; b++) {
            assert_int_equal(s->touched[e->rw][e->address - BASE + b], 0);
            s->touched[e->rw][e->address - BASE + b] = 1;
        }
        s->accesses[e->rw] += e->b;
        s->bytes[e->rw] += e->c;
        s->runs++;
    }
}

static struct sums *flush(struct nf_shadow *s, uint64_t from, uint64_t bytes)
{
    static struct sums sums;

    memset(&sums, 0, sizeof sums);
    nf_shadow_flush(s, BASE + from, bytes, NF_TOUCH_OF_OP, take, &sums);
    return &sums;
}

static void fresh(struct nf_shadow *s)
{
    assert_int_equal(nf_shadow_init(s, BASE, BYTES), 0);
}

static void refuses_bad_ranges(void **state)
{
    struct nf_shadow s;

    assert_int_equal(nf_shadow_init(&s, BASE, 0), -EINVAL);
    assert_int_equal(nf_shadow_init(&s, BASE + 1, 64), -EINVAL);
    assert_int_equal(nf_shadow_init(&s, UINT64_MAX - 63, 128), -EINVAL);
    assert_int_equal(nf_shadow_init(&s, 0, UINT64_MAX), -EINVAL);
    /* Not initialised, it takes everything and says nothing. */
    nf_shadow_touch(&s, BASE, 4, 0, false);
    nf_shadow_touch_range(&s, BASE, 4, 0, false);
    assert_int_equal(flush(&s, 0, BYTES)->runs, 0);
    nf_shadow_deinit(&s);
}

static void outside_is_not_counted(void **state)
{
    struct nf_shadow s;
    const struct sums *sums;

    fresh(&s);
    nf_shadow_touch(&s, BASE - 1, 1, 0, false);
    nf_shadow_touch(&s, BASE + BYTES, 8, 1, false);
    nf_shadow_touch(&s, 0, 8, 1, true);
    nf_shadow_touch_range(&s, BASE - 100, 100, 0, false);
    assert_int_equal(flush(&s, 0, BYTES)->runs, 0);
    /* Reaching in or out counts what is inside. */
    nf_shadow_touch_range(&s, BASE - 100, 110, 0, false);
    nf_shadow_touch(&s, BASE + BYTES - 4, 8, 1, false);
    sums = flush(&s, 0, BYTES);
    assert_int_equal(sums->bytes[0], 10);
    assert_int_equal(sums->bytes[1], 4);
    assert_int_equal(sums->accesses[0] + sums->accesses[1], 2);
    nf_shadow_deinit(&s);
}

static void one_line_several_runs(void **state)
{
    struct nf_shadow s;
    const struct sums *sums;

    fresh(&s);
    for (unsigned k = 0; k < 3; k++) /* four runs of four bytes, each read three times */
        for (unsigned i = 0; i < 64; i += 16)
            nf_shadow_touch(&s, BASE + 128 + i, 4, 0, false);
    sums = flush(&s, 0, BYTES);
    assert_int_equal(sums->runs, 4);
    assert_int_equal(sums->accesses[0], 12);
    assert_int_equal(sums->bytes[0], 48);
    assert_int_equal(flush(&s, 0, BYTES)->runs, 0);
    nf_shadow_deinit(&s);
}

static void crosses_lines_and_pages(void **state)
{
    struct nf_shadow s;
    const struct sums *sums;

    fresh(&s);
    nf_shadow_touch(&s, BASE + 4096 - 2, 8, 1, false);
    nf_shadow_touch(&s, BASE + 60, 16, 1, false);
    sums = flush(&s, 0, BYTES);
    assert_int_equal(sums->runs, 3); /* the page boundary parts one of them */
    assert_int_equal(sums->accesses[1], 2);
    assert_int_equal(sums->bytes[1], 24);
    for (uint64_t i = 0; i < BYTES; i += 8)
        nf_shadow_touch(&s, BASE + i, 8, 0, false);
    sums = flush(&s, 0, BYTES);
    assert_int_equal(sums->runs, BYTES / 4096);
    assert_int_equal(sums->accesses[0], BYTES / 8);
    nf_shadow_deinit(&s);
}

static void block_by_block(void **state)
{
    struct nf_shadow s;
    uint64_t seen = 0;

    fresh(&s);
    /* A block that comes, is touched and goes, many times between two boundaries; another one beside it stays. */
    for (unsigned round = 0; round < 1000; round++) {
        const struct sums *sums;

        nf_shadow_touch(&s, BASE + 2 * BLOCK + round % BLOCK, 1, 1, false);
        nf_shadow_touch(&s, BASE + 3 * BLOCK + round, 1, 1, false);
        sums = flush(&s, 2 * BLOCK, BLOCK);
        assert_int_equal(sums->bytes[1], 1);
        seen += sums->accesses[1];
    }
    assert_int_equal(seen, 1000);
    assert_int_equal(flush(&s, 0, 2 * BLOCK)->runs, 0);
    assert_int_equal(flush(&s, 0, BYTES)->accesses[1], 1000);
    nf_shadow_touch(&s, BASE + 5, 1, 0, false);
    nf_shadow_discard(&s);
    assert_int_equal(flush(&s, 0, BYTES)->runs, 0);
    nf_shadow_touch(&s, BASE + 5, 1, 0, false);
    assert_int_equal(flush(&s, 0, BYTES)->accesses[0], 1);
    nf_shadow_deinit(&s);
}

/* Random accesses of every size; per byte against a model, flushed in whole and in part. */
static void against_a_model(void **state)
{
    static uint8_t model[2][BYTES];
    struct nf_shadow s;
    unsigned seed = 7;

    fresh(&s);
    for (unsigned round = 0; round < 200; round++) {
        uint64_t accesses[2] = {0}, bytes[2] = {0};
        const struct sums *sums;

        memset(model, 0, sizeof model);
        for (unsigned i = 0; i < 1 + round * 20; i++) {
            unsigned rw = rand_r(&seed) & 1, size = 1u << rand_r(&seed) % 6;
            uint64_t at = (uint64_t)rand_r(&seed) % (round % 3 ? BYTES : 3000);

            if (rand_r(&seed) % 50 == 0)
                size = 1 + (unsigned)rand_r(&seed) % 9000;
            if (at + size > BYTES)
                at = BYTES - size;
            if (size > 32)
                nf_shadow_touch_range(&s, BASE + at, size, rw, i & 1);
            else
                nf_shadow_touch(&s, BASE + at, size, rw, i & 1);
            memset(model[rw] + at, 1, size);
            accesses[rw]++;
            bytes[rw] += size;
        }
        sums = flush(&s, 0, BYTES);
        for (unsigned rw = 0; rw < 2; rw++) {
            assert_memory_equal(sums->touched[rw], model[rw], BYTES);
            assert_int_equal(sums->accesses[rw], accesses[rw]);
            assert_int_equal(sums->bytes[rw], bytes[rw]);
        }
    }
    nf_shadow_deinit(&s);
}

enum { THREADS = 4, EACH = 300000 };
static struct nf_shadow shared_shadow;
static int finished;

static void *toucher(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;

    for (unsigned i = 0; i < EACH; i++)
        nf_shadow_touch(&shared_shadow, BASE + (uint64_t)rand_r(&seed) % (BYTES / 8) * 8, 8, i & 1, true);
    __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Threads touch while others flush and blocks go: nothing is lost, nothing counted twice. */
static void threads_lose_nothing(void **state)
{
    pthread_t threads[THREADS];
    uint64_t accesses = 0, bytes = 0;
    bool last;

    fresh(&shared_shadow);
    finished = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, toucher, (void *)(i + 1)), 0);
    for (unsigned round = 0;; round++) {
        const struct sums *sums;

        last = __atomic_load_n(&finished, __ATOMIC_SEQ_CST) == THREADS;
        sums = last || round % 3 ? flush(&shared_shadow, 0, BYTES) : flush(&shared_shadow, BLOCK, BLOCK);
        accesses += sums->accesses[0] + sums->accesses[1];
        bytes += sums->bytes[0] + sums->bytes[1];
        if (last)
            break;
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(accesses, (uint64_t)THREADS * EACH);
    assert_int_equal(bytes, (uint64_t)THREADS * EACH * 8);
    nf_shadow_deinit(&shared_shadow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_bad_ranges),    cmocka_unit_test(outside_is_not_counted),
        cmocka_unit_test(one_line_several_runs), cmocka_unit_test(crosses_lines_and_pages),
        cmocka_unit_test(block_by_block),        cmocka_unit_test(against_a_model),
        cmocka_unit_test(threads_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
