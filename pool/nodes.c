#include "pool/nodes.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "pool/sysfs.h"

enum { NODE_NUMBER_MAX = 1024, KERNEL_TIERS_MAX = 1024 };
#define NODE "devices/system/node/node%d/"

/* "Node 0 MemTotal:  123 kB" lines. False: there is no such node. */
static bool read_meminfo(const char *root, struct nf_node *n)
{
    char path[512], line[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/devices/system/node/node%d/meminfo", root, n->number);
    f = fopen(path, "re");
    if (!f)
        return false;
    while (fgets(line, sizeof line, f)) {
        char what[64];
        unsigned long long kib;

        if (sscanf(line, "Node %*d %63[^:]: %llu kB", what, &kib) != 2)
            continue;
        if (!strcmp(what, "MemTotal"))
            n->memory_bytes = kib * 1024;
        else if (!strcmp(what, "MemFree"))
            n->free_bytes = kib * 1024;
    }
    fclose(f);
    return true;
}

/* A line of distances has a number for each online node, in order: of them the index-th. */
static int distance(const char *root, int from, int index)
{
    char path[512];
    int value = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/devices/system/node/node%d/distance", root, from);
    f = fopen(path, "re");
    if (!f)
        return 0;
    for (int i = 0; i <= index; i++)
        if (fscanf(f, "%d", &value) != 1)
            value = 0;
    fclose(f);
    return value;
}

void nf_rated_read(struct nf_rated *out, const char *root, const char *folder)
{
    static const char names[][20] = {"read_latency", "write_latency", "read_bandwidth", "write_bandwidth"};
    double value[4] = {0};

    for (int i = 0; i < 4; i++)
        nf_sysfs_number(&value[i], root, "%s/%s", folder, names[i]);
    *out = (struct nf_rated){value[0], value[1], value[2] * 1024 * 1024, value[3] * 1024 * 1024};
}

/* The nodes whose CPUs the rated values are for: links node0, node1, ... beside them. */
static void read_initiators(const char *root, struct nf_node *n)
{
    char target[64];
    size_t at = 0;

    for (int i = 0; i < NF_NODES_MAX && at + 8 < sizeof n->initiators; i++)
        if (nf_sysfs_link(target, sizeof target, root, NODE "access0/initiators/node%d", n->number, i))
            at += (size_t)snprintf(n->initiators + at, sizeof n->initiators - at, "%s%d", at ? " " : "", i);
}

static int kernel_tier(const char *root, int node)
{
    char list[1024];

    for (int i = 0; i < KERNEL_TIERS_MAX; i++)
        if (nf_sysfs_line(list, sizeof list, root, "devices/virtual/memory_tiering/memory_tier%d/nodelist", i) &&
            nf_sysfs_list_holds(list, node))
            return i;
    return -1;
}

static void read_node(const char *root, struct nf_node *n)
{
    char folder[96];
    double value;

    n->has_cpu = nf_sysfs_line(n->cpus, sizeof n->cpus, root, NODE "cpulist", n->number);
    for (int c = 0; c < NF_RATED_CLASSES; c++) {
        snprintf(folder, sizeof folder, NODE "access%d/initiators", n->number, c);
        nf_rated_read(&n->rated[c], root, folder);
    }
    n->rated_read_latency_ns = n->rated[NF_RATED_ANY].read_ns;
    n->rated_read_bps = n->rated[NF_RATED_ANY].read_bps;
    read_initiators(root, n);
    n->kernel_tier = kernel_tier(root, n->number);
    if (nf_sysfs_number(&value, root, "kernel/mm/mempolicy/weighted_interleave/node%d", n->number) && value < INT_MAX)
        n->weight = (int)value;
    if (nf_sysfs_number(&value, root, NODE "hugepages/hugepages-2048kB/nr_hugepages", n->number))
        n->huge_2m = (uint64_t)value;
    if (nf_sysfs_number(&value, root, NODE "hugepages/hugepages-1048576kB/nr_hugepages", n->number))
        n->huge_1g = (uint64_t)value;
}

int nf_nodes_list_all(const char *root, struct nf_node *out, int max)
{
    int n = 0, first_cpu = -1;

    for (int i = 0; i < NODE_NUMBER_MAX; i++) {
        struct nf_node beyond, *node = n < max ? &out[n] : &beyond;

        *node = (struct nf_node){.number = i};
        if (!read_meminfo(root, node))
            continue;
        if (n == max) {
            nf_warn("%s lists more than %d NUMA nodes: node %d and those after it are left out", root, max, i);
            break;
        }
        read_node(root, node);
        if (node->has_cpu && first_cpu < 0)
            first_cpu = i;
        n++;
    }
    if (!n)
        return nf_fail(-ENOENT, "%s/devices/system/node lists no memory", root);
    for (int i = 0; i < n; i++)
        out[i].distance = first_cpu < 0 ? 0 : distance(root, first_cpu, i);
    return n;
}

int nf_nodes_list(const char *root, struct nf_node *out, int max)
{
    struct nf_node all[NF_NODES_MAX];
    int n = nf_nodes_list_all(root, all, NF_NODES_MAX), kept = 0;

    for (int i = 0; i < n && kept < max; i++)
        if (all[i].memory_bytes)
            out[kept++] = all[i];
    if (n >= 0 && !kept)
        return nf_fail(-ENOENT, "%s/devices/system/node lists no memory", root);
    return n < 0 ? n : kept;
}
