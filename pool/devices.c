#include "pool/devices.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/sysfs.h"

enum { WAYS_MAX = 16 };

struct listing {
    const char *root;
    struct nf_device *out;
    int n, max;
};

#define CXL "bus/cxl/devices/"
#define DAX "bus/dax/devices/"

static struct nf_device *add(struct listing *l, const char *kind, const char *name)
{
    struct nf_device *d = &l->out[l->n];

    if (l->n == l->max)
        return NULL;
    l->n++;
    *d = (struct nf_device){.target_node = -1};
    snprintf(d->kind, sizeof d->kind, "%s", kind);
    snprintf(d->name, sizeof d->name, "%s", name);
    return d;
}

static uint64_t number(const struct listing *l, const char *folder, const char *name, const char *attribute)
{
    double value = 0;

    nf_sysfs_number(&value, l->root, "%s%s/%s", folder, name, attribute);
    return (uint64_t)value;
}

static void put(struct nf_device *d, const char *word)
{
    size_t at = strlen(d->on);

    snprintf(d->on + at, sizeof d->on - at, "%s%s", at ? " " : "", word);
}

static void add_memdev(struct listing *l, const char *name)
{
    struct nf_device *d = add(l, "cxl memdev", name);
    char serial[32], firmware[41], near[16];
    uint64_t ram, persistent;

    if (!d)
        return;
    ram = number(l, CXL, name, "ram/size");
    persistent = number(l, CXL, name, "pmem/size");
    d->bytes = ram + persistent;
    nf_sysfs_line(serial, sizeof serial, l->root, CXL "%s/serial", name);
    nf_sysfs_line(firmware, sizeof firmware, l->root, CXL "%s/firmware_version", name);
    nf_sysfs_line(near, sizeof near, l->root, CXL "%s/numa_node", name);
    /* Where the device hangs, not where its memory shows up. */
    snprintf(d->detail, sizeof d->detail, "%s, serial %s, firmware %s, attached near node %s",
             ram && persistent ? "volatile and persistent" : persistent ? "persistent" : "volatile",
             *serial ? serial : "unknown", *firmware ? firmware : "unknown", *near && *near != '-' ? near : "unknown");
}

/* endpointN belongs to the memory device its uport names; an endpoint's decoder is decoderN.M. */
static void add_decoder(struct listing *l, const char *name)
{
    char memory[32], targets[64], mode[16], type[16];
    uint64_t ways, granularity;
    struct nf_device *d;
    unsigned port;

    if (!nf_sysfs_named(name, "decoder", &port) || !(d = add(l, "cxl decoder", name)))
        return;
    d->bytes = number(l, CXL, name, "size");
    ways = number(l, CXL, name, "interleave_ways");
    granularity = number(l, CXL, name, "interleave_granularity");
    nf_sysfs_line(targets, sizeof targets, l->root, CXL "%s/target_list", name);
    nf_sysfs_line(mode, sizeof mode, l->root, CXL "%s/mode", name);
    nf_sysfs_line(type, sizeof type, l->root, CXL "%s/target_type", name);
    if (nf_sysfs_link(memory, sizeof memory, l->root, CXL "endpoint%u/uport", port)) {
        put(d, memory);
        snprintf(d->detail, sizeof d->detail, "of endpoint%u, mode %s", port, *mode ? mode : "unknown");
    } else {
        snprintf(d->detail, sizeof d->detail, "%s, targets %s, %s",
                 port ? "of a switch or host bridge" : "root: fixed window", *targets ? targets : "unknown",
                 *type ? type : "type unknown");
    }
    if (ways) {
        size_t at = strlen(d->detail);

        snprintf(d->detail + at, sizeof d->detail - at, ", interleave %llu x %llu", (unsigned long long)ways,
                 (unsigned long long)granularity);
    }
}

static void add_region(struct listing *l, const char *name)
{
    struct nf_device *d = add(l, "cxl region", name);
    char target[32], mode[16];
    uint64_t ways;

    if (!d)
        return;
    d->bytes = number(l, CXL, name, "size");
    ways = number(l, CXL, name, "interleave_ways");
    nf_sysfs_line(mode, sizeof mode, l->root, CXL "%s/mode", name);
    for (unsigned i = 0; i < ways && i < WAYS_MAX; i++)
        if (nf_sysfs_line(target, sizeof target, l->root, CXL "%s/target%u", name, i))
            put(d, target);
    snprintf(d->state, sizeof d->state, "%s", number(l, CXL, name, "commit") ? "committed" : "offline");
    snprintf(d->detail, sizeof d->detail, "%s, mode %s, interleave %llu x %llu", d->state, *mode ? mode : "unknown",
             (unsigned long long)ways, (unsigned long long)number(l, CXL, name, "interleave_granularity"));
}

/* The nearest folder above it that is a CXL region, from where the device really stands. */
static bool region_of(const struct listing *l, const char *name, char *region, size_t size)
{
    char path[PATH_MAX], *real, *part, *rest;
    bool found = false, below_decoder = false;
    unsigned n;

    snprintf(path, sizeof path, "%s/" DAX "%s", l->root, name);
    real = realpath(path, NULL);
    for (part = real ? strtok_r(real, "/", &rest) : NULL; part; part = strtok_r(NULL, "/", &rest)) {
        /* The bus of persistent memory has regions too; the one right below a CXL decoder is meant. */
        if (below_decoder && nf_sysfs_named(part, "region", &n)) {
            snprintf(region, size, "%s", part);
            found = true;
        }
        below_decoder = nf_sysfs_named(part, "decoder", &n);
    }
    free(real);
    return found;
}

/* A dax device of persistent memory stands below another bus: there the physical address says whose memory it is. Only root is
 * shown addresses. */
static bool region_at(const struct listing *l, uint64_t address, char *region, size_t size)
{
    for (int i = 0; address && i < l->n; i++) {
        const struct nf_device *d = &l->out[i];
        uint64_t start = strcmp(d->kind, "cxl region") ? 0 : number(l, CXL, d->name, "resource");

        if (start && address >= start && address - start < d->bytes) {
            snprintf(region, size, "%s", d->name);
            return true;
        }
    }
    return false;
}

static void add_dax(struct listing *l, const char *name)
{
    char driver[32], region[32];
    struct nf_device *d;
    double node;

    nf_sysfs_link(driver, sizeof driver, l->root, DAX "%s/driver", name);
    d = add(l, strcmp(driver, "kmem") ? "devdax" : "system-ram", name);
    if (!d)
        return;
    d->bytes = number(l, DAX, name, "size");
    d->align = number(l, DAX, name, "align");
    if (nf_sysfs_number(&node, l->root, DAX "%s/target_node", name))
        d->target_node = (int)node;
    if (region_of(l, name, region, sizeof region) ||
        region_at(l, number(l, DAX, name, "resource"), region, sizeof region))
        put(d, region);
    snprintf(d->detail, sizeof d->detail, "alignment %llu bytes, driver %s", (unsigned long long)d->align,
             *driver ? driver : "none");
}

static bool is_memdev(const char *name)
{
    unsigned n;

    return nf_sysfs_named(name, "mem", &n);
}
static bool is_decoder(const char *name)
{
    unsigned n;

    return nf_sysfs_named(name, "decoder", &n);
}
static bool is_region(const char *name)
{
    unsigned n;

    return nf_sysfs_named(name, "region", &n);
}
static bool is_dax(const char *name)
{
    unsigned n;

    return nf_sysfs_named(name, "dax", &n);
}

static int scan(struct listing *l, const char *folder, bool (*is)(const char *),
                void (*take)(struct listing *, const char *))
{
    char path[PATH_MAX];
    struct dirent **entry;
    int n;

    snprintf(path, sizeof path, "%s/%s", l->root, folder);
    n = scandir(path, &entry, NULL, versionsort);
    if (n < 0)
        return errno == ENOENT ? 0 : nf_fail(-errno, "cannot list %s: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        if (is(entry[i]->d_name))
            take(l, entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    return 0;
}

static struct nf_device *named(const struct listing *l, const char *name, size_t length)
{
    for (int i = 0; i < l->n; i++)
        if (strlen(l->out[i].name) == length && !memcmp(l->out[i].name, name, length))
            return &l->out[i];
    return NULL;
}

/* What a dax device stands on backs its node. A device behind several nodes keeps the first. */
static void tell_node(struct listing *l, const char *names, int node, int depth)
{
    for (const char *p = names; *p && depth < 4; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        struct nf_device *d = named(l, p, n);

        p += n;
        if (!d)
            continue;
        if (d->target_node < 0)
            d->target_node = node;
        tell_node(l, d->on, node, depth + 1);
    }
}

int nf_devices_list(const char *root, struct nf_device *out, int max)
{
    struct listing l = {.root = root, .out = out, .max = max};
    int rc = scan(&l, CXL, is_memdev, add_memdev);

    if (!rc)
        rc = scan(&l, CXL, is_decoder, add_decoder);
    if (!rc)
        rc = scan(&l, CXL, is_region, add_region);
    if (!rc)
        rc = scan(&l, DAX, is_dax, add_dax);
    for (int i = 0; i < l.n; i++)
        if (out[i].target_node >= 0 && strncmp(out[i].kind, "cxl", 3))
            tell_node(&l, out[i].on, out[i].target_node, 0);
    return rc ? rc : l.n;
}

int nf_devices_probe(char *text, size_t size)
{
    struct nf_device *devices = malloc(NF_DEVICES_MAX * sizeof *devices);
    int n = devices ? nf_devices_list("/sys", devices, NF_DEVICES_MAX) : nf_fail(-ENOMEM, "no memory");

    if (n < 0)
        snprintf(text, size, "%s", nf_error_text(n));
    else
        snprintf(text, size, "%d CXL or devdax device%s here", n, n == 1 ? "" : "s");
    free(devices);
    return n < 0 ? n : 0;
}
