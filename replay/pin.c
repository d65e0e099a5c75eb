#include "replay/pin.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "core/base/error.h"

int nf_pin_init(struct nf_pin *p, int cpu)
{
    cpu_set_t one;

    p->cpu = -1;
    if (sched_getaffinity(0, sizeof p->before, &p->before))
        return nf_fail(-errno, "cannot read the thread's CPUs");
    if (cpu < 0)
        cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &p->before))
        return nf_fail(-EINVAL, "this process may not run on CPU %d", cpu);
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one))
        return nf_fail(-errno, "cannot keep the thread on CPU %d", cpu);
    p->cpu = cpu;
    return 0;
}

void nf_pin_deinit(struct nf_pin *p)
{
    if (p->cpu >= 0 && CPU_COUNT(&p->before))
        sched_setaffinity(0, sizeof p->before, &p->before);
    p->cpu = -1;
}

int nf_pin_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

bool nf_pin_allows(int cpu)
{
    cpu_set_t set;

    return cpu >= 0 && cpu < CPU_SETSIZE && !sched_getaffinity(0, sizeof set, &set) && CPU_ISSET(cpu, &set);
}

int nf_pin_first(int asked, int measured)
{
    return asked >= 0 ? asked : nf_pin_allows(measured) ? measured : sched_getcpu();
}

int nf_pin_other(int cpu)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set))
        return -1;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (i != cpu && CPU_ISSET(i, &set))
            return i;
    }
    return -1;
}

/* A number in a file of a CPU's folder; -1 when there is none. */
static int cpu_number(const char *root, int cpu, const char *file)
{
    char path[512];
    int number = -1;
    FILE *f;

    snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/%s", root, cpu, file);
    f = fopen(path, "re");
    if (!f)
        return -1;
    if (fscanf(f, "%d", &number) != 1)
        number = -1;
    fclose(f);
    return number;
}

/* A CPU's folder holds a link named after its node. */
static int node_of(const char *root, int cpu)
{
    char path[512];
    int node = -1;
    DIR *d;

    snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d", root, cpu);
    d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (sscanf(e->d_name, "node%d", &node) == 1)
            break;
    }
    if (d)
        closedir(d);
    return node;
}

bool nf_pin_shares_core(const char *root, int cpu, const int *cpus, unsigned n)
{
    int core = cpu_number(root, cpu, "topology/core_id"), package = cpu_number(root, cpu, "topology/physical_package_id");

    for (unsigned i = 0; i < n; i++) {
        if (cpus[i] == cpu || (core >= 0 && cpu_number(root, cpus[i], "topology/core_id") == core &&
                               cpu_number(root, cpus[i], "topology/physical_package_id") == package))
            return true;
    }
    return false;
}

/* Lower is better. */
static int cost_of(const char *root, int cpu, const int *cpus, unsigned n)
{
    int cost = node_of(root, cpu) != node_of(root, cpus[0]) ? 2 : 0;

    /* A sibling halves both: worse than another node. */
    return nf_pin_shares_core(root, cpu, cpus, n) ? cost + 4 : cost;
}

unsigned nf_pin_team(const char *root, const cpu_set_t *allowed, int first, unsigned n, int *cpus)
{
    cpu_set_t left;
    unsigned found = 1;

    if (!n)
        return 0;
    if (allowed)
        left = *allowed;
    else if (sched_getaffinity(0, sizeof left, &left))
        CPU_ZERO(&left);
    cpus[0] = first;
    if (first >= 0 && first < CPU_SETSIZE)
        CPU_CLR(first, &left);
    while (found < n && CPU_COUNT(&left)) {
        int best = -1, best_cost = 0;

        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            int cost;

            if (!CPU_ISSET(cpu, &left))
                continue;
            cost = cost_of(root, cpu, cpus, found);
            if (best < 0 || cost < best_cost) {
                best = cpu;
                best_cost = cost;
            }
            if (!best_cost)
                break; /* none is better */
        }
        CPU_CLR(best, &left);
        cpus[found++] = best;
    }
    return found;
}
