/* What the policies that plan from a profile decide in cases small enough to work out by hand: the published figures of soar,
 * sentinel and g10, and each one's moves on a step of a few ops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "core/base/array.h"
#include "pool/policy-g10.h"
#include "pool/policy-sentinel.h"
#include "pool/policy-soar.h"
#include "pool/policy.h"
#include "pool/timetable.h"

enum { PAGE = NF_PAGE_BYTES, TENSORS = 16 };

/* --- a step, and a machine whose link takes a page in OP_NS --- */

#define OP_NS 1000.0
#define BPS (PAGE / OP_NS * 1e9)

struct step {
    struct nf_step_class c;
    struct nf_profile profile;
    struct nf_policy_env env;
    NF_ARRAY(struct nf_op) ops;
    NF_ARRAY(struct nf_visit) visits;
    NF_ARRAY(struct nf_tensor) tensors;
    const struct nf_policy_ops *rule;
    void *policy, *options;
    struct nf_policy_move list[NF_POLICY_MOVES_MAX];
    uint32_t tier[TENSORS]; /* where it is now */
    char moved[256];        /* "op:tensor>tier op:tensor>tier" */
};

static uint64_t free_bytes(void *pool, uint32_t tier)
{
    const struct step *s = pool;
    uint64_t free = s->env.capacity[tier];

    for (uint32_t i = 0; i < s->tensors.n; i++)
        free -= s->tier[i] == tier ? s->tensors.v[i].bytes : 0;
    return free;
}

static uint32_t tensor(struct step *s, enum nf_role role, uint64_t pages, int32_t birth, int32_t death)
{
    int32_t slot = birth == NF_OP_BEFORE ? (int32_t)s->tensors.n : NF_CARRY_NONE;

    assert_int_equal(nf_array_push(&s->tensors, (struct nf_tensor){.bytes = pages * PAGE, .role = (uint8_t)role, .birth = birth,
                                                                   .address = 0x100000 * (s->tensors.n + 1),
                                                                   .death = death, .carry_in = slot, .carry_out = slot}), 0);
    return (uint32_t)s->tensors.n - 1;
}

/* An op that reads the tensors of the list, which ends below 0; k outstanding misses each. */
static void op(struct step *s, enum nf_phase phase, uint16_t layer, uint8_t k, const int *reads)
{
    uint32_t first = (uint32_t)s->visits.n;
    nf_regime regime = nf_regime_pack(&(struct nf_regime_parts){.job = 1, .phase = (uint8_t)phase, .layer_group = layer});

    for (; *reads >= 0; reads++) {
        uint64_t bytes = s->tensors.v[*reads].bytes;

        assert_int_equal(nf_array_push(&s->visits, (struct nf_visit){.bytes = bytes, .run = bytes, .stride = bytes,
                                                                     .op = (uint32_t)s->ops.n, .tensor = (uint32_t)*reads,
                                                                     .touches_q8 = 256, .parallelism = k}), 0);
    }
    assert_int_equal(nf_array_push(&s->ops, (struct nf_op){.phase = (uint8_t)phase, .dur_ns = OP_NS, .regime = regime,
                                                           .first_visit = first,
                                                           .n_visits = (uint32_t)s->visits.n - first}), 0);
}

static void open_step(struct step *s, const char *name, const char *options, uint64_t near_pages)
{
    s->c = (struct nf_step_class){.ops = s->ops.v, .visits = s->visits.v, .tensors = s->tensors.v,
                                  .n_ops = (uint32_t)s->ops.n, .n_visits = (uint32_t)s->visits.n,
                                  .n_tensors = (uint32_t)s->tensors.n};
    assert_int_equal(nf_profile_init(&s->profile, &s->c, 0, 0), 0);
    s->rule = nf_policy_find(name);
    assert_non_null(s->rule);
    assert_int_equal(nf_policy_configure(s->rule, options, &s->options), 0);
    s->env = (struct nf_policy_env){.n_tiers = 2, .capacity = {near_pages * PAGE, 1000 * PAGE}, .read_bps = {10 * BPS, BPS},
                                    .latency_ns = {100, 1}, .profiles = &s->profile, .n_profiles = 1,
                                    .options = s->options, .free_bytes = free_bytes, .pool = s};
    memset(s->tier, 0xff, sizeof s->tier);
    assert_int_equal(s->rule->init(&s->env, &s->policy), 0);
}

static void close_step(struct step *s)
{
    s->rule->deinit(s->policy);
    free(s->options);
    nf_profile_deinit(&s->profile);
    nf_array_free(&s->ops);
    nf_array_free(&s->visits);
    nf_array_free(&s->tensors);
    memset(s, 0, sizeof *s);
}

static void carry_out(struct step *s, uint32_t at, const struct nf_policy_moves *moves)
{
    for (size_t i = 0; i < moves->n; i++) {
        const struct nf_policy_move *m = &moves->v[i];
        size_t n = strlen(s->moved);

        assert_int_not_equal(s->tier[m->handle], m->to_tier);
        assert_true(free_bytes(s, m->to_tier) >= s->tensors.v[m->handle].bytes);
        s->tier[m->handle] = m->to_tier;
        snprintf(s->moved + n, sizeof s->moved - n, "%s%u:%u>%u", n ? " " : "", at, m->handle, m->to_tier);
    }
}

static void born(struct step *s, uint32_t number)
{
    struct nf_policy_tensor t = {.handle = number, .bytes = s->tensors.v[number].bytes, .number = number,
                                 .role = (enum nf_role)s->tensors.v[number].role};
    struct nf_policy_moves none = {.v = s->list};
    struct nf_placement p = {0};

    assert_int_equal(s->rule->on_alloc(s->policy, &t, &none, &p), 0);
    assert_int_equal(none.n, 0);
    s->tier[number] = p.bytes[0] ? 0 : 1;
    assert_int_equal(p.bytes[s->tier[number]], t.bytes);
}

/* Steps of it; a handle is its tensor's number. s->moved tells of the last one. */
static void run(struct step *s, int steps)
{
    for (uint32_t i = 0; i < s->tensors.n; i++)
        if (s->tensors.v[i].birth == NF_OP_BEFORE)
            born(s, i);
    for (int step = 0; step < steps; step++) {
        *s->moved = '\0';
        for (uint32_t o = 0; o < s->ops.n; o++) {
            struct nf_policy_moves moves = {.v = s->list};
            uint32_t handles[TENSORS];
            uint8_t rw[TENSORS] = {0};
            size_t n = 0;

            for (uint32_t i = 0; i < s->tensors.n; i++)
                if (s->tensors.v[i].birth == (int32_t)o)
                    born(s, i);
            for (uint32_t v = 0; v < s->ops.v[o].n_visits; v++)
                handles[n++] = s->visits.v[s->ops.v[o].first_visit + v].tensor;
            if (s->rule->on_op)
                assert_int_equal(s->rule->on_op(s->policy, 0, o, handles, rw, n, &moves), 0);
            carry_out(s, o, &moves);
            moves.n = 0;
            if (s->rule->on_op_end)
                assert_int_equal(s->rule->on_op_end(s->policy, o, &moves), 0);
            carry_out(s, o, &moves);
            for (uint32_t i = 0; i < s->tensors.n; i++)
                if (s->tensors.v[i].death == (int32_t)o) {
                    s->rule->on_free(s->policy, i);
                    s->tier[i] = UINT32_MAX;
                }
        }
    }
}

#define LIST(...) ((const int[]){__VA_ARGS__, -1})
#define CARRIED NF_OP_BEFORE, NF_OP_AFTER

/* --- soar --- */

static void test_soar_score(void **state)
{
    /* A quarter of the misses of a window that holds half of all stalls; AOL 24.67 makes the denominator 1.87. */
    struct nf_soar_window w = {.stall_share = 0.5, .misses = 400, .aol_cycles = 24.67};

    assert_true(fabs(nf_soar_score(&w, 100) - 0.125 / 1.87) < 1e-12);
    w.aol_cycles = 246.7; /* less overlap: 0.1 + 0.87 */
    assert_true(fabs(nf_soar_score(&w, 100) - 0.125 / 0.97) < 1e-12);
    w.misses = 0;
    assert_true(nf_soar_score(&w, 0) == 0);
}

/* Equal misses: the tensor whose misses overlap less is worth more; and twice the size is half the worth per byte. */
static void test_soar_ranks(void **state)
{
    static struct step s;

    for (int near = 0; near < 3; near++) {
        tensor(&s, NF_ROLE_PARAMETER, 4, CARRIED);
        tensor(&s, NF_ROLE_PARAMETER, 4, CARRIED);
        tensor(&s, NF_ROLE_PARAMETER, 8, CARRIED);
        op(&s, NF_PHASE_FORWARD, 0, 20, LIST(0));
        op(&s, NF_PHASE_FORWARD, 0, 2, LIST(1));
        op(&s, NF_PHASE_FORWARD, 0, 20, LIST(2));
        open_step(&s, "soar", "", 4 + 4 * (uint64_t)near);
        run(&s, 1);
        assert_int_equal(s.tier[1], 0);
        assert_int_equal(s.tier[0], near == 0);
        assert_int_equal(s.tier[2], 1);
        close_step(&s);
    }
}

/* --- sentinel --- */

static void test_sentinel_exposed(void **state)
{
    /* At 1 byte a nanosecond: 300 bytes arrive in 100 ns: 200 exposed; 50 in 100 ns: none. 700 of 600 bytes fit not: 100. */
    struct nf_sentinel_interval v[] = {{100, 700, 50}, {100, 400, 300}};

    assert_true(fabs(nf_sentinel_exposed_ns(v, 2, 600, 1e9) - 300) < 1e-9);
    assert_true(fabs(nf_sentinel_exposed_ns(v, 2, 1000, 1e9) - 200) < 1e-9);
    v[0].ns = 300;
    assert_true(fabs(nf_sentinel_exposed_ns(v, 2, 1000, 1e9)) < 1e-9);
}

/* Four layers, a parameter each; a page short-lived. Near takes two parameters and the reserve. While layer i runs, layer i + 1's
 * parameter comes, after what neither uses has left. */
static void test_sentinel_moves(void **state)
{
    static struct step s;

    for (int i = 0; i < 4; i++)
        tensor(&s, NF_ROLE_PARAMETER, 1, CARRIED);
    tensor(&s, NF_ROLE_FORWARD_TEMP, 1, 2, 2);
    op(&s, NF_PHASE_FORWARD, 1, 8, LIST(0));
    op(&s, NF_PHASE_FORWARD, 2, 8, LIST(1));
    op(&s, NF_PHASE_FORWARD, 3, 8, LIST(2, 4));
    op(&s, NF_PHASE_FORWARD, 4, 8, LIST(3));
    open_step(&s, "sentinel", "layers=1", 3);
    run(&s, 3);
    assert_string_equal(s.moved, "0:0>1 0:2>0 1:1>1 1:3>0 2:2>1 2:0>0 3:3>1 3:1>0");
    close_step(&s);
}

/* --- g10 --- */

static void test_g10_figures(void **state)
{
    uint64_t load[] = {10, 25, 40, 12};
    double ns[] = {5, 2, 3, 7};

    /* Above 20: 0, 5, 20, 0; a tensor of 8 takes off at most 8. */
    assert_true(fabs(nf_g10_benefit(load, ns, 4, 20, 8) - (5 * 2 + 8 * 3)) < 1e-9);
    assert_true(fabs(nf_g10_benefit(load, ns, 4, 20, 100) - (5 * 2 + 20 * 3)) < 1e-9);
    /* 1000 bytes at 1 byte a nanosecond and 100 ns: 2200 there and back, 2420 with a tenth. */
    assert_true(nf_g10_worth(2421, 1000, 100, 1e9, 0.1));
    assert_false(nf_g10_worth(2420, 1000, 100, 1e9, 0.1));
    assert_true(nf_g10_worth(2420, 1000, 100, 1e9, 0));
}

/* One saved page (0) used at ops 0 and 9; another (1) at 1 and 8, short of room at ops 4 and 5, where two pages more live. The line
 * is 3 pages: 4 are in use there. One interval suffices; both take the same off, the first in the list goes. A page takes an op's
 * time: it is away after op 1 and comes back during op 8. */
static void test_g10_moves(void **state)
{
    static struct step s;

    tensor(&s, NF_ROLE_SAVED, 1, 0, 9);
    tensor(&s, NF_ROLE_SAVED, 1, 1, 8);
    tensor(&s, NF_ROLE_FORWARD_TEMP, 2, 4, 5);
    op(&s, NF_PHASE_FORWARD, 0, 8, LIST(0));
    op(&s, NF_PHASE_FORWARD, 0, 8, LIST(1));
    for (int i = 2; i < 8; i++)
        op(&s, NF_PHASE_FORWARD, 0, 8, i == 4 || i == 5 ? LIST(2) : LIST(-1));
    op(&s, NF_PHASE_BACKWARD, 0, 8, LIST(1));
    op(&s, NF_PHASE_BACKWARD, 0, 8, LIST(0));
    open_step(&s, "g10", "", 3);
    run(&s, 2);
    assert_string_equal(s.moved, "0:0>1 7:0>0");
    close_step(&s);
}

/* --- tiertrain --- */

/* Saved in forward at ops 0, 1, 2, used backward at 7, 6, 5 (a page, an op's time each). Fetches, last needed first: 0 begins at
 * 6000 - 1, 1 at 4999 - 1, 2 at 3999 - ... each an op and the latency earlier, so after ops 4, 3 and 2; but 2 leaves after op 2
 * and is not away before 4000: it stays. */
static void test_tiertrain_moves(void **state)
{
    static struct step s;

    for (int i = 0; i < 3; i++)
        tensor(&s, NF_ROLE_SAVED, 1, i, 7 - i);
    for (int i = 0; i < 3; i++)
        op(&s, NF_PHASE_FORWARD, 0, 8, LIST(i));
    op(&s, NF_PHASE_FORWARD, 0, 8, LIST(-1));
    op(&s, NF_PHASE_FORWARD, 0, 8, LIST(-1));
    for (int i = 2; i >= 0; i--)
        op(&s, NF_PHASE_BACKWARD, 0, 8, LIST(i));
    open_step(&s, "tiertrain", "", 4);
    run(&s, 2);
    assert_string_equal(s.moved, "0:0>1 1:1>1 3:1>0 4:0>0");
    close_step(&s);
}

/* Two that are needed by one op cannot both come in the op before: the link carries one after the other. */
static void test_tiertrain_queues(void **state)
{
    static struct step s;

    tensor(&s, NF_ROLE_SAVED, 1, 0, 7);
    tensor(&s, NF_ROLE_SAVED, 1, 1, 7);
    for (int i = 0; i < 7; i++)
        op(&s, NF_PHASE_FORWARD, 0, 8, i < 2 ? LIST(i) : LIST(-1));
    op(&s, NF_PHASE_BACKWARD, 0, 8, LIST(0, 1));
    open_step(&s, "tiertrain", "", 4);
    run(&s, 2);
    assert_string_equal(s.moved, "0:0>1 1:1>1 3:1>0 4:0>0");
    close_step(&s);
}

/* --- latency-first --- */

static void test_latency_first(void **state)
{
    const struct nf_policy_ops *ops = nf_policy_find("latency-first");
    static struct step s;
    struct nf_policy_env env = {.n_tiers = 3, .capacity = {10 * PAGE, 100 * PAGE, 100 * PAGE}, .read_bps = {9, 3, 1},
                                .free_bytes = free_bytes, .pool = &s};
    static const struct {
        enum nf_role role;
        uint64_t pages, on[3];
    } cases[] = {
        {NF_ROLE_OPTIMIZER, 8, {8, 0, 0}}, {NF_ROLE_GRADIENT, 10, {10, 0, 0}}, {NF_ROLE_PARAMETER, 12, {0, 9, 3}},
        {NF_ROLE_SAVED, 8, {0, 6, 2}},     {NF_ROLE_FROZEN, 4, {0, 3, 1}},
    };
    void *policy;

    s.env = env;
    assert_int_equal(ops->init(&env, &policy), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_policy_tensor t = {.bytes = cases[i].pages * PAGE, .role = cases[i].role};
        struct nf_policy_moves none = {0};
        struct nf_placement p = {0};

        assert_int_equal(ops->on_alloc(policy, &t, &none, &p), 0);
        for (int tier = 0; tier < 3; tier++)
            assert_int_equal(p.bytes[tier], cases[i].on[tier] * PAGE);
        assert_int_equal(p.striped, !cases[i].on[0]);
    }
    ops->deinit(policy);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_soar_score),     cmocka_unit_test(test_soar_ranks), cmocka_unit_test(test_sentinel_exposed),
        cmocka_unit_test(test_sentinel_moves), cmocka_unit_test(test_g10_figures), cmocka_unit_test(test_g10_moves),
        cmocka_unit_test(test_tiertrain_moves), cmocka_unit_test(test_tiertrain_queues),
        cmocka_unit_test(test_latency_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
