/* What a trial does right before its steps and between them: pages are proved to be where the ledger says, caches are emptied where it is
 * to begin cold. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/stats.h"
#include "replay/engine.h"
#include "tests/unit/engine-bed.h"

enum { PAGE = NF_PAGE_BYTES };

/* --- proofs --- */

static struct {
    unsigned looks, wrong_at; /* wrong_at: the look from which on a page is elsewhere */
} pages;

static int verify_until(void *tier, const void *at, size_t bytes)
{
    return ++pages.looks < pages.wrong_at ? 0 : nf_fail(-EXDEV, "page 7 is on node 3");
}

/* A page that is not where the ledger says fails the trial, whenever that is found: when the arenas are mapped, before the measured
 * steps, between them, after the last. */
static void misplaced_pages_fail_the_trial(void **state)
{
    static const char *const when[] = {"", "before the measured steps", "at a checkpoint between", "after the measured steps"};
    struct nf_tier_ops ops = bed_tier;
    struct step s;
    struct bed b;
    struct nf_trial t;

    ops.verify = verify_until;
    step_init(&s);
    step_tensor(&s, PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    step_op(&s, 0);
    step_ready(&s);
    bed_place_all(0, false);
    bed_init(&b, &s, 1);
    b.tiers[0].ops = &ops;
    b.config.cycles = 2;
    for (unsigned i = 0; i < 5; i++) {
        pages.looks = 0;
        pages.wrong_at = i + 1;
        assert_int_equal(nf_trial_run(&b.config, &t), 0);
        assert_int_equal(t.status, i < 4 ? NF_TRIAL_FAILED : NF_TRIAL_OK);
        if (i < 4 && (!strstr(t.message, "page 7 is on node 3") || !strstr(t.message, when[i])))
            fail_msg("look %u: '%s'", i + 1, t.message);
        assert_int_equal(t.proofs, i ? i - 1 : 0);
        nf_trial_deinit(&t);
    }
    assert_int_equal(pages.looks, 4); /* and nowhere else */
    step_deinit(&s);
}

static const char *proved_from, *proved_to;

static int verify_range(void *tier, const void *at, size_t bytes)
{
    const struct bed_memory *m = tier;

    if (bytes == BED_ARENA)
        return 0; /* as it was mapped */
    assert_ptr_equal(at, m->at);
    proved_from = at;
    proved_to = proved_from + bytes;
    return 0;
}

/* Every page that holds something, to the last. */
static void every_page_is_proved(void **state)
{
    struct nf_tier_ops ops = bed_tier;
    struct step s;
    struct bed b;
    struct nf_trial t;

    ops.verify = verify_range;
    step_init(&s);
    step_tensor(&s, 5 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    step_tensor(&s, 2 * PAGE + 1, NF_OP_BEFORE, NF_OP_AFTER);
    step_op(&s, 0);
    step_ready(&s);
    bed_place_all(0, false);
    bed_init(&b, &s, 1);
    b.tiers[0].ops = &ops;
    bed_run(&b, &t);
    assert_int_equal(proved_to - proved_from, 8 * PAGE);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* --- huge pages --- */

static char *huge_memory;
static int (*map_of_the_tier)(void *tier, size_t bytes, void **out);

static int map_and_tell(void *tier, size_t bytes, void **out)
{
    int rc = map_of_the_tier(tier, bytes, out);

    huge_memory = rc ? NULL : *out;
    return rc;
}

/* The kernel splits a huge page of an arena's unused end as the measured steps begin, where asked to. */
static void split(void *split_it, bool begin)
{
    if (begin && *(bool *)split_it)
        assert_int_equal(madvise(huge_memory + BED_ARENA - PAGE, PAGE, MADV_NOHUGEPAGE), 0);
}

static void split_huge_pages_fail_the_trial(void **state)
{
    static const struct nf_tier_local local = {.latency_ns = 100, .read_bps = 10e9, .write_bps = 8e9};
    struct nf_tier huge;
    struct nf_tier_ops ops;
    struct step s;
    struct bed b;
    struct nf_trial t;
    bool split_it = false;

    assert_int_equal(nf_tier_open("far", "emulated:page=thp", &local, &huge), 0);
    ops = *huge.ops;
    map_of_the_tier = ops.map;
    ops.map = map_and_tell;
    step_init(&s);
    step_tensor(&s, PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    step_op(&s, 0);
    step_ready(&s);
    bed_place_all(100, false);
    bed_init(&b, &s, 1);
    b.tiers[1] = huge;
    b.tiers[1].ops = &ops;
    b.config.cycles = 2;
    b.config.measuring = split;
    b.config.measuring_ctx = &split_it;
    for (int i = 0; i < 2; i++) {
        split_it = i;
        assert_int_equal(nf_trial_run(&b.config, &t), 0);
        if (!i && t.status == NF_TRIAL_FAILED && strstr(t.message, "the kernel put")) {
            print_message("%s\n", t.message);
            skip();
        }
        assert_int_equal(t.status, i ? NF_TRIAL_FAILED : NF_TRIAL_OK);
        if (i && (!strstr(t.message, "at a checkpoint between") || !strstr(t.message, "tier 'far': page=thp: of 16.00 MiB on huge pages 14.00 MiB are left")))
            fail_msg("'%s'", t.message);
        nf_trial_deinit(&t);
    }
    nf_tier_close(&huge);
    step_deinit(&s);
}

/* --- cold --- */

enum { CHAIN = 2048 /* lines of a chain in each arena's last part, which no storage uses */, CHAIN_STEP = 997 /* odd: no prefetcher knows it */,
       COLD_ARENA = 1 << 20, COLD_TRIES = 11 };

static double chase_ns(void **lines)
{
    uint64_t start = nf_now_ns();
    void **at = lines;

    for (int i = 0; i < CHAIN; i++)
        at = *at;
    __asm__ volatile("" : : "r"(at) : "memory");
    return (double)(nf_now_ns() - start);
}

static void **chain_of(const struct bed_memory *m)
{
    return (void **)(m->at + COLD_ARENA - CHAIN * 64);
}

/* What is written last is in the caches. */
static int map_chain(void *tier, size_t bytes, void **out)
{
    int rc = bed_tier.map(tier, bytes, out);
    char *at = (char *)chain_of(tier);

    assert_int_equal(bytes, COLD_ARENA);
    for (int i = 0; i < CHAIN; i++)
        *(void **)(at + i * 64) = at + (i + CHAIN_STEP) % CHAIN * 64;
    return rc;
}

static double chased_ns[2];

/* Right before the measured steps. */
static void chase_both(void *ctx, bool begin)
{
    const struct bed *b = ctx;

    for (int i = 0; begin && i < 2; i++)
        chased_ns[i] = chase_ns(chain_of(&b->memory[i]));
}

/* What caches hold of any tier is gone when a cold trial's step begins, and only then. */
static void cold_trials_begin_with_empty_caches(void **state)
{
    double ns[2][2][COLD_TRIES]; /* warm, cold; by tier */
    struct nf_tier_ops ops = bed_tier;
    struct step s;
    struct bed b;
    struct nf_trial t;

    ops.map = map_chain;
    step_init(&s);
    step_op(&s, 0);
    step_ready(&s);
    bed_place_all(0, false);
    for (int i = 0; i < 2 * COLD_TRIES; i++) {
        bed_init(&b, &s, 1);
        for (int tier = 0; tier < 2; tier++) {
            b.tiers[tier].ops = &ops;
            b.config.pool.arena_bytes[tier] = COLD_ARENA;
        }
        b.config.cold = i % 2;
        b.config.warmup_min = b.config.warmup_max = b.config.cycles = 1;
        b.config.measuring = chase_both;
        b.config.measuring_ctx = &b;
        bed_run(&b, &t);
        for (int tier = 0; tier < 2; tier++)
            ns[i % 2][tier][i / 2] = chased_ns[tier];
        nf_trial_deinit(&t);
    }
    for (int tier = 0; tier < 2; tier++) {
        double warm = nf_median(ns[0][tier], COLD_TRIES), cold = nf_median(ns[1][tier], COLD_TRIES);

        print_message("tier %d, a line: %.1f ns warm, %.1f ns cold\n", tier, warm / CHAIN, cold / CHAIN);
        assert_true(cold > 2 * warm);
    }
    step_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misplaced_pages_fail_the_trial),
        cmocka_unit_test(every_page_is_proved),
        cmocka_unit_test(split_huge_pages_fail_the_trial),
        cmocka_unit_test(cold_trials_begin_with_empty_caches),
    };

    return cmocka_run_group_tests(tests, NULL, bed_forget);
}
