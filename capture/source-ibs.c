#include "capture/source-ibs.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "capture/pmu-machine.h"
#include "capture/pmu-plan.h"
#include "capture/pmu-sampler.h"
#include "core/base/error.h"
#include "core/base/pmu.h"

static const struct nf_option options[] = {
    {"period", 0, NF_OPTION_U64, offsetof(struct nf_ibs_options, period), "N",
     "dispatched ops a sample stands for, a multiple of 16 (default 100000)"},
    {"l3-miss", 0, NF_OPTION_FLAG, offsetof(struct nf_ibs_options, l3_miss), NULL,
     "only what missed the LLC (Zen 4 and later)"},
    {"cycles", 0, NF_OPTION_FLAG, offsetof(struct nf_ibs_options, cycles), NULL, "count cycles instead of ops"},
    {"kernel", 0, NF_OPTION_FLAG, offsetof(struct nf_ibs_options, kernel), NULL, "kernel mode too"},
    {"physical", 0, NF_OPTION_FLAG, offsetof(struct nf_ibs_options, physical), NULL,
     "physical addresses, which tell the NUMA node"},
    {0},
};

/* From this kernel on IBS follows a process (it is a core PMU); before, it counts whole CPUs. */
enum { FOLLOWS_MAJOR = 6, FOLLOWS_MINOR = 2 };

static int find(const char *root, struct nf_pmu_machine *m, struct nf_pmu *pmu, char *why, size_t size)
{
    nf_pmu_machine_read(root, m);
    if (strcmp(m->vendor, "AuthenticAMD")) {
        snprintf(why, size, "IBS is AMD's, this CPU is by %s%s", *m->vendor ? m->vendor : "somebody unknown",
                 strcmp(m->vendor, "GenuineIntel") ? "" : " (source pebs)");
        return -ENODEV;
    }
    if (nf_pmu_open(root, "ibs_op", pmu)) {
        snprintf(why, size, "no PMU 'ibs_op' in /sys/bus/event_source/devices: %s", nf_pmu_absent(m));
        return -ENODEV;
    }
    if (m->major && (m->major < FOLLOWS_MAJOR || (m->major == FOLLOWS_MAJOR && m->minor < FOLLOWS_MINOR))) {
        snprintf(why, size, "Linux %u.%u lets IBS count whole CPUs only, and root only; it follows a job from 6.2 on",
                 m->major, m->minor);
        return -ENOSYS;
    }
    return 0;
}

/* Without the software filter of newer kernels IBS cannot leave kernel mode out, so that it takes the right to see it. */
static int allowed(const struct nf_pmu_machine *m, const struct nf_pmu *pmu, bool kernel, char *why, size_t size)
{
    bool filter = nf_pmu_has(pmu, "format/swfilt");
    int rc = nf_pmu_allowed(m, kernel || !filter, why, size);
    size_t n = strlen(why);

    if (rc && !kernel && !filter)
        snprintf(why + n, size - n, "; a kernel with ibs_op/format/swfilt needs less");
    return rc;
}

int nf_source_ibs_probe(const char *root, char *why, size_t size)
{
    struct nf_pmu_machine m;
    struct nf_pmu pmu;
    int rc = find(root, &m, &pmu, why, size);

    if (!rc)
        rc = allowed(&m, &pmu, false, why, size);
    if (!rc)
        snprintf(why, size, "AMD family %u%s, not validated on hardware", m.family,
                 nf_pmu_has(&pmu, "format/l3missonly") ? ", filters LLC misses" : "");
    return rc;
}

static int probe(char *why, size_t size)
{
    return nf_source_ibs_probe("", why, size);
}

static size_t environment(const void *o, enum nf_pass_kind pass, const char *ring_path, const char **out, size_t max)
{
    return 0; /* the kernel does all of it */
}

static int open_source(const void *opaque, struct nf_source **out, struct nf_source_facts *facts)
{
    const struct nf_ibs_options *o = opaque;
    struct nf_pmu_machine m;
    struct nf_pmu_plan plan;
    struct nf_pmu pmu;
    char why[256] = "";
    int rc = find("", &m, &pmu, why, sizeof why);

    if (!rc)
        rc = allowed(&m, &pmu, o->kernel || o->physical, why, sizeof why);
    if (rc)
        return nf_fail(rc, "source ibs: %s", why);
    rc = nf_ibs_plan(o, &pmu, &plan);
    if (rc)
        return nf_fail_in(rc, "source ibs");
    nf_pmu_plan_facts(&plan, facts);
    return nf_pmu_sampler_open(&plan, out);
}

const struct nf_source_ops nf_source_ibs = {
    .abi = NF_SOURCE_ABI,
    .name = "ibs",
    .about = "AMD CPUs sample memory operations, with level and latency (not validated on hardware)",
    .evidence = NF_ACCESS_IBS,
    .options = options,
    .options_size = sizeof(struct nf_ibs_options),
    .probe = probe,
    .environment = environment,
    .open = open_source,
    .attach = nf_pmu_sampler_attach,
    .drain = nf_pmu_sampler_drain,
    .totals = nf_pmu_sampler_totals,
    .close = nf_pmu_sampler_close,
};
