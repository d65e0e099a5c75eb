#include "capture/perf-probe.h"

#include <errno.h>
#include <stdio.h>

int nf_perf_probe(char *text, size_t size)
{
    snprintf(text, size, "built without libperf (package libperf-devel, or run tools/libperf before the build)");
    return -ENOSYS;
}
