#include "pool/devices.h"

#include <cxl/libcxl.h>
#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"

static int list_cxl(struct nf_device *out, int max)
{
    struct cxl_ctx *context;
    struct cxl_memdev *device;
    struct cxl_bus *bus;
    int n = 0, rc = cxl_new(&context);

    if (rc)
        return nf_fail(rc, "libcxl: %s", strerror(-rc));
    /* A bus without ports has no memory devices; walking it also makes libcxl find the devices. */
    cxl_bus_foreach(context, bus)
        (void)cxl_bus_get_id(bus);


    cxl_memdev_foreach(context, device) {
        struct nf_device *d = &out[n];

        if (n == max)
            break;
        *d = (struct nf_device){.target_node = -1};
        snprintf(d->kind, sizeof d->kind, "cxl memdev");
        snprintf(d->name, sizeof d->name, "%s", cxl_memdev_get_devname(device));
        d->bytes = (uint64_t)(cxl_memdev_get_ram_size(device) + cxl_memdev_get_pmem_size(device));
        snprintf(d->detail, sizeof d->detail, "serial %llx, firmware %.40s, near node %d",
                 cxl_memdev_get_serial(device), cxl_memdev_get_firmware_verison(device),
                 cxl_memdev_get_numa_node(device));
        n++;
    }
    cxl_unref(context);
    return n;
}

static int list_dax(struct nf_device *out, int max)
{
    struct daxctl_ctx *context;
    struct daxctl_region *region;
    int n = 0, rc = daxctl_new(&context);

    if (rc)
        return nf_fail(rc, "libdaxctl: %s", strerror(-rc));
    daxctl_region_foreach(context, region) {
        struct daxctl_dev *device;

        daxctl_dev_foreach(region, device) {
            struct nf_device *d = &out[n];

            if (n == max)
                break;
            *d = (struct nf_device){.target_node = daxctl_dev_get_target_node(device)};
            snprintf(d->kind, sizeof d->kind, "%s", daxctl_dev_get_memory(device) ? "system-ram" : "devdax");
            snprintf(d->name, sizeof d->name, "%s", daxctl_dev_get_devname(device));
            d->bytes = daxctl_dev_get_size(device);
            snprintf(d->detail, sizeof d->detail, "alignment %lu bytes", daxctl_dev_get_align(device));
            n++;
        }
    }
    daxctl_unref(context);
    return n;
}

int nf_devices_list(struct nf_device *out, int max)
{
    int n = list_cxl(out, max), more;

    if (n < 0)
        return n;
    more = list_dax(out + n, max - n);
    return more < 0 ? more : n + more;
}

int nf_devices_probe(char *text, size_t size)
{
    struct nf_device devices[NF_DEVICES_MAX];
    int n = nf_devices_list(devices, NF_DEVICES_MAX);

    if (n < 0)
        snprintf(text, size, "%s", nf_error_text(n));
    else
        snprintf(text, size, "%d CXL or devdax device%s here", n, n == 1 ? "" : "s");
    return n < 0 ? n : 0;
}
