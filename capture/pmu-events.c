#include "capture/pmu-events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/words.h"

static const struct nf_pmu_role_facts roles[NF_PMU_ROLES] = {
    [NF_PMU_LOADS] = {"loads", "retired loads", NF_RW_READ, false},
    [NF_PMU_STORES] = {"stores", "retired stores", NF_RW_WRITE, false},
    [NF_PMU_LATENCY] = {"latency", "loads of ldlat cycles and more: level and latency, not a count", NF_RW_READ, true},
    [NF_PMU_STORE_LATENCY] = {"store-latency", "stores with level and latency, not a count", NF_RW_WRITE, true},
    [NF_PMU_L2_MISS] = {"l2-miss", "retired loads from beyond L2", NF_RW_READ, false},
    [NF_PMU_L3_MISS] = {"l3-miss", "retired loads from beyond the LLC, prefetched lines not among them", NF_RW_READ, false},
    [NF_PMU_LOCAL_DRAM] = {"local-dram", "retired loads from this socket's DRAM", NF_RW_READ, false},
    [NF_PMU_REMOTE_DRAM] = {"remote-dram", "retired loads from another socket's DRAM", NF_RW_READ, false},
    [NF_PMU_LOCAL_PMM] = {"local-pmm", "retired loads from this socket's persistent or CXL memory", NF_RW_READ, false},
    [NF_PMU_REMOTE_PMM] = {"remote-pmm", "retired loads from another socket's persistent or CXL memory", NF_RW_READ, false},
    [NF_PMU_AUX] = {"mem-loads-aux", "counted beside latency, no samples", NF_RW_READ, false},
};

const struct nf_pmu_role_facts *nf_pmu_role_facts(enum nf_pmu_role role)
{
    return &roles[role];
}

/* The codes and where they are valid: Intel's event lists, and the constraints in the kernel's arch/x86/events/intel/.
 * Haswell and Broadwell count remote DRAM with another bit, and their record has no time stamp. */
#define HASWELL_EVENTS                                                                                                 \
    [NF_PMU_LOADS] = {0x81d0, NULL, "MEM_UOPS_RETIRED:ALL_LOADS"},                                                     \
    [NF_PMU_STORES] = {0x82d0, "mem-stores", "MEM_UOPS_RETIRED:ALL_STORES"},                                           \
    [NF_PMU_LATENCY] = {0x1cd, "mem-loads", "MEM_TRANS_RETIRED:LOAD_LATENCY"},                                         \
    [NF_PMU_L2_MISS] = {0x10d1, NULL, "MEM_LOAD_UOPS_RETIRED:L2_MISS"},                                                \
    [NF_PMU_L3_MISS] = {0x20d1, NULL, "MEM_LOAD_UOPS_RETIRED:L3_MISS"},                                                \
    [NF_PMU_LOCAL_DRAM] = {0x1d3, NULL, "MEM_LOAD_UOPS_L3_MISS_RETIRED:LOCAL_DRAM"},                                   \
    [NF_PMU_REMOTE_DRAM] = {0x4d3, NULL, "MEM_LOAD_UOPS_L3_MISS_RETIRED:REMOTE_DRAM"}
#define SHARED_EVENTS                                                                                                  \
    [NF_PMU_LOADS] = {0x81d0, NULL, "MEM_INST_RETIRED:ALL_LOADS"},                                                     \
    [NF_PMU_LATENCY] = {0x1cd, "mem-loads", "MEM_TRANS_RETIRED:LOAD_LATENCY"},                                         \
    [NF_PMU_L2_MISS] = {0x10d1, NULL, "MEM_LOAD_RETIRED:L2_MISS"},                                                     \
    [NF_PMU_L3_MISS] = {0x20d1, NULL, "MEM_LOAD_RETIRED:L3_MISS"},                                                     \
    [NF_PMU_LOCAL_DRAM] = {0x1d3, NULL, "MEM_LOAD_L3_MISS_RETIRED:LOCAL_DRAM"},                                        \
    [NF_PMU_REMOTE_DRAM] = {0x2d3, NULL, "MEM_LOAD_L3_MISS_RETIRED:REMOTE_DRAM"}
#define STORES_BY_SYSFS [NF_PMU_STORES] = {0x82d0, "mem-stores", "MEM_INST_RETIRED:ALL_STORES"}
/* From Sapphire Rapids on the kernel's mem-stores is the sampled store. */
#define STORES_BY_NAME                                                                                                 \
    [NF_PMU_STORES] = {0x82d0, NULL, "MEM_INST_RETIRED:ALL_STORES"},                                                   \
    [NF_PMU_STORE_LATENCY] = {0x2cd, "mem-stores", "MEM_TRANS_RETIRED:STORE_SAMPLE"}
#define PMM_EVENTS                                                                                                     \
    [NF_PMU_LOCAL_PMM] = {0x80d1, NULL, "MEM_LOAD_RETIRED:LOCAL_PMM"},                                                 \
    [NF_PMU_REMOTE_PMM] = {0x10d3, NULL, "MEM_LOAD_L3_MISS_RETIRED:REMOTE_PMM"}
#define AUX_EVENT [NF_PMU_AUX] = {0x8203, "mem-loads-aux", NULL}

static const struct nf_pmu_uarch
    hsw = {"hsw", "hsw_ep", "Haswell", 4, false, false, false, {HASWELL_EVENTS}},
    bdw = {"bdw", "bdw_ep", "Broadwell", 4, false, false, false, {HASWELL_EVENTS}},
    skx = {"skx", "skx", "Skylake", 4, false, false, true, {SHARED_EVENTS, STORES_BY_SYSFS}},
    clx = {"clx", "clx", "Cascade Lake", 4, false, false, true, {SHARED_EVENTS, STORES_BY_SYSFS, PMM_EVENTS}},
    icx = {"icx", "icx", "Ice Lake", 8, false, false, true, {SHARED_EVENTS, STORES_BY_SYSFS, PMM_EVENTS}},
    spr = {"spr", "spr", "Sapphire Rapids", 8, true, false, true, {SHARED_EVENTS, STORES_BY_NAME, PMM_EVENTS, AUX_EVENT}},
    emr = {"emr", NULL, "Emerald Rapids", 8, true, false, true, {SHARED_EVENTS, STORES_BY_NAME, PMM_EVENTS, AUX_EVENT}},
    gnr = {"gnr", NULL, "Granite Rapids", 8, false, true, true, {SHARED_EVENTS, STORES_BY_NAME, PMM_EVENTS}},
    /* Events that all P-cores since Skylake have; what else a newer one has is in its event files. */
    intel = {"intel", NULL, "a newer Intel CPU", 8, false, false, true,
             {SHARED_EVENTS, [NF_PMU_STORES] = {0x82d0, NULL, NULL}, [NF_PMU_STORE_LATENCY] = {0, "mem-stores", NULL},
              [NF_PMU_AUX] = {0, "mem-loads-aux", NULL}}};

const struct nf_pmu_uarch *const nf_pmu_uarchs[] = {&hsw, &bdw, &skx, &clx, &icx, &spr, &emr, &gnr, &intel, NULL};

/* Server parts, and the client parts that share their core. */
static const struct {
    unsigned model, from_stepping, to_stepping;
    const struct nf_pmu_uarch *uarch;
} models[] = {
    {0x3c, 0, 15, &hsw}, {0x3f, 0, 15, &hsw}, {0x45, 0, 15, &hsw}, {0x46, 0, 15, &hsw},
    {0x3d, 0, 15, &bdw}, {0x47, 0, 15, &bdw}, {0x4f, 0, 15, &bdw}, {0x56, 0, 15, &bdw},
    {0x4e, 0, 15, &skx}, {0x5e, 0, 15, &skx}, {0x8e, 0, 15, &skx}, {0x9e, 0, 15, &skx},
    {0x55, 0, 4, &skx}, {0x55, 5, 15, &clx}, /* Cooper Lake, stepping 10 and 11, has Cascade Lake's core */
    {0x6a, 0, 15, &icx}, {0x6c, 0, 15, &icx},
    {0x8f, 0, 15, &spr}, {0xcf, 0, 15, &emr}, {0xad, 0, 15, &gnr}, {0xae, 0, 15, &gnr},
};

const struct nf_pmu_uarch *nf_pmu_uarch_of(unsigned family, unsigned model, unsigned stepping)
{
    for (size_t i = 0; family == 6 && i < sizeof models / sizeof *models; i++)
        if (models[i].model == model && stepping >= models[i].from_stepping && stepping <= models[i].to_stepping)
            return models[i].uarch;
    return &intel;
}

const struct nf_pmu_uarch *nf_pmu_uarch_find(const char *name)
{
    for (size_t i = 0; nf_pmu_uarchs[i]; i++)
        if (!strcmp(nf_pmu_uarchs[i]->name, name))
            return nf_pmu_uarchs[i];
    return NULL;
}

int nf_pmu_core(const char *root, struct nf_pmu *out)
{
    int rc = nf_pmu_open(root, "cpu_core", out);

    return rc == -ENOENT ? nf_pmu_open(root, "cpu", out) : rc;
}

static int by_pfm(const struct nf_pmu_uarch *u, const char *name, unsigned ldlat, struct nf_event_encoding *out)
{
    char text[160], latency[32] = "";

    if (ldlat)
        snprintf(latency, sizeof latency, ":ldlat=%u", ldlat);
    snprintf(text, sizeof text, "%s::%s%s", u->pfm, name, latency);
    return nf_event_encode(text, out);
}

/* The event and umask of an encoding. Bits 40-47 extend the umask on the newest CPUs. */
static uint64_t code_of(const struct nf_event_encoding *e)
{
    return e->config & 0xff000000ffffull;
}

int nf_pmu_encode(const struct nf_pmu_uarch *u, const struct nf_pmu *pmu, enum nf_pmu_role role, unsigned ldlat,
                  struct nf_event_encoding *out, enum nf_pmu_origin *origin)
{
    uint32_t code = u->events[role].code;
    const char *sysfs = u->events[role].sysfs, *pfm = u->events[role].pfm;
    unsigned precise = role == NF_PMU_AUX ? 0 : 2, latency = role == NF_PMU_LATENCY ? ldlat : 0;
    struct nf_event_encoding e;
    char terms[64];

    if (pmu && sysfs && !nf_pmu_event(pmu, sysfs, &e) && (!code || code_of(&e) == code)) {
        snprintf(terms, sizeof terms, "ldlat=%u", latency);
        if (!latency || !nf_pmu_terms(pmu, terms, &e)) {
            *origin = NF_PMU_FROM_SYSFS;
            goto found;
        }
    }
    if (!code)
        return nf_fail(-EOPNOTSUPP, "%s has no event for '%s'", u->cpu, roles[role].name);
    if (u->pfm && pfm && !by_pfm(u, pfm, latency, &e) && code_of(&e) == code) {
        *origin = NF_PMU_FROM_PFM;
        goto found;
    }
    e = (struct nf_event_encoding){.config = code, .config1 = latency};
    *origin = NF_PMU_FROM_TABLE;
found:
    *out = (struct nf_event_encoding){.type = pmu ? pmu->type : PERF_TYPE_RAW, .config = e.config, .config1 = e.config1,
                                      .config2 = e.config2, .precise = precise};
    return 0;
}

bool nf_pmu_needs_aux(const struct nf_pmu_uarch *u, const struct nf_pmu *pmu)
{
    return pmu ? nf_pmu_has(pmu, "events/mem-loads-aux") : u->needs_aux;
}
