/* Counters of machines that are not here: events from trees as their kernels show them, pcm-memory's output, and what a
 * trial is told by them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/error.h"
#include "replay/counters-pcm.h"
#include "replay/counters-pmu.h"
#include "replay/counters.h"
#include "tests/unit/pmu-tree.h"

#define DEVICES "/sys/bus/event_source/devices/"

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

__attribute__((format(printf, 2, 3))) static void put(const char *text, const char *fmt, ...)
{
    char path[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    pmu_tree_put(&tree, path, text);
}

/* Two packages of a node each, CPUs 0-3 and 4-7, and node 2 without a CPU. */
static void put_nodes(void)
{
    put("0-3\n", "/sys/devices/system/node/node0/cpulist");
    put("4-7\n", "/sys/devices/system/node/node1/cpulist");
    put("\n", "/sys/devices/system/node/node2/cpulist");
    put("0-2\n", "/sys/devices/system/node/has_memory");
    put("0-1\n", "/sys/devices/system/node/has_cpu");
    for (int i = 0; i < 8; i++)
        put(i < 4 ? "0\n" : "1\n", "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", i);
}

static void put_pmu(const char *name, const char *type, const char *cpumask)
{
    put(type, DEVICES "%s/type", name);
    put(cpumask, DEVICES "%s/cpumask", name);
    put("config:0-7\n", DEVICES "%s/format/event", name);
    put("config:8-15\n", DEVICES "%s/format/umask", name);
}

static void put_event(const char *pmu, const char *event, const char *terms)
{
    put(terms, DEVICES "%s/events/%s", pmu, event);
    put("6.103515625e-5\n", DEVICES "%s/events/%s.scale", pmu, event);
    put("MiB\n", DEVICES "%s/events/%s.unit", pmu, event);
}

static void imc_of_intel_servers(void **state)
{
    static const struct {
        const char *read, *write;
        uint64_t read_config, write_config;
    } kernels[] = {
        {"event=0x04,umask=0x03\n", "event=0x04,umask=0x0c\n", 0x0304, 0x0c04}, /* Skylake */
        {"event=0x04,umask=0x0f\n", "event=0x04,umask=0x30\n", 0x0f04, 0x3004}, /* Ice Lake */
        {"event=0x05,umask=0xcf\n", "event=0x05,umask=0xf0\n", 0xcf05, 0xf005}, /* Sapphire Rapids */
    };

    for (size_t i = 0; i < 3; i++) {
        struct nf_counter_event *e;
        size_t n;

        put_nodes();
        put_pmu("uncore_imc_0", "20\n", "0,4\n");
        put_event("uncore_imc_0", "cas_count_read", kernels[i].read);
        put_event("uncore_imc_0", "cas_count_write", kernels[i].write);
        put("21\n", DEVICES "uncore_imc_free_running_0/type"); /* has no cpumask here, and is not looked at */
        if (nf_counter_events(tree.root, NF_COUNTER_IMC, &e, &n))
            fail_msg("%s", nf_error_text(0));
        assert_int_equal(n, 4);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(e[k].encoding.type, 20);
            assert_int_equal(e[k].encoding.config, e[k].write ? kernels[i].write_config : kernels[i].read_config);
            assert_int_equal(e[k].cpu, k < 2 ? 0 : 4);
            assert_int_equal(e[k].nodes, k < 2 ? 1 : 2);
            assert_float_equal(e[k].bytes, 64, 0);
            assert_int_equal(e[k].write, k % 2);
        }
        free(e);
    }
}

static void says_why_there_is_no_imc(void **state)
{
    struct nf_counter_event *e;
    char why[256];
    size_t n;

    assert_int_equal(nf_counter_events(tree.root, NF_COUNTER_IMC, &e, &n), -ENOENT);
    assert_non_null(strstr(nf_error_text(0), "shows no memory controller of an Intel server CPU (uncore_imc_*)"));
    put_pmu("uncore_imc_0", "20\n", "0\n");
    assert_int_equal(nf_counter_imc.probe(tree.root, why, sizeof why), -ENOENT);
    assert_non_null(strstr(why, "no read event 'cas_count_read': this kernel does not name it"));
    put_event("uncore_imc_0", "cas_count_read", "event=0x04,umask=0x03\n");
    put_event("uncore_imc_0", "cas_count_write", "event=0x04,umask=0x0c\n");
    assert_int_equal(nf_counter_imc.probe(tree.root, why, sizeof why), 0);
    put("-5\n", DEVICES "uncore_imc_0/events/cas_count_read.scale");
    assert_int_equal(nf_counter_imc.probe(tree.root, why, sizeof why), -EBADMSG);
    assert_non_null(strstr(why, "no number of bytes"));
    put("0-\n", DEVICES "uncore_imc_0/cpumask");
    assert_int_equal(nf_counter_imc.probe(tree.root, why, sizeof why), -EBADMSG);
}

static void says_why_there_is_no_other(void **state)
{
    static const struct {
        const struct nf_counter_ops *ops;
        const char *what, *pmu, *read, *format, *no_read;
    } kinds[] = {
        {&nf_counter_cxl, "shows no CXL memory device (cxl_pmu_mem*)", "cxl_pmu_mem0.0", "m2s_req_memrd", "vid",
         "no read event 'm2s_req_memrd': this kernel does not name it"},
        {&nf_counter_umc, "shows no memory controller of an AMD CPU (amd_umc_*)", "amd_umc_0", NULL, "rdwrmask",
         "PMU amd_umc_0 has no term 'event'"},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char why[256];

        assert_int_equal(kinds[i].ops->probe(tree.root, why, sizeof why), -ENOENT);
        assert_non_null(strstr(why, kinds[i].what));
        put("30\n", DEVICES "%s/type", kinds[i].pmu);
        assert_int_equal(kinds[i].ops->probe(tree.root, why, sizeof why), -ENOENT); /* no cpumask */
        put("0\n", DEVICES "%s/cpumask", kinds[i].pmu);
        assert_int_equal(kinds[i].ops->probe(tree.root, why, sizeof why), -ENOENT);
        if (!strstr(why, kinds[i].no_read))
            fail_msg("%s", why);
        put("zero\n", DEVICES "%s/cpumask", kinds[i].pmu);
        assert_int_equal(kinds[i].ops->probe(tree.root, why, sizeof why), -EBADMSG);
        assert_non_null(strstr(why, "cpumask says 'zero', which names no CPU"));
    }
}

static void make_link(const char *target, const char *path)
{
    char from[512], full[512];

    snprintf(from, sizeof from, "%s%s", tree.root, target);
    snprintf(full, sizeof full, "%s%s", tree.root, path);
    unlink(full);
    assert_int_equal(symlink(from, full), 0);
}

static void remove_link(const char *path)
{
    char full[512];

    snprintf(full, sizeof full, "%s%s", tree.root, path);
    assert_int_equal(unlink(full), 0);
}

static void cxl_devices_by_their_region(void **state)
{
    struct nf_counter_event *e;
    size_t n;

    put_nodes();
    put("30\n", DEVICES "cxl_pmu_mem1.0/type");
    put("0\n", DEVICES "cxl_pmu_mem1.0/cpumask");
    put("config:48-63\n", DEVICES "cxl_pmu_mem1.0/format/vid");
    put("config:32-47\n", DEVICES "cxl_pmu_mem1.0/format/gid");
    put("config:0-31\n", DEVICES "cxl_pmu_mem1.0/format/mask");
    put("vid=0x1e98,gid=0x20,mask=0x2\n", DEVICES "cxl_pmu_mem1.0/events/m2s_req_memrd");
    put("vid=0x1e98,gid=0x21,mask=0x2\n", DEVICES "cxl_pmu_mem1.0/events/m2s_rwd_memwr");
    put("x", "/sys/bus/cxl/devices/mem1/serial");
    put("x", "/sys/bus/cxl/devices/endpoint4/size");
    make_link("/sys/bus/cxl/devices/mem1", "/sys/bus/cxl/devices/endpoint4/uport");
    put("0x40000000\n", "/sys/bus/cxl/devices/decoder4.0/size");
    put("0x40000000\n", "/sys/devices/root0/decoder0.0/region0/size");
    put("1\n", "/sys/devices/root0/decoder0.0/region0/interleave_ways");
    put("decoder4.0\n", "/sys/devices/root0/decoder0.0/region0/target0");
    put("2\n", "/sys/devices/root0/decoder0.0/region0/dax_region0/dax0.0/target_node");
    put("x", "/sys/bus/dax/devices/none");
    make_link("/sys/devices/root0/decoder0.0/region0", "/sys/bus/cxl/devices/region0");
    make_link("/sys/devices/root0/decoder0.0/region0/dax_region0/dax0.0", "/sys/bus/dax/devices/dax0.0");
    if (nf_counter_events(tree.root, NF_COUNTER_CXL, &e, &n))
        fail_msg("%s", nf_error_text(0));
    assert_int_equal(n, 2);
    assert_true(e[0].encoding.config == 0x1e98002000000002 && !e[0].write);
    assert_true(e[1].encoding.config == 0x1e98002100000002 && e[1].write);
    assert_int_equal(e[0].nodes, 4);
    free(e);
    /* Without a devdax, as firmware leaves it, the kernel's memory blocks tell by the region's address. */
    remove_link("/sys/bus/dax/devices/dax0.0");
    assert_int_equal(nf_counter_events(tree.root, NF_COUNTER_CXL, &e, &n), 0);
    assert_int_equal(e[0].nodes, 0);
    free(e);
    put("0x100000000\n", "/sys/devices/root0/decoder0.0/region0/resource");
    put("8000000\n", "/sys/devices/system/memory/block_size_bytes");
    put("online\n", "/sys/devices/system/node/node5/memory32/state");
    assert_int_equal(nf_counter_events(tree.root, NF_COUNTER_CXL, &e, &n), 0);
    assert_int_equal(e[0].nodes, 32);
    free(e);
    put("decoder5.0\n", "/sys/devices/root0/decoder0.0/region0/target0"); /* another device's */
    assert_int_equal(nf_counter_events(tree.root, NF_COUNTER_CXL, &e, &n), 0);
    assert_int_equal(e[0].nodes, 0);
    free(e);
}

static void umc_of_amd_servers(void **state)
{
    struct nf_counter_event *e;
    size_t n;

    put_nodes();
    for (int i = 0; i < 2; i++) {
        char name[16];

        snprintf(name, sizeof name, "amd_umc_%d", i);
        put_pmu(name, "40\n", i ? "4\n" : "0\n");
        put("config:8-9\n", DEVICES "%s/format/rdwrmask", name);
    }
    if (nf_counter_events(tree.root, NF_COUNTER_UMC, &e, &n))
        fail_msg("%s", nf_error_text(0));
    assert_int_equal(n, 4);
    assert_int_equal(e[0].encoding.config, 0x10a);
    assert_int_equal(e[1].encoding.config, 0x20a);
    assert_int_equal(e[2].nodes, 2);
    free(e);
}

static void pcm_by_its_headings(void **state)
{
    static const char text[] =
        "Link 3 is disabled\n"
        ",,SKT0,SKT0,SKT0,SKT0,SKT0,SKT1,SKT1,SKT1,System,System,System\n"
        "Date,Time,Mem Read (MB/s),Mem Write (MB/s), P. Write (T/s),Memory (MB/s),CXL.mem_P0Write,Mem Write (MB/s),Mem Read "
        "(MB/s),Memory (MB/s),CXLRead,Read,Write\n"
        "2026-11-26,23:59:59.900,  100.00,   50.00,         7,  150.00,   8.00,    2.00,   1.00,  3.00,   20.00,101,52\n"
        "2026-11-27,00:00:00.100,  100.00,   50.00,         7,  150.00,   8.00,    2.00,   1.00,  3.00,   20.00,101,52\n"
        "2026-11-27,00:00:00.200,  nan,   50.00,         7,  150.00,   8.00,    2.00,   1.00,  3.00,   20.00,101,52\n";
    struct nf_pcm *p = malloc(sizeof *p);

    assert_non_null(p);
    nf_pcm_init(p, 0.1);
    for (size_t i = 0; i < sizeof text - 1; i++)
        nf_pcm_feed(p, text + i, 1);
    assert_int_equal(p->rows, 3);
    assert_int_equal(p->bad, 1);
    assert_int_equal(p->n_packages, 2);
    /* 0.1 s as asked for, then 0.2 s over midnight. */
    assert_float_equal(p->dram[0].read, 30e6, 1);
    assert_float_equal(p->dram[0].write, 15e6, 1);
    assert_float_equal(p->dram[1].read, 0.3e6, 1);
    assert_float_equal(p->dram[1].write, 0.6e6, 1);
    assert_float_equal(p->cxl.read, 6e6, 1);
    assert_float_equal(p->cxl.write, 2.4e6, 1);
    assert_true(p->has_cxl_read && p->has_cxl_write);
    free(p);
}

static void flags_what_is_off(void **state)
{
    static const struct {
        uint64_t read, write;
        const char *mark;
    } cases[] = {
        {1000, 400, NULL}, {1400, 400, NULL}, {901, 361, NULL},
        {899, 400, "read"}, {1541, 400, "read"}, {1000, 359, "written"}, {1000, 441, "written"},
    };
    /* Of which caches keep a part: reads of 700 and writes of 100 are then agreement, too. */
    static const struct {
        uint64_t read, write;
        const char *mark;
    } cached[] = {
        {700, 400, NULL}, {1400, 100, NULL}, {631, 91, NULL}, {1539, 439, NULL},
        {629, 400, "read"}, {1541, 400, "read"}, {1000, 89, "written"}, {1000, 441, "written"},
    };
    const struct nf_tier alone[] = {{.facts.node = 0}, {.facts.node = 2}}, both[] = {{.facts.node = 0}, {.facts.node = 0}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_counter_traffic c = {4, true, true, cases[i].read << 20, cases[i].write << 20};

        for (int shared = 0; shared < 2; shared++) {
            struct nf_trial t = {0};

            t.tier[0].counter_read_bytes = t.tier[1].counter_read_bytes = NF_TRIAL_UNKNOWN;
            t.tier[1].read_bytes = t.tier[1].miss_read_bytes = 900ull << 20;
            t.tier[1].write_bytes = t.tier[1].miss_write_bytes = 400ull << 20;
            t.pool.tier[1].moved_out_bytes = 100ull << 20;
            c.nodes = shared ? 1 : 4;
            nf_counters_compare(&c, shared ? both : alone, 2, &t);
            if (cases[i].mark ? !strstr(t.interference, cases[i].mark) : *t.interference)
                fail_msg("case %zu: '%s'", i, t.interference);
            assert_true(t.tier[0].counter_read_bytes == NF_TRIAL_UNKNOWN);
            assert_true(t.tier[1].counter_read_bytes == (shared ? NF_TRIAL_UNKNOWN : c.read_bytes));
        }
    }
    for (size_t i = 0; i < sizeof cached / sizeof *cached; i++) {
        struct nf_counter_traffic c = {4, true, true, cached[i].read << 20, cached[i].write << 20};
        struct nf_trial t = {0};

        t.tier[1].read_bytes = 900ull << 20;
        t.tier[1].miss_read_bytes = 600ull << 20;
        t.tier[1].write_bytes = 400ull << 20;
        t.tier[1].miss_write_bytes = 100ull << 20;
        t.pool.tier[1].moved_out_bytes = 100ull << 20;
        nf_counters_compare(&c, alone, 2, &t);
        if (cached[i].mark ? !strstr(t.interference, cached[i].mark) : *t.interference)
            fail_msg("cached case %zu: '%s'", i, t.interference);
    }
}

/* A devdax's memory is counted as that of the node it would be; of every tier that is not counted it is said why. */
static void tiers_without_a_node(void **state)
{
    const struct nf_tier tiers[] = {{.name = "near", .facts = {.node = 0}}, {.name = "dax", .facts = {.node = -1, .target_node = 2}},
                                    {.name = "file", .facts = {.node = -1, .target_node = -1}}, {.name = "other", .facts = {.node = 3}},
                                    {.name = "same", .facts = {.node = 3}}};
    const struct nf_counter_traffic dax = {4, true, true, 100 << 20, 50 << 20}, shared = {8, true, true, 0, 0}, reads = {1, true, false, 0, 0};
    struct nf_counters *none;
    struct nf_trial t = {0};

    for (int i = 0; i < 5; i++)
        t.tier[i].counter_read_bytes = t.tier[i].counter_write_bytes = NF_TRIAL_UNKNOWN;
    assert_int_equal(nf_counters_open((const struct nf_counter_ops *const[]){&nf_counter_umc, &nf_counter_cxl, NULL}, tree.root, &none), 0);
    assert_non_null(strstr(nf_counters_said(none), "amd_umc: this machine shows no memory controller of an AMD CPU"));
    assert_non_null(strstr(nf_counters_said(none), "; cxl_pmu: this machine shows no CXL memory device"));
    nf_counters_judge(none, tiers, 5, &t);
    for (int i = 0; i < 5; i++)
        assert_string_equal(t.tier[i].uncounted, "no counter works here");
    nf_counters_close(none);
    nf_counters_leave_out(5, "somebody was there", &t);
    t.tier[1].read_bytes = 10 << 20;
    t.tier[1].write_bytes = 50 << 20;
    nf_counters_compare(&dax, tiers, 5, &t);
    assert_non_null(strstr(t.interference, "counters saw 100.00 MiB read, the replay 60.00 MiB"));
    assert_int_equal(t.tier[1].counter_read_bytes, 100 << 20);
    assert_int_equal(t.tier[1].counter_write_bytes, 50 << 20);
    assert_string_equal(t.tier[1].uncounted, "");
    nf_counters_compare(&shared, tiers, 5, &t);
    assert_string_equal(t.tier[3].uncounted, "counted together with tier 'same': both are on one node");
    assert_string_equal(t.tier[4].uncounted, "counted together with tier 'other': both are on one node");
    nf_counters_compare(&reads, tiers, 5, &t);
    assert_string_equal(t.tier[0].uncounted, "its writes are not counted");
    assert_string_equal(t.tier[2].uncounted, "somebody was there");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(imc_of_intel_servers, setup, teardown),
        cmocka_unit_test_setup_teardown(says_why_there_is_no_imc, setup, teardown),
        cmocka_unit_test_setup_teardown(cxl_devices_by_their_region, setup, teardown),
        cmocka_unit_test_setup_teardown(umc_of_amd_servers, setup, teardown),
        cmocka_unit_test(pcm_by_its_headings),
        cmocka_unit_test(flags_what_is_off),
        cmocka_unit_test_setup_teardown(says_why_there_is_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(tiers_without_a_node, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
