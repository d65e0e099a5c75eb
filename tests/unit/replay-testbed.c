/* The tiers that a replay runs on: what their numbers are worth, and when there are none. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static cpu_set_t all_cpus;

/* Traffic of one thread, and none beside a chase: what takes a second in a quiet hour. */
static int on_one_cpu(void **state)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    return sched_getaffinity(0, sizeof all_cpus, &all_cpus) || sched_setaffinity(0, sizeof one, &one);
}

static int on_all_cpus(void **state)
{
    return sched_setaffinity(0, sizeof all_cpus, &all_cpus);
}

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
        nf_array_free(&samples.list);
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

/* Looks at a tier: of its chase, of the traffic of each mix, of its lines, each before and after. */
enum { LOOKS = 2 * (1 + NF_BACKGROUND_KINDS + 1), LOOKS_OF_COPIES = 8 };

static void figures_are_of_where_it_is(void **state)
{
    static const unsigned wrong_at[] = {1, 2, 3, 4, LOOKS};
    struct nf_tier_figures figures = {0};
    size_t kept;

    begin(0);
    assert_int_equal(measure_figures(&figures), 0);
    assert_int_equal(pages.looks, 2 * LOOKS + LOOKS_OF_COPIES);
    kept = figures.list.n;
    assert_true(kept > 40);
    for (size_t i = 0; i < kept; i++) {
        const struct nf_tier_figure *f = &figures.list.v[i];

        assert_true(f->value > 0 && f->llc_bytes > 0 && f->n >= NF_GATE_WINDOW);
        assert_string_equal(f->page, strcmp(f->what, "fault") ? "as mapped" : "4k");
    }
    /* One look is enough, and takes all figures with it. */
    for (size_t i = 0; i < sizeof wrong_at / sizeof *wrong_at; i++) {
        begin(wrong_at[i]);
        refused(measure_figures(&figures), "near");
        assert_int_equal(figures.list.n, kept);
    }
    nf_array_free(&figures.list);
}

/* What a tier cannot show is told of each; the copies between them are proved on both sides, before and after. */
static void what_is_left_out_is_told_of_each_tier(void **state)
{
    enum { LOOKS_INJECTED = LOOKS - 2 /* no lines */ };
    struct nf_tier_figures figures = {0};
    char said[4096] = "";
    FILE *to = tmpfile();
    int before = dup(STDERR_FILENO), rc;

    assert_true(to && before >= 0);
    begin(2 * LOOKS_INJECTED + 4);
    tiers[0].facts.target_latency_ns = tiers[1].facts.target_latency_ns = 1;
    fflush(stderr);
    assert_true(dup2(fileno(to), STDERR_FILENO) >= 0);
    rc = measure_figures(&figures);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    tiers[0].facts.target_latency_ns = tiers[1].facts.target_latency_ns = 0;
    rewind(to);
    said[fread(said, 1, sizeof said - 1, to)] = '\0';
    fclose(to);
    refused(rc, "copying from 'near' to 'far'");
    assert_int_equal(figures.list.n, 0);
    if (!strstr(said, "left out of tier 'near': it injects") || !strstr(said, "left out of tier 'far': it injects"))
        fail_msg("'%s'", said);
    nf_array_free(&figures.list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_weakest_tier_counts),        cmocka_unit_test(a_tier_is_measured_where_it_is),
        cmocka_unit_test(the_cache_is_measured_where_it_is), cmocka_unit_test(traffic_is_where_it_is),
        cmocka_unit_test_setup_teardown(figures_are_of_where_it_is, on_one_cpu, on_all_cpus),
        cmocka_unit_test_setup_teardown(what_is_left_out_is_told_of_each_tier, on_one_cpu, on_all_cpus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
