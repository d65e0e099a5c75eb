#pragma once
/* What came between while a trial ran: others on its CPU, a host that took it away, pages the kernel moved unasked. A
 * trial that was disturbed is kept and marked; whoever reads it decides. */
#include <stddef.h>
#include <stdint.h>

#include "replay/engine.h"

/* Counters of the machine at one moment; UINT64_MAX: not shown here. */
struct nf_interference {
    uint64_t moved_pages;  /* migrated, promoted or demoted by the kernel since boot */
    uint64_t collapsed;    /* ranges turned into huge pages behind everybody's back */
    uint64_t steal_ticks;  /* of the replay's CPUs together, taken by the host */
    uint64_t ticks_per_s;
    double load;           /* average of the last minute; < 0 unknown */
};
/* Below `root` ("" for this machine). cpus: of the replay's threads, its mover's included. */
void nf_interference_read(const char *root, const int *cpus, unsigned n_cpus, struct nf_interference *out);

/* From before to after: sets trial->steal_ns, trial->moved_pages (less asked_pages, which a policy moved) and, in words, trial->interference
 * where something is beyond what is stated beside each threshold in interference.c. pages: of the trial's memory. */
void nf_interference_judge(const struct nf_interference *before, const struct nf_interference *after, uint64_t asked_pages,
                           uint64_t pages, struct nf_trial *trial);
