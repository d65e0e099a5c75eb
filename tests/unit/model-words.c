/* What a number is that rests on several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/model/words.h"

static const enum nf_evidence by_weakness[NF_EVIDENCE_COUNT] = {
    NF_EVIDENCE_MEASURED_DEVICE, NF_EVIDENCE_MEASURED_PROXY, NF_EVIDENCE_INJECTED_DELAY, NF_EVIDENCE_MODELLED,
    NF_EVIDENCE_ASSUMED,         NF_EVIDENCE_UNKNOWN,        NF_EVIDENCE_EMULATED_MACHINE,
};

/* Whichever of two comes first. */
static void weakest_of_two(void **state)
{
    for (int i = 0; i < NF_EVIDENCE_COUNT; i++)
        for (int k = 0; k < NF_EVIDENCE_COUNT; k++) {
            const enum nf_evidence two[] = {by_weakness[i], by_weakness[k]};

            assert_int_equal(nf_evidence_weakest(two, 2), by_weakness[i > k ? i : k]);
        }
}

static void weakest_of_any_number(void **state)
{
    const enum nf_evidence many[] = {NF_EVIDENCE_MEASURED_DEVICE, NF_EVIDENCE_INJECTED_DELAY, NF_EVIDENCE_MEASURED_PROXY};
    const enum nf_evidence stranger = NF_EVIDENCE_COUNT;

    assert_int_equal(nf_evidence_weakest(NULL, 0), NF_EVIDENCE_UNKNOWN);
    for (size_t n = 1; n <= NF_EVIDENCE_COUNT; n++)
        assert_int_equal(nf_evidence_weakest(by_weakness, n), by_weakness[n - 1]);
    assert_int_equal(nf_evidence_weakest(many, 3), NF_EVIDENCE_INJECTED_DELAY);
    assert_int_equal(nf_evidence_weakest(&stranger, 1), NF_EVIDENCE_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weakest_of_two),
        cmocka_unit_test(weakest_of_any_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
