#pragma once
/* Memory of a tier that is a file: a devdax device, a block device, or a file of a filesystem. Mapped shared, at places of
 * its own, and proved by the kernel's list of what is mapped where. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nf_mapped;

struct nf_mapped_options {
    size_t align;   /* offsets and lengths are multiples of it: a devdax refuses others */
    uint64_t bytes; /* of a device; 0: a file, which grows as it is mapped */
    bool direct;    /* nothing but the device's own memory will do: mapping anything else fails */
};

/* Takes the descriptor; name is for messages. Memory whose device or file disappears while it is used is replaced by empty
 * memory, which the next nf_mapped_verify reports: this installs the process's handler of SIGBUS for that, which
 * leaves bus errors elsewhere to the handler before it. 0 or -errno (cause set; the descriptor is closed then too). */
int nf_mapped_new(int fd, const char *name, const struct nf_mapped_options *o, struct nf_mapped **out);
/* All memory is unmapped by then. */
void nf_mapped_free(struct nf_mapped *m);
/* Reserved in the file, mapped and faulted. 0, -ENOSPC when it is full (cause set: what it has left), -errno. */
int nf_mapped_map(struct nf_mapped *m, size_t bytes, void **memory);
void nf_mapped_unmap(struct nf_mapped *m, void *memory, size_t bytes);
/* The range is mapped from this file and from nothing else. 0, -EXDEV (cause set: what is there instead, or that it
 * disappeared), -EIO. */
int nf_mapped_verify(struct nf_mapped *m, const void *memory, size_t bytes);
