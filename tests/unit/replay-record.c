/* What a trial's record is made of: the machine's state, what came between, when enough is known. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/prefetchers.h"
#include "replay/environment.h"
#include "replay/interference.h"
#include "replay/stop-rule.h"

static char root[] = "/tmp/nearfar-record-XXXXXX";

static void put(const char *path, const char *text)
{
    char full[256];
    FILE *f;

    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + sizeof root; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0755);
        *p = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int fresh(void **state)
{
    char command[64];

    snprintf(command, sizeof command, "rm -rf %s/*", root);
    return system(command);
}

static void environment_says_unknown(void **state)
{
    struct nf_buf b = {0};

    nf_environment_json(root, 0, &b);
    assert_false(b.failed);
    assert_non_null(strstr(b.data, "\"governor\":\"unknown\""));
    assert_non_null(strstr(b.data, "\"prefetchers\":\"unknown\""));
    assert_non_null(strstr(b.data, "\"kernel\":\"unknown\""));
    nf_buf_deinit(&b);
}

static void environment_reads_what_is_there(void **state)
{
    struct nf_buf b = {0};

    put("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave\n");
    put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    put("/proc/sys/kernel/osrelease", "6.1 \"quoted\"\n");
    put("/dev/cpu/3/msr", "short");
    nf_environment_json(root, 3, &b);
    assert_non_null(strstr(b.data, "\"governor\":\"powersave\""));
    assert_non_null(strstr(b.data, "\"thp\":\"madvise\""));
    assert_non_null(strstr(b.data, "\"kernel\":\"6.1 \\\"quoted\\\"\""));
    assert_non_null(strstr(b.data, "\"prefetchers\":\"unknown\"")); /* cannot be read back: nothing is assumed */
    nf_buf_deinit(&b);
}

/* The register of CPU 0, and nothing behind it. */
static void put_register(off_t msr, uint64_t bits)
{
    char path[256];
    int fd;

    put("/dev/cpu/0/msr", "");
    snprintf(path, sizeof path, "%s/dev/cpu/0/msr", root);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &bits, sizeof bits, msr), sizeof bits);
    close(fd);
}

/* Of an Intel CPU that answers for itself. */
static void prefetchers_are_read_back(void **state)
{
    char text[64], why[128];

    nf_prefetchers_read(root, 0, text, sizeof text, why, sizeof why);
    assert_string_equal(text, "unknown");
    assert_non_null(strstr(why, "vendor"));
    put_register(0x1a4, 0x55);
    put("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: HygonGenuine\ncpu family\t: 24\nflags\t\t: fpu\n\n");
    nf_prefetchers_read(root, 0, text, sizeof text, why, sizeof why);
    assert_string_equal(text, "unknown");
    assert_non_null(strstr(why, "maker"));
    put("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor\n\n");
    nf_prefetchers_read(root, 0, text, sizeof text, why, sizeof why);
    assert_string_equal(text, "unknown");
    assert_non_null(strstr(why, "hypervisor"));
    put("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu\n\nflags\t\t: hypervisor\n");
    nf_prefetchers_read(root, 0, text, sizeof text, why, sizeof why);
    assert_string_equal(text, "off-mask 0x5");
    assert_string_equal(why, "");
    nf_prefetchers_read(root, 1, text, sizeof text, why, sizeof why);
    assert_string_equal(text, "unknown");
    assert_non_null(strstr(why, "modprobe msr"));
}

/* Of AMD's from the first family on that has the register, which lies elsewhere and has other bits. */
static void prefetchers_of_the_other_maker_are_read_back(void **state)
{
    static const struct {
        const char *family, *flags, *text, *why;
    } cases[] = {{"23", "fpu", "unknown", "family"}, {"25", "fpu hypervisor", "unknown", "hypervisor"}, {"25", "fpu", "off-mask 0x25", ""},
                 {"26", "fpu", "off-mask 0x25", ""}};
    char cpuinfo[256], text[64], why[128];

    put_register(0xc0000108, 0x3d0 | 0x25); /* what is reserved, and how far they reach */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(cpuinfo, sizeof cpuinfo, "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: %s\nmodel\t\t: 17\nflags\t\t: %s\n\n",
                 cases[i].family, cases[i].flags);
        put("/proc/cpuinfo", cpuinfo);
        nf_prefetchers_read(root, 0, text, sizeof text, why, sizeof why);
        assert_string_equal(text, cases[i].text);
        assert_true(*cases[i].why ? !!strstr(why, cases[i].why) : !*why);
    }
    put_register(0x1a4, 0); /* ends before it */
    nf_prefetchers_read(root, 0, text, sizeof text, why, sizeof why);
    assert_string_equal(text, "unknown");
    assert_non_null(strstr(why, "register 0xc0000108"));
}

static void interference_reads_counters(void **state)
{
    const int one[] = {1}, two[] = {1, 0}, gone[] = {1, 2};
    struct nf_interference i;

    nf_interference_read(root, one, 1, &i);
    assert_true(i.moved_pages == UINT64_MAX && i.collapsed == UINT64_MAX && i.steal_ticks == UINT64_MAX && i.load < 0);
    put("/proc/vmstat", "nr_free_pages 12\npgmigrate_success 345\npgmigrate_success_not 9\nthp_collapse_alloc 7\n");
    put("/proc/stat", "cpu  1 1 1 1 1 1 1 99\ncpu0 1 1 1 1 1 1 1 98\ncpu1 1 2 3 4 5 6 7 8 9 10\n");
    put("/proc/loadavg", "1.25 1.00 0.50 1/100 200\n");
    nf_interference_read(root, one, 1, &i);
    assert_int_equal(i.moved_pages, 345);
    assert_int_equal(i.collapsed, 7);
    assert_int_equal(i.steal_ticks, 8);
    assert_float_equal(i.load, 1.25, 1e-9);
    nf_interference_read(root, two, 2, &i);
    assert_int_equal(i.steal_ticks, 8 + 98);
    nf_interference_read(root, gone, 2, &i); /* of one of them nothing is known: of their sum neither */
    assert_true(i.steal_ticks == UINT64_MAX);
}

static const struct nf_interference calm = {.moved_pages = 1000, .collapsed = 5, .steal_ticks = 50, .ticks_per_s = 100,
                                            .load = 1};

static void a_calm_trial_is_not_marked(void **state)
{
    struct nf_trial t = {.wall_ns = 1000000000, .threads = 1, .stolen_ns = 9000000, .switches = 19};
    struct nf_interference after = calm;

    after.moved_pages += 64;
    after.steal_ticks += 1;
    nf_interference_judge(&calm, &after, 0, 100000, &t);
    assert_string_equal(t.interference, "");
    assert_int_equal(t.moved_pages, 64);
    assert_int_equal(t.steal_ns, 10000000);
}

static void every_kind_is_marked(void **state)
{
    static const struct {
        uint64_t stolen_ns, switches, faults, moved, collapsed, steal;
        double load;
        const char *word;
    } kinds[] = {
        {11000000, 0, 0, 0, 0, 0, 1, "preempted for 1.1 %"},
        {0, 21, 0, 0, 0, 0, 1, "21 involuntary context switches"},
        {0, 0, 3, 0, 0, 0, 1, "3 page faults"},
        {0, 0, 0, 101, 0, 0, 1, "moved 101 pages unasked"},
        {0, 0, 0, 0, 1, 0, 1, "1 ranges became huge pages"},
        {0, 0, 0, 0, 0, 2, 1, "the host took the CPU for 20 ms"},
        {0, 0, 0, 0, 0, 0, 1.6, "load average 1.60"},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct nf_trial t = {.wall_ns = 1000000000, .threads = 1, .stolen_ns = kinds[i].stolen_ns,
                             .switches = kinds[i].switches, .page_faults = kinds[i].faults};
        struct nf_interference after = calm;

        after.moved_pages += kinds[i].moved;
        after.collapsed += kinds[i].collapsed;
        after.steal_ticks += kinds[i].steal;
        after.load = kinds[i].load;
        nf_interference_judge(&calm, &after, 0, 100000, &t);
        if (!strstr(t.interference, kinds[i].word))
            fail_msg("wanted '%s', found '%s'", kinds[i].word, t.interference);
        assert_null(strchr(t.interference, ';'));
    }
}

/* What a policy asked for is no interference, and an unknown counter says nothing. */
static void asked_moves_and_unknown_counters(void **state)
{
    struct nf_trial t = {.wall_ns = 1000000000, .threads = 1};
    struct nf_interference after = calm, unknown = calm;

    after.moved_pages += 5000;
    nf_interference_judge(&calm, &after, 4990, 100000, &t);
    assert_int_equal(t.moved_pages, 10);
    assert_string_equal(t.interference, "");
    unknown.moved_pages = unknown.collapsed = unknown.steal_ticks = UINT64_MAX;
    nf_interference_judge(&unknown, &after, 0, 100000, &t);
    assert_true(t.moved_pages == NF_TRIAL_UNKNOWN);
    assert_true(t.steal_ns == NF_TRIAL_UNKNOWN);
    assert_string_equal(t.interference, "");
}

/* Of several CPUs as a share of all of them. */
static void steal_of_a_team_is_judged_by_its_time(void **state)
{
    struct nf_trial t = {.wall_ns = 1000000000, .threads = 4};
    struct nf_interference after = calm;

    after.steal_ticks += 4;
    nf_interference_judge(&calm, &after, 0, 100000, &t);
    assert_string_equal(t.interference, "");
    after.steal_ticks += 1;
    nf_interference_judge(&calm, &after, 0, 100000, &t);
    assert_non_null(strstr(t.interference, "the host took the CPU for 50 ms"));
}

static void stops_when_every_interval_is_narrow(void **state)
{
    const char *const policies[] = {"near-first", "interleave"};
    const double shares[] = {0.5};
    const enum nf_overlap overlaps[] = {NF_OVERLAP_ASAP};
    const struct nf_trials_wish wish = {.policies = policies, .n_policies = 2, .near_shares = shares, .n_near_shares = 1,
                                        .overlaps = overlaps, .n_overlaps = 1};
    struct nf_trials trials;
    struct nf_stop_rule r;
    uint32_t noisy = 0;

    assert_int_equal(nf_trials_init(&trials, &wish), 0);
    assert_int_equal(trials.n, 3);
    assert_int_equal(nf_stop_rule_init(&r, &trials, 12), 0);
    assert_true(isnan(nf_stop_rule_width(&r, 12, 1)));
    /* The machine is twice as slow in every other block: pairing within a block takes that out. */
    for (uint32_t block = 0; block < 12; block++) {
        for (uint32_t i = 0; i < trials.n; i++) {
            bool near = nf_trials_is_all_near(trials.policies[trials.v[i].policy].ops);

            noisy = near ? noisy : i;
            nf_stop_rule_add(&r, block, i, (near ? 100 : 150) * (block % 2 ? 2 : 1));
        }
    }
    assert_true(nf_stop_rule_width(&r, 12, 1) < 1e-9);
    assert_true(isnan(nf_stop_rule_width(&r, 1, 1)));
    /* One policy that scatters keeps it open. */
    for (uint32_t block = 0; block < 12; block++)
        nf_stop_rule_add(&r, block, noisy, 150 + 10 * (block % 5));
    assert_true(nf_stop_rule_width(&r, 12, 1) > 0.05);
    /* A failed trial is no pair. */
    for (uint32_t block = 1; block < 12; block++)
        nf_stop_rule_add(&r, block, noisy, 0);
    assert_true(isnan(nf_stop_rule_width(&r, 12, 1)));
    nf_stop_rule_deinit(&r);
    nf_trials_deinit(&trials);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(environment_says_unknown, fresh),
        cmocka_unit_test_setup(environment_reads_what_is_there, fresh), cmocka_unit_test_setup(prefetchers_are_read_back, fresh),
        cmocka_unit_test_setup(prefetchers_of_the_other_maker_are_read_back, fresh),
        cmocka_unit_test_setup(interference_reads_counters, fresh),
        cmocka_unit_test(a_calm_trial_is_not_marked),
        cmocka_unit_test(every_kind_is_marked),
        cmocka_unit_test(asked_moves_and_unknown_counters),
        cmocka_unit_test(steal_of_a_team_is_judged_by_its_time),
        cmocka_unit_test(stops_when_every_interval_is_narrow),
    };
    int failed;

    if (!mkdtemp(root))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    fresh(NULL);
    rmdir(root);
    return failed;
}
