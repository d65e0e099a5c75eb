/* Tensors and ops of one step told from those of another by their names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/model/match.h"
#include "random-step.h"

/* A step is itself, whatever its sizes and times are. */
static void itself(void **state)
{
    struct nf_rng rng = {5};

    for (unsigned n = 0; n < 50; n++) {
        struct random_step a, b;
        struct nf_match m;

        random_step(&a, &rng, 1 + n % 6);
        b = a;
        b.c.ops = b.ops;
        b.c.tensors = b.tensors;
        for (uint32_t i = 0; i < b.c.n_tensors; i++)
            b.tensors[i].bytes *= 2;
        for (uint32_t i = 0; i < b.c.n_ops; i++)
            b.ops[i].dur_ns *= 3;
        assert_int_equal(nf_match_init(&m, &a.c, random_step_names, &b.c, random_step_names), 0);
        assert_int_equal(m.n_tensors, b.c.n_tensors);
        assert_int_equal(m.n_ops, b.c.n_ops);
        assert_int_equal(m.matched_bytes, m.bytes);
        for (uint32_t i = 0; i < b.c.n_tensors; i++)
            assert_int_equal(m.tensor[i], i);
        for (uint32_t i = 0; i < b.c.n_ops; i++)
            assert_int_equal(m.op[i], i);
        nf_match_deinit(&m);
    }
}

/* Names count, not their numbers; the second of a name is the second there; what is gone matches nothing, and an op that is new is where
 * the last one was that is not. */
static void by_name(void **state)
{
    char *from_names[] = {"", "aten::mm", "aten::gelu", "layer.0", "weight"}, *to_names[] = {"aten::gelu", "layer.0", "weight", "aten::mm", "new", ""};
    struct nf_op from_ops[] = {{.name = 1, .module = 3, .phase = 1}, {.name = 2, .module = 3, .phase = 1}, {.name = 1, .module = 3, .phase = 1}};
    struct nf_op to_ops[] = {{.name = 3, .module = 1, .phase = 1}, {.name = 4, .module = 1, .phase = 1}, {.name = 3, .module = 1, .phase = 1},
                             {.name = 0, .module = 1, .phase = 2}, {.name = 0, .module = 1, .phase = 1}};
    struct nf_tensor from_tensors[] = {{.bytes = 4096, .birth = -1, .name = 4, .module = 3, .role = NF_ROLE_PARAMETER},
                                       {.bytes = 4096, .birth = 0, .name = 0, .module = 3, .role = NF_ROLE_SAVED},
                                       {.bytes = 4096, .birth = 2, .name = 0, .module = 3, .role = NF_ROLE_SAVED}};
    struct nf_tensor to_tensors[] = {{.bytes = 8192, .birth = 2, .name = 5, .module = 1, .role = NF_ROLE_SAVED}, /* the first of mm here */
                                     {.bytes = 100, .birth = -1, .name = 2, .module = 1, .role = NF_ROLE_PARAMETER},
                                     {.bytes = 4096, .birth = 1, .name = 5, .module = 1, .role = NF_ROLE_SAVED},
                                     {.bytes = 4096, .birth = -1, .name = 2, .module = 1, .role = NF_ROLE_FROZEN}};
    struct nf_step_class from = {.ops = from_ops, .n_ops = 3, .tensors = from_tensors, .n_tensors = 3};
    struct nf_step_class to = {.ops = to_ops, .n_ops = 5, .tensors = to_tensors, .n_tensors = 4};
    static const uint32_t ops[] = {0, 0, 2, 2, 1}, tensors[] = {1, 0, NF_MATCH_NONE, NF_MATCH_NONE};
    struct nf_match m;

    assert_int_equal(nf_match_init(&m, &from, from_names, &to, to_names), 0);
    assert_memory_equal(m.op, ops, sizeof ops);
    assert_memory_equal(m.tensor, tensors, sizeof tensors);
    assert_int_equal(m.n_ops, 3);
    assert_int_equal(m.n_tensors, 2);
    assert_int_equal(m.bytes, (2 + 1 + 1 + 1) * NF_PAGE_BYTES);
    assert_int_equal(m.matched_bytes, 3 * NF_PAGE_BYTES);
    nf_match_deinit(&m);

    from.n_ops = from.n_tensors = 0;
    assert_int_equal(nf_match_init(&m, &from, from_names, &to, to_names), 0);
    assert_int_equal(m.matched_bytes, 0);
    assert_int_equal(m.op[4], 0);
    nf_match_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(itself), cmocka_unit_test(by_name)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
