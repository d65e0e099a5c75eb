#pragma once
/* Whether a file's memory is its device's own, mapped by its file system directly (DAX), or the page cache's in front of it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/words.h"

struct nf_file_system_calls {
    /* The file's STATX_ATTR_*, those that its file system tells. < 0: errno says. */
    int (*attributes)(int fd, uint64_t *attributes);
    /* Maps the file's first page shared and synchronously (MAP_SYNC), which only memory of the device itself can be, and unmaps it.
     * < 0: errno says. */
    int (*map_sync)(int fd);
};
extern const struct nf_file_system_calls nf_file_kernel;

/* The file system says so, and the kernel maps it so: one that says so of a device that is the host's page cache (virtio-pmem) is not
 * believed. */
bool nf_file_is_direct(const struct nf_file_system_calls *calls, int fd);
/* What times of such memory are: a device's, a proxy's, or on a machine that is itself modelled no more than an emulation's. */
enum nf_evidence nf_file_evidence(bool direct, bool modelled_machine);
