#include "capture/gunzip.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "core/base/error.h"

enum { WINDOW = 1 << 18 };

struct nf_gunzip {
    gzFile file;
};

int nf_gunzip_open(const char *path, struct nf_gunzip **out)
{
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
    if (S_ISDIR(st.st_mode)) {
        close(fd);
        return nf_fail(-EISDIR, "%s: is a folder, not a file", path);
    }
    g = calloc(1, sizeof *g);
    if (g)
        g->file = gzdopen(fd, "rb");
    if (!g || !g->file) {
        close(fd);
        free(g);
        return nf_fail(-ENOMEM, "out of memory");
    }
    gzbuffer(g->file, WINDOW);
    *out = g;
    return 0;
}

long nf_gunzip_read(struct nf_gunzip *g, void *out, size_t size)
{
    int n = gzread(g->file, out, size < INT_MAX ? (unsigned)size : INT_MAX), code = Z_OK;
    const char *text = gzerror(g->file, &code);

    /* A cut-off stream gives what it holds first, and only then its error. */
    if (n > 0 || (!n && (code == Z_OK || code == Z_STREAM_END)))
        return n;
    if (code == Z_ERRNO)
        return nf_fail(errno ? -errno : -EIO, "cannot be read: %s", strerror(errno ? errno : EIO));
    return code == Z_MEM_ERROR ? nf_fail(-ENOMEM, "out of memory")
                               : nf_fail(-EBADMSG, "the gzip stream is broken or cut off (%s)", text);
}

struct nf_gunzip *nf_gunzip_close(struct nf_gunzip *g)
{
    if (!g)
        return NULL;
    gzclose(g->file);
    free(g);
    return NULL;
}
