#include "capture/event-encoding.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <perfmon/pfmlib_perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

static int initialize(void)
{
    static bool done;
    int rc;

    if (done)
        return 0;
    /* Encode for any CPU: tests and imports need events of machines that are elsewhere. */
    setenv("LIBPFM_ENCODE_INACTIVE", "1", 0);
    rc = pfm_initialize();
    if (rc != PFM_SUCCESS)
        return nf_fail(-ENOSYS, "libpfm4: %s", pfm_strerror(rc));
    done = true;
    return 0;
}

int nf_event_encode(const char *name, struct nf_event_encoding *out)
{
    struct perf_event_attr attr = {0};
    pfm_perf_encode_arg_t arg = {.attr = &attr, .size = sizeof arg};
    int rc = initialize();

    if (rc)
        return rc;
    attr.size = sizeof attr;
    rc = pfm_get_os_event_encoding(name, PFM_PLM3, PFM_OS_PERF_EVENT_EXT, &arg);
    if (rc != PFM_SUCCESS)
        return nf_fail(-ENOENT, "event %s: %s", name, pfm_strerror(rc));
    *out = (struct nf_event_encoding){attr.type, attr.config, attr.config1, attr.config2, attr.precise_ip};
    return 0;
}

int nf_event_pmus(char *text, size_t size)
{
    int rc = initialize(), pmu;

    if (rc)
        return rc;
    *text = '\0';
    pfm_for_all_pmus(pmu)
    {
        pfm_pmu_info_t info = {.size = sizeof info};
        size_t n = strlen(text);

        if (pfm_get_pmu_info(pmu, &info) != PFM_SUCCESS || !info.is_present || info.type != PFM_PMU_TYPE_CORE)
            continue;
        snprintf(text + n, size - n, "%s%s", n ? ", " : "", info.name);
    }
    return 0;
}
