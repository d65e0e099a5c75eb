#include "pool/devices.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/numa-of.h"
#include "pool/sysfs.h"

enum { WAYS_MAX = 16 }; /* of a region, by the standard */

struct listing {
    const char *root;
    struct nf_devices *out;
    int rc; /* -ENOMEM: the list is not whole */
};

#define CXL "bus/cxl/devices/"
#define DAX "bus/dax/devices/"

/* Valid until the next one is added; NULL: no memory. */
static struct nf_device *add(struct listing *l, const char *kind, const char *name)
{
    struct nf_device d = {.target_node = -1, .on = calloc(1, 1)};

    snprintf(d.kind, sizeof d.kind, "%s", kind);
    snprintf(d.name, sizeof d.name, "%s", name);
    if (!d.on || nf_array_push(l->out, d)) {
        free(d.on);
        l->rc = -ENOMEM;
        return NULL;
    }
    return &l->out->v[l->out->n - 1];
}

static uint64_t number(const struct listing *l, const char *folder, const char *name, const char *attribute)
{
    double value = 0;

    nf_sysfs_number(&value, l->root, "%s%s/%s", folder, name, attribute);
    return (uint64_t)value;
}

static void put(struct listing *l, struct nf_device *d, const char *word)
{
    size_t at = strlen(d->on), n = strlen(word);
    char *on = realloc(d->on, at + n + 2);

    if (!on) {
        l->rc = -ENOMEM;
        return;
    }
    d->on = on;
    if (at)
        on[at++] = ' ';
    memcpy(on + at, word, n + 1);
}

/* ", QoS class 3" where the platform and the kernel (6.8 and later) know one: a cookie that a device's partition and the window that
 * suits it share. */
static void put_qos(const struct listing *l, struct nf_device *d, const char *file, const char *of)
{
    size_t at = strlen(d->detail);
    char text[16];

    if (nf_sysfs_line(text, sizeof text, l->root, CXL "%s/%s", d->name, file) && *text != '-')
        snprintf(d->detail + at, sizeof d->detail - at, ", QoS class %s%s", text, of);
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
    if (ram)
        put_qos(l, d, "ram/qos_class", persistent ? " (volatile)" : "");
    if (persistent)
        put_qos(l, d, "pmem/qos_class", ram ? " (persistent)" : "");
}

/* endpointN belongs to the memory device its uport names; an endpoint's decoder is decoderN.M. */
static void add_decoder(struct listing *l, const char *name)
{
    char memory[32], targets[128], mode[16], type[16];
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
        put(l, d, memory);
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
    put_qos(l, d, "qos_class", "");
}

static bool is_root(const char *decoder)
{
    unsigned port;

    return nf_sysfs_named(decoder, "decoder", &port) && !port;
}

/* The folder that `name` really stands in, when its name begins with prefix; else an empty text. */
static void folder_of(const struct listing *l, const char *name, const char *prefix, char *folder, size_t size)
{
    char path[PATH_MAX], *real, *last;
    unsigned n;

    *folder = '\0';
    snprintf(path, sizeof path, "%s/" CXL "%s", l->root, name);
    real = realpath(path, NULL);
    last = real ? strrchr(real, '/') : NULL;
    if (last) {
        *last = '\0';
        last = strrchr(real, '/');
    }
    if (last && nf_sysfs_named(last + 1, prefix, &n))
        snprintf(folder, size, "%s", last + 1);
    free(real);
}

/* The decoders that lead to a region's own: the window it was made in, whose folder it stands in, and those of host bridges and
 * switches that say they belong to it. */
static void put_way(struct listing *l, struct nf_device *region)
{
    char window[32], of[32];

    folder_of(l, region->name, "decoder", window, sizeof window);
    if (is_root(window))
        put(l, region, window);
    for (size_t i = 0; i < l->out->n; i++) {
        const struct nf_device *d = &l->out->v[i];

        if (!strcmp(d->kind, "cxl decoder") && !*d->on && !is_root(d->name) &&
            nf_sysfs_line(of, sizeof of, l->root, CXL "%s/region", d->name) && !strcmp(of, region->name))
            put(l, region, d->name);
    }
}

static void add_region(struct listing *l, const char *name)
{
    struct nf_device *d = add(l, "cxl region", name);
    char target[32], mode[16], folder[96];
    uint64_t ways;

    if (!d)
        return;
    d->bytes = number(l, CXL, name, "size");
    ways = number(l, CXL, name, "interleave_ways");
    for (int c = 0; c < NF_RATED_CLASSES; c++) {
        snprintf(folder, sizeof folder, CXL "%s/access%d", name, c);
        nf_rated_read(&d->rated[c], l->root, folder);
    }
    nf_sysfs_line(mode, sizeof mode, l->root, CXL "%s/mode", name);
    for (unsigned i = 0; i < ways && i < WAYS_MAX; i++)
        if (nf_sysfs_line(target, sizeof target, l->root, CXL "%s/target%u", name, i))
            put(l, d, target);
    put_way(l, d);
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
    for (size_t i = 0; address && i < l->out->n; i++) {
        const struct nf_device *d = &l->out->v[i];
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
    d->is_node = !strcmp(driver, "kmem");
    d->bytes = number(l, DAX, name, "size");
    d->align = number(l, DAX, name, "align");
    if (nf_sysfs_number(&node, l->root, DAX "%s/target_node", name) && node < INT_MAX)
        d->target_node = (int)node;
    if (region_of(l, name, region, sizeof region) ||
        region_at(l, number(l, DAX, name, "resource"), region, sizeof region)) {
        const struct nf_device *below = nf_devices_named(l->out, region, strlen(region));

        put(l, d, region);
        if (below)
            memcpy(d->rated, below->rated, sizeof d->rated);
    }
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
    return l->rc ? nf_fail(l->rc, "no memory") : 0;
}

const struct nf_device *nf_devices_named(const struct nf_devices *d, const char *name, size_t length)
{
    for (size_t i = 0; i < d->n; i++)
        if (strlen(d->v[i].name) == length && !memcmp(d->v[i].name, name, length))
            return &d->v[i];
    return NULL;
}

/* What a dax device stands on backs its node. A device behind several nodes keeps the first. */
static void tell_node(struct nf_devices *list, const char *names, int node, int depth)
{
    for (const char *p = names; *p && depth < 4; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        const struct nf_device *found = nf_devices_named(list, p, n);
        struct nf_device *d = found ? &list->v[found - list->v] : NULL;

        p += n;
        if (!d)
            continue;
        if (d->target_node < 0)
            d->target_node = node;
        tell_node(list, d->on, node, depth + 1);
    }
}

/* A region that the firmware made is in the memory map from the beginning: no dax device says whose node it is, but the kernel's
 * blocks at its address do. Only root is shown addresses. */
static void nodes_by_address(struct listing *l)
{
    struct nf_numa_of *blocks = NULL;

    for (size_t i = 0; i < l->out->n; i++) {
        struct nf_device *d = &l->out->v[i];
        uint64_t start = strcmp(d->kind, "cxl region") || d->target_node >= 0 ? 0 : number(l, CXL, d->name, "resource");

        if (!start)
            continue;
        if (!blocks && nf_numa_of_new(l->root, &blocks))
            break; /* the kernel does not tell its blocks */
        d->target_node = nf_numa_of(blocks, start); /* NF_NUMA_NONE: -1 */
        d->is_node = d->target_node >= 0;
        if (d->is_node)
            tell_node(l->out, d->on, d->target_node, 0);
    }
    nf_numa_of_free(blocks);
    nf_error_clear();
}

int nf_devices_list(const char *root, struct nf_devices *out)
{
    struct listing l = {.root = root, .out = out};
    int rc;

    *out = (struct nf_devices){0};
    rc = scan(&l, CXL, is_memdev, add_memdev);
    if (!rc)
        rc = scan(&l, CXL, is_decoder, add_decoder);
    if (!rc)
        rc = scan(&l, CXL, is_region, add_region);
    if (!rc)
        rc = scan(&l, DAX, is_dax, add_dax);
    for (size_t i = 0; i < out->n; i++)
        if (out->v[i].target_node >= 0 && strncmp(out->v[i].kind, "cxl", 3))
            tell_node(out, out->v[i].on, out->v[i].target_node, 0);
    if (!rc)
        nodes_by_address(&l);
    return rc;
}

void nf_devices_free(struct nf_devices *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->v[i].on);
    nf_array_free(d);
}

int nf_devices_probe(char *text, size_t size)
{
    struct nf_devices devices;
    int rc = nf_devices_list("/sys", &devices);

    if (rc)
        snprintf(text, size, "%s", nf_error_text(rc));
    else
        snprintf(text, size, "%zu CXL or devdax device%s here", devices.n, devices.n == 1 ? "" : "s");
    nf_devices_free(&devices);
    return rc;
}
