#pragma once
/* The NUMA nodes of a machine as tiers, where nobody names others. */

/* Nodes with memory, in tier order: `local` (whatever it has), then those without CPUs, which somebody added for their memory alone, then
 * those of other CPUs; by number within each. root: "/sys" or a recorded tree of it. Returns how many, at most max, or -errno (cause set). */
int nf_node_order(const char *root, int local, int *nodes, int max);
