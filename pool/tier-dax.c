/* Tier provider `dax`: memory of a devdax device (CXL, persistent memory, HBM set aside) that is not the kernel's to place.
 * A devdax maps shared only, in multiples of its alignment; nothing moves its pages, so the mapping is the proof. */
#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "pool/tier-mapped.h"
#include "pool/tier-memory.h"
#include "pool/tiers.h"

struct options {
    const char *device;
};

static const struct nf_option table[] = {
    {"device", 0, NF_OPTION_STRING, offsetof(struct options, device), "NAME", "dax0.0 or /dev/dax0.0 (default: the first one)"},
    {NULL},
};
static const struct options defaults = {.device = NULL};

struct dax {
    struct nf_mapped *mapped;
    const char *page;
    int target_node;
};

/* What libdaxctl says of a device in devdax mode. */
struct described {
    char name[64], path[96];
    uint64_t bytes, align;
    int target_node; /* -1 unknown */
};

/* wanted NULL: the first. found->name empty: none; seen: what there is instead, in words. 0 or -errno (cause set). */
static int describe(const char *wanted, struct described *found, struct nf_buf *seen)
{
    struct daxctl_ctx *context;
    struct daxctl_region *region;
    int rc = daxctl_new(&context);

    *found = (struct described){.target_node = -1};
    if (rc)
        return nf_fail(rc, "libdaxctl: %s", strerror(-rc));
    daxctl_region_foreach(context, region) {
        struct daxctl_dev *device;

        daxctl_dev_foreach(region, device) {
            const char *name = daxctl_dev_get_devname(device);
            bool onlined = daxctl_dev_get_memory(device) != NULL;

            nf_buf_printf(seen, "%s%s%s", seen->n ? ", " : "", name, onlined ? " (onlined as system memory)" : "");
            if (*found->name || onlined || (wanted && strcmp(wanted, name)))
                continue;
            snprintf(found->name, sizeof found->name, "%s", name);
            snprintf(found->path, sizeof found->path, "/dev/%s", name);
            found->bytes = daxctl_dev_get_size(device);
            found->align = daxctl_dev_get_align(device);
            if (!found->align)
                found->align = 2 << 20; /* of nearly all */
            found->target_node = daxctl_dev_get_target_node(device);
        }
    }
    daxctl_unref(context);
    return 0;
}

static int probe(char *why, size_t size)
{
    struct described d;
    struct nf_buf seen = {0};
    int rc = describe(NULL, &d, &seen);

    if (rc) {
        snprintf(why, size, "%s", nf_error_text(rc));
    } else if (!*d.name) {
        rc = -ENODEV;
        if (seen.n)
            snprintf(why, size, "no device in devdax mode but %.80s (daxctl reconfigure-device -f --mode=devdax NAME)",
                     seen.data);
        else
            snprintf(why, size, "no dax device here");
    } else {
        snprintf(why, size, "usable");
    }
    nf_buf_deinit(&seen);
    return rc;
}

/* A devdax is mapped in pages of its alignment and no others. */
static const char *page_of(uint64_t align)
{
    return align == 4 << 10 ? "4k" : align == 2 << 20 ? "2m" : align == 1 << 30 ? "1g" : NULL;
}

static int open_mapped(const struct described *d, struct nf_mapped **out)
{
    const struct nf_mapped_options o = {.align = d->align, .bytes = d->bytes};
    int fd = open(d->path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return nf_fail(-errno, "cannot open %s: %s", d->path, strerror(errno));
    return nf_mapped_new(fd, d->path, &o, out);
}

static int open_tier(const void *options, const struct nf_tier_local *local, void **tier)
{
    const struct options *o = options;
    const char *wanted = o->device && !strncmp(o->device, "/dev/", 5) ? o->device + 5 : o->device;
    struct nf_buf seen = {0};
    struct described d;
    struct dax *dax = NULL;
    int rc = describe(wanted, &d, &seen);

    if (!rc && !*d.name)
        rc = nf_fail(-ENODEV, "no devdax '%s'; there are: %s", wanted ? wanted : "at all", seen.n ? seen.data : "none");
    if (!rc && !(dax = calloc(1, sizeof *dax)))
        rc = nf_fail(-ENOMEM, "no memory");
    if (!rc) {
        dax->page = page_of(d.align);
        rc = open_mapped(&d, &dax->mapped);
    }
    nf_buf_deinit(&seen);
    if (rc) {
        free(dax);
        return rc;
    }
    dax->target_node = d.target_node;
    *tier = dax;
    return 0;
}

static void close_tier(void *tier)
{
    struct dax *dax = tier;

    nf_mapped_free(dax->mapped);
    free(dax);
}

static void facts(const void *tier, struct nf_tier_facts *out)
{
    const struct dax *dax = tier;

    *out = (struct nf_tier_facts){
        .node = -1, .target_node = dax->target_node, .page = dax->page,
        .evidence = nf_tier_is_modelled_machine() ? NF_EVIDENCE_EMULATED_MACHINE : NF_EVIDENCE_MEASURED_DEVICE};
}

static int map(void *tier, size_t bytes, void **memory)
{
    return nf_mapped_map(((struct dax *)tier)->mapped, bytes, memory);
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    nf_mapped_unmap(((struct dax *)tier)->mapped, memory, bytes);
}

static int verify(void *tier, const void *memory, size_t bytes)
{
    return nf_mapped_verify(((struct dax *)tier)->mapped, memory, bytes);
}

const struct nf_tier_ops nf_tier_dax = {
    .abi = NF_TIER_ABI,
    .name = "dax",
    .about = "memory of a devdax device, mapped: CXL, persistent memory, not the kernel's to place",
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .probe = probe,
    .open = open_tier,
    .close = close_tier,
    .facts = facts,
    .map = map,
    .unmap = unmap,
    .verify = verify,
};
