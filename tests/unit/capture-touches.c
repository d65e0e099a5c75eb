/* Exact touches through the reducer: whose they are, and what becomes of those whose storage is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/sightings.h"
#include "tests/unit/capture-events.h"

enum { A = 0x10000, B = 0x20000, SIZE = 4096 };

/* What the sink saw of a step; copied, because the reducer reuses it. */
static struct sighted {
    struct nf_visit visits[16];
    uint32_t n;
} sighted[4];
static unsigned steps;

static int keep(void *context, const struct nf_step *step)
{
    struct sighted *s = &sighted[steps++ % 4];

    (void)context;
    s->n = step->n_seen ? step->seen[0].n_visits : 0;
    assert_true(s->n <= 16);
    if (s->n)
        memcpy(s->visits, step->seen[0].visits, s->n * sizeof *s->visits);
    return 0;
}

static int setup(void **state)
{
    const struct nf_sighting_source exact = {.sees_all = true, .rw_observed = true, .in_ring = true, .resolution_bytes = 1,
                                             .evidence = NF_ACCESS_EXACT};
    struct events *j = malloc(sizeof *j);

    events_init(j, 1);
    j->also = keep;
    steps = 0;
    assert_int_equal(nf_reduce_add_source(j->reduce, &exact), 0);
    ev_mark(j, NF_MARK_TRAINING_BEGINS, 0, 0);
    *state = j;
    return 0;
}

static int teardown(void **state)
{
    events_deinit(*state);
    free(*state);
    return 0;
}

static void touch(struct events *j, uint64_t address, uint64_t bytes, uint8_t rw, uint64_t accesses, uint64_t moved)
{
    j->now += 10;
    ev_raw(j, &(struct nf_event){.kind = NF_EVENT_TOUCH, .time_ns = j->now, .address = address, .a = bytes, .b = accesses,
                                 .c = moved, .rw = rw});
}

/* Touches stand before their op; what was touched before it began is marked. */
static void before_and_within(void **state)
{
    struct events *j = *state;
    uint64_t start;

    ev_alloc(j, A, SIZE);
    touch(j, A, 100, NF_RW_WRITE, 25, 100);
    start = j->now += 10;
    touch(j, A + 200, 64, NF_RW_READ, 32, 128);
    ev_op_at(j, ev_text(j, "op"), NF_PHASE_FORWARD, start);
    ev_visit(j, A, SIZE, NF_RW_READ);
    ev_step(j, 1);
    assert_int_equal(sighted[0].n, 2);
    assert_int_equal(sighted[0].visits[0].bytes, 100);
    assert_int_equal(sighted[0].visits[0].touches_q8, NF_SIGHTING_BETWEEN);
    assert_int_equal(sighted[0].visits[1].offset, 200);
    assert_int_equal(sighted[0].visits[1].touches_q8, 512);
    assert_int_equal(nf_reduce_sighted(j->reduce, 0)->between_ops, 25);
    assert_int_equal(nf_reduce_sighted(j->reduce, 0)->attributed, 57);
}

/* Touched after the last op: the next step's first op finds it, unless the storage died with the step. */
static void left_over_at_the_end_of_a_step(void **state)
{
    struct events *j = *state;

    ev_alloc(j, A, SIZE);
    ev_alloc(j, B, SIZE);
    ev_op(j, ev_text(j, "op"), NF_PHASE_FORWARD, 0);
    ev_visit(j, A, SIZE, NF_RW_READ);
    touch(j, A, 8, NF_RW_READ, 1, 8);
    touch(j, B, 8, NF_RW_READ, 3, 8);
    ev_free(j, B);
    ev_step(j, 1);
    ev_op(j, ev_text(j, "next"), NF_PHASE_FORWARD, 0);
    ev_visit(j, A, SIZE, NF_RW_READ);
    ev_step(j, 1);
    assert_int_equal(sighted[0].n, 0);
    assert_int_equal(sighted[1].n, 1);
    assert_int_equal(sighted[1].visits[0].bytes, 8);
    assert_int_equal(nf_reduce_sighted(j->reduce, 0)->unattributed, 3);
    assert_int_equal(nf_reduce_sighted(j->reduce, 0)->attributed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(before_and_within, setup, teardown),
        cmocka_unit_test_setup_teardown(left_over_at_the_end_of_a_step, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
