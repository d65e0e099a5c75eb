#pragma once
/* Memory devices the kernel knows of beyond plain nodes: CXL memory devices and devdax, through libcxl and libdaxctl. */
#include <stddef.h>
#include <stdint.h>

struct nf_device {
    char kind[16];   /* "cxl memdev", "devdax", "system-ram" (devdax onlined as memory) */
    char name[32];   /* "mem0", "dax0.0" */
    uint64_t bytes;  /* capacity, 0 unknown */
    int target_node; /* NUMA node its memory is or would be, -1 unknown */
    char detail[96]; /* serial, firmware, alignment */
};

enum { NF_DEVICES_MAX = 64 };

/* At most max devices. Returns how many, or -ENOSYS without the libraries (cause set), -errno. */
int nf_devices_list(struct nf_device *out, int max);
/* 0 and what was found in words, or -errno with why it cannot look. */
int nf_devices_probe(char *text, size_t size);
