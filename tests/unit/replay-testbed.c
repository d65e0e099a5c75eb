/* The tiers that a replay runs on: what their numbers are worth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replay/testbed.h"

/* A slow machine's near tier is not mended by a delay that was injected into the far one, wherever they stand. */
static void its_weakest_tier_counts(void **state)
{
    struct nf_testbed t = {.n_tiers = 3};

    t.tiers[0].facts.evidence = NF_EVIDENCE_MEASURED_DEVICE;
    t.tiers[1].facts.evidence = NF_EVIDENCE_INJECTED_DELAY;
    t.tiers[2].facts.evidence = NF_EVIDENCE_MEASURED_PROXY;
    assert_int_equal(nf_testbed_evidence(&t), NF_EVIDENCE_INJECTED_DELAY);
    t.tiers[0].facts.evidence = NF_EVIDENCE_EMULATED_MACHINE;
    assert_int_equal(nf_testbed_evidence(&t), NF_EVIDENCE_EMULATED_MACHINE);
    t.n_tiers = 1;
    assert_int_equal(nf_testbed_evidence(&t), NF_EVIDENCE_EMULATED_MACHINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_weakest_tier_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
