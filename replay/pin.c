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

int nf_pin_thread(pthread_t *thread, int cpu, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    cpu_set_t one;
    int rc = pthread_attr_init(&attributes);

    if (rc)
        return rc;
    CPU_ZERO(&one);
    if (cpu >= 0 && cpu < CPU_SETSIZE) {
        CPU_SET(cpu, &one);
        rc = pthread_attr_setaffinity_np(&attributes, sizeof one, &one);
    }
    if (!rc)
        rc = pthread_create(thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return rc;
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

/* Where a CPU stands; -1: not told. */
struct place {
    int node, core, package;
};

static struct place place_of(const char *root, int cpu)
{
    return (struct place){node_of(root, cpu), cpu_number(root, cpu, "topology/core_id"),
                          cpu_number(root, cpu, "topology/physical_package_id")};
}

static bool same_core(const struct place *a, const struct place *b)
{
    return a->core >= 0 && a->core == b->core && a->package == b->package;
}

bool nf_pin_shares_core(const char *root, int cpu, const int *cpus, unsigned n)
{
    struct place here = place_of(root, cpu), there;

    for (unsigned i = 0; i < n; i++) {
        there = place_of(root, cpus[i]);
        if (cpus[i] == cpu || same_core(&here, &there))
            return true;
    }
    return false;
}

/* NULL: this process's. */
static cpu_set_t allowed_or_mine(const cpu_set_t *allowed)
{
    cpu_set_t set;

    if (allowed)
        return *allowed;
    if (sched_getaffinity(0, sizeof set, &set))
        CPU_ZERO(&set);
    return set;
}

/* Lower is better. */
static int cost_of(const struct place *places, int cpu, const int *cpus, unsigned n)
{
    int cost = places[cpu].node != places[cpus[0]].node ? 2 : 0;

    /* A sibling halves both: worse than another node. */
    for (unsigned i = 0; i < n; i++) {
        if (same_core(&places[cpu], &places[cpus[i]]))
            return cost + 4;
    }
    return cost;
}

unsigned nf_pin_team(const char *root, const cpu_set_t *allowed, int first, unsigned n, int *cpus)
{
    struct place places[CPU_SETSIZE];
    cpu_set_t left = allowed_or_mine(allowed);
    unsigned found = 1;

    if (!n)
        return 0;
    cpus[0] = first;
    if (first < 0 || first >= CPU_SETSIZE)
        return 1;
    CPU_SET(first, &left);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &left))
            places[cpu] = place_of(root, cpu);
    }
    CPU_CLR(first, &left);
    while (found < n && CPU_COUNT(&left)) {
        int best = -1, best_cost = 0;

        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            int cost;

            if (!CPU_ISSET(cpu, &left))
                continue;
            cost = cost_of(places, cpu, cpus, found);
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

static bool is_among(int cpu, const int *cpus, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (cpus[i] == cpu)
            return true;
    }
    return false;
}

unsigned nf_pin_beside(const char *root, const cpu_set_t *allowed, int cpu, const int *taken, unsigned n_taken, unsigned n, int *cpus)
{
    int team[CPU_SETSIZE];
    unsigned all = nf_pin_team(root, allowed, cpu, CPU_SETSIZE, team), found = 0;

    for (unsigned i = 0; i < all && found < n; i++) {
        if (!is_among(team[i], taken, n_taken))
            cpus[found++] = team[i];
    }
    return found;
}

unsigned nf_pin_node_cpus(const char *root, const cpu_set_t *allowed, int cpu)
{
    cpu_set_t set = allowed_or_mine(allowed);
    int node = node_of(root, cpu);
    unsigned n = 0;

    for (int i = 0; i < CPU_SETSIZE; i++)
        n += CPU_ISSET(i, &set) && node_of(root, i) == node;
    return n;
}

void nf_pin_list(const int *cpus, unsigned n, char *text, size_t size)
{
    cpu_set_t set;
    size_t at = 0;

    CPU_ZERO(&set);
    for (unsigned i = 0; i < n; i++) {
        if (cpus[i] >= 0 && cpus[i] < CPU_SETSIZE)
            CPU_SET(cpus[i], &set);
    }
    text[0] = '\0';
    for (int cpu = 0, last; cpu < CPU_SETSIZE && at < size; cpu = last + 1) {
        last = cpu;
        if (!CPU_ISSET(cpu, &set))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set))
            last++;
        at += (size_t)snprintf(text + at, size - at, last > cpu ? "%s%d-%d" : "%s%d", at ? "," : "", cpu, last);
    }
}
