#include "replay/spoilers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/units.h"
#include "replay/pin.h"

enum {
    FREQUENCY, TURBO, FREQUENCY_LIMIT, SMT, VIRTUAL_MACHINE, ONE_CPU, THP, NUMA_BALANCING, DEMOTION, SWAP, NODE_MEMORY, ISOLATED, LOAD,
};
const char *const nf_spoiler_names[] = {
    [FREQUENCY] = "governor", [TURBO] = "turbo", [FREQUENCY_LIMIT] = "frequency-limit", [SMT] = "smt",
    [VIRTUAL_MACHINE] = "virtual-machine", [ONE_CPU] = "one-cpu", [THP] = "thp", [NUMA_BALANCING] = "numa-balancing",
    [DEMOTION] = "demotion", [SWAP] = "swap", [NODE_MEMORY] = "node-memory", [ISOLATED] = "isolated-cpus", [LOAD] = "load", NULL,
};

struct list {
    struct nf_spoiler *v;
    size_t n;
};

static void add(struct list *l, int name, bool wrong, const char *what, const char *mend)
{
    if (l->n == NF_SPOILERS_MAX)
        return;
    l->v[l->n].name = nf_spoiler_names[name];
    l->v[l->n].wrong = wrong;
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

/* A file of the first CPU that will measure for which it says something else than those before; false: there is none more. *i: where
 * to go on. */
static bool next_cpu(const struct nf_spoilers_of *of, unsigned *i, const char *file, int *cpu, char *text, size_t size)
{
    char path[128], before[64];

    for (; *i < (of->n_cpus ? of->n_cpus : 1); ++*i) {
        bool seen = false;

        *cpu = of->n_cpus ? of->cpus[*i] : 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/%s", *cpu, file);
        if (!read_text(of->root, path, text, size))
            continue;
        for (unsigned k = 0; k < *i && !seen; k++) {
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/%s", of->cpus[k], file);
            seen = read_text(of->root, path, before, sizeof before) && !strcmp(before, text);
        }
        if (!seen) {
            ++*i;
            return true;
        }
    }
    return false;
}

/* A CPU that may not run as fast as it can: the same in every trial. */
static void look_at_limits(const struct nf_spoilers_of *of, struct list *l)
{
    char most[64], can[64], path[128], what[160], mend[120];
    unsigned i = 0;
    int cpu;

    while (next_cpu(of, &i, "scaling_max_freq", &cpu, most, sizeof most)) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq", cpu);
        if (!read_text(of->root, path, can, sizeof can) || strtoull(most, NULL, 10) >= strtoull(can, NULL, 10))
            continue;
        snprintf(what, sizeof what, "the frequency of CPU %d is limited to %llu of %llu kHz", cpu, strtoull(most, NULL, 10),
                 strtoull(can, NULL, 10));
        snprintf(mend, sizeof mend, "cpupower frequency-set -u %llukHz", strtoull(can, NULL, 10));
        add(l, FREQUENCY_LIMIT, false, what, mend);
    }
}

/* A governor that lets the frequency follow the load makes what waits less slower than what waits more: policies would be compared at
 * different speeds, in every block the same way. Turbo follows temperature and how many CPUs are busy, which drifts: pairs within
 * a block, in random order, deal with it. */
static void look_at_frequency(const struct nf_spoilers_of *of, struct list *l)
{
    char text[64], what[160];
    bool known = false;
    unsigned i = 0;
    int cpu;

    while (next_cpu(of, &i, "scaling_governor", &cpu, text, sizeof text)) {
        known = true;
        if (!strcmp(text, "performance"))
            continue;
        snprintf(what, sizeof what, "the frequency of CPU %d follows demand (governor %s): a policy that waits runs slower", cpu, text);
        add(l, FREQUENCY, true, what, "cpupower frequency-set -g performance");
    }
    if (!known)
        add(l, FREQUENCY, false, "the frequency governor is unknown (this machine does not show it)", "");
    if (read_text(of->root, "/sys/devices/system/cpu/intel_pstate/no_turbo", text, sizeof text)) {
        if (!strcmp(text, "0"))
            add(l, TURBO, false, "turbo is on: speed follows temperature", "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo");
    } else if (read_text(of->root, "/sys/devices/system/cpu/cpufreq/boost", text, sizeof text)) {
        if (!strcmp(text, "1"))
            add(l, TURBO, false, "boost is on: speed follows temperature", "echo 0 > /sys/devices/system/cpu/cpufreq/boost");
    } else {
        add(l, TURBO, false, "turbo is unknown (this machine does not show it)", "");
    }
    look_at_limits(of, l);
}

/* Who shares a core, or takes the machine away, comes and goes: marks on disturbed trials and pairs deal with it. */
static void look_at_cpus(const char *root, struct list *l)
{
    char text[65536];

    if (read_text(root, "/sys/devices/system/cpu/smt/active", text, sizeof text) && !strcmp(text, "1"))
        add(l, SMT, false, "SMT is on: a neighbour may share the core", "echo off > /sys/devices/system/cpu/smt/control");
    if (read_text(root, "/proc/cpuinfo", text, sizeof text) && strstr(text, " hypervisor"))
        add(l, VIRTUAL_MACHINE, false, "this is a virtual machine: its host may take the CPU and the caches away", "");
    if (nf_pin_cpus() < 2)
        add(l, ONE_CPU, false, "only one CPU: everything else on the machine preempts the replay", "");
}

/* Pages can be moved from one node to another only where there is another. */
static bool several_nodes(const char *root)
{
    char text[1024];

    return read_text(root, "/sys/devices/system/node/has_memory", text, sizeof text) && strpbrk(text, ",-");
}

static void look_at_pages(const struct nf_spoilers_of *of, struct list *l)
{
    const char *path = "/sys/kernel/mm/transparent_hugepage/enabled";
    char text[128];
    bool known = read_text(of->root, path, text, sizeof text);

    if (of->huge && (!known || strstr(text, "[never]")))
        add(l, THP, true, "huge pages were asked for and the kernel gives none: every page would have 4 KiB",
            known ? "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled" : "");
    else if (known && strstr(text, "[always]")) /* arenas of 4 KiB decline them */
        add(l, THP, false, "transparent huge pages are forced on everything but the arenas",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

static void look_at_moves(const struct nf_spoilers_of *of, struct list *l)
{
    bool wrong = several_nodes(of->root) && !of->kernel_moves;
    char text[128];

    if (read_text(of->root, "/proc/sys/kernel/numa_balancing", text, sizeof text) && strcmp(text, "0"))
        add(l, NUMA_BALANCING, wrong, "automatic NUMA balancing moves and unmaps pages", "sysctl kernel.numa_balancing=0");
    if (read_text(of->root, "/sys/kernel/mm/numa/demotion_enabled", text, sizeof text) &&
        (!strcmp(text, "true") || !strcmp(text, "1")))
        add(l, DEMOTION, wrong, "the kernel demotes pages to slower memory on its own: placements would not hold",
            "echo false > /sys/kernel/mm/numa/demotion_enabled");
    /* A page that was swapped out is faulted in again, and a trial with a page fault is marked. The first line is a heading. */
    if (read_text(of->root, "/proc/swaps", text, sizeof text) && strchr(text, '\n'))
        add(l, SWAP, false, "swap is on", "swapoff -a");
}

/* --- memory of a node --- */

static uint64_t kib_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* What may be allocated on a node: free, or the page cache's, which gives way. With one node it is the machine's memory,
 * which is checked before (replay/session-plan.c). */
static double room_of(const struct nf_spoilers_of *of, int node)
{
    char path[80], text[8192];

    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
    if (!read_text(of->root, path, text, sizeof text))
        return -1;
    return 1024.0 * (double)(kib_of(text, "MemFree:") + kib_of(text, "Active(file):") + kib_of(text, "Inactive(file):"));
}

/* What makes room on a node: less of the study, or who fills it moved to the node that has most to spare. */
static void mend_node(const struct nf_spoilers_of *of, int node, double need, double usable, char *text, size_t size)
{
    double most = 0;
    int to = -1;

    *text = '\0';
    if (usable > 0.01 * need) {
        snprintf(text, size, "nearfar replay %.120s --scale %.3g", of->study ? of->study : "STUDY",
                 (of->scale > 0 ? of->scale : 1) * 0.95 * usable / need);
        return;
    }
    for (int other = 0; other < NF_SPOILERS_NODES; other++) {
        double spare = other == node ? -1 : room_of(of, other) - (double)of->node_bytes[other];

        to = spare > most ? other : to;
        most = spare > most ? spare : most;
    }
    if (most > need)
        snprintf(text, size, "ps -eo pid= --sort=-rss | head -n 8 | xargs -I{} migratepages {} %d %d", node, to);
}

static void look_at_nodes(const struct nf_spoilers_of *of, struct list *l)
{
    for (int node = 0; node < NF_SPOILERS_NODES && several_nodes(of->root); node++) {
        char what[160], mend[240], want[NF_UNITS_TEXT], have[NF_UNITS_TEXT];
        double need = (double)of->node_bytes[node], usable = need > 0 ? room_of(of, node) : -1;

        if (usable < 0 || need <= usable)
            continue;
        snprintf(what, sizeof what, "node %d would hold %s and has room for %s: the rest would be elsewhere, or fail", node,
                 nf_format_bytes(want, need), nf_format_bytes(have, usable));
        mend_node(of, node, need, usable, mend, sizeof mend);
        add(l, NODE_MEMORY, true, what, mend);
    }
}

/* --- who else runs --- */

/* user nice system idle iowait irq softirq steal: all of them, and those that are not idle. */
static bool cpu_ticks(const char *text, int cpu, uint64_t *all, uint64_t *busy)
{
    unsigned long long v[8];
    char name[16];
    const char *line;

    snprintf(name, sizeof name, "\ncpu%d ", cpu);
    line = strstr(text, name);
    if (!line || sscanf(line + strlen(name), "%llu %llu %llu %llu %llu %llu %llu %llu", v, v + 1, v + 2, v + 3, v + 4, v + 5,
                        v + 6, v + 7) != 8)
        return false;
    *busy = v[0] + v[1] + v[2] + v[5] + v[6] + v[7];
    *all = *busy + v[3] + v[4];
    return true;
}

/* A list of the kernel's: "2-3,8". */
static bool in_list(const char *text, int cpu)
{
    while (*text) {
        char *end;
        long first = strtol(text, &end, 10), last;

        if (end == text)
            return false;
        last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        if (cpu >= first && cpu <= last)
            return true;
        text = *end == ',' ? end + 1 : "";
    }
    return false;
}

/* A CPU that is not set aside. */
static int first_shared(const char *isolated)
{
    int cpu = 0;

    while (in_list(isolated, cpu))
        cpu++;
    return cpu;
}

/* CPUs that were set aside for measuring, and on which somebody runs all the same. */
static void look_at_isolated(const struct nf_spoilers_of *of, struct list *l)
{
    const double busy_share = 0.05; /* of 50 ms two ticks: one alone may be the timer's */
    char isolated[4096], what[160], mend[240];
    struct nf_buf first = {0}, second = {0};
    char path[512];
    int measuring = -1;

    if (!read_text(of->root, "/sys/devices/system/cpu/isolated", isolated, sizeof isolated))
        return;
    for (unsigned i = 0; i < of->n_cpus; i++)
        measuring = in_list(isolated, of->cpus[i]) ? of->cpus[i] : measuring;
    if (*isolated && measuring < 0) {
        snprintf(what, sizeof what, "CPUs %.60s are set aside for measuring, and others are used", isolated);
        snprintf(mend, sizeof mend, "nearfar replay %.120s --cpu %d", of->study ? of->study : "STUDY", (int)strtol(isolated, NULL, 10));
        add(l, ISOLATED, false, what, mend);
    }
    if (measuring < 0)
        return;
    snprintf(path, sizeof path, "%s/proc/stat", of->root);
    if (!nf_buf_read_file(&first, path, 1 << 22)) {
        if (!of->root_later)
            nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        snprintf(path, sizeof path, "%s/proc/stat", of->root_later ? of->root_later : of->root);
        if (nf_buf_read_file(&second, path, 1 << 22))
            nf_error_clear();
    } else {
        nf_error_clear(); /* what is not shown is unknown */
    }
    for (unsigned i = 0; i < of->n_cpus && first.n && second.n; i++) {
        uint64_t all[2], busy[2];
        int cpu = of->cpus[i];

        if (!in_list(isolated, cpu) || !cpu_ticks(first.data, cpu, &all[0], &busy[0]) ||
            !cpu_ticks(second.data, cpu, &all[1], &busy[1]) || busy[1] - busy[0] < 2 ||
            (double)(busy[1] - busy[0]) <= busy_share * (double)(all[1] - all[0]))
            continue;
        snprintf(what, sizeof what, "CPU %d is set aside for measuring and %.0f %% busy with something else", cpu,
                 100 * (double)(busy[1] - busy[0]) / (double)(all[1] - all[0]));
        snprintf(mend, sizeof mend, "ps -eLo psr=,lwp= | awk '$1 == %d {print $2}' | xargs -n 1 taskset -cp %d", cpu,
                 first_shared(isolated));
        add(l, ISOLATED, true, what, mend);
    }
    nf_buf_deinit(&first);
    nf_buf_deinit(&second);
}

static unsigned count_list(const char *text)
{
    unsigned n = 0;

    for (int cpu = 0; cpu < 8192; cpu++)
        n += in_list(text, cpu);
    return n;
}

static void look_at_load(const char *root, struct list *l)
{
    const double busy = 0.5; /* half a CPU of somebody else's: every tenth of a second it may meet the replay */
    /* With that many waiting for each CPU a thread runs a tenth of the time: nothing keeps a deadline, nor starts together.
     * Below, the pairs within a block and the marks of disturbed trials deal with it. */
    const double hopeless = 8;
    char text[4096], what[160], mend[120];
    unsigned cpus = 0;
    double load;

    if (read_text(root, "/sys/devices/system/cpu/online", text, sizeof text))
        cpus = count_list(text);
    cpus = cpus ? cpus : (unsigned)nf_pin_cpus();
    if (!read_text(root, "/proc/loadavg", text, sizeof text) || strtod(text, NULL) <= busy)
        return;
    load = strtod(text, NULL);
    snprintf(what, sizeof what, "others are running: the load average is %.2f on %u CPUs", load, cpus);
    snprintf(mend, sizeof mend, "until awk '{exit $1 > %g}' /proc/loadavg; do sleep 5; done", busy);
    add(l, LOAD, load > hopeless * cpus, what, mend);
}

int nf_spoilers_node_of(const char *root, int cpu)
{
    char path[80], text[4096];

    for (int node = 0; node < NF_SPOILERS_NODES; node++) {
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
        if (read_text(root ? root : "", path, text, sizeof text) && in_list(text, cpu))
            return node;
    }
    return -1;
}

size_t nf_spoilers(const struct nf_spoilers_of *asked, struct nf_spoiler *out)
{
    struct nf_spoilers_of of = *asked;
    struct list l = {.v = out};

    of.root = of.root ? of.root : "";
    look_at_frequency(&of, &l);
    look_at_cpus(of.root, &l);
    look_at_pages(&of, &l);
    look_at_moves(&of, &l);
    look_at_nodes(&of, &l);
    look_at_isolated(&of, &l);
    look_at_load(of.root, &l);
    return l.n;
}
