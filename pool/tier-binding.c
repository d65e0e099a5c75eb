#include "pool/tier-binding.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/stream.h"

/* Pages asked about in one move_pages call: large enough that the call's own cost vanishes (0.3 us a page), small
 * enough that its two arrays (12 bytes a page) stay in the caches. */
enum { VERIFY_BATCH = 4096, ARRIVAL_LOOKS = 100 };
/* Kernel 5.15 and newer, 6.9 and newer; headers of older ones stop below them. */
enum { PREFERRED_MANY = 5, WEIGHTED_INTERLEAVE = 6 };

int nf_binding_probe(char *why, size_t size)
{
    int node = nf_binding_local_node(), rc = 0, status = -1;
    void *page;

    if (numa_available() < 0) {
        snprintf(why, size, "the kernel offers no NUMA policy (CONFIG_NUMA, or a sandbox that hides it)");
        return -ENODEV;
    }
    page = mmap(NULL, NF_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        snprintf(why, size, "cannot map a page: %s", strerror(errno));
        return -errno;
    }
    /* Containers filter these two calls far more often than kernels lack them. */
    if (node >= 0 && nf_binding_bind(page, NF_PAGE_BYTES, node)) {
        rc = -errno;
        snprintf(why, size, "mbind is refused: %s (in a container: give it CAP_SYS_NICE)", strerror(errno));
    } else {
        *(volatile char *)page = 1;
        if (move_pages(0, 1, &page, NULL, &status, 0) < 0) {
            rc = -errno;
            snprintf(why, size, "move_pages is refused: %s (in a container: give it CAP_SYS_NICE)", strerror(errno));
        }
    }
    munmap(page, NF_PAGE_BYTES);
    if (!rc)
        snprintf(why, size, "usable");
    return rc;
}

int nf_binding_local_node(void)
{
    int cpu = sched_getcpu();

    return cpu < 0 ? -1 : numa_node_of_cpu(cpu);
}

int nf_binding_check_node(int node)
{
    struct nf_buf nodes = {0};
    int max = numa_max_node();

    if (node >= 0 && node <= max && numa_node_size64(node, NULL) > 0)
        return 0;
    for (int i = 0; i <= max; i++)
        if (numa_node_size64(i, NULL) > 0)
            nf_buf_printf(&nodes, "%s%d", nodes.n ? ", " : "", i);
    nf_fail(-ENODEV, "node %d has no memory; nodes with memory: %s", node, nodes.n ? nodes.data : "none");
    nf_buf_deinit(&nodes);
    return -ENODEV;
}

bool nf_binding_has_cpus(int node)
{
    struct bitmask *cpus = numa_allocate_cpumask();
    bool any = cpus && numa_node_to_cpus(node, cpus) == 0 && numa_bitmask_weight(cpus) > 0;

    if (cpus)
        numa_free_cpumask(cpus);
    return any;
}

/* The kB behind a key of a meminfo file; 0 when it is not there. */
static uint64_t meminfo_kb(const char *text, const char *key)
{
    const char *p = strstr(text, key);

    return p ? strtoull(p + strlen(key), NULL, 10) : 0;
}

uint64_t nf_binding_available(int node)
{
    struct nf_buf text = {0};
    uint64_t kb = 0;
    char path[64];

    /* The kernel's own estimate exists for the machine only; with one node that is the node's. */
    if (numa_num_configured_nodes() > 1)
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
    else
        snprintf(path, sizeof path, "/proc/meminfo");
    if (!nf_buf_read_file(&text, path, 65536) && text.data) {
        kb = meminfo_kb(text.data, "MemAvailable:");
        if (!kb)
            kb = meminfo_kb(text.data, "MemFree:") + meminfo_kb(text.data, "Active(file):") +
                 meminfo_kb(text.data, "Inactive(file):");
    }
    nf_error_clear(); /* not knowing is no failure */
    nf_buf_deinit(&text);
    return kb ? kb * 1024 : UINT64_MAX;
}

int nf_binding_bind(void *memory, size_t bytes, int node)
{
    struct bitmask *mask = numa_allocate_nodemask();
    int rc = 0;

    if (!mask)
        return nf_fail(-ENOMEM, "no memory for a node mask");
    numa_bitmask_setbit(mask, (unsigned)node);
    /* mbind's maxnode counts one more than the bits it reads. */
    if (mbind(memory, bytes, MPOL_BIND, mask->maskp, mask->size + 1, 0)) {
        rc = -errno;
        nf_fail(rc, "cannot bind %zu bytes to node %d: %s", bytes, node, strerror(-rc));
    }
    numa_free_nodemask(mask);
    if (rc)
        errno = -rc;
    return rc;
}

/* A page that is being migrated is nowhere until it has arrived, which the kernel does within microseconds. */
static int node_of_page(void *page, int *status)
{
    const struct timespec pause = {.tv_nsec = 100000};

    for (int look = 0; look < ARRIVAL_LOOKS; look++) {
        nanosleep(&pause, NULL);
        if (move_pages(0, 1, &page, NULL, status, 0) < 0)
            return nf_fail(-errno, "cannot ask where a page is: %s", strerror(errno));
        if (*status >= 0)
            break;
    }
    return 0;
}

int nf_binding_verify(const void *memory, size_t bytes, int node)
{
    void *page[VERIFY_BATCH];
    int status[VERIFY_BATCH];
    size_t pages = bytes / NF_PAGE_BYTES;

    for (size_t done = 0; done < pages;) {
        size_t n = pages - done < VERIFY_BATCH ? pages - done : VERIFY_BATCH;

        for (size_t i = 0; i < n; i++)
            page[i] = (char *)memory + (done + i) * NF_PAGE_BYTES;
        if (move_pages(0, n, page, NULL, status, 0) < 0)
            return nf_fail(-errno, "cannot ask where pages are: %s", strerror(errno));
        for (size_t i = 0; i < n; i++) {
            int rc = status[i] == -ENOENT ? node_of_page(page[i], &status[i]) : 0;

            if (rc)
                return rc;
            if (status[i] < 0)
                return nf_fail(-EXDEV, "page %zu of %zu is nowhere: %s", done + i, pages, strerror(-status[i]));
            if (status[i] != node)
                return nf_fail(-EXDEV, "page %zu of %zu is on node %d, not on node %d", done + i, pages, status[i],
                               node);
        }
        done += n;
    }
    return 0;
}

static const int rule_modes[NF_BINDING_RULES] = {MPOL_BIND, MPOL_INTERLEAVE, WEIGHTED_INTERLEAVE, PREFERRED_MANY, MPOL_DEFAULT};

int nf_binding_rule_enter(enum nf_binding_rule rule, const int *nodes, unsigned n)
{
    unsigned long mask = 0;

    for (unsigned i = 0; i < n; i++)
        mask |= 1ul << nodes[i];
    if (rule == NF_BINDING_FIRST_TOUCH)
        return syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0) ? -errno : 0;
    /* The system call itself: libnuma's wrapper may allocate. maxnode counts one more than the bits it reads. */
    return syscall(SYS_set_mempolicy, rule_modes[rule], &mask, 8 * sizeof mask + 1) ? -errno : 0;
}

int nf_binding_rule_probe(enum nf_binding_rule rule, char *why, size_t size)
{
    int node = nf_binding_local_node(), rc, mode = MPOL_DEFAULT;
    unsigned long before = 0;

    if (numa_available() < 0 || node < 0 || node > 63) {
        snprintf(why, size, "the kernel offers no NUMA policy (CONFIG_NUMA, or a sandbox that hides it)");
        return -ENODEV;
    }
    if (syscall(SYS_get_mempolicy, &mode, &before, 8 * sizeof before + 1, NULL, 0)) {
        rc = -errno;
        snprintf(why, size, "get_mempolicy is refused: %s", strerror(-rc));
        return rc;
    }
    rc = nf_binding_rule_enter(rule, &node, 1);
    syscall(SYS_set_mempolicy, mode, before ? &before : NULL, before ? 8 * sizeof before + 1 : 0);
    if (rc == -EINVAL && rule == NF_BINDING_WEIGHTED) {
        snprintf(why, size, "this kernel has no weighted interleave (6.9 and newer have)");
        return -ENODEV;
    }
    if (rc == -EINVAL && rule == NF_BINDING_PREFERRED_MANY) {
        snprintf(why, size, "this kernel has no preferred-many (5.15 and newer have)");
        return -ENODEV;
    }
    snprintf(why, size, rc ? "set_mempolicy is refused: %s" : "usable", strerror(-rc));
    return rc;
}
