/* Which NUMA nodes a memory controller, a package or a CXL device stands for. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/devices.h"
#include "replay/counters-pmu.h"

enum { CPUS_MAX = 4096, NODES_MAX = 64 };

int nf_counter_list(const char *text, int *out, int max)
{
    int n = 0;

    while (*text && *text != '\n') {
        char *end;
        long low = strtol(text, &end, 10), high = low;

        if (!isdigit((unsigned char)*text))
            return -EBADMSG;
        if (*end == '-') {
            text = end + 1;
            high = strtol(text, &end, 10);
            if (!isdigit((unsigned char)*text))
                return -EBADMSG;
        }
        if (low > high || high >= CPUS_MAX)
            return -EBADMSG;
        for (long i = low; i <= high; i++) {
            if (n == max)
                return -EBADMSG;
            out[n++] = (int)i;
        }
        text = end;
        if (*text == ',')
            text++;
        else if (*text && *text != '\n')
            return -EBADMSG;
    }
    return n;
}

static int number(const char *root, const char *path)
{
    char text[64], *end;
    long v;

    if (nf_root_read(root, path, text, sizeof text))
        return -1;
    v = strtol(text, &end, 10);
    return end > text && v >= 0 && v <= INT_MAX ? (int)v : -1;
}

static int package_of(const char *root, int cpu)
{
    char path[128];

    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpu);
    return number(root, path);
}

uint64_t nf_counter_nodes_of_package(const char *root, int package)
{
    static const char list[] = "/sys/devices/system/node/node%d/cpulist";
    int cpus[CPUS_MAX];
    uint64_t nodes = 0;

    for (int node = 0; node < NODES_MAX && package >= 0; node++) {
        char path[96], text[4096];
        int n;

        snprintf(path, sizeof path, list, node);
        if (nf_root_read(root, path, text, sizeof text))
            continue;
        n = nf_counter_list(text, cpus, CPUS_MAX);
        if (n > 0 && package_of(root, cpus[0]) == package)
            nodes |= 1ull << node;
    }
    return nodes;
}

uint64_t nf_counter_nodes_of_cpu(const char *root, int cpu)
{
    return nf_counter_nodes_of_package(root, package_of(root, cpu));
}

static uint64_t node_set(const char *root, const char *path)
{
    int nodes[NODES_MAX], n;
    char text[1024];
    uint64_t set = 0;

    if (nf_root_read(root, path, text, sizeof text))
        return 0;
    n = nf_counter_list(text, nodes, NODES_MAX);
    for (int i = 0; i < n; i++)
        set |= nodes[i] < NODES_MAX ? 1ull << nodes[i] : 0;
    return set;
}

uint64_t nf_counter_nodes_without_cpu(const char *root)
{
    return node_set(root, "/sys/devices/system/node/has_memory") & ~node_set(root, "/sys/devices/system/node/has_cpu");
}

/* Whether one of the names in `on` is a device that stands on `wanted`, itself or through others. */
static bool stands_on(const struct nf_devices *devices, const struct nf_device *d, const char *wanted)
{
    for (const char *p = d->on; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        const struct nf_device *below = nf_devices_named(devices, p, n);

        /* What stands on a thing comes after it in the list: no circle. */
        if (below && below < d && (!strcmp(below->name, wanted) || stands_on(devices, below, wanted)))
            return true;
        p += n;
    }
    return false;
}

uint64_t nf_counter_nodes_of_memdev(const char *root, const char *mem)
{
    struct nf_devices devices;
    char sys[NF_PMU_PATH];
    uint64_t nodes = 0;

    snprintf(sys, sizeof sys, "%s/sys", root);
    if (nf_devices_list(sys, &devices))
        nf_error_clear(); /* unknown then */
    for (size_t i = 0; i < devices.n; i++) {
        const struct nf_device *d = &devices.v[i];

        if (!strcmp(d->kind, "cxl region") && d->target_node >= 0 && d->target_node < NODES_MAX && stands_on(&devices, d, mem))
            nodes |= 1ull << d->target_node;
    }
    nf_devices_free(&devices);
    return nodes;
}
