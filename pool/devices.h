#pragma once
/* Memory devices the kernel knows of beyond plain nodes, and how they hang together: CXL memory devices, the decoders
 * and regions made of them, the dax devices on top. From sysfs alone: the kernel's account, of this machine or of a
 * recorded one. */
#include <stddef.h>
#include <stdint.h>

struct nf_device {
    char kind[16];    /* "cxl memdev", "cxl region", "cxl decoder", "devdax", "system-ram" (dax onlined as memory) */
    char name[32];    /* "mem0", "region0", "decoder2.0", "dax0.0" */
    char on[96];      /* names of what it is made of, separated by blanks: dax0.0 on region0 on decoder2.0 on mem0 */
    uint64_t bytes;   /* capacity, 0 unknown */
    uint64_t align;   /* of a dax mapping, 0 unknown or none */
    int target_node;  /* NUMA node its memory is or would be, -1 unknown */
    char state[16];   /* a region: "committed" or "offline"; else "" */
    char detail[192]; /* serial, firmware, interleaving, alignment */
};

enum { NF_DEVICES_MAX = 256 };

/* root: "/sys" or a recorded tree of it. At most max devices, by kind and number; none at all is no error. Returns how
 * many, or -errno (cause set). */
int nf_devices_list(const char *root, struct nf_device *out, int max);
/* 0 and what was found in words, or -errno with why it cannot look. */
int nf_devices_probe(char *text, size_t size);
