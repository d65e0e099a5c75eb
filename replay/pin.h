#pragma once
/* Keeping the calling thread on one CPU while it measures. */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

struct nf_pin {
    cpu_set_t before;
    int cpu; /* where the thread is held; -1: not pinned */
};

/* cpu < 0: the one the thread runs on now. 0, -EINVAL (no such CPU for this process) or -errno (cause set). */
int nf_pin_init(struct nf_pin *p, int cpu);
/* Restores what the thread was allowed before. Zeroed or unpinned is fine. */
void nf_pin_deinit(struct nf_pin *p);

/* Whether the CPU is one of n, or a sibling of one on the same physical core. Below `root` ("" for this machine) at /sys. */
bool nf_pin_shares_core(const char *root, int cpu, const int *cpus, unsigned n);

/* A thread born on the CPU, whatever the one that starts it is held on; cpu < 0: where that one may run. 0, or what pthread_create returns. */
int nf_pin_thread(pthread_t *thread, int cpu, void *(*run)(void *), void *argument);

/* CPUs this process may run on. */
int nf_pin_cpus(void);
bool nf_pin_allows(int cpu);
/* Where a replay, or a job to be held against one, runs first: on the CPU asked for (-1: none), else on the one that the study's tiers were
 * measured on (-1: not known) where this process may run there, else on the one it runs on now. */
int nf_pin_first(int asked, int measured);
/* One of them other than `cpu`, -1 when there is none. */
int nf_pin_other(int cpu);

/* The CPUs for a team of n threads, the first being `first`: on the same node (a sub-NUMA cluster is one) before others, one
 * per physical core before their siblings, by number within each. Below `root` ("" for this machine) at /sys; allowed: NULL,
 * or the CPUs to choose from instead of this process's. Returns how many were found, at most n. */
unsigned nf_pin_team(const char *root, const cpu_set_t *allowed, int first, unsigned n, int *cpus);
/* The CPUs for n threads beside others: of the team of `cpu` those that are not taken, in its order. `cpu` itself is the first where
 * nobody took it. root, allowed: as above. Returns how many were found, at most n. */
unsigned nf_pin_beside(const char *root, const cpu_set_t *allowed, int cpu, const int *taken, unsigned n_taken, unsigned n, int *cpus);
/* How many of the allowed CPUs are on the node of `cpu`; all, where nodes are not told. */
unsigned nf_pin_node_cpus(const char *root, const cpu_set_t *allowed, int cpu);
/* "0-3,8": n CPUs in the order of their numbers, cut where `size` ends. */
void nf_pin_list(const int *cpus, unsigned n, char *text, size_t size);
