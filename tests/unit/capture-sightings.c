/* Page faults and samples through the reducer: which op and tensor they belong to, and what they become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/sightings.h"
#include "tests/unit/capture-events.h"

enum { PAGE = 4096, A = 0x100000, B = 0x200000, SEEN_MAX = 32, STEPS_MAX = 4 };
enum { OBSERVED, INFERRED, SAMPLED, SOURCES };

/* What the sink saw; copied, because the reducer reuses it. */
struct seen {
    struct nf_visit visits[SEEN_MAX];
    struct nf_sample samples[SEEN_MAX];
    uint32_t n_visits, n_samples;
    uint64_t hash;
};
static struct seen seen[STEPS_MAX][SOURCES];
static unsigned steps;

static int keep(void *context, const struct nf_step *step)
{
    for (unsigned i = 0; i < step->n_seen; i++) {
        struct seen *s = &seen[steps % STEPS_MAX][i];

        assert_in_range(step->seen[i].n_visits, 0, SEEN_MAX);
        assert_in_range(step->seen[i].n_samples, 0, SEEN_MAX);
        s->n_visits = step->seen[i].n_visits;
        s->n_samples = step->seen[i].n_samples;
        s->hash = step->seen[i].hash;
        if (s->n_visits)
            memcpy(s->visits, step->seen[i].visits, s->n_visits * sizeof *s->visits);
        if (s->n_samples)
            memcpy(s->samples, step->seen[i].samples, s->n_samples * sizeof *s->samples);
    }
    steps++;
    return 0;
}

static int setup(void **state)
{
    static const struct nf_sighting_source sources[SOURCES] = {
        [OBSERVED] = {.sees_all = true, .rw_observed = true, .resolution_bytes = PAGE, .evidence = NF_ACCESS_PAGE_FAULT},
        [INFERRED] = {.sees_all = true, .resolution_bytes = PAGE, .evidence = NF_ACCESS_PAGE_FAULT},
        [SAMPLED] = {.resolution_bytes = 64, .evidence = NF_ACCESS_PEBS},
    };
    struct events *j = malloc(sizeof *j);

    events_init(j, 1);
    j->also = keep;
    steps = 0;
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < SOURCES; i++)
        assert_int_equal(nf_reduce_add_source(j->reduce, &sources[i]), i);
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

static void sample(struct events *j, unsigned source, uint64_t address, uint8_t rw)
{
    struct nf_sample s = {.time_ns = ++j->now, .address = address, .rw = rw, .period = 1, .step = NF_SAMPLE_NONE,
                          .op = NF_SAMPLE_NONE, .tensor = NF_SAMPLE_NONE};
    const struct nf_sample *run = &s;

    assert_int_equal(nf_reduce_samples(j->reduce, source, &run, 1), 0);
}

static void expect(unsigned step, unsigned source, uint32_t at, uint32_t op, uint64_t offset, uint64_t bytes, uint8_t rw)
{
    const struct seen *s = &seen[step][source];
    const struct nf_visit *v = &s->visits[at];

    assert_in_range(at, 0, s->n_visits - 1);
    assert_int_equal(v->op, op);
    assert_int_equal(v->offset, offset);
    assert_int_equal(v->bytes, bytes);
    assert_int_equal(v->rw, rw);
    assert_int_equal(v->evidence, NF_ACCESS_PAGE_FAULT);
    assert_int_equal(v->run, bytes);
}

/* Pages of one op that follow each other and were touched alike are one sighting; order of arrival does not matter. */
static void joins_pages(void **state)
{
    struct events *j = *state;
    uint64_t start;

    ev_alloc(j, A, 5 * PAGE + 100);
    start = ++j->now;
    sample(j, OBSERVED, A + 2 * PAGE + 8, NF_RW_READ);
    sample(j, OBSERVED, A + 17, NF_RW_READ);
    sample(j, OBSERVED, A + PAGE, NF_RW_READ);
    sample(j, OBSERVED, A + 4 * PAGE, NF_RW_WRITE);
    sample(j, OBSERVED, A + 5 * PAGE + 99, NF_RW_WRITE);
    ev_op_at(j, ev_text(j, "op"), NF_PHASE_FORWARD, start);
    ev_visit(j, A, 5 * PAGE, NF_RW_READ);
    ev_step(j, 1);
    assert_int_equal(seen[0][OBSERVED].n_visits, 2);
    expect(0, OBSERVED, 0, 0, 0, 3 * PAGE, NF_RW_READ);
    expect(0, OBSERVED, 1, 0, 4 * PAGE, PAGE + 100, NF_RW_WRITE); /* the last page ends with its tensor */
    assert_int_equal(nf_reduce_sighted(j->reduce, OBSERVED)->attributed, 5);
    assert_int_equal(nf_reduce_sighted(j->reduce, OBSERVED)->between_ops, 0);
}

static void tells_reads_from_writes(void **state)
{
    struct events *j = *state;
    uint64_t start;

    ev_alloc(j, A, 8 * PAGE);
    start = ++j->now;
    sample(j, OBSERVED, A, NF_RW_READ); /* read, then written */
    sample(j, OBSERVED, A, NF_RW_WRITE);
    sample(j, OBSERVED, A + 2 * PAGE, NF_RW_WRITE); /* a second fault of a written page, whatever it says */
    sample(j, OBSERVED, A + 2 * PAGE, NF_RW_READ);
    sample(j, OBSERVED, A + 4 * PAGE, NF_RW_READ); /* read, on two CPUs */
    sample(j, OBSERVED, A + 4 * PAGE, NF_RW_READ);
    ev_op_at(j, ev_text(j, "op"), NF_PHASE_FORWARD, start);
    ev_step(j, 1);
    assert_int_equal(seen[0][OBSERVED].n_visits, 3);
    expect(0, OBSERVED, 0, 0, 0, PAGE, NF_RW_UPDATE);
    expect(0, OBSERVED, 1, 0, 2 * PAGE, PAGE, NF_RW_WRITE);
    expect(0, OBSERVED, 2, 0, 4 * PAGE, PAGE, NF_RW_READ);
}

/* Without the write bit: two faults are a read and a write, one is what the op's visits say. */
static void infers_reads_and_writes(void **state)
{
    struct events *j = *state;
    uint64_t start;

    ev_alloc(j, A, 4 * PAGE);
    ev_alloc(j, B, 4 * PAGE);
    start = ++j->now;
    sample(j, INFERRED, A, NF_SAMPLE_RW_UNKNOWN);
    sample(j, INFERRED, A + 2 * PAGE, NF_SAMPLE_RW_UNKNOWN);
    sample(j, INFERRED, A + 2 * PAGE, NF_SAMPLE_RW_UNKNOWN);
    sample(j, INFERRED, B, NF_SAMPLE_RW_UNKNOWN);
    ev_op_at(j, ev_text(j, "op"), NF_PHASE_FORWARD, start);
    ev_visit(j, A, 4 * PAGE, NF_RW_READ);
    ev_visit(j, B, 4 * PAGE, NF_RW_WRITE);
    start = ++j->now;
    sample(j, INFERRED, B, NF_SAMPLE_RW_UNKNOWN);
    ev_op_at(j, ev_text(j, "undeclared"), NF_PHASE_FORWARD, start);
    ev_step(j, 1);
    assert_int_equal(seen[0][INFERRED].n_visits, 4);
    expect(0, INFERRED, 0, 0, 0, PAGE, NF_RW_READ);
    expect(0, INFERRED, 1, 0, 2 * PAGE, PAGE, NF_RW_UPDATE);
    expect(0, INFERRED, 2, 0, 0, PAGE, NF_RW_WRITE);
    expect(0, INFERRED, 3, 1, 0, PAGE, NF_RW_READ);
}

static void marks_what_falls_between_ops(void **state)
{
    struct events *j = *state;
    uint64_t start;

    ev_alloc(j, A, 4 * PAGE);
    ev_op(j, ev_text(j, "first"), NF_PHASE_FORWARD, 0);
    sample(j, OBSERVED, A, NF_RW_READ);
    sample(j, OBSERVED, A + PAGE, NF_RW_READ);
    sample(j, SAMPLED, A + 64, NF_RW_READ);
    start = ++j->now;
    sample(j, OBSERVED, A + PAGE, NF_RW_WRITE); /* again, now within the op */
    ev_op_at(j, ev_text(j, "second"), NF_PHASE_FORWARD, start);
    ev_visit(j, A, 4 * PAGE, NF_RW_READ);
    ev_step(j, 1);
    assert_int_equal(seen[0][OBSERVED].n_visits, 2);
    expect(0, OBSERVED, 0, 1, 0, PAGE, NF_RW_READ);
    assert_int_equal(seen[0][OBSERVED].visits[0].touches_q8, NF_SIGHTING_BETWEEN);
    expect(0, OBSERVED, 1, 1, PAGE, PAGE, NF_RW_UPDATE);
    assert_int_equal(seen[0][OBSERVED].visits[1].touches_q8, 256);
    assert_int_equal(nf_reduce_sighted(j->reduce, OBSERVED)->between_ops, 2);
    assert_int_equal(seen[0][SAMPLED].n_samples, 1);
    assert_int_equal(seen[0][SAMPLED].samples[0].op, NF_SAMPLE_NONE); /* no op's, though the tensor is known */
    assert_int_equal(seen[0][SAMPLED].samples[0].tensor, 0);
    assert_int_equal(nf_reduce_sighted(j->reduce, SAMPLED)->between_ops, 1);
}

/* By address and time: a recycled address is another tensor. */
static void follows_recycled_addresses(void **state)
{
    struct events *j = *state;
    uint64_t start;

    ev_alloc(j, A, 2 * PAGE);
    start = ++j->now;
    sample(j, SAMPLED, A + 128, NF_RW_WRITE);
    ev_op_at(j, ev_text(j, "make"), NF_PHASE_FORWARD, start);
    ev_visit(j, A, 2 * PAGE, NF_RW_WRITE);
    ev_free(j, A);
    ev_alloc(j, A, PAGE);
    start = ++j->now;
    sample(j, SAMPLED, A + 128, NF_RW_READ);
    sample(j, SAMPLED, A + PAGE + 128, NF_RW_READ); /* where the first one was */
    ev_op_at(j, ev_text(j, "other"), NF_PHASE_FORWARD, start);
    ev_visit(j, A, PAGE, NF_RW_WRITE);
    ev_step(j, 1);
    assert_int_equal(seen[0][SAMPLED].n_samples, 2);
    assert_int_equal(seen[0][SAMPLED].samples[0].tensor, 0);
    assert_int_equal(seen[0][SAMPLED].samples[0].op, 0);
    assert_int_equal(seen[0][SAMPLED].samples[1].tensor, 1);
    assert_int_equal(seen[0][SAMPLED].samples[1].op, 1);
    assert_int_equal(seen[0][SAMPLED].samples[1].offset, 128);
    assert_int_equal(seen[0][SAMPLED].samples[1].step, 0);
    assert_int_equal(nf_reduce_sighted(j->reduce, SAMPLED)->samples, 3);
    assert_int_equal(nf_reduce_sighted(j->reduce, SAMPLED)->attributed, 2);
    assert_int_equal(nf_reduce_sighted(j->reduce, SAMPLED)->unattributed, 1);
}

/* Steps that did the same have the same hash, whatever their addresses; one page more is another. */
static void hashes_structure(void **state)
{
    struct events *j = *state;
    uint32_t name = ev_text(j, "op");

    for (unsigned step = 0; step < 3; step++) {
        uint64_t address = A + step * 0x1000000, start;

        ev_alloc(j, address, 4 * PAGE);
        start = ++j->now;
        for (unsigned page = 0; page < 2 + (step == 2); page++)
            sample(j, OBSERVED, address + page * PAGE, NF_RW_WRITE);
        ev_op_at(j, name, NF_PHASE_FORWARD, start);
        ev_visit(j, address, 4 * PAGE, NF_RW_WRITE);
        ev_free(j, address);
        ev_step(j, 1);
    }
    assert_int_equal(steps, 3);
    assert_true(seen[0][OBSERVED].hash == seen[1][OBSERVED].hash);
    assert_true(seen[1][OBSERVED].hash != seen[2][OBSERVED].hash);
}

/* What comes before training, after its last step, or for a step that never ends is counted, and belongs to none. */
static void counts_what_is_outside(void **state)
{
    static const struct nf_sighting_source source = {.sees_all = true, .rw_observed = true, .resolution_bytes = PAGE};
    struct events j;
    uint64_t start;

    events_init(&j, 1);
    assert_int_equal(nf_reduce_add_source(j.reduce, &source), 0);
    ev_alloc(&j, A, 4 * PAGE);
    sample(&j, 0, A, NF_RW_WRITE);
    ev_mark(&j, NF_MARK_TRAINING_BEGINS, 0, 0);
    start = ++j.now;
    sample(&j, 0, A, NF_RW_READ);
    ev_op_at(&j, ev_text(&j, "op"), NF_PHASE_FORWARD, start);
    ev_step(&j, 1);
    start = ++j.now;
    sample(&j, 0, A + PAGE, NF_RW_READ);
    ev_op_at(&j, ev_text(&j, "op of an unfinished step"), NF_PHASE_FORWARD, start);
    sample(&j, 0, A + 2 * PAGE, NF_RW_READ);
    assert_int_equal(nf_reduce_sighted(j.reduce, 0)->samples, 4);
    assert_int_equal(nf_reduce_sighted(j.reduce, 0)->attributed, 1);
    assert_int_equal(nf_reduce_sighted(j.reduce, 0)->unattributed, 0);
    events_deinit(&j);
}

/* A page beside the tensors belongs to nobody; one that two share, in an arena of smaller blocks, goes to the first. */
static void knows_strangers(void **state)
{
    struct events *j = *state;
    uint64_t start;

    ev_alloc(j, A, 100);
    ev_alloc(j, A + 128, 100);
    start = ++j->now;
    sample(j, OBSERVED, A + 3 * PAGE, NF_RW_READ);
    sample(j, OBSERVED, A + 200, NF_RW_READ);
    ev_op_at(j, ev_text(j, "op"), NF_PHASE_FORWARD, start);
    ev_step(j, 1);
    assert_int_equal(nf_reduce_sighted(j->reduce, OBSERVED)->samples, 2);
    assert_int_equal(nf_reduce_sighted(j->reduce, OBSERVED)->attributed + nf_reduce_sighted(j->reduce, OBSERVED)->unattributed,
                     2);
    assert_int_equal(nf_reduce_sighted(j->reduce, OBSERVED)->unattributed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(joins_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(tells_reads_from_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(infers_reads_and_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(marks_what_falls_between_ops, setup, teardown),
        cmocka_unit_test_setup_teardown(follows_recycled_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(hashes_structure, setup, teardown),
        cmocka_unit_test(counts_what_is_outside),
        cmocka_unit_test_setup_teardown(knows_strangers, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
