#include "replay/counters-pcm.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/error.h"
#include "replay/counters-pmu.h"
#include "replay/counters.h"

/* --- its CSV --- */

/* No memory moves as much: 10 TB/s. */
static const double MBPS_MAX = 1e7;
static const double DAY_S = 86400;
/* A row that comes so many intervals late stands for a machine that was suspended. */
static const double LATE_MAX = 100;

void nf_pcm_init(struct nf_pcm *p, double interval_s)
{
    *p = (struct nf_pcm){.interval_s = interval_s, .last_s = -1};
}

/* The next cell, trimmed; NULL after the last. */
static char *cell(char **rest)
{
    char *c = strsep(rest, ","), *end;

    if (!c)
        return NULL;
    c += strspn(c, " \t");
    end = c + strlen(c);
    while (end > c && strchr(" \t\r", end[-1]))
        *--end = '\0';
    return c;
}

static void groups(struct nf_pcm *p, char *line)
{
    char *c;

    p->n_groups = p->n_columns = 0;
    while ((c = cell(&line)) && p->n_groups < NF_PCM_COLUMNS) {
        char *end;
        long package = strncmp(c, "SKT", 3) ? -1 : strtol(c + 3, &end, 10);

        p->groups[p->n_groups++] = package >= 0 && package < NF_PCM_PACKAGES ? (int8_t)package : -1;
    }
}

/* "CXL.mem_P0Read" of a package, "CXLRead" of the system. */
static enum nf_pcm_what kind_of(const char *name, bool package)
{
    int end = 0;
    unsigned port;

    if (!strcmp(name, "Time"))
        return NF_PCM_TIME;
    if (!package)
        return strcmp(name, "CXLRead") ? NF_PCM_OTHER : NF_PCM_CXL_READ;
    if (!strcmp(name, "Mem Read (MB/s)"))
        return NF_PCM_READ;
    if (!strcmp(name, "Mem Write (MB/s)"))
        return NF_PCM_WRITE;
    if (sscanf(name, "CXL.mem_P%3u%n", &port, &end) == 1 && end) {
        if (!strcmp(name + end, "Read"))
            return NF_PCM_CXL_READ;
        if (!strcmp(name + end, "Write"))
            return NF_PCM_CXL_WRITE;
    }
    return NF_PCM_OTHER;
}

static void heading(struct nf_pcm *p, char *line)
{
    unsigned i = 0;
    char *c;

    p->n_packages = 0;
    p->has_cxl_read = p->has_cxl_write = 0;
    for (; (c = cell(&line)) && i < p->n_groups; i++) {
        int package = p->groups[i];
        enum nf_pcm_what what = kind_of(c, package >= 0);

        p->columns[i].what = (uint8_t)what;
        p->columns[i].package = (uint8_t)(package < 0 ? 0 : package);
        p->has_cxl_read |= what == NF_PCM_CXL_READ;
        p->has_cxl_write |= what == NF_PCM_CXL_WRITE;
        if ((what == NF_PCM_READ || what == NF_PCM_WRITE) && (unsigned)package >= p->n_packages)
            p->n_packages = (unsigned)package + 1;
    }
    p->n_columns = i;
}

/* "13:38:04.125" in seconds of the day; -1: it is no time. */
static double time_of(const char *text)
{
    unsigned h, m;
    double s;
    char *end;
    int at = 0;

    if (sscanf(text, "%2u:%2u:%n", &h, &m, &at) != 2 || !at || text[at] < '0' || text[at] > '9')
        return -1;
    s = strtod(text + at, &end);
    return !*end && h < 24 && m < 60 && s >= 0 && s < 61 ? h * 3600.0 + m * 60.0 + s : -1;
}

static void row(struct nf_pcm *p, char *line)
{
    struct nf_pcm_bytes dram[NF_PCM_PACKAGES] = {0}, cxl = {0};
    double now = -1, elapsed = p->interval_s;
    unsigned i = 0;
    bool good = true;
    char *c;

    for (; (c = cell(&line)) && i < p->n_columns; i++) {
        enum nf_pcm_what what = p->columns[i].what;
        struct nf_pcm_bytes *b = what == NF_PCM_READ || what == NF_PCM_WRITE ? &dram[p->columns[i].package] : &cxl;
        char *end;
        double mbps;

        if (what == NF_PCM_TIME)
            now = time_of(c);
        if (what == NF_PCM_TIME || what == NF_PCM_OTHER)
            continue;
        mbps = strtod(c, &end);
        if (end == c || *end || !(mbps >= 0 && mbps <= MBPS_MAX))
            good = false;
        else
            *(what == NF_PCM_READ || what == NF_PCM_CXL_READ ? &b->read : &b->write) += mbps * 1e6;
    }
    if (now >= 0 && p->last_s >= 0) {
        double gone = now < p->last_s ? now + DAY_S - p->last_s : now - p->last_s;

        elapsed = gone > 0 && gone <= LATE_MAX * p->interval_s ? gone : p->interval_s;
    }
    p->last_s = now;
    p->rows++;
    if (!good || i < p->n_columns) {
        p->bad++;
        return;
    }
    for (unsigned k = 0; k < p->n_packages; k++) {
        p->dram[k].read += dram[k].read * elapsed;
        p->dram[k].write += dram[k].write * elapsed;
    }
    p->cxl.read += cxl.read * elapsed;
    p->cxl.write += cxl.write * elapsed;
}

static void line_done(struct nf_pcm *p)
{
    p->line[p->n_line] = '\0';
    p->n_line = 0;
    /* The heading may come again. What stands before the first one are messages. */
    if (p->line[0] == ',' && p->line[1] == ',')
        groups(p, p->line);
    else if (!strncmp(p->line, "Date,Time,", 10))
        heading(p, p->line);
    else if (p->n_columns && *p->line)
        row(p, p->line);
}

void nf_pcm_feed(struct nf_pcm *p, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (data[i] == '\n')
            line_done(p);
        else if (p->n_line + 1 < sizeof p->line)
            p->line[p->n_line++] = data[i] ? data[i] : ' ';
    }
}

/* --- the program --- */

#define INTERVAL "0.1"
static const double INTERVAL_S = 0.1;
static const char PROGRAM[] = "pcm-memory";

struct child {
    struct nf_pcm csv;
    uint64_t packages[NF_PCM_PACKAGES], without_cpu; /* nodes */
    pid_t pid;
    int fd;
};

static bool on_path(const char *name)
{
    const char *path = getenv("PATH");

    while (path && *path) {
        size_t n = strcspn(path, ":");
        char full[512];

        if (snprintf(full, sizeof full, "%.*s/%s", (int)n, path, name) < (int)sizeof full && !access(full, X_OK))
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}

static int pcm_probe(const char *root, char *why, size_t size)
{
    char full[512];

    if (!on_path(PROGRAM)) {
        snprintf(why, size, "pcm-memory is not on PATH (package pcm)");
        return -ENOENT;
    }
    snprintf(full, sizeof full, "%s/dev/cpu/0/msr", root);
    if (access(full, R_OK)) {
        snprintf(why, size, "pcm-memory reads /dev/cpu/0/msr: %s (modprobe msr, and be root)", strerror(errno));
        return -errno;
    }
    return 0;
}

static void pcm_close(void *state)
{
    struct child *c = state;

    if (c->pid > 0) {
        /* It gives the hardware back as it ends. */
        kill(c->pid, SIGINT);
        for (int i = 0; i < 200 && !waitpid(c->pid, NULL, WNOHANG); i++)
            usleep(10000);
        if (!waitpid(c->pid, NULL, WNOHANG)) {
            kill(c->pid, SIGKILL);
            waitpid(c->pid, NULL, 0);
        }
    }
    if (c->fd >= 0)
        close(c->fd);
    free(c);
}

static int start(struct child *c)
{
    char *const argv[] = {(char *)PROGRAM, INTERVAL, "-csv", "-nc", NULL};
    extern char **environ;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t ends;
    int pipes[2], rc;

    if (pipe2(pipes, O_CLOEXEC))
        return nf_fail(-errno, "no pipe for %s: %s", PROGRAM, strerror(errno));
    /* Whoever began us in the background may have had these ignored, and it would inherit that. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGPIPE);
    rc = posix_spawn_file_actions_init(&actions);
    if (!rc) {
        posix_spawnattr_init(&attributes);
        posix_spawnattr_setsigdefault(&attributes, &ends);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
        posix_spawn_file_actions_adddup2(&actions, pipes[1], 1);
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        rc = posix_spawnp(&c->pid, PROGRAM, &actions, &attributes, argv, environ);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(pipes[1]);
    c->fd = pipes[0];
    if (rc) {
        c->pid = 0;
        return nf_fail(-rc, "%s does not start: %s", PROGRAM, strerror(rc));
    }
    return fcntl(c->fd, F_SETFL, O_NONBLOCK) ? nf_fail(-errno, "fcntl: %s", strerror(errno)) : 0;
}

/* Whether it goes on. */
static bool drain(struct child *c)
{
    char data[4096];
    ssize_t n;

    while ((n = read(c->fd, data, sizeof data)) > 0)
        nf_pcm_feed(&c->csv, data, (size_t)n);
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Its first row, or why there is none: it takes a second or two to find the hardware. */
static int wait_for_row(struct child *c)
{
    enum { WAITS = 1000 };

    for (int i = 0; i < WAITS && !c->csv.rows; i++) {
        if (!drain(c) && !c->csv.rows)
            return nf_fail(-ENODEV, "%s ended without a row of figures: this CPU or virtual machine has no counters it knows",
                           PROGRAM);
        usleep(10000);
    }
    return c->csv.rows && c->csv.n_packages ? 0 : nf_fail(-ENODEV, "%s wrote no figures of a socket's memory", PROGRAM);
}

static int pcm_open(const char *root, void **state)
{
    struct child *c = calloc(1, sizeof *c);
    int rc;

    if (!c)
        return nf_fail(-ENOMEM, "out of memory for %s", PROGRAM);
    c->fd = -1;
    nf_pcm_init(&c->csv, INTERVAL_S);
    for (int i = 0; i < NF_PCM_PACKAGES; i++)
        c->packages[i] = nf_counter_nodes_of_package(root, i);
    c->without_cpu = nf_counter_nodes_without_cpu(root);
    rc = start(c);
    if (!rc)
        rc = wait_for_row(c);
    if (rc)
        pcm_close(c);
    *state = rc ? NULL : c;
    return rc;
}

static int pcm_read(void *state, struct nf_counter_traffic *out)
{
    struct child *c = state;
    int n = 0;

    if (!drain(c))
        return nf_fail(-EIO, "%s ended", PROGRAM);
    if (c->csv.bad)
        return nf_fail(-EBADMSG, "%s wrote rows that make no sense", PROGRAM);
    for (unsigned i = 0; i < c->csv.n_packages; i++)
        out[n++] = (struct nf_counter_traffic){c->packages[i], true, true, (uint64_t)c->csv.dram[i].read,
                                               (uint64_t)c->csv.dram[i].write};
    if (c->csv.has_cxl_read || c->csv.has_cxl_write)
        out[n++] = (struct nf_counter_traffic){c->without_cpu, c->csv.has_cxl_read, c->csv.has_cxl_write,
                                               (uint64_t)c->csv.cxl.read, (uint64_t)c->csv.cxl.write};
    return n;
}

const struct nf_counter_ops nf_counter_pcm = {
    .name = "pcm",
    .about = "Intel PCM's pcm-memory as a child process, where the kernel has no counters; not validated on hardware",
    .resolution_ns = 100000000,
    .probe = pcm_probe, .open = pcm_open, .read = pcm_read, .close = pcm_close,
};
