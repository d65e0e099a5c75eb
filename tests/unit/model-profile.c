/* The profile of small steps whose misses, bursts and gaps can be worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/model/profile.h"

enum { PAGE = NF_PAGE_BYTES };

/* Parameter 0 (4 pages) is read at ops 0 and 3; temporary 1 (6 pages) is written at 1 and updated at 2; tensor 2 is
 * never touched. 10 ns an op, 1 ns before each. */
struct sample {
    struct nf_op ops[4];
    struct nf_visit visits[4];
    struct nf_tensor tensors[3];
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
                    {.bytes = 6 * PAGE, .address = 1 << 21, .birth = 1, .death = 2, .carry_in = -1, .carry_out = -1},
                    {.bytes = PAGE, .address = 1 << 22, .birth = 0, .death = 0, .carry_in = -1, .carry_out = -1}},
        .c = {.n_ops = 4, .n_visits = 4, .n_tensors = 3, .peak_live_bytes = 10 * PAGE},
    };
    for (uint32_t i = 0; i < 4; i++)
        m->ops[i] = (struct nf_op){.first_visit = i, .n_visits = 1, .dur_ns = 10, .gap_ns = 1};
    m->c.ops = m->ops;
    m->c.visits = m->visits;
    m->c.tensors = m->tensors;
}

static void test_counts(void **state)
{
    struct sample m;
    struct nf_profile p;

    sample_init(&m);
    assert_int_equal(nf_profile_init(&p, &m.c, 0, 0), 0);
    assert_int_equal(p.tensors[0].read_bytes, 8 * PAGE);
    assert_int_equal(p.tensors[0].write_bytes, 0);
    assert_int_equal(p.tensors[0].reads, 2);
    assert_int_equal(p.tensors[0].miss_read_bytes, 8 * PAGE);
    assert_int_equal(p.tensors[1].read_bytes, 6 * PAGE);
    assert_int_equal(p.tensors[1].write_bytes, 12 * PAGE);
    assert_int_equal(p.tensors[1].writes, 2);
    assert_int_equal(p.tensors[1].first_op, 1);
    assert_int_equal(p.tensors[1].last_op, 2);
    assert_true(p.tensors[2].first_op > p.tensors[2].last_op);
    assert_int_equal(p.tensors[2].n_bursts, 0);
    assert_true(p.tensors[0].live_share == 1);
    assert_true(p.tensors[1].live_share == 0.5);
    nf_profile_deinit(&p);
}

/* Distances in the second pass: 0 at op 0 comes right after its own reads (3 others), 1 at op 1 after 4 + 5 others,
 * 1 at op 2 after 5, 0 at op 3 after 6 + 3. */
static void test_misses(void **state)
{
    static const struct {
        uint64_t llc_pages;
        uint64_t miss_pages[4];
    } rows[] = {{1, {4, 6, 6, 4}}, {3, {4, 6, 6, 4}}, {4, {0, 6, 6, 4}}, {5, {0, 6, 6, 4}},
                {6, {0, 6, 0, 4}}, {9, {0, 6, 0, 4}}, {10, {0, 0, 0, 0}}};
    struct sample m;

    sample_init(&m);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct nf_profile p;

        assert_int_equal(nf_profile_init(&p, &m.c, rows[i].llc_pages * PAGE, 0), 0);
        for (int v = 0; v < 4; v++)
            assert_int_equal(p.visit_miss_bytes[v], rows[i].miss_pages[v] * PAGE);
        nf_profile_deinit(&p);
    }
}

static void test_gaps(void **state)
{
    struct sample m;
    struct nf_profile p;

    sample_init(&m);
    assert_int_equal(nf_profile_init(&p, &m.c, 0, 5 * PAGE), 0);
    assert_int_equal(p.n_gaps, 1); /* op 0 to op 3; the wrap has no other traffic, and 1 follows itself */
    assert_int_equal(p.gaps[0].tensor, 0);
    assert_int_equal(p.gaps[0].from_op, 0);
    assert_int_equal(p.gaps[0].to_op, 3);
    assert_int_equal(p.gaps[0].bytes, 12 * PAGE);
    assert_true(p.gaps[0].ns == 2 * 10 + 3 * 1);
    assert_false(p.gaps[0].wraps);
    assert_int_equal(p.tensors[0].n_bursts, 2);
    assert_int_equal(p.tensors[0].longest_gap_bytes, 12 * PAGE);
    assert_int_equal(p.tensors[1].n_bursts, 1);
    nf_profile_deinit(&p);

    /* At most burst_bytes of other traffic is one burst; the default is the LLC. */
    assert_int_equal(nf_profile_init(&p, &m.c, 0, 12 * PAGE), 0);
    assert_int_equal(p.n_gaps, 0);
    nf_profile_deinit(&p);
    assert_int_equal(nf_profile_init(&p, &m.c, 12 * PAGE - 1, 0), 0);
    assert_int_equal(p.n_gaps, 1);
    nf_profile_deinit(&p);
}

static void test_wrap(void **state)
{
    struct sample m;
    struct nf_profile p;

    sample_init(&m);
    /* Op 3 works on the temporary instead: the parameter's gap runs over the end of the step. */
    m.visits[3].tensor = 1;
    m.tensors[1].death = 3;
    assert_int_equal(nf_profile_init(&p, &m.c, 0, 0), 0);
    assert_int_equal(p.n_gaps, 1);
    assert_true(p.gaps[0].wraps);
    assert_int_equal(p.gaps[0].bytes, 16 * PAGE);
    assert_true(p.gaps[0].ns == 3 * 11 + 1);
    nf_profile_deinit(&p);

    /* Two buffers that swap slots every step: the gap of one ends where the other enters with its slot. */
    m.tensors[2] = m.tensors[0];
    m.tensors[2].address = 1 << 22;
    m.tensors[0].carry_out = 1;
    m.tensors[2].carry_in = 1;
    m.visits[3].tensor = 2;
    assert_int_equal(nf_profile_init(&p, &m.c, 0, 0), 0);
    assert_int_equal(p.n_gaps, 1); /* 2 leaves with slot 0 right before 0 enters with it */
    assert_int_equal(p.gaps[0].tensor, 0);
    assert_int_equal(p.gaps[0].from_op, 0);
    assert_int_equal(p.gaps[0].to_op, 3);
    assert_int_equal(p.gaps[0].bytes, (6 + 6 + 4 + 4 + 6 + 6) * PAGE);
    assert_true(p.gaps[0].wraps);
    nf_profile_deinit(&p);
}

/* Operands of one op never part a burst, whatever lies between them in the list. */
static void test_same_op(void **state)
{
    struct sample m;
    struct nf_profile p;

    sample_init(&m);
    m.ops[0].n_visits = 4;
    m.c.n_ops = 1;
    for (int i = 0; i < 4; i++)
        m.visits[i].op = 0;
    m.tensors[1].birth = m.tensors[1].death = 0;
    assert_int_equal(nf_profile_init(&p, &m.c, 0, 0), 0);
    assert_int_equal(p.n_gaps, 0);
    assert_int_equal(p.tensors[0].n_bursts, 1);
    nf_profile_deinit(&p);
}

/* A strided visit touches only the pages of its runs; recycled addresses share cached lines. */
static void test_extents(void **state)
{
    struct nf_op ops[2] = {{.n_visits = 1}, {.first_visit = 1, .n_visits = 1}};
    struct nf_visit visits[2] = {
        {.op = 0, .tensor = 0, .offset = 100, .bytes = 300, .run = 128, .stride = 4 * PAGE},
        {.op = 1, .tensor = 1, .offset = 0, .bytes = 12 * PAGE, .run = 12 * PAGE, .stride = 12 * PAGE}};
    struct nf_tensor tensors[2] = {
        {.bytes = 12 * PAGE, .address = 1 << 20, .birth = 0, .death = 0, .carry_in = -1, .carry_out = -1},
        {.bytes = 12 * PAGE, .address = 1 << 20, .birth = 1, .death = 1, .carry_in = -1, .carry_out = -1}};
    struct nf_step_class c = {
        .ops = ops, .visits = visits, .tensors = tensors, .n_ops = 2, .n_visits = 2, .n_tensors = 2};
    struct nf_profile p;

    /* Pages 0, 4 and 8 of the slot, then all 12: before op 0 comes page 0 with 11 others behind it. */
    assert_int_equal(nf_profile_init(&p, &c, 12 * PAGE, 0), 0);
    assert_int_equal(p.visit_miss_bytes[0], 0);
    assert_int_equal(p.visit_miss_bytes[1], 0);
    nf_profile_deinit(&p);
    assert_int_equal(nf_profile_init(&p, &c, 11 * PAGE, 0), 0);
    /* 0 (11 others behind it), 4 (8 and 7 behind it, 0 again) and 8: only page 0 is gone. */
    assert_int_equal(p.visit_miss_bytes[0], 128);
    nf_profile_deinit(&p);
    assert_int_equal(nf_profile_init(&p, &c, 1, 0), 0);
    assert_int_equal(p.visit_miss_bytes[0], 300);
    assert_int_equal(p.visit_miss_bytes[1], 12 * PAGE);
    nf_profile_deinit(&p);

    /* Runs closer than a page touch every page of the span. */
    visits[0] = (struct nf_visit){.op = 0, .tensor = 0, .bytes = 8 * PAGE, .run = 2048, .stride = 3072};
    assert_int_equal(nf_profile_init(&p, &c, 1, 0), 0);
    assert_int_equal(p.visit_miss_bytes[0], 8 * PAGE);
    nf_profile_deinit(&p);
}

static void test_empty(void **state)
{
    struct nf_step_class c = {0};
    struct nf_profile p;

    assert_int_equal(nf_profile_init(&p, &c, 1 << 20, 0), 0);
    assert_int_equal(p.n_gaps, 0);
    nf_profile_deinit(&p);
    nf_profile_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts), cmocka_unit_test(test_misses),  cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_wrap),   cmocka_unit_test(test_same_op), cmocka_unit_test(test_extents),
        cmocka_unit_test(test_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
