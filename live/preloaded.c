#include "live/preloaded.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/error.h"

/* Installed beside the library that it goes with; in a build folder each lies in its layer's. */
static bool find_library(struct nf_live_preloaded *p, const char *folder, const char *library)
{
    static const char *const places[] = {"preload", "../live/preload"};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (snprintf(p->library, sizeof p->library, "%s/%s/%s", folder, places[i], library) < (int)sizeof p->library &&
            !access(p->library, R_OK))
            return true;
    }
    return false;
}

int nf_live_preloaded_init(struct nf_live_preloaded *p, const char *folder, const char *library, const char *variable, const void *data,
                           size_t size)
{
    const char *into = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
    void *mapped = MAP_FAILED;
    int fd, rc = 0;

    *p = (struct nf_live_preloaded){.variable = variable};
    if (!find_library(p, folder, library))
        return nf_fail(-ENOENT, "%s is not beside the program; set NEARFAR_LIBDIR to the folder with preload/", library);
    snprintf(p->path, sizeof p->path, "%s/nearfar-plan-XXXXXX", into);
    fd = mkostemp(p->path, O_CLOEXEC);
    if (fd < 0) {
        *p->path = '\0';
        return nf_fail(-errno, "cannot write the plan below %s: %s", into, strerror(errno));
    }
    for (size_t at = 0; at < size && !rc;) {
        ssize_t n = write(fd, (const char *)data + at, size - at);

        if (n < 0 && errno != EINTR)
            rc = nf_fail(-errno, "cannot write the plan %s: %s", p->path, strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    if (!rc)
        mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!rc && mapped == MAP_FAILED)
        rc = nf_fail(-errno, "cannot map the plan: %s", strerror(errno));
    close(fd);
    if (!rc) {
        p->file = mapped;
        p->size = size;
    }
    return rc;
}

void nf_live_preloaded_deinit(struct nf_live_preloaded *p)
{
    if (p->file)
        munmap(p->file, p->size);
    if (*p->path)
        unlink(p->path);
    *p = (struct nf_live_preloaded){0};
}

int nf_live_preloaded_enter(const struct nf_live_preloaded *p)
{
    const char *before = getenv("LD_PRELOAD");
    char *both = NULL;
    int rc;

    if (asprintf(&both, "%s%s%s", before ? before : "", before && *before ? ":" : "", p->library) < 0)
        return -ENOMEM;
    rc = setenv("LD_PRELOAD", both, 1) || setenv(p->variable, p->path, 1) ? -errno : 0;
    free(both);
    return rc;
}
