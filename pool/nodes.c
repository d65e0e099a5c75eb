#include "pool/nodes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

enum { NODE_NUMBER_MAX = 1024 };

/* One number from a one-line file; false when there is none. */
static bool read_number(const char *root, int node, const char *name, double *out)
{
    char path[512];
    FILE *f;
    bool ok;

    snprintf(path, sizeof path, "%s/devices/system/node/node%d/%s", root, node, name);
    f = fopen(path, "re");
    if (!f)
        return false;
    ok = fscanf(f, "%lf", out) == 1 && *out >= 0;
    fclose(f);
    return ok;
}

/* "Node 0 MemTotal:  123 kB" lines. */
static void read_meminfo(const char *root, struct nf_node *n)
{
    char path[512], line[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/devices/system/node/node%d/meminfo", root, n->number);
    f = fopen(path, "re");
    if (!f)
        return;
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
}

static bool has_cpu(const char *root, int node)
{
    char path[512], text[256] = "";
    FILE *f;

    snprintf(path, sizeof path, "%s/devices/system/node/node%d/cpulist", root, node);
    f = fopen(path, "re");
    if (!f)
        return false;
    if (!fgets(text, sizeof text, f))
        text[0] = '\0';
    fclose(f);
    return text[0] >= '0' && text[0] <= '9';
}

/* Distance from node `from`: the to-th number of its line. */
static int distance(const char *root, int from, int to)
{
    char path[512];
    int value = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/devices/system/node/node%d/distance", root, from);
    f = fopen(path, "re");
    if (!f)
        return 0;
    for (int i = 0; i <= to; i++)
        if (fscanf(f, "%d", &value) != 1)
            value = 0;
    fclose(f);
    return value;
}

int nf_nodes_list(const char *root, struct nf_node *out, int max)
{
    int n = 0, first_cpu = -1;

    for (int i = 0; i < NODE_NUMBER_MAX && n < max; i++) {
        struct nf_node *node = &out[n];
        double mib;

        *node = (struct nf_node){.number = i};
        read_meminfo(root, node);
        if (!node->memory_bytes)
            continue;
        node->has_cpu = has_cpu(root, i);
        if (node->has_cpu && first_cpu < 0)
            first_cpu = i;
        read_number(root, i, "access0/initiators/read_latency", &node->rated_read_latency_ns);
        if (read_number(root, i, "access0/initiators/read_bandwidth", &mib))
            node->rated_read_bps = mib * 1024 * 1024;
        n++;
    }
    if (!n)
        return nf_fail(-ENOENT, "%s/devices/system/node lists no memory", root);
    /* The line counts online nodes in order, which are those listed unless one has no memory at all. */
    for (int i = 0; i < n; i++)
        out[i].distance = first_cpu < 0 ? 0 : distance(root, first_cpu, i);
    return n;
}
