#pragma once
/* What about this machine would spoil a measurement, and the command that mends it. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NF_SPOILERS_MAX = 32, NF_SPOILERS_NODES = 64 };

struct nf_spoiler {
    const char *name; /* one of nf_spoiler_names */
    char what[160]; /* one clause, with why it matters */
    char mend[240]; /* a command; "" when none on this machine does it */
    bool wrong;     /* numbers would be wrong, not only noisy */
};

/* What is about to be measured. Zeroed: nothing in particular, on this machine. */
struct nf_spoilers_of {
    const char *root;       /* /proc and /sys are looked at below it; NULL or "": this machine's */
    const char *root_later; /* where the second look at the CPUs' time is taken; NULL: below root, 50 ms after the first */
    const char *study;      /* that is replayed, for the commands that mend it; NULL: "STUDY" */
    double scale;           /* it is replayed at; 0: 1 */
    const int *cpus;        /* that will measure; none: CPU 0 */
    unsigned n_cpus;
    bool huge;              /* memory of huge pages was asked for */
    bool kernel_moves;      /* moves are left to the kernel: its balancing and demotion are asked for */
    uint64_t node_bytes[NF_SPOILERS_NODES]; /* memory that will be bound to each NUMA node */
};

/* Every name a spoiler can have, NULL-terminated: what a user may go on despite. */
extern const char *const nf_spoiler_names[];
/* Returns how many of out's NF_SPOILERS_MAX places were filled. Takes 50 ms where isolated CPUs will measure. */
size_t nf_spoilers(const struct nf_spoilers_of *of, struct nf_spoiler *out);
/* NUMA node of a CPU below root, -1 when the machine does not show it. */
int nf_spoilers_node_of(const char *root, int cpu);
