#include "core/base/numa-of.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/pmu.h"

struct range {
    uint64_t first, end; /* blocks; end is one past the last */
    int node;
};

struct nf_numa_of {
    NF_ARRAY(struct range) ranges; /* by first block */
    uint64_t block_bytes;
};

/* The number behind a prefix of a whole name; -1 when it is none. */
static long numbered(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    char *end;
    long v;

    if (strncmp(name, prefix, n) || name[n] < '0' || name[n] > '9')
        return -1;
    errno = 0;
    v = strtol(name + n, &end, 10);
    return errno || *end ? -1 : v;
}

static int add_node(struct nf_numa_of *n, const char *folder, long node)
{
    struct dirent *entry;
    DIR *d = opendir(folder);
    int rc = 0;

    if (!d)
        return nf_fail(-errno, "%s: %s", folder, strerror(errno));
    while (!rc && (entry = readdir(d))) {
        long block = numbered(entry->d_name, "memory");

        if (block >= 0)
            rc = nf_array_push(&n->ranges, (struct range){(uint64_t)block, (uint64_t)block + 1, (int)node});
    }
    closedir(d);
    return rc;
}

static int by_first(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

/* Neighbouring blocks of one node become one range. */
static void merge(struct nf_numa_of *n)
{
    size_t kept = 0;

    if (n->ranges.n)
        qsort(n->ranges.v, n->ranges.n, sizeof *n->ranges.v, by_first);
    for (size_t i = 0; i < n->ranges.n; i++) {
        struct range *last = kept ? &n->ranges.v[kept - 1] : NULL;

        if (last && last->node == n->ranges.v[i].node && last->end == n->ranges.v[i].first)
            last->end++;
        else
            n->ranges.v[kept++] = n->ranges.v[i];
    }
    n->ranges.n = kept;
}

int nf_numa_of_new(const char *sys, struct nf_numa_of **out)
{
    struct nf_numa_of *n = calloc(1, sizeof *n);
    char folder[NF_PMU_PATH], path[2 * NF_PMU_PATH], text[64], *end;
    struct dirent *entry;
    DIR *d = NULL;
    int rc;

    if (!n)
        return -ENOMEM;
    snprintf(folder, sizeof folder, "%s/devices/system/node", sys);
    rc = nf_root_read(sys, "/devices/system/memory/block_size_bytes", text, sizeof text);
    if (rc) {
        rc = nf_fail(-ENOENT, "the kernel does not tell its memory blocks (no block_size_bytes under %s"
                     "/devices/system/memory)", sys);
        goto fail;
    }
    n->block_bytes = strtoull(text, &end, 16); /* printed without 0x */
    if (!n->block_bytes || n->block_bytes & (n->block_bytes - 1) || (*end && *end != '\n')) {
        rc = nf_fail(-EBADMSG, "block_size_bytes says '%.20s', which is no power of two", text);
        goto fail;
    }
    d = opendir(folder);
    if (!d) {
        rc = nf_fail(-ENOENT, "%s: %s", folder, strerror(errno));
        goto fail;
    }
    while (!rc && (entry = readdir(d))) {
        long node = numbered(entry->d_name, "node");

        if (node < 0 || node > 0xffff)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        rc = add_node(n, path, node);
    }
    closedir(d);
    if (rc)
        goto fail;
    merge(n);
    if (!n->ranges.n) {
        rc = nf_fail(-ENOENT, "%s names no memory blocks", folder);
        goto fail;
    }
    *out = n;
    return 0;
fail:
    nf_numa_of_free(n);
    return rc;
}

struct nf_numa_of *nf_numa_of_free(struct nf_numa_of *n)
{
    if (n) {
        nf_array_free(&n->ranges);
        free(n);
    }
    return NULL;
}

int nf_numa_of(const struct nf_numa_of *n, uint64_t physical)
{
    uint64_t block = physical / n->block_bytes;
    size_t low = 0, high = n->ranges.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (block < n->ranges.v[middle].first)
            high = middle;
        else if (block >= n->ranges.v[middle].end)
            low = middle + 1;
        else
            return n->ranges.v[middle].node;
    }
    return NF_NUMA_NONE;
}

void nf_numa_of_text(const struct nf_numa_of *n, char *text, size_t size)
{
    size_t at = 0;

    *text = '\0';
    for (size_t i = 0; i < n->ranges.n; i++) {
        const struct range *r = &n->ranges.v[i];
        char one[96];
        size_t length = (size_t)snprintf(one, sizeof one, "%snode %d: 0x%llx-0x%llx", i ? ", " : "", r->node,
                                         (unsigned long long)(r->first * n->block_bytes),
                                         (unsigned long long)(r->end * n->block_bytes - 1));

        if (at + length + 5 > size) { /* ", ..." */
            if (at + 5 < size)
                memcpy(text + at, ", ...", 6);
            return;
        }
        memcpy(text + at, one, length + 1);
        at += length;
    }
}
