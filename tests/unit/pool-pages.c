/* Moving pages between nodes without a second node: a kernel of our own behind the system call. And what the kernel's
 * own tiering needs, on trees of sysfs that are not this machine's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/stats.h"
#include "core/model/stream.h"
#include "pool/evict.h"
#include "pool/kernel-tiering.h"
#include "pool/mover.h"
#include "pool/pages.h"

enum { PAGE = NF_PAGE_BYTES, PAGES = 10000 };

static struct {
    char *base;
    int node[PAGES];         /* < 0: -errno of where it is */
    int refuses[PAGES];      /* a status for the next `times` attempts to move it */
    unsigned times[PAGES];
    unsigned away[PAGES];    /* looks that find it nowhere, being under migration */
    unsigned free_pages;     /* of the node that is moved to */
    unsigned calls, moves;
    int fails;               /* errno of the next call that moves */
} kernel;

static long fake_move_pages(unsigned long n, void **pages, const int *nodes, int *status)
{
    kernel.calls++;
    assert_true(n > 0);
    if (nodes && kernel.fails) {
        errno = kernel.fails;
        return -1;
    }
    for (unsigned long i = 0; i < n; i++) {
        size_t p = (size_t)((char *)pages[i] - kernel.base) / PAGE;

        assert_true(p < PAGES && (char *)pages[i] == kernel.base + p * PAGE);
        status[i] = kernel.node[p];
        if (!nodes && kernel.away[p]) {
            kernel.away[p]--;
            status[i] = -ENOENT;
        }
        if (!nodes)
            continue;
        kernel.moves++;
        if (kernel.times[p]) {
            kernel.times[p]--;
            status[i] = kernel.refuses[p];
        } else if (kernel.node[p] >= 0 && kernel.node[p] != nodes[i]) {
            if (kernel.free_pages) {
                kernel.free_pages--;
                kernel.node[p] = nodes[i];
            }
            status[i] = kernel.node[p] == nodes[i] ? nodes[i] : -ENOMEM;
        }
    }
    return 0;
}

static const struct nf_pages_system fake = {.move_pages = fake_move_pages};

static int setup(void **state)
{
    memset(&kernel, 0, sizeof kernel);
    kernel.base = (char *)(uintptr_t)0x10000000; /* never looked into */
    kernel.free_pages = PAGES;
    return 0;
}

static void moves_what_is_elsewhere(void **state)
{
    uint64_t moved = 99;

    for (size_t i = 0; i < PAGES; i += 3)
        kernel.node[i] = 1;
    assert_int_equal(nf_pages_move(&fake, kernel.base + PAGE, (PAGES - 2) * (uint64_t)PAGE, 1, &moved), 0);
    for (size_t i = 1; i < PAGES - 1; i++)
        assert_int_equal(kernel.node[i], 1);
    assert_int_equal(kernel.node[PAGES - 1], 1); /* was there */
    kernel.node[PAGES - 1] = 0;
    assert_int_equal(kernel.node[0], 1);
    assert_int_equal(moved, 6666);
    assert_int_equal(kernel.moves, 6666); /* pages that are there are not touched */
    assert_int_equal(nf_pages_move(&fake, kernel.base, (PAGES - 1) * (uint64_t)PAGE, 1, &moved), 0);
    assert_int_equal(moved, 0);
    assert_int_equal(kernel.moves, 6666);
}

static void pages_outside_stay(void **state)
{
    assert_int_equal(nf_pages_move(&fake, kernel.base + 5 * PAGE, 3 * PAGE, 1, NULL), 0);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(kernel.node[i], i >= 5 && i < 8);
}

static void tries_again(void **state)
{
    uint64_t moved;

    kernel.times[2] = 3;
    kernel.refuses[2] = -EBUSY;
    kernel.times[3] = 1;
    kernel.refuses[3] = -EAGAIN;
    assert_int_equal(nf_pages_move(&fake, kernel.base, 5 * PAGE, 1, &moved), 0);
    assert_int_equal(moved, 5);
    kernel.times[2] = 1000;
    assert_int_equal(nf_pages_move(&fake, kernel.base, 5 * PAGE, 0, &moved), -EXDEV);
    assert_int_equal(moved, 4);
    assert_true(kernel.times[2] > 900); /* not for ever */
}

static void a_full_node(void **state)
{
    uint64_t moved;

    kernel.free_pages = 5000;
    assert_int_equal(nf_pages_move(&fake, kernel.base, PAGES * (uint64_t)PAGE, 1, &moved), -ENOMEM);
    assert_non_null(strstr(nf_error_text(-ENOMEM), "node 1"));
    assert_int_equal(moved, 5000);
    kernel.fails = ENOMEM; /* some kernels fail the whole call */
    assert_int_equal(nf_pages_move(&fake, kernel.base, PAGES * (uint64_t)PAGE, 1, &moved), -ENOMEM);
}

static void says_why_not(void **state)
{
    static const struct {
        int status;
        const char *says;
    } cases[] = {{-EACCES, "shared"}, {-EFAULT, "never written"}, {-EIO, "did not move"}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kernel.times[7] = 1;
        kernel.refuses[7] = cases[i].status;
        assert_int_equal(nf_pages_move(&fake, kernel.base, 20 * PAGE, 1, NULL), -EXDEV);
        assert_int_equal(kernel.node[7], 0);
        assert_non_null(strstr(nf_error_text(-EXDEV), cases[i].says));
    }
    kernel.node[3] = -ENOENT;
    assert_int_equal(nf_pages_move(&fake, kernel.base, 20 * PAGE, 1, NULL), -EXDEV);
    assert_non_null(strstr(nf_error_text(-EXDEV), "never written"));
    kernel.node[3] = 0;
    kernel.fails = EPERM;
    assert_int_equal(nf_pages_move(&fake, kernel.base, 20 * PAGE, 0, NULL), -EPERM);
    assert_non_null(strstr(nf_error_text(-EPERM), "CAP_SYS_NICE"));
}

static void says_where(void **state)
{
    static int node[PAGES];

    for (size_t i = 0; i < PAGES; i++)
        kernel.node[i] = (int)(i % 5) - 1;
    assert_int_equal(nf_pages_where(&fake, kernel.base, PAGES * (uint64_t)PAGE, node), 0);
    assert_memory_equal(node, kernel.node, sizeof node);
    assert_true(kernel.calls < 10); /* in batches */
}

/* A page under migration is waited for; one that was never there is not waited for twice. */
static void waits_for_arrivals(void **state)
{
    static int node[PAGES];
    unsigned calls;

    for (size_t i = 0; i < PAGES; i++)
        kernel.node[i] = (int)(i % 2);
    for (size_t i = 0; i < PAGES; i += 7)
        kernel.away[i] = 1 + (unsigned)i % 5;
    assert_int_equal(nf_pages_where(&fake, kernel.base, PAGES * (uint64_t)PAGE, node), 0);
    assert_memory_equal(node, kernel.node, sizeof node);
    calls = kernel.calls;
    kernel.node[5] = kernel.node[PAGES - 1] = -ENOENT;
    assert_int_equal(nf_pages_where(&fake, kernel.base, PAGES * (uint64_t)PAGE, node), 0);
    assert_memory_equal(node, kernel.node, sizeof node);
    assert_in_range(kernel.calls - calls, 100, 110); /* 10 ms in all, for however many */
}

/* The real call, as far as one node goes: memory that is where it is wanted, and memory that never was. */
static void the_real_kernel(void **state)
{
    int node[4];
    uint64_t moved;
    char *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(memory != MAP_FAILED);
    memset(memory, 7, 4 * PAGE);
    if (nf_pages_where(&nf_pages_kernel, memory, 4 * PAGE, node)) {
        print_message("%s\n", nf_error_text(0));
        munmap(memory, 4 * PAGE);
        skip();
    }
    assert_true(node[0] >= 0);
    assert_int_equal(nf_pages_move(&nf_pages_kernel, memory, 4 * PAGE, node[0], &moved), 0);
    for (size_t i = 0; i < 4 * PAGE; i++)
        assert_int_equal(memory[i], 7);
    assert_true(nf_pages_move(&nf_pages_kernel, memory, 4 * PAGE, 900, &moved) < 0);
    assert_true(strlen(nf_error_text(0)) > 0);
    munmap(memory, 4 * PAGE);
}

/* A chain of lines that caches hold, and the same once they do not: memory is slower than any of them by far. */
static double chase_ns(void **lines, size_t n)
{
    uint64_t start = nf_now_ns();
    void **at = lines;

    for (size_t i = 0; i < n; i++)
        at = *at;
    __asm__ volatile("" : : "r"(at) : "memory");
    return (double)(nf_now_ns() - start);
}

/* Two chains, of every second line each: none is left out. */
static void evicted_lines_come_from_memory(void **state)
{
    enum { LINES = 4096, STEP = 2 * 997 /* odd pairs: every line of a chain once, in no order a prefetcher knows */, TRIES = 21 };
    static _Alignas(64) char memory[LINES * 64];

    for (size_t i = 0; i < LINES; i++)
        *(void **)(memory + i * 64) = memory + (i + STEP) % LINES * 64;
    for (size_t first = 0; first < 2; first++) {
        void **chain = (void **)(memory + first * 64);
        double warm[TRIES], cold[TRIES];

        for (int i = 0; i < TRIES; i++) {
            chase_ns(chain, LINES / 2);
            warm[i] = chase_ns(chain, LINES / 2);
            nf_evict(memory, sizeof memory);
            cold[i] = chase_ns(chain, LINES / 2);
        }
        print_message("a line: %.1f ns cached, %.1f ns evicted\n", nf_median(warm, TRIES) / LINES * 2, nf_median(cold, TRIES) / LINES * 2);
        assert_true(nf_median(cold, TRIES) > 2 * nf_median(warm, TRIES));
    }
    nf_evict(NULL, 0);
}

/* --- the kernel's own tiering --- */

static void put(const char *root, const char *path, const char *text)
{
    char full[512];
    FILE *f;

    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void refused(const char *root, const char *says)
{
    char why[256] = "";

    assert_int_equal(nf_kernel_tiering_probe(root, why, sizeof why), -ENODEV);
    if (!strstr(why, says))
        fail_msg("'%s' does not say '%s'", why, says);
}

static void tiering_says_what_is_missing(void **state)
{
    char root[] = "/tmp/nearfar-tiering-XXXXXX", why[256], command[64];

    assert_non_null(mkdtemp(root));
    refused(root, "one memory node");
    put(root, "sys/devices/system/node/node0/meminfo", "Node 0 MemTotal: 1000 kB\n");
    put(root, "sys/devices/system/node/node0/cpulist", "0-1\n");
    refused(root, "one memory node");
    assert_int_equal(nf_mover_probe_machine(NF_MOVER_MOVE_PAGES, root, why, sizeof why), -ENODEV);
    assert_int_equal(nf_mover_probe_machine(NF_MOVER_COPY, root, why, sizeof why), 0);
    put(root, "sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 1000 kB\n");
    refused(root, "does not demote");
    assert_int_equal(nf_mover_probe_machine(NF_MOVER_MOVE_PAGES, root, why, sizeof why), 0);
    assert_int_equal(nf_mover_probe_machine(NF_MOVER_KERNEL, root, why, sizeof why), -ENODEV);
    put(root, "sys/kernel/mm/numa/demotion_enabled", "false\n");
    refused(root, "echo 1");
    put(root, "sys/kernel/mm/numa/demotion_enabled", "true\n");
    refused(root, "CONFIG_NUMA_BALANCING");
    put(root, "proc/sys/kernel/numa_balancing", "1\n");
    refused(root, "echo 2");
    put(root, "proc/sys/kernel/numa_balancing", "2\n");
    assert_int_equal(nf_kernel_tiering_probe(root, why, sizeof why), 0);
    put(root, "proc/sys/kernel/numa_balancing", "3\n"); /* both kinds */
    assert_int_equal(nf_kernel_tiering_probe(root, why, sizeof why), 0);
    snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(moves_what_is_elsewhere, setup), cmocka_unit_test_setup(pages_outside_stay, setup),
        cmocka_unit_test_setup(tries_again, setup), cmocka_unit_test_setup(a_full_node, setup),
        cmocka_unit_test_setup(says_why_not, setup), cmocka_unit_test_setup(says_where, setup), cmocka_unit_test_setup(waits_for_arrivals, setup),
        cmocka_unit_test(the_real_kernel), cmocka_unit_test(evicted_lines_come_from_memory), cmocka_unit_test(tiering_says_what_is_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
