/* The heat map: every touched byte once, in the right row and column. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/model/heat.h"

enum { PAGE = NF_PAGE_BYTES };

/* Op 0 reads tensor 0 (2 pages) and 1 (1 page, apart), op 1 writes tensor 2 (4 pages, far away), op 2 reads half of it. */
struct step {
    struct nf_op ops[3];
    struct nf_visit visits[4];
    struct nf_tensor tensors[3];
    struct nf_step_class c;
};

static struct nf_visit visit(uint32_t op, uint32_t tensor, uint64_t bytes)
{
    return (struct nf_visit){.op = op, .tensor = tensor, .bytes = bytes, .run = bytes, .stride = bytes};
}

static void step_init(struct step *m, double ns)
{
    *m = (struct step){
        .ops = {{.first_visit = 0, .n_visits = 2, .dur_ns = ns},
                {.first_visit = 2, .n_visits = 1, .dur_ns = 2 * ns, .gap_ns = ns},
                {.first_visit = 3, .n_visits = 1, .dur_ns = 0}},
        .visits = {visit(0, 0, 2 * PAGE), visit(0, 1, PAGE), visit(1, 2, 4 * PAGE), visit(2, 2, 2 * PAGE)},
        .tensors = {{.bytes = 2 * PAGE, .address = 16 * PAGE, .role = NF_ROLE_SAVED},
                    {.bytes = PAGE, .address = 4 * PAGE, .role = NF_ROLE_PARAMETER},
                    {.bytes = 4 * PAGE, .address = 1ull << 40, .role = NF_ROLE_SAVED}},
        .c = {.n_ops = 3, .n_visits = 4, .n_tensors = 3},
    };
    m->c.ops = m->ops;
    m->c.visits = m->visits;
    m->c.tensors = m->tensors;
}

static double cell(const struct nf_heat *h, uint32_t row, uint32_t column)
{
    return h->bytes[row * h->n_columns + column] / PAGE;
}

static void near(double found, double expected)
{
    if (!(fabs(found - expected) < 1e-9))
        fail_msg("found %.9g, expected %.9g", found, expected);
}

static void test_tensors(void **state)
{
    struct nf_heat h;
    struct step m;

    step_init(&m, 100);
    assert_int_equal(nf_heat_init(&h, &m.c, NF_HEAT_TENSORS, 10, 8), 0);
    assert_int_equal(h.n_rows, 3);
    assert_true(h.timed);
    near(h.column_width, 50);
    /* Parameters first, then by first touch. */
    assert_int_equal(h.rows[0].tensor, 1);
    assert_int_equal(h.rows[1].tensor, 0);
    assert_int_equal(h.rows[2].tensor, 2);
    near(cell(&h, 0, 0), 0.5);
    near(cell(&h, 0, 1), 0.5);
    near(cell(&h, 1, 1), 1);
    near(cell(&h, 1, 2), 0);
    near(cell(&h, 2, 3), 0);
    for (uint32_t i = 4; i < 7; i++)
        near(cell(&h, 2, i), 1);
    near(cell(&h, 2, 7), 1); /* op 2 takes no time at the very end of the step: past the last column */
    near(h.rows[2].bytes, 6 * PAGE);
    nf_heat_deinit(&h);

    assert_int_equal(nf_heat_init(&h, &m.c, NF_HEAT_TENSORS, 2, 4), 0);
    assert_int_equal(h.n_rows, 2);
    assert_int_equal(h.rows[0].tensor, 2);
    assert_int_equal(h.rows[1].tensor, UINT32_MAX);
    near(h.rows[1].bytes, 3 * PAGE);
    nf_heat_deinit(&h);
}

static void test_addresses(void **state)
{
    struct nf_heat h;
    struct step m;
    double sum = 0;

    step_init(&m, 0); /* untimed: a column an op */
    assert_int_equal(nf_heat_init(&h, &m.c, NF_HEAT_ADDRESSES, 7, 3), 0);
    assert_false(h.timed);
    assert_int_equal(h.n_rows, 7);
    assert_int_equal(h.rows[0].address, 4 * PAGE);
    assert_int_equal(h.rows[1].address, 16 * PAGE);
    assert_int_equal(h.rows[3].address, 1ull << 40);
    for (uint32_t i = 0; i < 7; i++) {
        near(cell(&h, i, 0), i < 3);
        near(cell(&h, i, 1), i >= 3);
        near(cell(&h, i, 2), i == 3 || i == 4);
        sum += h.rows[i].bytes;
    }
    near(sum, 9 * PAGE);
    nf_heat_deinit(&h);
}

static void test_nothing(void **state)
{
    struct nf_step_class c = {0};
    struct nf_heat h;

    for (int kind = 0; kind < 2; kind++) {
        assert_int_equal(nf_heat_init(&h, &c, kind ? NF_HEAT_ADDRESSES : NF_HEAT_TENSORS, 5, 5), 0);
        assert_int_equal(h.n_rows, 0);
        nf_heat_deinit(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
