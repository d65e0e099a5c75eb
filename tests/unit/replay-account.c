/* Where a trial's time went: the estimate from timed ops against a truth that is known, and the engine's sums on a tier that asks
 * for waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "replay/account.h"
#include "replay/engine.h"

/* --- the estimate --- */

/* Ops of random sizes that take a fixed time and some for each byte: what is estimated lies near what they took, and large ones
 * are known exactly. */
static void test_estimate(void **state)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct nf_rng rng = {seed};
        struct nf_account a = {0};
        double truth = 0;
        uint64_t timed = 0;

        for (int i = 0; i < 4000; i++) {
            uint64_t bytes = 64 + nf_rng_below(&rng, 1 << 18) / (1 + nf_rng_below(&rng, 64)), ns = 100 + bytes / 10;

            truth += (double)ns;
            if (nf_account_next(&a, bytes)) {
                nf_account_op(&a, bytes, ns);
                timed++;
            }
        }
        if ((double)nf_account_memory_ns(&a, UINT64_MAX, 0) < 0.9 * truth || (double)nf_account_memory_ns(&a, UINT64_MAX, 0) > 1.1 * truth)
            fail_msg("seed %llu: %.0f ns, estimated %llu", (unsigned long long)seed, truth,
                     (unsigned long long)nf_account_memory_ns(&a, UINT64_MAX, 0));
        assert_true(timed > 4000 / NF_ACCOUNT_ONE_IN / 2 && timed < 4000 / NF_ACCOUNT_ONE_IN * 2);
    }
}

static void test_large(void **state)
{
    struct nf_account a = {0};

    assert_int_equal(nf_account_memory_ns(&a, UINT64_MAX, 0), 0);
    for (int i = 0; i < 100; i++) {
        assert_true(nf_account_next(&a, NF_ACCOUNT_LARGE));
        nf_account_op(&a, NF_ACCOUNT_LARGE, 7);
    }
    assert_int_equal(nf_account_memory_ns(&a, UINT64_MAX, 0), 700);
    assert_int_equal(nf_account_memory_ns(&a, 1000, 400), 600);
    assert_int_equal(nf_account_memory_ns(&a, 1000, 1001), 0);
}

/* No period of a step is timed always or never. */
static void test_periods(void **state)
{
    for (unsigned period = 1; period <= 64; period++) {
        struct nf_account a = {0};
        uint64_t timed[64] = {0};

        for (unsigned i = 0; i < period * 4096; i++)
            timed[i % period] += nf_account_next(&a, 64);
        for (unsigned i = 0; i < period; i++)
            if (timed[i] < 4096 / NF_ACCOUNT_ONE_IN / 2 || timed[i] > 4096 / NF_ACCOUNT_ONE_IN * 2)
                fail_msg("period %u: op %u timed %llu of 4096 times", period, i, (unsigned long long)timed[i]);
    }
}

/* --- the engine --- */

enum { OPS = 64, BYTES = 64 << 10, WAIT_NS = 20000, COMPUTE_NS = 30000, CYCLES = 3 };

static int probe(char *why, size_t size)
{
    return 0;
}

static int open_tier(const void *options, const struct nf_tier_local *local, void **tier)
{
    *tier = NULL;
    return 0;
}

static void close_tier(void *tier)
{
}

static void facts(const void *tier, struct nf_tier_facts *out)
{
    *out = (struct nf_tier_facts){.target_latency_ns = 1, .node = -1};
}

static int map(void *tier, size_t bytes, void **memory)
{
    *memory = aligned_alloc(NF_PAGE_BYTES, bytes);
    memset(*memory, 0, bytes);
    return 0;
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    free(memory);
}

static uint64_t charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    return start_ns + WAIT_NS;
}

static const struct nf_tier_ops waits = {.abi = NF_TIER_ABI, .name = "waits", .about = "", .probe = probe, .open = open_tier,
                                         .close = close_tier, .facts = facts, .map = map, .unmap = unmap, .charge = charge};

static struct nf_trial run(enum nf_overlap overlap, bool injects)
{
    static struct nf_op ops[OPS];
    static struct nf_visit visits[OPS];
    static double residuals[OPS];
    static uint32_t sequence[1];
    struct nf_tensor tensor = {.bytes = BYTES, .address = 1 << 20, .birth = NF_OP_BEFORE, .death = NF_OP_AFTER};
    struct nf_step_class c = {.ops = ops, .visits = visits, .tensors = &tensor, .n_ops = OPS, .n_visits = OPS, .n_tensors = 1};
    struct nf_stream stream = {.classes = &c, .n_classes = 1, .sequence = sequence, .n_sequence = 1, .n_carry = 1, .threads = 1};
    const double *residual = residuals;
    struct nf_tier_ops filled;
    struct nf_tier tier = {.ops = &filled, .name = "waits", .spec = "waits"};
    struct nf_engine_config config = NF_ENGINE_CONFIG_INIT;
    struct nf_profile profile;
    struct nf_script script;
    struct nf_trial trial;

    for (uint32_t i = 0; i < OPS; i++) {
        ops[i] = (struct nf_op){.first_visit = i, .n_visits = 1, .dur_ns = COMPUTE_NS, .regime = 1};
        visits[i] = (struct nf_visit){.op = i, .bytes = BYTES, .run = BYTES, .stride = BYTES, .touches_q8 = 256, .parallelism = 1};
        residuals[i] = COMPUTE_NS;
    }
    assert_int_equal(nf_step_class_peak(&c, &c.peak_live_bytes), 0);
    assert_int_equal(nf_profile_init(&profile, &c, 0, 1), 0);
    assert_int_equal(nf_script_init(&script, &profile, 1), 0);
    assert_int_equal(nf_tier_check(&waits, &filled), 0);
    facts(NULL, &tier.facts);
    tier.facts.target_latency_ns = injects;
    config.stream = &stream;
    config.scripts = &script;
    config.pool = (struct nf_pool_config){.tiers = &tier, .n_tiers = 1, .capacity = {UINT64_MAX}, .arena_bytes = {4 * BYTES},
                                          .policy = nf_policy_find("all-near"), .policy_options = ""};
    config.overlap = overlap;
    config.residual_ns = &residual;
    config.cycles = CYCLES;
    assert_int_equal(nf_trial_run(&config, &trial), 0);
    assert_int_equal(trial.status, NF_TRIAL_OK);
    nf_script_deinit(&script);
    nf_profile_deinit(&profile);
    nf_trial_deinit(&trial);
    return trial;
}

/* Waits are at least what was asked for; all together they are not longer than the steps. */
static void test_engine(void **state)
{
    const uint64_t ops = (uint64_t)OPS * CYCLES;

    for (int overlap = 0; overlap < NF_OVERLAP_COUNT; overlap++)
        for (int injects = 0; injects < 2; injects++) {
            struct nf_trial t = run((enum nf_overlap)overlap, injects);
            double known = (double)(t.injected_ns + t.compute_ns + t.pool.stall_ns + t.pool.policy_ns);

            assert_true(t.memory_ns > 0);
            assert_true(known <= (double)t.wall_ns);
            assert_true(known + (double)t.memory_ns <= (double)t.wall_ns);
            if (!injects)
                assert_int_equal(t.injected_ns, 0);
            else /* what the access itself took is not waited for */
                assert_true(t.injected_ns + t.memory_ns >= ops * WAIT_NS / 2);
            if (overlap == NF_OVERLAP_ASAP)
                assert_int_equal(t.compute_ns, 0);
            else if (overlap == NF_OVERLAP_NONE)
                assert_true(t.compute_ns >= ops * COMPUTE_NS);
            else
                assert_true(t.compute_ns > 0 && t.compute_ns < t.wall_ns);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_periods),
        cmocka_unit_test(test_engine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
