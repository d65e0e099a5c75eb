#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/gunzip.h"
#include "core/base/error.h"

struct nf_gunzip {
    int fd;
};

int nf_gunzip_open(const char *path, struct nf_gunzip **out)
{
    unsigned char magic[2] = {0};
    struct nf_gunzip *g;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

    *out = NULL;
    if (fd < 0 || fstat(fd, &st)) {
        rc = -errno;
        if (fd >= 0)
            close(fd);
        return nf_fail(rc, "%s: %s", path, strerror(-rc));
    }
    rc = 0;
    if (S_ISDIR(st.st_mode))
        rc = nf_fail(-EISDIR, "%s: is a folder, not a file", path);
    else if (pread(fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b)
        rc = nf_fail(-ENOTSUP, "%s: is gzipped, and this nearfar was built without zlib: unpack it first (gzip -d)", path);
    g = rc ? NULL : calloc(1, sizeof *g);
    if (!g) {
        close(fd);
        return rc ? rc : nf_fail(-ENOMEM, "out of memory");
    }
    g->fd = fd;
    *out = g;
    return 0;
}

long nf_gunzip_read(struct nf_gunzip *g, void *out, size_t size)
{
    ssize_t n;

    do
        n = read(g->fd, out, size);
    while (n < 0 && errno == EINTR);
    return n < 0 ? nf_fail(-errno, "cannot be read: %s", strerror(errno)) : n;
}

struct nf_gunzip *nf_gunzip_close(struct nf_gunzip *g)
{
    if (!g)
        return NULL;
    close(g->fd);
    free(g);
    return NULL;
}
