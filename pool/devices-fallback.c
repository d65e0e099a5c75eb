#include "pool/devices.h"

#include <errno.h>
#include <stdio.h>

#include "core/base/error.h"

int nf_devices_list(struct nf_device *out, int max)
{
    return nf_fail(-ENOSYS, "built without libcxl and libdaxctl (packages libcxl-dev, libdaxctl-dev)");
}

int nf_devices_probe(char *text, size_t size)
{
    snprintf(text, size, "built without libcxl and libdaxctl (packages libcxl-dev, libdaxctl-dev)");
    return -ENOSYS;
}
