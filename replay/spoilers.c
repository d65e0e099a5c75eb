#include "replay/spoilers.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/pin.h"

struct list {
    struct nf_spoiler *v;
    size_t n;
};

static void add(struct list *l, const char *what, const char *mend)
{
    if (l->n == NF_SPOILERS_MAX)
        return;
    l->v[l->n].wrong = false;
    snprintf(l->v[l->n].what, sizeof l->v->what, "%s", what);
    snprintf(l->v[l->n].mend, sizeof l->v->mend, "%s", mend);
    l->n++;
}

/* The file's first bytes without the line's end; false when it cannot be read. */
static bool read_text(const char *root, const char *path, char *text, size_t size)
{
    char full[512];
    size_t n;
    FILE *f;

    snprintf(full, sizeof full, "%s%s", root, path);
    f = fopen(full, "re");
    if (!f)
        return false;
    n = fread(text, 1, size - 1, f);
    fclose(f);
    text[n] = '\0';
    if (n && text[n - 1] == '\n')
        text[n - 1] = '\0';
    return true;
}

/* A CPU that may not run as fast as it can. */
static void look_at_limits(const char *root, struct list *l)
{
    char most[64], can[64], what[160], mend[120];

    if (!read_text(root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", most, sizeof most) ||
        !read_text(root, "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", can, sizeof can) ||
        strtoull(most, NULL, 10) >= strtoull(can, NULL, 10))
        return;
    snprintf(what, sizeof what, "the frequency is limited to %llu of %llu kHz", strtoull(most, NULL, 10),
             strtoull(can, NULL, 10));
    snprintf(mend, sizeof mend, "cpupower frequency-set -u %llukHz", strtoull(can, NULL, 10));
    add(l, what, mend);
}

static void look_at_frequency(const char *root, struct list *l)
{
    char text[64], what[160];

    if (!read_text(root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", text, sizeof text))
        add(l, "the frequency governor is unknown (this machine does not show it)", "");
    else if (strcmp(text, "performance")) {
        snprintf(what, sizeof what, "the frequency governor is %s", text);
        add(l, what, "cpupower frequency-set -g performance");
    }
    if (read_text(root, "/sys/devices/system/cpu/intel_pstate/no_turbo", text, sizeof text)) {
        if (!strcmp(text, "0"))
            add(l, "turbo is on: speed follows temperature", "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo");
    } else if (read_text(root, "/sys/devices/system/cpu/cpufreq/boost", text, sizeof text)) {
        if (!strcmp(text, "1"))
            add(l, "boost is on: speed follows temperature", "echo 0 > /sys/devices/system/cpu/cpufreq/boost");
    } else {
        add(l, "turbo is unknown (this machine does not show it)", "");
    }
    look_at_limits(root, l);
}

static void look_at_cpus(const char *root, struct list *l)
{
    char text[65536];

    if (read_text(root, "/sys/devices/system/cpu/smt/active", text, sizeof text) && !strcmp(text, "1"))
        add(l, "SMT is on: a neighbour may share the core", "echo off > /sys/devices/system/cpu/smt/control");
    if (read_text(root, "/proc/cpuinfo", text, sizeof text) && strstr(text, " hypervisor"))
        add(l, "this is a virtual machine: its host may take the CPU and the caches away", "run on the bare machine");
    if (nf_pin_cpus() < 2)
        add(l, "only one CPU: everything else on the machine preempts the replay", "");
}

/* Pages can be moved from one node to another only where there is another. */
static bool several_nodes(const char *root)
{
    char text[1024];

    return read_text(root, "/sys/devices/system/node/has_memory", text, sizeof text) && strpbrk(text, ",-");
}

/* Marks what was added since `first`. */
static void mark_wrong(struct list *l, size_t first)
{
    for (size_t i = first; i < l->n; i++)
        l->v[i].wrong = true;
}

static void look_at_memory(const char *root, struct list *l)
{
    char text[4096];
    size_t first;

    if (read_text(root, "/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text) && strstr(text, "[always]"))
        add(l, "transparent huge pages are forced on everything but the arenas",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
    first = l->n;
    if (read_text(root, "/proc/sys/kernel/numa_balancing", text, sizeof text) && strcmp(text, "0"))
        add(l, "automatic NUMA balancing moves and unmaps pages", "sysctl kernel.numa_balancing=0");
    if (read_text(root, "/sys/kernel/mm/numa/demotion_enabled", text, sizeof text) &&
        (!strcmp(text, "true") || !strcmp(text, "1")))
        add(l, "the kernel demotes pages to slower memory on its own: placements would not hold",
            "echo false > /sys/kernel/mm/numa/demotion_enabled");
    if (several_nodes(root))
        mark_wrong(l, first);
    /* The first line is a heading. */
    if (read_text(root, "/proc/swaps", text, sizeof text) && strchr(text, '\n'))
        add(l, "swap is on", "swapoff -a");
}

static void look_at_load(const char *root, struct list *l)
{
    const double busy = 0.5; /* half a CPU of somebody else's: every tenth of a second it may meet the replay */
    char text[128], what[160];

    if (!read_text(root, "/proc/loadavg", text, sizeof text) || strtod(text, NULL) <= busy)
        return;
    snprintf(what, sizeof what, "others are running: the load average is %.2f", strtod(text, NULL));
    add(l, what, "wait until they are done");
}

size_t nf_spoilers(const char *root, struct nf_spoiler *out)
{
    struct list l = {.v = out};

    look_at_frequency(root, &l);
    look_at_cpus(root, &l);
    look_at_memory(root, &l);
    look_at_load(root, &l);
    return l.n;
}
