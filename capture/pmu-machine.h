#pragma once
/* What decides whether a CPU's sampling can be used here: the CPU, the hypervisor above it, and what the kernel allows.
 * Read from /proc below a root, so that tests read recorded trees. */
#include <stdbool.h>
#include <stddef.h>

struct nf_pmu_machine {
    char vendor[16]; /* "GenuineIntel", "AuthenticAMD"; "" unknown */
    unsigned family, model, stepping;
    bool hypervisor;        /* this is a guest */
    int paranoid;           /* kernel.perf_event_paranoid; -2 unknown */
    bool capable;           /* CAP_PERFMON or CAP_SYS_ADMIN */
    unsigned major, minor;  /* of the kernel; 0 unknown */
};

/* root: "" for this machine. What cannot be read is unknown. */
void nf_pmu_machine_read(const char *root, struct nf_pmu_machine *out);
/* Whether user-mode sampling (kernel: of kernel mode or of physical addresses too) is allowed to this process.
 * 0, or -EACCES with why not and what would mend it. */
int nf_pmu_allowed(const struct nf_pmu_machine *m, bool kernel, char *why, size_t size);
/* Why there is no such PMU, as far as the machine tells: text for the end of a sentence. */
const char *nf_pmu_absent(const struct nf_pmu_machine *m);
