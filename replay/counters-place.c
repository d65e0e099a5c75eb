/* Which NUMA nodes a memory controller, a package or a CXL device stands for. */
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/counters-pmu.h"

enum { CPUS_MAX = 4096, NODES_MAX = 64 };

int nf_counter_list(const char *text, int *out, int max)
{
    int n = 0;

    while (*text && *text != '\n') {
        char *end;
        long low = strtol(text, &end, 10), high = low;

        if (end == text || *text == '-' || *text == '+' || *text == ' ')
            return -EBADMSG;
        if (*end == '-') {
            text = end + 1;
            high = strtol(text, &end, 10);
            if (end == text || *text == '-' || *text == '+' || *text == ' ')
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

/* Whether the endpoint decoder "decoder5.0" belongs to memory device `mem`: its endpoint's upstream port is the device. */
static bool decodes_for(const char *root, const char *decoder, const char *mem)
{
    char link[NF_PMU_PATH], *real;
    const char *name;
    int endpoint;
    bool same;

    if (sscanf(decoder, "decoder%d.", &endpoint) != 1)
        return false;
    snprintf(link, sizeof link, "%s/sys/bus/cxl/devices/endpoint%d/uport", root, endpoint);
    real = realpath(link, NULL);
    name = real ? strrchr(real, '/') : NULL;
    same = name && !strcmp(name + 1, mem);
    free(real);
    return same;
}

uint64_t nf_counter_nodes_of_memdev(const char *root, const char *mem)
{
    char pattern[NF_PMU_PATH];
    uint64_t nodes = 0;
    glob_t g;

    snprintf(pattern, sizeof pattern, "%s/sys/bus/cxl/devices/region*", root);
    if (glob(pattern, 0, NULL, &g))
        return 0;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        bool ours = false;
        glob_t dax;

        /* Sixteen ways are the most a region interleaves. */
        for (int target = 0; target < 16 && !ours; target++) {
            char path[32], text[64];

            snprintf(path, sizeof path, "/target%d", target);
            if (nf_root_read(g.gl_pathv[i], path, text, sizeof text))
                break;
            ours = decodes_for(root, text, mem);
        }
        if (!ours || snprintf(pattern, sizeof pattern, "%s/dax_region*/dax*", g.gl_pathv[i]) >= (int)sizeof pattern ||
            glob(pattern, 0, NULL, &dax))
            continue;
        for (size_t k = 0; k < dax.gl_pathc; k++) {
            int node = number(dax.gl_pathv[k], "/target_node");

            nodes |= node >= 0 && node < NODES_MAX ? 1ull << node : 0;
        }
        globfree(&dax);
    }
    globfree(&g);
    return nodes;
}
