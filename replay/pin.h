#pragma once
/* Keeping the calling thread on one CPU while it measures. */
#include <sched.h>

struct nf_pin {
    cpu_set_t before;
    int cpu; /* where the thread is held; -1: not pinned */
};

/* cpu < 0: the one the thread runs on now. 0, -EINVAL (no such CPU for this process) or -errno (cause set). */
int nf_pin_init(struct nf_pin *p, int cpu);
/* Restores what the thread was allowed before. Zeroed or unpinned is fine. */
void nf_pin_deinit(struct nf_pin *p);

/* CPUs this process may run on. */
int nf_pin_cpus(void);
/* One of them other than `cpu`, -1 when there is none. */
int nf_pin_other(int cpu);
