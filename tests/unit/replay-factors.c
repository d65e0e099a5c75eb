/* The factors of the sensitivity: what each is called, what it changes of a trial, and that it changes nothing else; the pages that each
 * tier has instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "replay/factors.h"
#include "replay/pages.h"

static const struct nf_tier_local local = {100, 1e10, 1e10};

/* --- a testbed of tiers that are opened and not measured --- */

static void open_testbed(struct nf_testbed *t, const char *const *specs, uint32_t n)
{
    *t = (struct nf_testbed){.n_tiers = n, .measured[0] = {.latency_ns = 100, .read_bps = 1e10, .write_bps = 1e10}};
    for (uint32_t i = 0; i < n; i++) {
        if (nf_tier_open(i ? "far" : "near", specs[i], &local, &t->tiers[i]))
            fail_msg("%s: %s", specs[i], nf_error_text(0));
    }
}

static void close_testbed(struct nf_testbed *t)
{
    for (uint32_t i = 0; i < t->n_tiers; i++)
        nf_tier_close(&t->tiers[i]);
}

static void init_factors(struct nf_factors *v, const struct nf_testbed *t)
{
    static const struct nf_stream none;

    if (nf_factors_init(v, &none, 1 << 20, 1, t, 1 << 20))
        fail_msg("%s", nf_error_text(0));
}

/* Each tier that has a choice gets the pages that it has not; the others are the testbed's own, and nothing else of a spec changes. */
static void every_tier_gets_its_other_pages(void **state)
{
    static const struct {
        const char *spec[3], *other[3], *name;
    } cases[] = {
        {{"null", "emulated", "emulated:page=thp,latency-ns=300"},
         {"null", "emulated:page=thp", "emulated:page=4k,latency-ns=300"}, "other-pages"},
        {{"emulated:latency-ns=300,page=thp", "null", "emulated:page=thp"},
         {"emulated:page=4k,latency-ns=300", "null", "emulated:page=4k"}, "4k"},
        {{"null", "null", "emulated:page=4k,latency-x=3"}, {"null", "null", "emulated:page=thp,latency-x=3"}, "thp"},
        {{"null", "null", "null"}, {"null", "null", "null"}, ""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_engine_config c = NF_ENGINE_CONFIG_INIT;
        struct nf_testbed t;
        struct nf_factors v;

        open_testbed(&t, cases[i].spec, 3);
        assert_string_equal(nf_factor_name(NF_FACTOR_PAGES, NF_STORE_REGULAR, &t), cases[i].name);
        init_factors(&v, &t);
        nf_factors_apply(&v, NF_FACTOR_PAGES, &c);
        for (int k = 0; k < 3; k++) {
            const struct nf_tier *tier = &c.pool.tiers[k];

            assert_string_equal(tier->spec, cases[i].other[k]);
            assert_string_equal(tier->name, t.tiers[k].name);
            assert_true(tier->facts.target_latency_ns == t.tiers[k].facts.target_latency_ns);
            assert_true(tier->facts.huge != t.tiers[k].facts.huge || !nf_pages_has(tier->ops));
            /* Its own state: what it charges does not queue behind the testbed's. */
            assert_true(tier->state != t.tiers[k].state || !nf_pages_has(tier->ops));
        }
        nf_factors_deinit(&v);
        close_testbed(&t);
    }
}

/* Page by page what the kernel gives: huge where they are asked for, small where not. */
static void the_kernel_is_asked_for_them(void **state)
{
    static const char *const specs[] = {"emulated", "emulated:page=thp"};
    const size_t bytes = 8 << 20;
    char why[256];

    if (!nf_factors_pages_probe("", specs, 2, why, sizeof why)) {
        print_message("%s\n", why);
        skip();
    }
    for (int i = 0; i < 2; i++) {
        struct nf_tier tier, other;
        char *memory[2], line[256];
        bool advised[2] = {false};
        FILE *f = fopen("/proc/self/smaps", "re");
        int at = -1;

        assert_int_equal(nf_tier_open("far", specs[i], &local, &tier), 0);
        assert_int_equal(nf_pages_open(&tier, nf_pages_other(&tier), &local, &other), 0);
        assert_int_equal(tier.ops->map(tier.state, bytes, (void **)&memory[0]), 0);
        assert_int_equal(other.ops->map(other.state, bytes, (void **)&memory[1]), 0);
        assert_non_null(f);
        while (fgets(line, sizeof line, f)) {
            unsigned long long from, to;

            if (sscanf(line, "%llx-%llx ", &from, &to) == 2)
                at = from <= (uintptr_t)memory[0] && (uintptr_t)memory[0] < to   ? 0
                     : from <= (uintptr_t)memory[1] && (uintptr_t)memory[1] < to ? 1
                                                                                 : -1;
            if (at >= 0 && !strncmp(line, "VmFlags:", 8))
                advised[at] = strstr(line, " hg");
        }
        fclose(f);
        assert_int_equal(advised[0], i == 1);
        assert_int_equal(advised[1], i == 0);
        tier.ops->unmap(tier.state, memory[0], bytes);
        other.ops->unmap(other.state, memory[1], bytes);
        nf_tier_close(&tier);
        nf_tier_close(&other);
    }
}

/* --- what is there to vary --- */

static void probe(const char *root, const char *const *specs, size_t n, const char *refuses)
{
    char why[256] = "";
    bool can = nf_factors_pages_probe(root, specs, n, why, sizeof why);

    if (can != !refuses || (refuses && !strstr(why, refuses)))
        fail_msg("%s: %d '%s'", n ? specs[n - 1] : "the default tiers", can, why);
}

static void says_where_pages_cannot_be_varied(void **state)
{
    static const char *const none[] = {"null", "far=file:path=/tmp/page=thp"}, *const named[] = {"null", "numaish=emulated:latency-ns=300"},
                      *const decoy[] = {"null", "emulated=null"}, *const unknown[] = {"numabc"};
    char root[] = "/tmp/nearfar-factors-XXXXXX", path[128];
    FILE *f;

    assert_non_null(mkdtemp(root));
    probe(root, named, 2, "gives no huge pages");
    snprintf(path, sizeof path, "%s/sys/kernel/mm/transparent_hugepage/enabled", root);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        assert_int_equal(mkdir(path, 0700), 0);
        *slash = '/';
    }
    for (int never = 0; never < 2; never++) {
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(never ? "always madvise [never]\n" : "always [madvise] never\n", f);
        fclose(f);
        probe(root, NULL, 0, never ? "gives no huge pages" : NULL);
        probe(root, named, 2, never ? "gives no huge pages" : NULL);
        /* What a tier is called says nothing about its provider. */
        probe(root, none, 2, "no tier has a choice");
        probe(root, decoy, 2, "no tier has a choice");
        probe(root, unknown, 1, "no tier has a choice");
    }
    snprintf(path, sizeof path, "rm -rf %s", root);
    assert_int_equal(system(path), 0);
}

/* --- the others --- */

static void each_changes_one_thing(void **state)
{
    static const char *const specs[] = {"null", "emulated"};
    struct nf_testbed t;
    struct nf_factors v;

    open_testbed(&t, specs, 2);
    init_factors(&v, &t);
    for (int asked = NF_STORE_REGULAR; asked <= NF_STORE_NON_TEMPORAL; asked++) {
        enum nf_store other = asked == NF_STORE_REGULAR ? NF_STORE_NON_TEMPORAL : NF_STORE_REGULAR;

        for (int which = NF_FACTOR_NONE; which < NF_FACTORS; which++) {
            struct nf_engine_config c = NF_ENGINE_CONFIG_INIT, plain, expected;
            const char *name = nf_factor_name((enum nf_factor)which, (enum nf_store)asked, &t), *called = "";

            c.store = (enum nf_store)asked;
            c.parallelism_scale = 3;
            c.pool.tiers = t.tiers;
            plain = expected = c;
            nf_factors_apply(&v, (enum nf_factor)which, &c);
            switch (which) {
            case NF_FACTOR_HALF_K: expected.parallelism_scale = 1.5, called = "k/2"; break;
            case NF_FACTOR_TWICE_K: expected.parallelism_scale = 6, called = "2k"; break;
            case NF_FACTOR_STORE: expected.store = other, called = nf_store_name(other); break;
            case NF_FACTOR_PAGES: expected.pool.tiers = v.paged, called = "thp"; break;
            case NF_FACTOR_UNFILTERED:
                expected.scripts = v.unfiltered;
                expected.between_ctx = &v.batches; /* which nobody calls for where all is in memory */
                called = "unfiltered";
                break;
            }
            assert_string_equal(name, called);
            assert_memory_equal(&c, &expected, sizeof c);
            assert_int_equal(!memcmp(&c, &plain, sizeof c), which == NF_FACTOR_NONE);
        }
    }
    nf_factors_deinit(&v);
    close_testbed(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tier_gets_its_other_pages),
        cmocka_unit_test(the_kernel_is_asked_for_them),
        cmocka_unit_test(says_where_pages_cannot_be_varied),
        cmocka_unit_test(each_changes_one_thing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
