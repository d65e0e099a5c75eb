/* Moves of parts of tensors as a table of them plans: which pages go where, what is born in part, what waits for room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pool/timetable.h"

enum { PAGE = NF_PAGE_BYTES, NEAR = 10, ACTIVATION = 1, OPS = 4, HANDLES = 2 };

/* A parameter of 8 pages, used at ops 0 and 2; an activation of 6, born at op 1 and used at 1 and 2; op 3 uses the parameter. */
static struct nf_tensor tensors[] = {
    {.bytes = 8 * PAGE, .birth = NF_OP_BEFORE, .death = NF_OP_AFTER, .carry_in = 0, .carry_out = 0},
    {.bytes = 6 * PAGE, .birth = 1, .death = 2, .carry_in = NF_CARRY_NONE, .carry_out = NF_CARRY_NONE},
};
static struct nf_visit visits[] = {
    {.op = 0, .tensor = 0, .bytes = PAGE}, {.op = 1, .tensor = 1, .bytes = PAGE}, {.op = 2, .tensor = 0, .bytes = PAGE},
    {.op = 2, .tensor = 1, .bytes = PAGE}, {.op = 3, .tensor = 0, .bytes = PAGE},
};
static struct nf_op ops[OPS] = {
    {.first_visit = 0, .n_visits = 1, .dur_ns = 1000}, {.first_visit = 1, .n_visits = 1, .dur_ns = 1000},
    {.first_visit = 2, .n_visits = 2, .dur_ns = 1000}, {.first_visit = 4, .n_visits = 1, .dur_ns = 1000},
};
static const struct nf_step_class step = {.ops = ops, .visits = visits, .tensors = tensors, .n_ops = OPS, .n_visits = 5, .n_tensors = 2};
static const struct nf_profile profile = {.of = &step};
static struct nf_policy_env env = {.n_tiers = 2, .capacity = {NEAR * PAGE, 100 * PAGE}, .profiles = &profile, .n_profiles = 1};

static struct nf_policy_move list[NF_POLICY_MOVES_MAX];
static void *policy;
static bool parts;

static struct nf_placement born(uint32_t number)
{
    struct nf_policy_tensor t = {.handle = number, .number = number, .bytes = tensors[number].bytes};
    struct nf_policy_moves none = {.v = list};
    struct nf_placement p = {0};

    assert_int_equal(nf_timetable_place(policy, &t, &none, &p), 0);
    assert_int_equal(none.n, 0);
    assert_int_equal(p.bytes[0] + p.bytes[1], t.bytes);
    return p;
}

/* An op and the moves after it. */
static size_t after(uint32_t op)
{
    static const uint8_t rw[HANDLES];
    struct nf_policy_moves moves = {.v = list};
    uint32_t handles[HANDLES];

    for (uint32_t i = 0; i < ops[op].n_visits; i++)
        handles[i] = visits[ops[op].first_visit + i].tensor;
    assert_int_equal(nf_timetable_access(policy, 0, op, handles, rw, ops[op].n_visits, &moves), 0);
    assert_int_equal(nf_timetable_after(policy, op, &moves), 0);
    return moves.n;
}

static void assert_moved(uint32_t handle, uint32_t tier, uint32_t first, uint32_t n)
{
    assert_int_equal(list[0].handle, handle);
    assert_int_equal(list[0].to_tier, tier);
    assert_int_equal(list[0].first_page, first);
    assert_int_equal(list[0].n_pages, n);
}

static int plan_of_parts(struct nf_timetable *t)
{
    int rc;

    t->near_at_birth[0] = 5;
    t->parts = parts;
    rc = nf_timetable_add(t, (struct nf_timetable_entry){.op = 0, .tensor = 0, .pages = 3});
    if (!rc)
        rc = nf_timetable_add(t, (struct nf_timetable_entry){.op = 1, .tensor = 0, .by_op = 3, .near = true, .pages = 6});
    if (!rc)
        rc = nf_timetable_add(t, (struct nf_timetable_entry){.op = 3, .tensor = 0});
    return rc;
}

static void moves_the_pages_between(void **state)
{
    assert_int_equal(nf_timetable_policy_open(&env, plan_of_parts, &policy), 0);
    assert_int_equal(born(0).bytes[0], 5 * PAGE);
    assert_int_equal(after(0), 1); /* three stay */
    assert_moved(0, 1, 3, 2);
    assert_int_equal(born(ACTIVATION).bytes[0], 6 * PAGE);
    assert_int_equal(after(1), 0); /* three more are due, and one fits: it waits */
    nf_timetable_freed(policy, ACTIVATION);
    assert_int_equal(after(2), 1);
    assert_moved(0, 0, 3, 3);
    assert_int_equal(after(3), 1); /* all that are near */
    assert_moved(0, 1, 0, 6);
    nf_timetable_close(policy);
}

static int plan_without_room(struct nf_timetable *t)
{
    t->parts = parts;
    t->near_at_birth[0] = 6;
    return 0;
}

static void is_born_in_part(void **state)
{
    for (int i = 0; i < 2; i++) {
        parts = i == 0;
        assert_int_equal(nf_timetable_policy_open(&env, plan_without_room, &policy), 0);
        assert_int_equal(born(0).bytes[0], 6 * PAGE);
        assert_int_equal(born(ACTIVATION).bytes[0], parts ? 4 * PAGE : 0);
        nf_timetable_close(policy);
    }
}

/* What moves whole says so in the way of policies that move nothing else. */
static int plan_of_wholes(struct nf_timetable *t)
{
    int rc;

    t->near_at_birth[0] = 0;
    rc = nf_timetable_add(t, (struct nf_timetable_entry){.op = 0, .tensor = 0, .by_op = 2, .near = true});
    return rc ? rc : nf_timetable_add(t, (struct nf_timetable_entry){.op = 2, .tensor = 0});
}

static void moves_wholes(void **state)
{
    assert_int_equal(nf_timetable_policy_open(&env, plan_of_wholes, &policy), 0);
    assert_int_equal(born(0).bytes[0], 0);
    assert_int_equal(after(0), 1);
    assert_moved(0, 0, 0, 0);
    assert_int_equal(born(ACTIVATION).bytes[0], 0); /* two pages are free */
    assert_int_equal(after(1), 0);
    assert_int_equal(after(2), 1);
    assert_moved(0, 1, 0, 0);
    nf_timetable_close(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_the_pages_between),
        cmocka_unit_test(is_born_in_part),
        cmocka_unit_test(moves_wholes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
