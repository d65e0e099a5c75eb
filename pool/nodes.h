#pragma once
/* NUMA nodes as sysfs tells of them: discovered and rated facts, never measured ones. */
#include <stdbool.h>
#include <stdint.h>

struct nf_node {
    int number;
    bool has_cpu;
    uint64_t memory_bytes, free_bytes;
    int distance; /* from the first node with CPUs, ACPI SLIT units (10 = local); 0 unknown */
    /* Rated by the firmware (HMAT) for the best initiator; 0 where it says nothing. */
    double rated_read_latency_ns, rated_read_bps;
};

enum { NF_NODES_MAX = 64 };

/* root: "/sys" or a recorded tree of it. At most max nodes with memory, by number. Returns how many, or -errno
 * (cause set). */
int nf_nodes_list(const char *root, struct nf_node *out, int max);
