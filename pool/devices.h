#pragma once
/* Memory devices the kernel knows of beyond plain nodes, and how they hang together: CXL memory devices, the decoders
 * and regions made of them, the dax devices on top. From sysfs alone: the kernel's account, of this machine or of a
 * recorded one. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/nodes.h"

struct nf_device {
    char kind[16];    /* "cxl memdev", "cxl region", "cxl decoder", "devdax", "system-ram" (dax onlined as memory) */
    char name[32];    /* "mem0", "region0", "decoder2.0", "dax0.0" */
    char *on;         /* owned, never NULL: names of what it is made of, separated by blanks: dax0.0 on region0 on decoder2.0 on
                         mem0. A region stands on the decoders of its devices in the order of interleaving, then on those
                         that lead to them: its fixed window (a root decoder), host bridges, switches */
    uint64_t bytes;   /* capacity, 0 unknown */
    uint64_t align;   /* of a dax mapping, 0 unknown or none */
    int target_node;  /* NUMA node its memory is or would be, -1 unknown */
    bool is_node;     /* its memory is the kernel's, on target_node: a system-ram, or a region that the firmware had put into the
                         memory map, which no dax device stands on */
    char state[16];   /* a region: "committed" or "offline"; else "" */
    struct nf_rated rated[NF_RATED_CLASSES]; /* of a region and the dax devices on it, for all its devices together: the kernel's sum
                                               of CDAT, links and HMAT (6.9 and later) */
    char detail[256]; /* serial, firmware, QoS classes, interleaving, alignment */
};

struct nf_devices {
    struct nf_device *v;
    size_t n, cap;
};

/* root: "/sys" or a recorded tree of it. All devices, by kind and number; none at all is no error. 0 or -errno (cause set);
 * either way *out is to be freed. */
int nf_devices_list(const char *root, struct nf_devices *out);
/* Of zeroes, too. */
void nf_devices_free(struct nf_devices *d);
/* The device of a name of this length, as it stands in `on`; NULL: none. */
const struct nf_device *nf_devices_named(const struct nf_devices *d, const char *name, size_t length);
/* 0 and what was found in words, or -errno with why it cannot look. */
int nf_devices_probe(char *text, size_t size);
