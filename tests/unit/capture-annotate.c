/* nearfar_annotate.h without anything preloaded, and its private copies of the ring's layout. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "capture/annotate/nearfar_annotate.h"
#include "capture/ring.h"
#include "core/model/words.h"

#define SAME_PLACE(field) \
    _Static_assert(offsetof(struct nf_annotate_event_, field) == offsetof(struct nf_event, field), #field)

_Static_assert(sizeof(struct nf_annotate_event_) == sizeof(struct nf_event), "one event");
SAME_PLACE(time_ns);
SAME_PLACE(kind);
SAME_PLACE(rw);
SAME_PLACE(pattern);
SAME_PLACE(n);
SAME_PLACE(id);
SAME_PLACE(name);
SAME_PLACE(module);
SAME_PLACE(address);
SAME_PLACE(a);
SAME_PLACE(b);
SAME_PLACE(c);

static void numbers_are_the_rings(void **state)
{
    assert_int_equal(NF_ANNOTATE_EVENT_TENSOR_, NF_EVENT_TENSOR);
    assert_int_equal(NF_ANNOTATE_EVENT_MARK_, NF_EVENT_MARK);
    assert_int_equal(NF_ANNOTATE_MARK_TRAINING_, NF_MARK_TRAINING_BEGINS);
    assert_int_equal(NF_ANNOTATE_MARK_RUNTIME_, NF_MARK_RUNTIME);
    assert_int_equal(NF_ANNOTATE_MARK_RANK_, NF_MARK_RANK);
    assert_int_equal(NF_ANNOTATE_PARAMETER, NF_ROLE_PARAMETER);
    assert_int_equal(NF_ANNOTATE_FROZEN, NF_ROLE_FROZEN);
    assert_int_equal(NF_ANNOTATE_GRADIENT, NF_ROLE_GRADIENT);
    assert_int_equal(NF_ANNOTATE_OPTIMIZER_STATE, NF_ROLE_OPTIMIZER);
    assert_int_equal(NF_ANNOTATE_INPUT, NF_ROLE_INPUT);
    assert_int_equal(NF_ANNOTATE_OPTIMIZER, NF_PHASE_OPTIMIZER);
    assert_int_equal(NF_ANNOTATE_RECOMPUTE, NF_PHASE_RECOMPUTE);
    assert_int_equal(NF_ANNOTATE_UPDATE, NF_RW_UPDATE);
    assert_int_equal(NF_ANNOTATE_BLOCKED, NF_PATTERN_BLOCKED);
}

static void alone_it_does_nothing(void **state)
{
    float *block;

    unsetenv(NF_PASS_ENV);
    assert_int_equal(nf_annotate_begin(), 0);
    block = nf_annotate_alloc(1000);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % 64, 0);
    memset(block, 1, 1000);
    nf_annotate_tensor(block, 1000, "block", NF_ANNOTATE_PARAMETER, "float32", "250");
    nf_annotate_tensor(NULL, 0, NULL, NF_ANNOTATE_INPUT, NULL, NULL);
    nf_annotate_begin_training(1);
    nf_annotate_set_phase(NF_ANNOTATE_FORWARD);
    nf_annotate_set_module("m");
    nf_annotate_set_microbatch(70000);
    nf_annotate_op_end(); /* without a beginning */
    nf_annotate_op_begin("op");
    nf_annotate_visit(block, 0, 1000, NF_ANNOTATE_READ, NF_ANNOTATE_STREAM);
    nf_annotate_known(2, 4);
    nf_annotate_op_end();
    nf_annotate_step();
    assert_int_equal(nf_annotate_state_.n_words, 0);
    assert_int_equal(nf_annotate_state_.n_texts, 0);
    assert_int_equal(nf_annotate_state_.n_tensors, 0);
    nf_annotate_free(block);
    nf_annotate_free(NULL);
    nf_annotate_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_the_rings),
        cmocka_unit_test(alone_it_does_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
