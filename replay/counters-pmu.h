#pragma once
/* Memory controllers' PMUs as the kernel describes them: which events count which memory's bytes. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/pmu.h"

/* One event, on one CPU of a PMU's cpumask. */
struct nf_counter_event {
    char pmu[64];
    int cpu;
    uint64_t nodes; /* as nf_counter_traffic */
    bool write;
    double bytes;   /* per count */
    struct nf_event_encoding encoding;
};

enum nf_counter_kind { NF_COUNTER_IMC, NF_COUNTER_CXL, NF_COUNTER_UMC };

/* Events of all PMUs of a kind below root, for nf_array_push's kind of array: *out is malloced, *n long, in order of name.
 * 0, -ENOENT (there is no such PMU; why is the cause), -EBADMSG for a tree that is no kernel's, -ENOMEM (cause set). */
int nf_counter_events(const char *root, enum nf_counter_kind kind, struct nf_counter_event **out, size_t *n);

/* NUMA nodes of the package of a CPU; 0: unknown. */
uint64_t nf_counter_nodes_of_cpu(const char *root, int cpu);
/* The same of a package by its number. */
uint64_t nf_counter_nodes_of_package(const char *root, int package);
/* Nodes with memory and no CPU. */
uint64_t nf_counter_nodes_without_cpu(const char *root);
/* Nodes that the regions of CXL memory device `mem` are, onlined or as devdax (pool/devices.h); 0: unknown. */
uint64_t nf_counter_nodes_of_memdev(const char *root, const char *mem);
/* "0-3,8": into at most max numbers; how many, or -EBADMSG. Without a cause. */
int nf_counter_list(const char *text, int *out, int max);
