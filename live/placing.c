/* A run under a plan: the file that the job's placer maps, and what it counted there. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/error.h"
#include "live/plan-file.h"
#include "live/plan.h"

/* Installed beside the library that it goes with; in a build folder each lies in its layer's. */
static bool find_library(struct nf_live_placing *p, const char *folder)
{
    static const char *const places[] = {"preload", "../live/preload"};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (snprintf(p->library, sizeof p->library, "%s/%s/libnearfar-placer.so", folder, places[i]) < (int)sizeof p->library &&
            !access(p->library, R_OK))
            return true;
    }
    return false;
}

int nf_live_placing_init(struct nf_live_placing *p, const struct nf_live_plan *plan, const char *library_folder)
{
    const char *folder = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
    void *mapped = MAP_FAILED;
    int fd, rc = 0;

    *p = (struct nf_live_placing){0};
    if (!find_library(p, library_folder))
        return nf_fail(-ENOENT, "libnearfar-placer.so is not beside the program; set NEARFAR_LIBDIR to the folder with preload/");
    snprintf(p->path, sizeof p->path, "%s/nearfar-plan-XXXXXX", folder);
    fd = mkostemp(p->path, O_CLOEXEC);
    if (fd < 0) {
        *p->path = '\0';
        return nf_fail(-errno, "cannot write the plan below %s: %s", folder, strerror(errno));
    }
    for (size_t at = 0; at < plan->size && !rc;) {
        ssize_t n = write(fd, plan->data + at, plan->size - at);

        if (n < 0 && errno != EINTR)
            rc = nf_fail(-errno, "cannot write the plan %s: %s", p->path, strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    if (!rc)
        mapped = mmap(NULL, plan->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!rc && mapped == MAP_FAILED)
        rc = nf_fail(-errno, "cannot map the plan: %s", strerror(errno));
    close(fd);
    if (!rc) {
        p->file = mapped;
        p->size = plan->size;
    }
    return rc;
}

void nf_live_placing_deinit(struct nf_live_placing *p)
{
    if (p->file)
        munmap(p->file, p->size);
    if (*p->path)
        unlink(p->path);
    *p = (struct nf_live_placing){0};
}

/* Behind the library that is preloaded already, which finds it by its symbol. */
int nf_live_placing_enter(const struct nf_live_placing *p)
{
    const char *before = getenv("LD_PRELOAD");
    char *both = NULL;
    int rc;

    if (asprintf(&both, "%s%s%s", before ? before : "", before && *before ? ":" : "", p->library) < 0)
        return -ENOMEM;
    rc = setenv("LD_PRELOAD", both, 1) || setenv(NF_PLAN_ENV, p->path, 1) ? -errno : 0;
    free(both);
    return rc;
}

void nf_live_placing_read(const struct nf_live_placing *p, struct nf_live_placed *out)
{
    struct nf_plan_file *f = p->file;

    *out = (struct nf_live_placed){
        .placed = atomic_load(&f->placed),
        .placed_bytes = atomic_load(&f->placed_bytes),
        .unplaced = atomic_load(&f->unplaced),
        .unplaced_bytes = atomic_load(&f->unplaced_bytes),
        .spilled_bytes = atomic_load(&f->spilled_bytes),
        .refused = atomic_load(&f->refused),
        .near_peak_bytes = atomic_load(&f->near_peak_bytes),
        .unbound_bytes = atomic_load(&f->unbound_bytes),
        .early_placed = atomic_load(&f->early_placed),
        .early = atomic_load(&f->early),
        .jobs = atomic_load(&f->jobs),
        .steady_steps = atomic_load(&f->steady_steps),
        .due_moves = atomic_load(&f->due_moves),
        .asked_moves = atomic_load(&f->asked_moves),
        .asked_bytes = atomic_load(&f->asked_bytes),
        .absent_moves = atomic_load(&f->absent_moves),
        .cancelled_bytes = atomic_load(&f->cancelled_bytes),
        .right_pages = atomic_load(&f->right_pages),
        .wrong_pages = atomic_load(&f->wrong_pages),
        .deviation_name = atomic_load(&f->deviation_name),
        .deviation_count = atomic_load(&f->deviation_count),
        .deviation = atomic_load(&f->deviation),
        .deviation_step = atomic_load(&f->deviation_step),
        .deviation_op = atomic_load(&f->deviation_op),
        .followed_steps = atomic_load(&f->followed_steps),
    };
}
