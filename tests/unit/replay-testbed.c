/* The tiers that a replay runs on: what their numbers are worth, and when there are none. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "replay/background.h"
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

/* --- proofs --- */

static struct {
    unsigned looks, wrong_at; /* the look at which a page is elsewhere; 0: never */
    size_t mapped;            /* bytes that are still mapped */
} pages;

static int map(void *tier, size_t bytes, void **memory)
{
    *memory = aligned_alloc(2 << 20, (bytes + (2 << 20) - 1) & ~(size_t)((2 << 20) - 1));
    if (!*memory)
        return nf_fail(-ENOMEM, "no memory");
    memset(*memory, 0, bytes);
    pages.mapped += bytes;
    return 0;
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    free(memory);
    pages.mapped -= bytes;
}

static int verify(void *tier, const void *memory, size_t bytes)
{
    return ++pages.looks == pages.wrong_at ? nf_fail(-EXDEV, "page 7 is on node 3") : 0;
}

static uint64_t charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    return start_ns;
}

static const struct nf_tier_ops ops = {.abi = NF_TIER_ABI, .name = "watched", .about = "for tests", .map = map, .unmap = unmap,
                                       .verify = verify, .charge = charge};
static struct nf_tier tiers[2] = {{.ops = &ops, .name = "near"}, {.ops = &ops, .name = "far"}};

static void begin(unsigned wrong_at)
{
    pages.looks = 0;
    pages.wrong_at = wrong_at;
}

static void refused(int rc, const char *tier)
{
    if (rc != -EXDEV || !strstr(nf_error_text(rc), "page 7 is on node 3") || !strstr(nf_error_text(rc), tier))
        fail_msg("look %u of %u: %d, '%s'", pages.wrong_at, pages.looks, rc, nf_error_text(rc));
    assert_int_equal(pages.looks, pages.wrong_at); /* and not gone on with */
    assert_int_equal(pages.mapped, 0);
}

static const struct nf_measure_options small = {.cpu = -1, .working_set_bytes = 16 << 20, .quiet = true};

/* Before and after: what a tier does is no number when its memory is somewhere else. */
static void a_tier_is_measured_where_it_is(void **state)
{
    struct nf_samples samples = {0};
    struct nf_measured m;

    begin(0);
    assert_int_equal(nf_measure_tier(&tiers[0], 0, &small, &m, &samples), 0);
    assert_int_equal(pages.looks, 2);
    assert_true(m.latency_ns > 0 && m.read_bps > 0 && samples.list.n > 0);
    for (unsigned wrong_at = 1; wrong_at <= 2; wrong_at++) {
        size_t kept = samples.list.n;

        begin(wrong_at);
        refused(nf_measure_tier(&tiers[0], 0, &small, &m, &samples), "near");
        assert_true(m.latency_ns == 0 && m.chain_ns[0] == 0 && m.read_bps == 0 && m.parallelism.stream == 0);
        assert_int_equal(samples.list.n, kept);
    }
    nf_array_free(&samples.list);
}

static void the_cache_is_measured_where_it_is(void **state)
{
    struct nf_samples samples = {0};
    uint64_t bytes = 0;

    begin(0);
    assert_int_equal(nf_measure_llc(&tiers[0], &small, &bytes, &samples), 0);
    assert_int_equal(pages.looks, 2);
    assert_true(bytes > 0);
    nf_array_free(&samples.list);
    for (unsigned wrong_at = 1; wrong_at <= 2; wrong_at++) {
        begin(wrong_at);
        bytes = 0;
        refused(nf_measure_llc(&tiers[0], &small, &bytes, &samples), "near");
        assert_true(!bytes && !samples.list.n);
    }
}

/* Threads beside a replay, as they begin and when they are told to end. */
static void traffic_is_where_it_is(void **state)
{
    const struct nf_background_spec spec = {.kind = NF_BACKGROUND_READ, .tier = "far"};
    const struct nf_background_where where = {.tiers = tiers, .n_tiers = 2, .llc_bytes = 1 << 20, .cpu = sched_getcpu()};
    struct nf_background *b = NULL;

    begin(1);
    refused(nf_background_start(&spec, 1, &where, &b), "far");
    begin(2);
    assert_int_equal(nf_background_start(&spec, 1, &where, &b), 0);
    refused(nf_background_stop(b, NULL), "far");
}

static int measure_figures(struct nf_tier_figures *out)
{
    static const double read_bps[2] = {1e9, 1e9};
    const struct nf_tier_figures_options o = {.tiers = tiers, .read_bps = read_bps, .n_tiers = 2, .local = {100, 1e9, 1e9},
                                              .llc_bytes = 1 << 20, .set_bytes = 2 << 20, .cpu = sched_getcpu(), .quiet = true};

    return nf_tier_figures_measure(&o, out);
}

/* Each look that is taken, of the first figures, of those in the middle, of the last, takes all of them with it. */
static void figures_are_of_where_it_is(void **state)
{
    struct nf_tier_figures figures = {0};
    unsigned looks, of_a_tier;

    begin(0);
    assert_int_equal(measure_figures(&figures), 0);
    looks = pages.looks;
    assert_true(figures.list.n > 40);
    for (size_t i = 0; i < figures.list.n; i++) {
        const struct nf_tier_figure *f = &figures.list.v[i];

        assert_true(f->value > 0 && f->llc_bytes > 0 && f->n >= NF_GATE_WINDOW);
        assert_string_equal(f->page, strcmp(f->what, "fault") ? "as mapped" : "4k");
    }
    /* Between tiers each copy looks at both sides before and after. */
    of_a_tier = (looks - 8) / 2;
    assert_int_equal(looks, 2 * of_a_tier + 8);
    /* Of the chase before and after, of the first traffic before and after, of the last lines, of a copy. */
    for (unsigned i = 0; i < 6; i++) {
        const unsigned wrong_at[] = {1, 2, 3, 4, of_a_tier, looks - 5};
        size_t kept = figures.list.n;

        begin(wrong_at[i]);
        refused(measure_figures(&figures), "near");
        assert_int_equal(figures.list.n, kept);
    }
    nf_array_free(&figures.list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_weakest_tier_counts),        cmocka_unit_test(a_tier_is_measured_where_it_is),
        cmocka_unit_test(the_cache_is_measured_where_it_is), cmocka_unit_test(traffic_is_where_it_is),
        cmocka_unit_test(figures_are_of_where_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
