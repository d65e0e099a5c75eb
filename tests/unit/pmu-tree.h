#pragma once
/* Trees as the kernel shows them under /sys and /proc on machines that are not here. */
#include <stddef.h>

struct pmu_tree {
    char root[64];
};

void pmu_tree_new(struct pmu_tree *t);
void pmu_tree_delete(struct pmu_tree *t);
/* Writes text to root + path, with the folders on the way. */
void pmu_tree_put(const struct pmu_tree *t, const char *path, const char *text);
/* The core PMU of a CPU, "cpu" or "cpu_core", as Linux 6.x exposes it for "skx", "clx", "icx", "spr", "gnr". */
void pmu_tree_intel(const struct pmu_tree *t, const char *uarch, const char *pmu);
void pmu_tree_ibs(const struct pmu_tree *t, int zen4, int swfilt);
/* /proc: vendor, model and stepping of family 6 or 25, paranoid level, CapEff, kernel release. */
void pmu_tree_machine(const struct pmu_tree *t, const char *vendor, unsigned family, unsigned model, unsigned stepping,
                      int hypervisor, int paranoid, unsigned long long caps, const char *release);
