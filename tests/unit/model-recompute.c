/* What can be made again, at what cost, and which of it is: steps worked out by hand, and random ones run with symbolic values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/model/op-traits.h"
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

/* Runs the step with what is made again really gone in its gap, and made by its chain: it must hold what it held. */
static void run_with(const struct nf_recompute *r, const uint8_t *choices)
{
    const struct nf_step_class *c = r->of;
    struct nf_recompute_chain chain = {0};
    uint64_t values[STEP_TENSORS] = {0}, held[64] = {0}, draw = 1;

    for (uint32_t t = 0; t < c->n_tensors; t++)
        values[t] = c->tensors[t].birth < 0 ? t + 1000 : 0;
    for (uint32_t o = 0; o < c->n_ops; o++) {
        for (uint32_t i = 0; i < r->n_items; i++) { /* by tensor: what is made from another comes behind it */
            uint64_t copies[STEP_TENSORS];

            if (choices[i] != NF_RECOMPUTE_AGAIN || r->items[i].to_op != o)
                continue;
            assert_true(nf_recompute_chain(r, choices, i, &chain));
            memcpy(copies, values, sizeof copies);
            for (size_t k = 0; k < chain.scratch.n; k++)
                assert_true(c->tensors[chain.scratch.v[k]].birth >= 0);
            for (uint32_t k = 0; k < chain.n; k++)
                if (!step_run_op(c, random_step_names, chain.ops[k], copies, draw++))
                    fail_msg("tensor %u: op %u lacks an operand", r->items[i].tensor, chain.ops[k]);
            if (copies[r->items[i].tensor] != held[i])
                fail_msg("tensor %u made again for op %u is another", r->items[i].tensor, o);
            values[r->items[i].tensor] = held[i];
        }
        assert_true(step_run_op(c, random_step_names, o, values, draw++));
        for (uint32_t i = 0; i < r->n_items; i++)
            if (choices[i] == NF_RECOMPUTE_AGAIN && r->items[i].from_op == o) {
                held[i] = values[r->items[i].tensor];
                values[r->items[i].tensor] = 0;
            }
        for (uint32_t t = 0; t < c->n_tensors; t++)
            if (c->tensors[t].death == (int32_t)o)
                values[t] = 0;
    }
    nf_recompute_chain_deinit(&chain);
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
