#include "capture/pmu-machine.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/pmu.h"

enum { CPUINFO_BYTES = 16384, CAP_SYS_ADMIN_BIT = 21, CAP_PERFMON_BIT = 38 };

/* The value of "key<blank>: value" in the first CPU's lines; "" when there is none. */
static void value_of(const char *text, const char *key, char *out, size_t size)
{
    size_t n = strlen(key);

    *out = '\0';
    for (const char *line = text; line; line = strchr(line, '\n')) {
        const char *p = line += *line == '\n';

        if (strncmp(p, key, n))
            continue;
        p += n;
        p += strspn(p, " \t");
        if (*p != ':')
            continue;
        p += 1 + strspn(p + 1, " \t");
        snprintf(out, size, "%.*s", (int)strcspn(p, "\n"), p);
        return;
    }
}

static unsigned number_of(const char *text, const char *key)
{
    char value[32];

    value_of(text, key, value, sizeof value);
    return (unsigned)strtoul(value, NULL, 10);
}

/* The first CPU's lines of a cpuinfo that may be much longer than the buffer. */
static void first_cpu(const char *root, char *text, size_t size)
{
    char path[2 * NF_PMU_PATH];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    f = fopen(path, "re");
    n = f ? fread(text, 1, size - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
}

void nf_pmu_machine_read(const char *root, struct nf_pmu_machine *out)
{
    char text[CPUINFO_BYTES], value[4096];

    *out = (struct nf_pmu_machine){.paranoid = -2};
    first_cpu(root, text, sizeof text);
    value_of(text, "vendor_id", out->vendor, sizeof out->vendor);
    out->family = number_of(text, "cpu family");
    out->model = number_of(text, "model");
    out->stepping = number_of(text, "stepping");
    value_of(text, "flags", value, sizeof value);
    out->hypervisor = strstr(value, " hypervisor") != NULL;
    if (!nf_root_read(root, "/proc/sys/kernel/perf_event_paranoid", text, sizeof text))
        out->paranoid = atoi(text);
    if (!nf_root_read(root, "/proc/self/status", text, sizeof text)) {
        uint64_t caps;

        value_of(text, "CapEff", value, sizeof value);
        caps = strtoull(value, NULL, 16);
        out->capable = caps >> CAP_SYS_ADMIN_BIT & 1 || caps >> CAP_PERFMON_BIT & 1;
    }
    if (!nf_root_read(root, "/proc/sys/kernel/osrelease", text, sizeof text))
        sscanf(text, "%u.%u", &out->major, &out->minor);
}

int nf_pmu_allowed(const struct nf_pmu_machine *m, bool kernel, char *why, size_t size)
{
    int most = kernel ? 1 : 2;

    if (m->capable || m->paranoid <= most)
        return 0;
    snprintf(why, size, "kernel.perf_event_paranoid is %d and this process has no CAP_PERFMON; allow it with "
             "'sysctl kernel.perf_event_paranoid=%d' or run as root", m->paranoid, most);
    return -EACCES;
}

const char *nf_pmu_absent(const struct nf_pmu_machine *m)
{
    return m->hypervisor ? "this VM is given none; run on the host, or use source page-fault"
                         : "is it off in the firmware, or the kernel too old for this CPU?";
}
