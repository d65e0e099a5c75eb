#pragma once
/* NUMA nodes as sysfs tells of them: discovered and rated facts, never measured ones. */
#include <stdbool.h>
#include <stdint.h>

/* What the firmware (HMAT, CDAT) rates an access at; 0 where it says nothing. */
struct nf_rated {
    double read_ns, write_ns, read_bps, write_bps;
};

enum { NF_RATED_ANY, NF_RATED_CPU, NF_RATED_CLASSES }; /* access0: best initiator of any kind; access1: best CPUs */

/* From the four files of a folder below root: "read_latency" and its like in ns, "read_bandwidth" in MiB/s. */
void nf_rated_read(struct nf_rated *out, const char *root, const char *folder);

struct nf_node {
    int number;
    bool has_cpu;
    char cpus[256];       /* "0-15,32-47"; "" none; ends in "..." where it does not fit */
    char initiators[192]; /* nodes the rated values of access0 hold for: "0 1"; "" unknown */
    uint64_t memory_bytes, free_bytes; /* 0: the node has no memory */
    int distance;         /* from the first node with CPUs, ACPI SLIT units (10 = local); 0 unknown */
    double rated_read_latency_ns, rated_read_bps; /* of rated[NF_RATED_ANY] */
    struct nf_rated rated[NF_RATED_CLASSES];
    int kernel_tier;      /* memory_tierN; -1 unknown. A node without performance data is put in DRAM's. */
    int weight;           /* of weighted interleave; 0: the kernel has none */
    uint64_t huge_2m, huge_1g; /* reserved huge pages */
};

enum { NF_NODES_MAX = 64 };

/* root: "/sys" or a recorded tree of it. At most max nodes with memory, by number; a warning says that there are more.
 * Returns how many, or -errno (cause set). */
int nf_nodes_list(const char *root, struct nf_node *out, int max);
/* The same with nodes that have none. */
int nf_nodes_list_all(const char *root, struct nf_node *out, int max);
