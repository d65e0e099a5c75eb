#pragma once
/* Which NUMA node a physical address belongs to: memory blocks of /sys/devices/system/node/node<n>/memory<m>. */
#include <stddef.h>
#include <stdint.h>

struct nf_numa_of;

enum { NF_NUMA_NONE = -1 };

/* sys: "/sys" for this machine. 0, -ENOENT when the kernel does not tell (no memory hotplug: one node then, or unknown),
 * -EBADMSG, -ENOMEM (cause set). */
int nf_numa_of_new(const char *sys, struct nf_numa_of **out);
struct nf_numa_of *nf_numa_of_free(struct nf_numa_of *n); /* NULL is fine; returns NULL */
/* The node, or NF_NUMA_NONE for an address that is no memory's. */
int nf_numa_of(const struct nf_numa_of *n, uint64_t physical);
/* "node 0: 0x0-0x87fffffff, node 1: ..." as far as it fits: what a study needs to tell nodes on another machine. */
void nf_numa_of_text(const struct nf_numa_of *n, char *text, size_t size);
