/* Tier provider `file`: a mapped file. On a filesystem mounted for direct access (pmem) its memory is the device's own, and each
 * mapping is one that nothing else can be; on any other it is the page cache's, which the kernel fills from the device and writes
 * back: then what is measured is this machine's memory in front of it, and the evidence says proxy. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/model/stream.h"
#include "pool/file-direct.h"
#include "pool/tier-mapped.h"
#include "pool/tier-memory.h"
#include "pool/tiers.h"

struct options {
    const char *path, *erase;
};

static const struct nf_option table[] = {
    {"path", 0, NF_OPTION_STRING, offsetof(struct options, path), "PATH",
     "a folder, where a file is made that nobody sees, a file, or a block device (default: /dev/shm)"},
    {"erase", 0, NF_OPTION_STRING, offsetof(struct options, erase), "yes|no",
     "yes: what the file or the device holds may be lost (default: no, it is refused)"},
    {NULL},
};
static const struct options defaults = {.path = "/dev/shm", .erase = "no"};

struct file {
    struct nf_mapped *mapped;
    bool direct;
};

static int probe(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

static int open_unnamed(const char *folder)
{
    char name[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    snprintf(name, sizeof name, "%s/nearfar-XXXXXX", folder);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        unlink(name);
    return fd;
}

/* Opens what path names and finds out how much there is. */
static int open_path(const char *path, bool erase, struct nf_mapped_options *o, int *fd)
{
    struct stat s;
    int rc = 0;

    *fd = -1;
    if (stat(path, &s) == 0 && S_ISDIR(s.st_mode))
        *fd = open_unnamed(path);
    else
        *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0 || fstat(*fd, &s))
        rc = nf_fail(-errno, "cannot open %s: %s", path, strerror(errno));
    else if (S_ISBLK(s.st_mode) && ioctl(*fd, BLKGETSIZE64, &o->bytes))
        rc = nf_fail(-errno, "%s does not say how large it is: %s", path, strerror(errno));
    else if (!S_ISBLK(s.st_mode) && !S_ISREG(s.st_mode))
        rc = nf_fail(-EINVAL, "%s is no folder, file or block device; a devdax is the provider dax's", path);
    else if (!erase && (S_ISBLK(s.st_mode) || s.st_size))
        rc = nf_fail(-EINVAL, "%s may hold something: erase=yes would let it be lost", path);
    else if (S_ISREG(s.st_mode) && ftruncate(*fd, 0))
        rc = nf_fail(-errno, "cannot empty %s: %s", path, strerror(errno));
    if (rc && *fd >= 0)
        close(*fd);
    return rc;
}

static int open_tier(const void *options, const struct nf_tier_local *local, void **tier)
{
    struct nf_mapped_options mapped = {.align = NF_PAGE_BYTES};
    const struct options *o = options;
    struct file *f;
    int fd, rc;

    if (strcmp(o->erase, "yes") && strcmp(o->erase, "no"))
        return nf_fail(-EINVAL, "erase=%s: there are yes and no", o->erase);
    f = calloc(1, sizeof *f);
    if (!f)
        return nf_fail(-ENOMEM, "no memory");
    rc = open_path(o->path, !strcmp(o->erase, "yes"), &mapped, &fd);
    if (!rc) {
        mapped.direct = f->direct = nf_file_is_direct(&nf_file_kernel, fd);
        rc = nf_mapped_new(fd, o->path, &mapped, &f->mapped);
    }
    if (rc) {
        free(f);
        return rc;
    }
    *tier = f;
    return 0;
}

static void close_tier(void *tier)
{
    struct file *f = tier;

    nf_mapped_free(f->mapped);
    free(f);
}

static void facts(const void *tier, struct nf_tier_facts *out)
{
    const struct file *f = tier;

    *out = (struct nf_tier_facts){.node = -1, .target_node = -1, .page = "4k or more",
                                  .evidence = nf_file_evidence(f->direct, nf_tier_is_modelled_machine())};
}

static int map(void *tier, size_t bytes, void **memory)
{
    return nf_mapped_map(((struct file *)tier)->mapped, bytes, memory);
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    nf_mapped_unmap(((struct file *)tier)->mapped, memory, bytes);
}

static int verify(void *tier, const void *memory, size_t bytes)
{
    return nf_mapped_verify(((struct file *)tier)->mapped, memory, bytes);
}

const struct nf_tier_ops nf_tier_file = {
    .abi = NF_TIER_ABI,
    .name = "file",
    .about = "a mapped file: persistent memory directly (DAX), anything else behind the page cache: NVMe, zram, tmpfs",
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .probe = probe,
    .open = open_tier,
    .close = close_tier,
    .facts = facts,
    .map = map,
    .unmap = unmap,
    .verify = verify,
};
