/* Events, plans and probes of sampling CPUs that are not here: every attr field against what Intel, AMD and the kernel
 * document, with and without the kernel's event files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>

#include "capture/pmu-events.h"
#include "capture/pmu-machine.h"
#include "capture/pmu-plan.h"
#include "capture/source-ibs.h"
#include "capture/source-pebs.h"
#include "core/base/error.h"
#include "core/base/numa-of.h"
#include "core/base/pmu.h"
#include "core/model/words.h"
#include "tests/unit/pmu-tree.h"

static struct pmu_tree tree;

static int setup(void **state)
{
    pmu_tree_new(&tree);
    return 0;
}

static int teardown(void **state)
{
    pmu_tree_delete(&tree);
    return 0;
}

#define assert_says(rc, text)                                                                                          \
    do {                                                                                                               \
        if (!strstr(nf_error_text(rc), text))                                                                          \
            fail_msg("'%s' does not say '%s'", nf_error_text(rc), text);                                               \
    } while (0)

/* --- sysfs --- */

static void test_terms(void **state)
{
    static const struct {
        const char *terms;
        int rc;
        uint64_t config, config1, config2;
    } cases[] = {
        {"event=0xcd,umask=0x1,ldlat=3", 0, 0x1cd, 3, 0},
        {"event=0xd0,umask=0x82", 0, 0x82d0, 0, 0},
        {"event=0x3c,inv,cmask=16", 0, 0x1080003c, 0, 0},
        {"event=205,umask=1,umask=2", 0, 0x2cd, 0, 0}, /* the last one counts */
        {"config=0x81d0,config1=0x40,config2=7", 0, 0x81d0, 0x40, 7},
        {"event=0x1cd", -ERANGE, 0, 0, 0},
        {"ldlat=65536", -ERANGE, 0, 0, 0},
        {"inv=2", -ERANGE, 0, 0, 0},
        {"evnt=1", -ENOENT, 0, 0, 0},
        {"../type=1", -ENOENT, 0, 0, 0},
        {"event=", -EBADMSG, 0, 0, 0},
        {"event=-1", -EBADMSG, 0, 0, 0},
        {"event=1x", -EBADMSG, 0, 0, 0},
        {"event=1,,umask=1", -EBADMSG, 0, 0, 0},
        {"", -EBADMSG, 0, 0, 0},
        {"bad1=1", -EBADMSG, 0, 0, 0},
        {"bad2=1", -EBADMSG, 0, 0, 0},
        {"bad3=1", -EBADMSG, 0, 0, 0},
        {"bad4=1", -EBADMSG, 0, 0, 0},
    };
    struct nf_event_encoding e;
    struct nf_pmu pmu;

    pmu_tree_intel(&tree, "skx", "cpu");
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/cpu/format/wide", "config:8-15,40-47\n");
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/cpu/format/all", "config1:0-63\n");
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/cpu/format/bad1", "config:9-8\n");
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/cpu/format/bad2", "config3:0-7\n");
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/cpu/format/bad3", "config:60-64\n");
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/cpu/format/bad4", "config:\n");
    assert_int_equal(nf_pmu_open(tree.root, "cpu", &pmu), 0);
    assert_int_equal(pmu.type, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rc;

        e = (struct nf_event_encoding){0};
        rc = nf_pmu_terms(&pmu, cases[i].terms, &e);
        if (rc != cases[i].rc)
            fail_msg("'%s' gives %d (%s), not %d", cases[i].terms, rc, nf_error_text(rc), cases[i].rc);
        if (rc) {
            assert_says(rc, "PMU cpu");
            continue;
        }
        if (e.config != cases[i].config || e.config1 != cases[i].config1 || e.config2 != cases[i].config2)
            fail_msg("'%s' gives 0x%llx 0x%llx 0x%llx", cases[i].terms, (unsigned long long)e.config,
                     (unsigned long long)e.config1, (unsigned long long)e.config2);
    }
    /* A value over two ranges: its low byte first. */
    e = (struct nf_event_encoding){0};
    assert_int_equal(nf_pmu_terms(&pmu, "event=0xc0,wide=0x1ab", &e), 0);
    assert_int_equal(e.config, 0x1000000abc0ull);
    e = (struct nf_event_encoding){0};
    assert_int_equal(nf_pmu_terms(&pmu, "all=0xffffffffffffffff", &e), 0);
    assert_true(e.config1 == UINT64_MAX);

    assert_int_equal(nf_pmu_event(&pmu, "mem-stores", &e), 0);
    assert_int_equal(e.config, 0x82d0);
    assert_int_equal(nf_pmu_event(&pmu, "no-such", &e), -ENOENT);
    assert_int_equal(nf_pmu_open(tree.root, "cpu_core", &pmu), -ENOENT);
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/odd/type", "four\n");
    assert_int_equal(nf_pmu_open(tree.root, "odd", &pmu), -EBADMSG);
    assert_says(-EBADMSG, "four");
}

/* --- events --- */

static const struct {
    const char *uarch;
    enum nf_pmu_role role;
    uint64_t config, config1;
} documented[] = {
    {"skx", NF_PMU_LOADS, 0x81d0, 0}, {"skx", NF_PMU_STORES, 0x82d0, 0}, {"skx", NF_PMU_LATENCY, 0x1cd, 30},
    {"skx", NF_PMU_L2_MISS, 0x10d1, 0}, {"skx", NF_PMU_L3_MISS, 0x20d1, 0}, {"skx", NF_PMU_LOCAL_DRAM, 0x1d3, 0},
    {"skx", NF_PMU_REMOTE_DRAM, 0x2d3, 0},
    {"clx", NF_PMU_LOADS, 0x81d0, 0}, {"clx", NF_PMU_STORES, 0x82d0, 0}, {"clx", NF_PMU_LATENCY, 0x1cd, 30},
    {"clx", NF_PMU_L3_MISS, 0x20d1, 0}, {"clx", NF_PMU_LOCAL_DRAM, 0x1d3, 0}, {"clx", NF_PMU_REMOTE_DRAM, 0x2d3, 0},
    {"clx", NF_PMU_LOCAL_PMM, 0x80d1, 0}, {"clx", NF_PMU_REMOTE_PMM, 0x10d3, 0},
    {"icx", NF_PMU_LOADS, 0x81d0, 0}, {"icx", NF_PMU_STORES, 0x82d0, 0}, {"icx", NF_PMU_LATENCY, 0x1cd, 30},
    {"icx", NF_PMU_L3_MISS, 0x20d1, 0}, {"icx", NF_PMU_LOCAL_DRAM, 0x1d3, 0}, {"icx", NF_PMU_REMOTE_DRAM, 0x2d3, 0},
    {"icx", NF_PMU_LOCAL_PMM, 0x80d1, 0}, {"icx", NF_PMU_REMOTE_PMM, 0x10d3, 0},
    {"spr", NF_PMU_LOADS, 0x81d0, 0}, {"spr", NF_PMU_STORES, 0x82d0, 0}, {"spr", NF_PMU_LATENCY, 0x1cd, 30},
    {"spr", NF_PMU_STORE_LATENCY, 0x2cd, 0}, {"spr", NF_PMU_L3_MISS, 0x20d1, 0}, {"spr", NF_PMU_LOCAL_DRAM, 0x1d3, 0},
    {"spr", NF_PMU_REMOTE_DRAM, 0x2d3, 0}, {"spr", NF_PMU_LOCAL_PMM, 0x80d1, 0}, {"spr", NF_PMU_REMOTE_PMM, 0x10d3, 0},
    {"spr", NF_PMU_AUX, 0x8203, 0},
    {"emr", NF_PMU_LATENCY, 0x1cd, 30}, {"emr", NF_PMU_STORE_LATENCY, 0x2cd, 0}, {"emr", NF_PMU_AUX, 0x8203, 0},
    {"gnr", NF_PMU_LATENCY, 0x1cd, 30}, {"gnr", NF_PMU_STORES, 0x82d0, 0}, {"gnr", NF_PMU_LOCAL_PMM, 0x80d1, 0},
    {"hsw", NF_PMU_LOADS, 0x81d0, 0}, {"hsw", NF_PMU_STORES, 0x82d0, 0}, {"hsw", NF_PMU_LATENCY, 0x1cd, 30},
    {"hsw", NF_PMU_L3_MISS, 0x20d1, 0}, {"hsw", NF_PMU_REMOTE_DRAM, 0x4d3, 0}, {"bdw", NF_PMU_REMOTE_DRAM, 0x4d3, 0},
    {"intel", NF_PMU_LOADS, 0x81d0, 0}, {"intel", NF_PMU_L3_MISS, 0x20d1, 0},
};
enum { DOCUMENTED = sizeof documented / sizeof *documented };

static void check_encoding(size_t i, const struct nf_pmu *pmu, enum nf_pmu_origin *origin)
{
    const struct nf_pmu_uarch *u = nf_pmu_uarch_find(documented[i].uarch);
    const char *name = nf_pmu_role_facts(documented[i].role)->name;
    struct nf_event_encoding e;
    int rc;

    assert_non_null(u);
    rc = nf_pmu_encode(u, pmu, documented[i].role, 30, &e, origin);
    if (rc)
        fail_msg("%s %s: %s", u->name, name, nf_error_text(rc));
    if (e.type != PERF_TYPE_RAW || e.config != documented[i].config || e.config1 != documented[i].config1 || e.config2 ||
        e.precise != (documented[i].role == NF_PMU_AUX ? 0 : 2))
        fail_msg("%s %s: type %u config 0x%llx config1 0x%llx config2 0x%llx precise %u", u->name, name, e.type,
                 (unsigned long long)e.config, (unsigned long long)e.config1, (unsigned long long)e.config2, e.precise);
}

/* libpfm4 with PMUs that are not active, and the table where it knows none or disagrees. */
static void test_encode_inactive(void **state)
{
    struct nf_event_encoding e;
    enum nf_pmu_origin origin;
    bool pfm = nf_event_encode("skx::MEM_INST_RETIRED:ALL_LOADS", &e) == 0;

    if (!pfm)
        print_message("%s: only the table is tested\n", nf_error_text(-ENOSYS));
    for (size_t i = 0; i < DOCUMENTED; i++) {
        const struct nf_pmu_uarch *u = nf_pmu_uarch_find(documented[i].uarch);
        bool quirk = !strcmp(u->name, "spr") && documented[i].role == NF_PMU_STORE_LATENCY;

        check_encoding(i, NULL, &origin);
        if (pfm && u->pfm && u->events[documented[i].role].pfm && !quirk && origin != NF_PMU_FROM_PFM)
            fail_msg("%s %s does not come from libpfm4", u->name, nf_pmu_role_facts(documented[i].role)->name);
        if (quirk)
            assert_int_equal(origin, NF_PMU_FROM_TABLE);
    }
    /* The quirk is still there; when it is gone, the table's code and libpfm4's agree and the test may lose this. */
    if (pfm && !nf_event_encode("spr::MEM_TRANS_RETIRED:STORE_SAMPLE", &e))
        print_message("libpfm4's STORE_SAMPLE for spr is 0x%llx, the kernel's 0x2cd\n", (unsigned long long)e.config);
}

static void test_encode_sysfs(void **state)
{
    static const char *const trees[] = {"skx", "clx", "icx", "spr", "gnr"};
    enum nf_pmu_origin origin;
    struct nf_pmu pmu;

    for (size_t t = 0; t < sizeof trees / sizeof *trees; t++) {
        struct pmu_tree one;

        pmu_tree_new(&one);
        pmu_tree_intel(&one, trees[t], t % 2 ? "cpu_core" : "cpu");
        assert_int_equal(nf_pmu_core(one.root, &pmu), 0);
        assert_string_equal(pmu.name, t % 2 ? "cpu_core" : "cpu");
        for (size_t i = 0; i < DOCUMENTED; i++) {
            if (strcmp(documented[i].uarch, trees[t]))
                continue;
            check_encoding(i, &pmu, &origin);
            if (documented[i].role == NF_PMU_LATENCY || documented[i].role == NF_PMU_STORE_LATENCY ||
                documented[i].role == NF_PMU_AUX ||
                (documented[i].role == NF_PMU_STORES && strcmp(trees[t], "spr") && strcmp(trees[t], "gnr")))
                assert_int_equal(origin, NF_PMU_FROM_SYSFS);
        }
        assert_int_equal(nf_pmu_needs_aux(nf_pmu_uarch_find(trees[t]), &pmu), !strcmp(trees[t], "spr"));
        pmu_tree_delete(&one);
    }
    /* Both PMUs of a hybrid machine: the P-cores'. */
    pmu_tree_intel(&tree, "spr", "cpu_core");
    pmu_tree_intel(&tree, "skx", "cpu");
    assert_int_equal(nf_pmu_core(tree.root, &pmu), 0);
    assert_string_equal(pmu.name, "cpu_core");
}

static void test_no_such_event(void **state)
{
    static const struct {
        const char *uarch;
        enum nf_pmu_role role;
    } none[] = {{"skx", NF_PMU_STORE_LATENCY}, {"skx", NF_PMU_LOCAL_PMM}, {"icx", NF_PMU_AUX}, {"gnr", NF_PMU_AUX},
                {"hsw", NF_PMU_REMOTE_PMM}, {"intel", NF_PMU_STORE_LATENCY}};
    struct nf_event_encoding e;
    enum nf_pmu_origin origin;

    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(nf_pmu_encode(nf_pmu_uarch_find(none[i].uarch), NULL, none[i].role, 3, &e, &origin), -EOPNOTSUPP);
        assert_says(-EOPNOTSUPP, nf_pmu_role_facts(none[i].role)->name);
    }
}

static void test_models(void **state)
{
    static const struct {
        unsigned model, stepping;
        const char *uarch;
    } cpus[] = {{0x55, 4, "skx"}, {0x55, 7, "clx"}, {0x55, 11, "clx"}, {0x6a, 6, "icx"}, {0x8f, 8, "spr"},
                {0xcf, 2, "emr"}, {0xad, 1, "gnr"}, {0x3f, 2, "hsw"}, {0x4f, 1, "bdw"}, {0xff, 0, "intel"}};

    for (size_t i = 0; i < sizeof cpus / sizeof *cpus; i++)
        assert_string_equal(nf_pmu_uarch_of(6, cpus[i].model, cpus[i].stepping)->name, cpus[i].uarch);
    assert_string_equal(nf_pmu_uarch_of(19, 0x55, 4)->name, "intel");
}

/* --- plans --- */

static const uint64_t common = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
                               PERF_SAMPLE_ADDR | PERF_SAMPLE_CPU;

static void test_default_plan(void **state)
{
    for (size_t i = 0; nf_pmu_uarchs[i]; i++) {
        const struct nf_pmu_uarch *u = nf_pmu_uarchs[i];
        unsigned aux = u->needs_aux, latency = aux ? 1 : 2;
        struct nf_pmu_plan p;

        assert_int_equal(nf_pebs_plan(&(struct nf_pebs_options){0}, u, NULL, &p), 0);
        assert_int_equal(p.n, 3 + aux);
        assert_int_equal(p.grouped, aux ? 2 : 0);
        if (aux) {
            assert_int_equal(p.attrs[0].config, 0x8203);
            assert_int_equal(p.attrs[0].sample_period, 0);
            assert_int_equal(p.attrs[0].precise_ip, 0);
        }
        assert_int_equal(p.attrs[latency].config, 0x1cd);
        assert_int_equal(p.attrs[latency].config1, 3);
        assert_true(p.attrs[latency].sample_type == (common | PERF_SAMPLE_DATA_SRC | PERF_SAMPLE_WEIGHT_STRUCT));
        assert_int_equal(p.attrs[aux ? 2 : 0].config, 0x81d0);
        assert_true(p.attrs[aux ? 2 : 0].sample_type == common);
        for (unsigned k = aux; k < p.n; k++) {
            assert_int_equal(p.attrs[k].sample_period, 10007);
            assert_int_equal(p.attrs[k].freq, 0);
            assert_int_equal(p.attrs[k].wakeup_events, 0);
            assert_int_equal(p.attrs[k].use_clockid, 0);
            assert_int_equal(p.attrs[k].precise_ip, 2);
            assert_int_equal(p.attrs[k].exclude_kernel, 1);
            assert_int_equal(nf_pebs_large(&p.attrs[k], true), 0);
            assert_int_equal(p.events[k].period, 10007);
            assert_int_equal(p.events[k].config, p.attrs[k].config);
        }
        assert_non_null(strstr(p.notes, "not validated on hardware"));
    }
}

static void test_plan_options(void **state)
{
    const struct nf_pmu_uarch *spr = nf_pmu_uarch_find("spr"), *skx = nf_pmu_uarch_find("skx");
    struct nf_pebs_options o = {.period = 2003, .ldlat = 50, .physical = true, .kernel = true};
    struct nf_pmu_plan p;

    o.roles[NF_PMU_LATENCY] = o.roles[NF_PMU_L3_MISS] = o.roles[NF_PMU_STORE_LATENCY] = true;
    assert_int_equal(nf_pebs_plan(&o, spr, NULL, &p), 0);
    assert_int_equal(p.n, 4);
    assert_int_equal(p.attrs[1].config1, 50);
    assert_int_equal(p.attrs[2].config, 0x2cd);
    assert_int_equal(p.attrs[3].config, 0x20d1);
    assert_int_equal(p.events[2].rw, NF_RW_WRITE);
    for (unsigned i = 1; i < p.n; i++) {
        assert_true(p.attrs[i].sample_type & PERF_SAMPLE_PHYS_ADDR);
        assert_int_equal(p.attrs[i].exclude_kernel, 0);
        assert_int_equal(p.attrs[i].sample_period, 2003);
        assert_int_equal(nf_pebs_large(&p.attrs[i], true), 0);
    }
    assert_int_equal(nf_pebs_plan(&o, skx, NULL, &p), -EOPNOTSUPP);
    assert_says(-EOPNOTSUPP, "store-latency");
    o.roles[NF_PMU_STORE_LATENCY] = false;
    o.roles[NF_PMU_LOADS] = o.roles[NF_PMU_STORES] = o.roles[NF_PMU_L2_MISS] = true;
    assert_int_equal(nf_pebs_plan(&o, skx, NULL, &p), -EINVAL);
    assert_says(-EINVAL, "do not fit the 4 counters");
    assert_int_equal(nf_pebs_plan(&o, spr, NULL, &p), 0);
    assert_int_equal(nf_pebs_plan(&(struct nf_pebs_options){.period = 5}, skx, NULL, &p), -EINVAL);
    assert_says(-EINVAL, "period 5");
    assert_int_equal(nf_pebs_plan(&(struct nf_pebs_options){.period = 1ull << 40}, skx, NULL, &p), -EINVAL);
    assert_int_equal(nf_pebs_plan(&(struct nf_pebs_options){.ldlat = 65536}, skx, NULL, &p), -EINVAL);
    assert_says(-EINVAL, "ldlat 65536");
}

static void test_large_pebs(void **state)
{
    static const struct {
        uint64_t fields;
        const char *says;
    } refused[] = {
        {PERF_SAMPLE_CALLCHAIN, "CALLCHAIN"}, {PERF_SAMPLE_DATA_PAGE_SIZE, "DATA_PAGE_SIZE"}, {PERF_SAMPLE_READ, "READ"},
        {PERF_SAMPLE_RAW, "RAW"}, {PERF_SAMPLE_BRANCH_STACK, "BRANCH_STACK"}, {PERF_SAMPLE_STACK_USER, "STACK_USER"},
        {PERF_SAMPLE_CGROUP, "CGROUP"}, {PERF_SAMPLE_AUX, "AUX"}, {1ull << 40, "newer"},
    };
    const struct perf_event_attr good = {.sample_period = 10007, .precise_ip = 2, .watermark = 1, .sample_type = common};
    struct perf_event_attr a = good;

    assert_int_equal(nf_pebs_large(&good, true), 0);
    a.sample_type |= PERF_SAMPLE_ID | PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_DATA_SRC | PERF_SAMPLE_TRANSACTION |
                     PERF_SAMPLE_PHYS_ADDR | PERF_SAMPLE_REGS_INTR | PERF_SAMPLE_REGS_USER | PERF_SAMPLE_PERIOD |
                     PERF_SAMPLE_CODE_PAGE_SIZE | PERF_SAMPLE_WEIGHT_STRUCT;
    assert_int_equal(nf_pebs_large(&a, true), 0);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        a = good;
        a.sample_type |= refused[i].fields;
        assert_int_equal(nf_pebs_large(&a, true), -EINVAL);
        assert_says(-EINVAL, refused[i].says);
    }
    assert_int_equal(nf_pebs_large(&good, false), -EINVAL); /* Haswell: no time in the record */
    assert_says(-EINVAL, "TIME");
    a = good, a.freq = 1;
    assert_int_equal(nf_pebs_large(&a, true), -EINVAL);
    a = good, a.sample_period = 0;
    assert_int_equal(nf_pebs_large(&a, true), -EINVAL);
    a = good, a.watermark = 0, a.wakeup_events = 1;
    assert_int_equal(nf_pebs_large(&a, true), -EINVAL);
    assert_says(-EINVAL, "watermark");
    a = good, a.use_clockid = 1, a.clockid = 1;
    assert_int_equal(nf_pebs_large(&a, true), -EINVAL);
    assert_says(-EINVAL, "clock");
    for (unsigned precise = 0; precise < 4; precise++) {
        a = good, a.precise_ip = precise;
        assert_int_equal(nf_pebs_large(&a, true), precise == 2 ? 0 : -EINVAL);
    }
}

static void test_ibs_plan(void **state)
{
    struct nf_pmu_plan p;
    struct nf_pmu pmu;

    pmu_tree_ibs(&tree, 1, 1);
    assert_int_equal(nf_pmu_open(tree.root, "ibs_op", &pmu), 0);
    assert_int_equal(nf_ibs_plan(&(struct nf_ibs_options){0}, &pmu, &p), 0);
    assert_int_equal(p.n, 1);
    assert_true(p.only_accesses);
    assert_int_equal(p.attrs[0].type, 11);
    assert_int_equal(p.attrs[0].config, 1 << 19);
    assert_int_equal(p.attrs[0].config2, 1);
    assert_int_equal(p.attrs[0].exclude_kernel, 1);
    assert_int_equal(p.attrs[0].exclude_guest, 0); /* refused by the kernel's driver */
    assert_int_equal(p.attrs[0].sample_period % 16, 0);
    assert_true(p.attrs[0].sample_type == (common | PERF_SAMPLE_DATA_SRC | PERF_SAMPLE_WEIGHT_STRUCT));
    assert_int_equal(nf_ibs_plan(&(struct nf_ibs_options){.l3_miss = true, .period = 4096, .physical = true}, &pmu, &p), 0);
    assert_int_equal(p.attrs[0].config, 1 << 19 | 1 << 16);
    assert_int_equal(p.attrs[0].sample_period, 4096);
    assert_true(p.attrs[0].sample_type & PERF_SAMPLE_PHYS_ADDR);
    assert_int_equal(nf_ibs_plan(&(struct nf_ibs_options){.cycles = true, .kernel = true}, &pmu, &p), 0);
    assert_int_equal(p.attrs[0].config, 0);
    assert_int_equal(p.attrs[0].config2, 0);
    assert_int_equal(p.attrs[0].exclude_kernel, 0);
    assert_int_equal(nf_ibs_plan(&(struct nf_ibs_options){.period = 10007}, &pmu, &p), -EINVAL);
    assert_says(-EINVAL, "take 10016");
    assert_int_equal(nf_ibs_plan(&(struct nf_ibs_options){.period = 16}, &pmu, &p), -EINVAL);
    pmu_tree_delete(&tree);
    pmu_tree_new(&tree);
    pmu_tree_ibs(&tree, 0, 0); /* Zen 3, older kernel */
    assert_int_equal(nf_pmu_open(tree.root, "ibs_op", &pmu), 0);
    assert_int_equal(nf_ibs_plan(&(struct nf_ibs_options){0}, &pmu, &p), 0);
    assert_int_equal(p.attrs[0].exclude_kernel, 0);
    assert_int_equal(p.attrs[0].config2, 0);
    assert_non_null(strstr(p.notes, "and kernel"));
    assert_int_equal(nf_ibs_plan(&(struct nf_ibs_options){.l3_miss = true}, &pmu, &p), -EOPNOTSUPP);
    assert_says(-EOPNOTSUPP, "Zen 4");
}

/* --- probes on recorded machines --- */

enum { PERFMON = 38, SYS_ADMIN = 21 };

static void expect_probe(int (*probe)(const char *, char *, size_t), int rc, const char *says)
{
    char why[256] = "";
    int got = probe(tree.root, why, sizeof why);

    if (got != rc || !strstr(why, says))
        fail_msg("gives %d '%s', not %d '%s'", got, why, rc, says);
    assert_true(strlen(why) < sizeof why - 1); /* not cut off */
}

static void test_probes(void **state)
{
    /* An AMD guest without PMU: this project's home. */
    pmu_tree_machine(&tree, "AuthenticAMD", 25, 1, 1, 1, 2, ~0ull, "6.18.0\n");
    expect_probe(nf_source_pebs_probe, -ENODEV, "source ibs");
    expect_probe(nf_source_ibs_probe, -ENODEV, "this VM is given none");
    /* A Skylake server. */
    pmu_tree_machine(&tree, "GenuineIntel", 6, 0x55, 4, 0, 2, 0, "6.1.0-13-amd64\n");
    expect_probe(nf_source_pebs_probe, -ENODEV, "firmware");
    pmu_tree_intel(&tree, "skx", "cpu");
    expect_probe(nf_source_pebs_probe, 0, "Skylake");
    expect_probe(nf_source_pebs_probe, 0, "not validated on hardware");
    expect_probe(nf_source_ibs_probe, -ENODEV, "source pebs");
    /* Debian's stricter level. */
    pmu_tree_machine(&tree, "GenuineIntel", 6, 0x55, 4, 0, 3, 0, "6.1.0-13-amd64\n");
    expect_probe(nf_source_pebs_probe, -EACCES, "perf_event_paranoid is 3");
    expect_probe(nf_source_pebs_probe, -EACCES, "sysctl kernel.perf_event_paranoid=2");
    pmu_tree_machine(&tree, "GenuineIntel", 6, 0x55, 4, 0, 3, 1ull << PERFMON, "6.1.0-13-amd64\n");
    expect_probe(nf_source_pebs_probe, 0, "Skylake");
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/cpu/caps/max_precise", "0\n");
    expect_probe(nf_source_pebs_probe, -ENODEV, "microcode");
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/cpu/caps/max_precise", "3\n");
    expect_probe(nf_source_pebs_probe, 0, "Skylake");
    /* A guest that gets counters without PEBS. */
    pmu_tree_delete(&tree);
    pmu_tree_new(&tree);
    pmu_tree_put(&tree, "/sys/bus/event_source/devices/cpu/type", "4\n");
    pmu_tree_machine(&tree, "GenuineIntel", 6, 0x8f, 8, 1, 1, 0, "6.8.0\n");
    expect_probe(nf_source_pebs_probe, -ENODEV, "not PEBS");
    /* AMD hosts. */
    pmu_tree_ibs(&tree, 1, 0);
    pmu_tree_machine(&tree, "AuthenticAMD", 25, 17, 1, 0, 2, 0, "6.1.0\n");
    expect_probe(nf_source_ibs_probe, -ENOSYS, "6.2");
    pmu_tree_machine(&tree, "AuthenticAMD", 25, 17, 1, 0, 2, 0, "6.2.1\n");
    expect_probe(nf_source_ibs_probe, -EACCES, "swfilt");
    pmu_tree_machine(&tree, "AuthenticAMD", 25, 17, 1, 0, 2, 1ull << SYS_ADMIN, "6.2.1\n");
    expect_probe(nf_source_ibs_probe, 0, "filters LLC misses");
    pmu_tree_ibs(&tree, 1, 1);
    pmu_tree_machine(&tree, "AuthenticAMD", 25, 17, 1, 0, 2, 0, "7.0.0\n");
    expect_probe(nf_source_ibs_probe, 0, "not validated on hardware");
    /* A machine that tells nothing. */
    pmu_tree_delete(&tree);
    pmu_tree_new(&tree);
    expect_probe(nf_source_pebs_probe, -ENODEV, "unknown");
    expect_probe(nf_source_ibs_probe, -ENODEV, "unknown");
}

/* --- nodes --- */

static void test_nodes(void **state)
{
    struct nf_numa_of *n;
    char text[200], sys[72];

    snprintf(sys, sizeof sys, "%s/sys", tree.root);
    assert_int_equal(nf_numa_of_new(sys, &n), -ENOENT);
    pmu_tree_put(&tree, "/sys/devices/system/memory/block_size_bytes", "8000000\n"); /* 128 MiB */
    assert_int_equal(nf_numa_of_new(sys, &n), -ENOENT);
    for (int i = 0; i < 16; i++) {
        char path[128];

        /* 0-7 on node 0, a hole of two, 10-15 on node 2 (CXL memory: no CPU), 40-43 on node 0 again */
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/memory%d/state", i < 8 ? 0 : 2, i < 8 ? i : i + 2);
        pmu_tree_put(&tree, path, "online\n");
    }
    pmu_tree_put(&tree, "/sys/devices/system/node/node0/memory40/state", "online\n");
    pmu_tree_put(&tree, "/sys/devices/system/node/node0/memory41/state", "online\n");
    pmu_tree_put(&tree, "/sys/devices/system/node/node0/meminfo", "x\n");
    pmu_tree_put(&tree, "/sys/devices/system/node/node1/meminfo", "x\n"); /* without memory */
    assert_int_equal(nf_numa_of_new(sys, &n), 0);
    assert_int_equal(nf_numa_of(n, 0), 0);
    assert_int_equal(nf_numa_of(n, 0x3fffffff), 0);
    assert_int_equal(nf_numa_of(n, 0x40000000), NF_NUMA_NONE);
    assert_int_equal(nf_numa_of(n, 0x4fffffff), NF_NUMA_NONE);
    assert_int_equal(nf_numa_of(n, 0x50000000), 2);
    assert_int_equal(nf_numa_of(n, 18ull * 0x8000000 - 1), 2);
    assert_int_equal(nf_numa_of(n, 18ull * 0x8000000), NF_NUMA_NONE);
    assert_int_equal(nf_numa_of(n, 41ull * 0x8000000), 0);
    assert_int_equal(nf_numa_of(n, UINT64_MAX), NF_NUMA_NONE);
    nf_numa_of_text(n, text, sizeof text);
    assert_string_equal(text, "node 0: 0x0-0x3fffffff, node 2: 0x50000000-0x8fffffff, node 0: 0x140000000-0x14fffffff");
    for (size_t size = 1; size < 100; size++) {
        char guarded[104];

        memset(guarded, '#', sizeof guarded);
        nf_numa_of_text(n, guarded, size);
        assert_true(strlen(guarded) < size);
        assert_int_equal(guarded[size], '#');
    }
    nf_numa_of_free(n);
    pmu_tree_put(&tree, "/sys/devices/system/memory/block_size_bytes", "0\n");
    assert_int_equal(nf_numa_of_new(sys, &n), -EBADMSG);
    pmu_tree_put(&tree, "/sys/devices/system/memory/block_size_bytes", "much\n");
    assert_int_equal(nf_numa_of_new(sys, &n), -EBADMSG);
    assert_null(nf_numa_of_free(NULL));
}

/* Physical addresses of this machine's own memory lie on its nodes. */
static void test_nodes_here(void **state)
{
    struct nf_numa_of *n;
    int rc = nf_numa_of_new("/sys", &n);

    if (rc == -ENOENT) {
        print_message("%s\n", nf_error_text(rc));
        skip();
    }
    assert_int_equal(rc, 0);
    assert_true(nf_numa_of(n, 1 << 20) >= 0);
    nf_numa_of_free(n);
}

int main(void)
{
#define WITH_TREE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        WITH_TREE(test_terms), cmocka_unit_test(test_encode_inactive), WITH_TREE(test_encode_sysfs),
        cmocka_unit_test(test_no_such_event), cmocka_unit_test(test_models), cmocka_unit_test(test_default_plan),
        cmocka_unit_test(test_plan_options), cmocka_unit_test(test_large_pebs), WITH_TREE(test_ibs_plan),
        WITH_TREE(test_probes), WITH_TREE(test_nodes), cmocka_unit_test(test_nodes_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
