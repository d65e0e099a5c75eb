/* What can be made again, at what cost, and which of it is: steps worked out by hand, and random ones run with symbolic values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/model/op-traits.h"
#include "core/model/recompute-apply.h"
#include "core/model/recompute.h"
#include "random-step.h"

static void traits(void **state)
{
    static const struct {
        const char *name;
        unsigned traits;
    } rows[] = {
        {"aten::add", 0},
        {"aten::add_", NF_OP_IN_PLACE},
        {"aten::add_.Tensor", NF_OP_IN_PLACE},
        {"aten::__and__", 0},
        {"aten::__iand__", NF_OP_IN_PLACE},
        {"aten::_foreach_add_", NF_OP_IN_PLACE},
        {"aten::_foreach_add", 0},
        {"aten::native_dropout", NF_OP_RANDOM},
        {"aten::dropout_", NF_OP_RANDOM | NF_OP_IN_PLACE},
        {"aten::_fused_dropout", NF_OP_RANDOM},
        {"aten::randn", NF_OP_RANDOM},
        {"aten::_scaled_dot_product_flash_attention", NF_OP_RANDOM},
        {"aten::_scaled_dot_product_flash_attention_for_cpu", 0},
        {"aten::native_batch_norm", NF_OP_IN_PLACE | NF_OP_UNKNOWN},
        {"aten::native_layer_norm", 0},
        {"aten::empty", NF_OP_UNORDERED},
        {"aten::scatter_add", NF_OP_UNORDERED},
        {"c10d::allreduce_", NF_OP_COLLECTIVE},
        {"mine::op", NF_OP_UNKNOWN},
        {"triad", NF_OP_UNKNOWN},
        {"", NF_OP_UNKNOWN},
        {"::", NF_OP_UNKNOWN},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (nf_op_traits(rows[i].name) != rows[i].traits)
            fail_msg("%s has traits %u, not %u", rows[i].name, nf_op_traits(rows[i].name), rows[i].traits);
    assert_false(nf_op_repeatable("aten::native_dropout", false));
    assert_true(nf_op_repeatable("aten::native_dropout", true));
    assert_false(nf_op_repeatable("mine::op", true));
    assert_true(nf_op_repeatable("aten::gelu", false));
}

/* Parameter 0; 1 = addmm(0), 2 = gelu(1) (1 is dead then), 3 = mul(2); backward reads 3, then 2. Pages 1, 2, 3, 4. */
struct chain_step {
    struct nf_op ops[6];
    struct nf_visit visits[9];
    struct nf_tensor tensors[4];
    struct nf_step_class c;
};

static void chain_step(struct chain_step *s)
{
    static const struct {
        uint32_t op, tensor;
        uint8_t rw;
    } v[] = {{0, 0, NF_RW_READ}, {0, 1, NF_RW_WRITE}, {1, 1, NF_RW_READ}, {1, 2, NF_RW_WRITE}, {2, 2, NF_RW_READ},
             {2, 3, NF_RW_WRITE}, {3, 0, NF_RW_READ}, {4, 3, NF_RW_READ}, {5, 2, NF_RW_READ}};
    static const uint32_t names[] = {0, 1, 5, 13, 11, 11};

    memset(s, 0, sizeof *s);
    for (uint32_t i = 0; i < 6; i++)
        s->ops[i] = (struct nf_op){.name = names[i], .dur_ns = 100 * (i + 1)};
    for (uint32_t i = 0; i < 9; i++) {
        uint64_t bytes = (v[i].tensor + 1) * NF_PAGE_BYTES;

        s->visits[i] = (struct nf_visit){.op = v[i].op, .tensor = v[i].tensor, .rw = v[i].rw, .bytes = bytes, .run = bytes, .stride = bytes};
        if (!s->ops[v[i].op].n_visits++)
            s->ops[v[i].op].first_visit = i;
    }
    s->tensors[0] = (struct nf_tensor){.birth = NF_OP_BEFORE, .death = NF_OP_AFTER};
    s->tensors[1] = (struct nf_tensor){.birth = 0, .death = 1, .carry_in = -1, .carry_out = -1};
    s->tensors[2] = (struct nf_tensor){.birth = 1, .death = 5, .carry_in = -1, .carry_out = -1};
    s->tensors[3] = (struct nf_tensor){.birth = 2, .death = 4, .carry_in = -1, .carry_out = -1};
    for (uint32_t i = 0; i < 4; i++) {
        s->tensors[i].bytes = (i + 1) * NF_PAGE_BYTES;
        s->tensors[i].address = (uint64_t)(i + 1) << 20;
    }
    s->c = (struct nf_step_class){.ops = s->ops, .visits = s->visits, .tensors = s->tensors, .n_ops = 6, .n_visits = 9, .n_tensors = 4,
                                  .peak_live_bytes = 10 * NF_PAGE_BYTES};
}

static uint32_t item_of(const struct nf_recompute *r, uint32_t tensor)
{
    for (uint32_t i = 0; i < r->n_items; i++)
        if (r->items[i].tensor == tensor && !r->items[i].wraps && r->items[i].to_op - r->items[i].from_op > 1)
            return i;
    fail_msg("tensor %u has no gap", tensor);
    return 0;
}

/* Both gone: ops 0 1 2 3, then 0 1 2 again, 4, then 0 1 again, 5. */
static void applied(const struct nf_recompute *r, const uint8_t *choices)
{
    static const uint32_t op_of[] = {0, 1, 2, 3, 0, 1, 2, 4, 0, 1, 5};
    struct nf_recompute_applied a;

    assert_int_equal(nf_recompute_apply(r, choices, &a), 0);
    assert_int_equal(a.c.n_ops, 11);
    assert_memory_equal(a.op_of, op_of, sizeof op_of);
    assert_int_equal(a.recomputed, 2);
    assert_int_equal(a.ops, 5);
    assert_int_equal(a.unheld_bytes, 7 * NF_PAGE_BYTES);
    assert_true(a.captured_ns == 900);
    assert_int_equal(a.reissued_bytes, (3 + 5 + 7 + 3 + 5) * NF_PAGE_BYTES);
    assert_int_equal(a.c.n_tensors, 4 + 1 + 2 + 1 + 1);
    assert_int_equal(a.c.tensors[2].death, 2);
    assert_int_equal(a.c.tensors[3].death, 2);
    /* 3 is born again at op 6 with copies of 1 and 2; 2 at op 9, with one of 1, and dies at the end. */
    assert_int_equal(a.tensor_of[4], 3);
    assert_int_equal(a.c.tensors[4].birth, 6);
    assert_int_equal(a.c.tensors[4].death, 7);
    assert_int_equal(a.tensor_of[7], 2);
    assert_int_equal(a.c.tensors[7].birth, 9);
    assert_int_equal(a.c.tensors[7].death, 10);
    assert_int_equal(a.c.tensors[8].birth, 8);
    assert_int_equal(a.c.tensors[8].death, 9);
    assert_true(a.c.tensors[5].address >= (5ull << 20) - (1 << 20) + 4 * NF_PAGE_BYTES);
    nf_recompute_applied_deinit(&a);
}

static void by_hand(void **state)
{
    struct chain_step s;
    struct nf_profile p;
    struct nf_recompute r;
    struct nf_recompute_chain chain = {0};
    struct nf_recompute_prices prices = {.near_pages = 100, .far_bps = 2e9 * NF_PAGE_BYTES, .exposed = 1, .compute_x = 1};
    uint8_t choices[8] = {0};
    uint32_t two, three;

    chain_step(&s);
    assert_int_equal(nf_profile_init(&p, &s.c, 0, 0), 0);
    assert_int_equal(nf_recompute_init(&r, &p, random_step_names, (struct nf_recompute_rules){.depth = 8}), 0);
    two = item_of(&r, 2);
    three = item_of(&r, 3);
    /* 2 is dead-parented: gelu needs addmm before it. 3 needs only mul, as 2 is there. */
    assert_true(r.items[two].can && r.items[three].can);
    assert_true(r.items[two].c_ns == 300);
    assert_true(r.items[three].c_ns == 300);
    assert_true(nf_recompute_chain(&r, choices, two, &chain));
    assert_int_equal(chain.n, 2);
    assert_int_equal(chain.scratch.n, 1);
    assert_int_equal(chain.scratch_pages, 2);
    assert_int_equal(chain.parents.n, 1);
    /* With 2 gone as well, 3 has to make its own copy of it. */
    choices[two] = NF_RECOMPUTE_AGAIN;
    assert_true(nf_recompute_chain(&r, choices, three, &chain));
    assert_int_equal(chain.n, 3);
    assert_true(chain.ns == 600);
    assert_int_equal(chain.scratch_pages, 2 + 3);
    choices[three] = NF_RECOMPUTE_AGAIN;
    assert_true(nf_recompute_cost(&r, choices, &prices) == 900);
    applied(&r, choices);
    prices.compute_x = 3;
    assert_true(nf_recompute_cost(&r, choices, &prices) == 300);
    /* A page goes far and back in 1 ns. */
    choices[three] = NF_RECOMPUTE_FAR;
    assert_true(nf_recompute_cost(&r, choices, &prices) == 100 + 4);
    prices.hidden = true;
    assert_true(nf_recompute_cost(&r, choices, &prices) == 100);
    nf_recompute_deinit(&r);

    assert_int_equal(nf_recompute_init(&r, &p, random_step_names, (struct nf_recompute_rules){.depth = 1}), 0);
    assert_false(r.items[item_of(&r, 2)].can);
    assert_true(r.items[item_of(&r, 3)].can);
    nf_recompute_deinit(&r);
    assert_int_equal(nf_recompute_init(&r, &p, random_step_names, (struct nf_recompute_rules){.depth = 65}), -EINVAL);
    nf_recompute_deinit(&r);

    s.ops[0].name = 7; /* dropout */
    assert_int_equal(nf_recompute_init(&r, &p, random_step_names, (struct nf_recompute_rules){.depth = 8}), 0);
    assert_false(r.items[item_of(&r, 2)].can);
    nf_recompute_deinit(&r);
    assert_int_equal(nf_recompute_init(&r, &p, random_step_names, (struct nf_recompute_rules){.depth = 8, .random = true}), 0);
    assert_true(r.items[item_of(&r, 2)].can);
    nf_recompute_deinit(&r);
    s.ops[0].name = 0;
    s.visits[6].rw = NF_RW_UPDATE; /* the parameter changes in between */
    assert_int_equal(nf_recompute_init(&r, &p, random_step_names, (struct nf_recompute_rules){.depth = 8}), 0);
    assert_false(r.items[item_of(&r, 2)].can);
    nf_recompute_deinit(&r);
    nf_recompute_chain_deinit(&chain);
    nf_profile_deinit(&p);
}

/* What each captured op makes, with symbolic values. */
static void run_captured(const struct nf_step_class *c, uint64_t made[STEP_VISITS])
{
    uint64_t values[STEP_TENSORS] = {0};

    for (uint32_t t = 0; t < c->n_tensors; t++)
        values[t] = c->tensors[t].birth < 0 ? t + 1000 : 0;
    for (uint32_t o = 0; o < c->n_ops; o++) {
        assert_true(step_run_op(c, random_step_names, o, values, o));
        for (uint32_t i = c->ops[o].first_visit; i < c->ops[o].first_visit + c->ops[o].n_visits; i++)
            made[i] = values[c->visits[i].tensor];
    }
}

/* The step in which what is made again is really gone in between: it is sound, every captured op makes what it made, from storages
 * that are alive, and a random op that runs again would make something else. */
static void run_with(const struct nf_recompute *r, const uint8_t *choices)
{
    struct nf_stream stream = {.names = (char **)random_step_names, .n_names = STEP_NAMES, .n_carry = STEP_TENSORS};
    struct nf_recompute_applied a;
    uint64_t *values, made[STEP_VISITS], draw = 1 << 20;
    uint32_t again = 0;

    assert_int_equal(nf_recompute_apply(r, choices, &a), 0);
    if (nf_step_class_check(&a.c, &stream))
        fail_msg("%s", nf_error_text(-EBADMSG));
    values = calloc(a.c.n_tensors + (size_t)1, sizeof *values);
    assert_non_null(values);
    run_captured(r->of, made);
    for (uint32_t t = 0; t < a.c.n_tensors; t++)
        values[t] = a.c.tensors[t].birth < 0 ? a.tensor_of[t] + 1000 : 0;
    for (uint32_t o = 0; o < a.c.n_ops; o++) {
        const struct nf_op *op = &a.c.ops[o], *captured = &r->of->ops[a.op_of[o]];

        if (!step_run_op(&a.c, random_step_names, o, values, a.again[o] ? draw++ : a.op_of[o]))
            fail_msg("op %u (captured %u) lacks an operand", o, a.op_of[o]);
        assert_int_equal(op->n_visits, captured->n_visits);
        for (uint32_t i = 0; i < op->n_visits; i++)
            if (values[a.c.visits[op->first_visit + i].tensor] != made[captured->first_visit + i])
                fail_msg("op %u (captured %u) has another operand than it had", o, a.op_of[o]);
        for (uint32_t t = 0; t < a.c.n_tensors; t++)
            if (a.c.tensors[t].death == (int32_t)o)
                values[t] = 0;
    }
    for (uint32_t i = 0; i < r->n_items; i++)
        again += choices[i] == NF_RECOMPUTE_AGAIN;
    assert_int_equal(a.recomputed, again);
    assert_int_equal(a.c.n_ops, r->of->n_ops + a.ops);
    free(values);
    nf_recompute_applied_deinit(&a);
}

/* Over random steps: what the planner chooses holds, runs, and costs no less than the best; on the average not much more. */
static void random_steps(void **state)
{
    struct nf_rng rng = {1};
    unsigned compared = 0, again = 0, ran = 0;
    double greedy_sum = 0, exact_sum = 0;

    for (unsigned n = 0; n < 1500; n++) {
        struct random_step s;
        struct nf_profile p;
        struct nf_recompute r;
        struct nf_recompute_prices prices = {.exposed = (double)nf_rng_below(&rng, 3) / 2, .compute_x = 1, .hidden = !nf_rng_below(&rng, 4)};
        uint8_t choices[64], best[64];
        double cost, least;

        random_step(&s, &rng, 1 + n % 5);
        assert_int_equal(nf_profile_init(&p, &s.c, 0, 0), 0);
        assert_int_equal(nf_recompute_init(&r, &p, random_step_names, (struct nf_recompute_rules){.depth = 1 + (uint32_t)nf_rng_below(&rng, 8)}), 0);
        prices.near_pages = nf_rng_below(&rng, s.c.peak_live_bytes / NF_PAGE_BYTES + 1);
        prices.far_bps = 1e9 * (1 + (double)nf_rng_below(&rng, 20));
        assert_true(r.n_items < 64);
        assert_int_equal(nf_recompute_choose(&r, &prices, choices), 0);
        cost = nf_recompute_cost(&r, choices, &prices);
        if (cost < 0)
            fail_msg("step %u: the plan does not hold", n);
        run_with(&r, choices);
        for (uint32_t i = 0; i < r.n_items; i++)
            again += choices[i] == NF_RECOMPUTE_AGAIN;
        if (r.n_items <= 9) {
            assert_int_equal(nf_recompute_exact(&r, &prices, best), 0);
            least = nf_recompute_cost(&r, best, &prices);
            assert_true(least >= 0 && least <= cost * (1 + 1e-12));
            run_with(&r, best);
            greedy_sum += cost;
            exact_sum += least;
            compared++;
        }
        /* All that can be made again is, one by one, whatever it is worth. */
        for (uint32_t i = 0; i < r.n_items; i++) {
            memset(choices, NF_RECOMPUTE_FAR, sizeof choices);
            choices[i] = NF_RECOMPUTE_AGAIN;
            assert_int_equal(r.items[i].can, nf_recompute_cost(&r, choices, &prices) >= 0);
            if (r.items[i].can) {
                run_with(&r, choices);
                ran++;
            }
        }
        nf_recompute_deinit(&r);
        nf_profile_deinit(&p);
    }
    print_message("%u steps compared: greedy %.4f of the best; %u gaps made again, %u alone\n", compared, greedy_sum / exact_sum, again, ran);
    assert_true(compared > 500 && again > 300 && ran > 2000);
    assert_true(greedy_sum <= 1.05 * exact_sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(traits),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(random_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
