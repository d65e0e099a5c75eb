#include "live/residence.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/error.h"

/* Reading the file walks the process's page tables under its lock: seldom enough not to be felt in its step times. */
/* Often at first, so that short jobs are seen, then seldom: each look costs the job its page table's lock. */
enum { FIRST_LOOK_NS = 4000000, LOOK_NS = 250000000 };

struct nf_residence_watch {
    pthread_t thread;
    pid_t pid;
    atomic_bool stop;
    struct nf_residence largest;
};

/* The number behind " key=", false when the line has none. */
static bool number_of(const char *line, const char *key, uint64_t *out)
{
    const char *p = strstr(line, key);
    char *end;

    if (!p)
        return false;
    *out = strtoull(p + strlen(key), &end, 10);
    return end > p + strlen(key);
}

void nf_residence_add_line(struct nf_residence *r, const char *line)
{
    uint64_t page_kib = 4, anon;

    number_of(line, "kernelpagesize_kB=", &page_kib);
    if (!number_of(line, " anon=", &anon))
        return;
    for (const char *p = strstr(line, " N"); p; p = strstr(p + 2, " N")) {
        char *end;
        unsigned long node = strtoul(p + 2, &end, 10);
        uint64_t pages;

        if (end == p + 2 || *end != '=' || node >= NF_RESIDENCE_NODES)
            continue;
        pages = strtoull(end + 1, NULL, 10);
        if (pages > UINT64_MAX / 1024 / (page_kib ? page_kib : 1)) /* no machine has that */
            continue;
        r->bytes[node] += pages * page_kib * 1024;
        r->total += pages * page_kib * 1024;
    }
}

int nf_residence_of(pid_t pid, struct nf_residence *r)
{
    char path[48], *line = NULL;
    size_t size = 0;
    FILE *f;

    *r = (struct nf_residence){0};
    snprintf(path, sizeof path, "/proc/%d/numa_maps", (int)pid);
    f = fopen(path, "re");
    if (!f)
        return nf_fail(-errno, "cannot read %s: %s", path, strerror(errno));
    while (getline(&line, &size, f) > 0)
        nf_residence_add_line(r, line);
    free(line);
    fclose(f);
    return 0;
}

double nf_residence_share(const struct nf_residence *r, const int *nodes, unsigned n)
{
    uint64_t on = 0;

    for (unsigned i = 0; i < n; i++)
        on += r->bytes[nodes[i]];
    return r->total ? (double)on / (double)r->total : 1;
}

/* Between fork and exec the process is a copy of this program: its memory is this one's, and so are its arguments, which
 * the job's never are (this program's have the job's within them). */
static bool is_the_job(pid_t pid)
{
    FILE *mine = fopen("/proc/self/cmdline", "re"), *its;
    char path[48];
    int a = 0, b = 0;

    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    its = fopen(path, "re");
    while (mine && its && a == b && a != EOF) {
        a = getc(mine);
        b = getc(its);
    }
    if (mine)
        fclose(mine);
    if (its)
        fclose(its);
    return mine && its && a != b;
}

static void *look(void *arg)
{
    struct nf_residence_watch *w = arg;
    struct timespec pause = {.tv_nsec = FIRST_LOOK_NS};
    bool begun = false;

    while (!atomic_load(&w->stop)) {
        struct nf_residence now;

        begun = begun || is_the_job(w->pid);
        if (begun && !nf_residence_of(w->pid, &now) && now.total > w->largest.total)
            w->largest = now;
        nanosleep(&pause, NULL);
        pause.tv_nsec = 2 * pause.tv_nsec < LOOK_NS ? 2 * pause.tv_nsec : LOOK_NS;
    }
    return NULL;
}

struct nf_residence_watch *nf_residence_watch_start(pid_t pid)
{
    struct nf_residence_watch *w = calloc(1, sizeof *w);
    int rc = ENOMEM;

    if (w) {
        w->pid = pid;
        rc = pthread_create(&w->thread, NULL, look, w);
    }
    if (rc) {
        nf_fail(-rc, "cannot watch where the job's memory is: %s", strerror(rc));
        free(w);
        return NULL;
    }
    return w;
}

struct nf_residence_watch *nf_residence_watch_stop(struct nf_residence_watch *w, struct nf_residence *out)
{
    *out = (struct nf_residence){0};
    if (!w)
        return NULL;
    atomic_store(&w->stop, true);
    pthread_join(w->thread, NULL);
    *out = w->largest;
    free(w);
    return NULL;
}
