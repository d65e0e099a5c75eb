#pragma once
/* Which hardware event plays which part of memory sampling, per Intel microarchitecture. The choice is a table; the
 * encoding comes from the kernel's own event files first, from libpfm4 second, from the table's raw codes last. */
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/event-encoding.h"
#include "core/base/pmu.h"

enum nf_pmu_role {
    NF_PMU_LOADS,         /* every retired load: counts accesses */
    NF_PMU_STORES,        /* every retired store */
    NF_PMU_LATENCY,       /* loads of at least ldlat cycles: carries the level and the latency */
    NF_PMU_STORE_LATENCY, /* stores with their level and latency */
    NF_PMU_L2_MISS,       /* loads answered from beyond L2 */
    NF_PMU_L3_MISS,       /* loads answered from beyond the LLC */
    NF_PMU_LOCAL_DRAM,    /* loads answered by this socket's memory, and so on: the event itself is the level */
    NF_PMU_REMOTE_DRAM,
    NF_PMU_LOCAL_PMM,
    NF_PMU_REMOTE_PMM,
    NF_PMU_AUX, /* counted in front of LATENCY where the kernel asks for it; delivers no samples */
    NF_PMU_ROLES
};

/* What a sample of the event tells about where its data came from (enum nf_memory_level), whatever data_src says. */
struct nf_pmu_role_facts {
    const char *name;    /* of the option and of the event in the study: "l3-miss" */
    const char *meaning;
    uint8_t rw;          /* enum nf_rw */
    bool has_level;      /* data_src tells the level; else the event does, or nobody */
};
const struct nf_pmu_role_facts *nf_pmu_role_facts(enum nf_pmu_role role);

struct nf_pmu_uarch {
    const char *name;      /* "skx"; libpfm4's name of it where it has one */
    const char *pfm;       /* prefix for libpfm4, NULL when it does not know the CPU */
    const char *cpu;       /* for people */
    unsigned counters;     /* general ones per thread that can do PEBS, hyperthreads on */
    bool needs_aux;        /* LATENCY with DATA_SRC is refused (-ENODATA) without AUX in front of it */
    bool pmm_is_cxl;       /* the PMM events count CXL memory */
    bool time_in_record;   /* PEBS format 3 on: TIME does not prevent large PEBS */
    struct {
        uint32_t code;           /* umask and event as in config; 0: not on this CPU */
        const char *sysfs, *pfm; /* event file; libpfm4's name without prefix. NULL: none */
    } events[NF_PMU_ROLES];
};

extern const struct nf_pmu_uarch *const nf_pmu_uarchs[]; /* NULL-terminated */
/* By Intel's family, model and stepping. Never NULL: a CPU that is newer than the table gets the events that all of them
 * share ("intel"). */
const struct nf_pmu_uarch *nf_pmu_uarch_of(unsigned family, unsigned model, unsigned stepping);
const struct nf_pmu_uarch *nf_pmu_uarch_find(const char *name); /* NULL when there is none */

enum nf_pmu_origin { NF_PMU_FROM_SYSFS, NF_PMU_FROM_PFM, NF_PMU_FROM_TABLE };

/* The core PMU of this machine or of a recorded tree: cpu_core on hybrid ones, else cpu.
 * 0 or -ENOENT, -EBADMSG (cause set). */
int nf_pmu_core(const char *root, struct nf_pmu *out);
/* pmu: NULL for a CPU that is not here: type PERF_TYPE_RAW. ldlat only counts for NF_PMU_LATENCY.
 * An encoding of libpfm4 that differs from the table's code is passed over: the kernel's constraints are written for the
 * table's (libpfm4 4.13 gives 0x3cd for SPR's STORE_SAMPLE, the kernel takes 0x2cd).
 * 0, or -EOPNOTSUPP when the CPU has no such event (cause set). */
int nf_pmu_encode(const struct nf_pmu_uarch *u, const struct nf_pmu *pmu, enum nf_pmu_role role, unsigned ldlat,
                  struct nf_event_encoding *out, enum nf_pmu_origin *origin);
/* Whether AUX has to stand in front of LATENCY: its event file where the PMU is here, the table where not. */
bool nf_pmu_needs_aux(const struct nf_pmu_uarch *u, const struct nf_pmu *pmu);
