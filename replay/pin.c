#include "replay/pin.h"

#include <errno.h>

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
