#include "pool/kernel-tiering.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/nodes.h"

/* NUMA_BALANCING_MEMORY_TIERING of the kernel: promote by hint-fault latency, not only for locality. */
enum { BALANCING_TIERING = 2 };

/* The first word of a one-line file. 0 or -ENOENT. */
static int read_word(const char *root, const char *file, char *word, size_t size)
{
    char path[512], format[16];
    int rc = -ENOENT;
    FILE *f;

    snprintf(path, sizeof path, "%s%s", root, file);
    snprintf(format, sizeof format, "%%%zus", size - 1);
    f = fopen(path, "re");
    if (!f)
        return rc;
    if (fscanf(f, format, word) == 1)
        rc = 0;
    fclose(f);
    return rc;
}

int nf_kernel_tiering_probe(const char *root, char *why, size_t size)
{
    static const char demotion[] = "/sys/kernel/mm/numa/demotion_enabled", balancing[] = "/proc/sys/kernel/numa_balancing";
    struct nf_node nodes[NF_NODES_MAX];
    char sys[512], word[32];
    unsigned mode = 0;
    int n;

    snprintf(sys, sizeof sys, "%s/sys", root);
    n = nf_nodes_list(sys, nodes, NF_NODES_MAX);
    if (n < 2) {
        nf_error_clear();
        snprintf(why, size, "this machine has one memory node: there is nowhere to demote to");
        return -ENODEV;
    }
    if (read_word(root, demotion, word, sizeof word)) {
        snprintf(why, size, "this kernel does not demote (no %s; 5.15 and newer have it)", demotion);
        return -ENODEV;
    }
    if (strcmp(word, "true") && strcmp(word, "1")) {
        snprintf(why, size, "demotion is off; as root: echo 1 >%s", demotion);
        return -ENODEV;
    }
    if (read_word(root, balancing, word, sizeof word) || sscanf(word, "%u", &mode) != 1) {
        snprintf(why, size, "this kernel does not promote (no %s: CONFIG_NUMA_BALANCING)", balancing);
        return -ENODEV;
    }
    if (!(mode & BALANCING_TIERING)) {
        snprintf(why, size, "promotion is off (numa_balancing is %u); as root: echo %d >%s", mode, BALANCING_TIERING,
                 balancing);
        return -ENODEV;
    }
    snprintf(why, size, "usable");
    return 0;
}
