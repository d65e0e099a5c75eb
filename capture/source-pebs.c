#include "capture/source-pebs.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/pmu-events.h"
#include "capture/pmu-machine.h"
#include "capture/pmu-plan.h"
#include "capture/pmu-sampler.h"
#include "core/base/error.h"
#include "core/base/numa-of.h"

#define ROLE(name, role, about) {name, 0, NF_OPTION_FLAG, offsetof(struct nf_pebs_options, roles[role]), NULL, about}
static const struct nf_option options[] = {
    {"period", 0, NF_OPTION_U64, offsetof(struct nf_pebs_options, period), "N", "events a sample stands for (default 10007)"},
    {"ldlat", 0, NF_OPTION_U64, offsetof(struct nf_pebs_options, ldlat), "CYCLES",
     "shortest load that latency takes (default 3)"},
    ROLE("loads", NF_PMU_LOADS, "retired loads (default, with stores and latency)"),
    ROLE("stores", NF_PMU_STORES, "retired stores"),
    ROLE("latency", NF_PMU_LATENCY, "loads with their level and latency"),
    ROLE("store-latency", NF_PMU_STORE_LATENCY, "stores with their level and latency (Sapphire Rapids and later)"),
    ROLE("l2-miss", NF_PMU_L2_MISS, "loads from beyond L2"),
    ROLE("l3-miss", NF_PMU_L3_MISS, "loads from beyond the LLC"),
    ROLE("local-dram", NF_PMU_LOCAL_DRAM, "loads from this socket's DRAM"),
    ROLE("remote-dram", NF_PMU_REMOTE_DRAM, "loads from another socket's DRAM"),
    ROLE("local-pmm", NF_PMU_LOCAL_PMM, "loads from this socket's persistent or CXL memory"),
    ROLE("remote-pmm", NF_PMU_REMOTE_PMM, "loads from another socket's persistent or CXL memory"),
    {"kernel", 0, NF_OPTION_FLAG, offsetof(struct nf_pebs_options, kernel), NULL, "kernel mode too"},
    {"physical", 0, NF_OPTION_FLAG, offsetof(struct nf_pebs_options, physical), NULL,
     "physical addresses, which tell the NUMA node"},
    {0},
};

/* The core PMU of an Intel CPU that samples memory. */
static int find(const char *root, struct nf_pmu_machine *m, struct nf_pmu *pmu, char *why, size_t size)
{
    char precise[16];
    int rc;

    nf_pmu_machine_read(root, m);
    rc = nf_pmu_core(root, pmu);
    if (strcmp(m->vendor, "GenuineIntel")) {
        snprintf(why, size, "PEBS is Intel's, this CPU is by %s%s%s", *m->vendor ? m->vendor : "somebody unknown",
                 strcmp(m->vendor, "AuthenticAMD") ? "" : " (source ibs)",
                 rc ? "; no PMU 'cpu' in /sys/bus/event_source/devices either: use page-fault" : "");
        return -ENODEV;
    }
    if (rc) {
        snprintf(why, size, "no PMU 'cpu' in /sys/bus/event_source/devices: %s", nf_pmu_absent(m));
        return -ENODEV;
    }
    if (!nf_pmu_has(pmu, "events/mem-loads")) {
        snprintf(why, size, "PMU %s has no event mem-loads: %s", pmu->name,
                 m->hypervisor ? "the hypervisor passes counters on, but not PEBS; run on the host"
                               : "a CPU before Haswell, or a kernel without its memory events");
        return -ENODEV;
    }
    if (!nf_pmu_read(pmu, "caps/max_precise", precise, sizeof precise) && atoi(precise) < 2) {
        snprintf(why, size, "PMU %s samples with precision %s, PEBS needs 2: %s", pmu->name, precise,
                 m->hypervisor ? "the hypervisor passes counters on, but not PEBS; run on the host"
                               : "switched off for an erratum; a microcode update may mend it");
        return -ENODEV;
    }
    return 0;
}

int nf_source_pebs_probe(const char *root, char *why, size_t size)
{
    struct nf_pmu_machine m;
    struct nf_pmu pmu;
    int rc = find(root, &m, &pmu, why, size);

    if (!rc)
        rc = nf_pmu_allowed(&m, false, why, size);
    if (!rc)
        snprintf(why, size, "%s, not validated on hardware", nf_pmu_uarch_of(m.family, m.model, m.stepping)->cpu);
    return rc;
}

static int probe(char *why, size_t size)
{
    return nf_source_pebs_probe("", why, size);
}

static size_t environment(const void *o, enum nf_pass_kind pass, const char *ring_path, const char **out, size_t max)
{
    return 0; /* the kernel does all of it */
}

static int open_source(const void *opaque, struct nf_source **out, struct nf_source_facts *facts)
{
    const struct nf_pebs_options *o = opaque;
    struct nf_pmu_machine m;
    struct nf_numa_of *nodes;
    struct nf_pmu_plan plan;
    struct nf_pmu pmu;
    char why[256];
    int rc = find("", &m, &pmu, why, sizeof why);

    if (rc)
        return nf_fail(rc, "source pebs: %s", why);
    rc = nf_pmu_allowed(&m, o->kernel || o->physical, why, sizeof why);
    if (rc)
        return nf_fail(rc, "source pebs: %s", why);
    rc = nf_pebs_plan(o, nf_pmu_uarch_of(m.family, m.model, m.stepping), &pmu, &plan);
    if (rc)
        return nf_fail_in(rc, "source pebs");
    if (o->physical && !nf_numa_of_new("/sys", &nodes)) {
        size_t n = strlen(plan.notes);

        snprintf(plan.notes + n, sizeof plan.notes - n, "; ");
        n = strlen(plan.notes);
        nf_numa_of_text(nodes, plan.notes + n, sizeof plan.notes - n);
        nf_numa_of_free(nodes);
    }
    nf_pmu_plan_facts(&plan, facts);
    return nf_pmu_sampler_open(&plan, out);
}

const struct nf_source_ops nf_source_pebs = {
    .abi = NF_SOURCE_ABI,
    .name = "pebs",
    .about = "Intel CPUs sample loads and stores, with level and latency (not validated on hardware)",
    .evidence = NF_ACCESS_PEBS,
    .options = options,
    .options_size = sizeof(struct nf_pebs_options),
    .probe = probe,
    .environment = environment,
    .open = open_source,
    .attach = nf_pmu_sampler_attach,
    .drain = nf_pmu_sampler_drain,
    .totals = nf_pmu_sampler_totals,
    .close = nf_pmu_sampler_close,
};
