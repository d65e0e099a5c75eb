#include "core/base/version.h"

#include <stdio.h>

static char version[96] = NEARFAR_RELEASE "+unknown";

const char *nf_version(void)
{
    return version;
}

void nf_version_revision(const char *revision)
{
    snprintf(version, sizeof version, NEARFAR_RELEASE "+%s", revision);
}
