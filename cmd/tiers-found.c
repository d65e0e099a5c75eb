#include "cmd/tiers-found.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/prefetchers.h"
#include "core/base/units.h"
#include "pool/devices.h"
#include "pool/nodes.h"
#include "pool/sysfs.h"

enum { DEPTH_MAX = 5 };

static const struct nf_column columns[] = {
    {"kind", "kind", NF_COLUMN_TEXT},
    {"name", "name", NF_COLUMN_TEXT},
    {"bytes", "size", NF_COLUMN_BYTES},
    {"node", "node", NF_COLUMN_INTEGER},
    {"on", "stands on", NF_COLUMN_TEXT},
    {"distance", "distance", NF_COLUMN_INTEGER},
    {"rated_read_latency_ns", "rated latency", NF_COLUMN_NS},
    {"rated_write_latency_ns", "write", NF_COLUMN_NS},
    {"rated_read_bytes_per_s", "rated read/s", NF_COLUMN_BYTES},
    {"rated_write_bytes_per_s", "write/s", NF_COLUMN_BYTES},
    {"kernel_tier", "kernel tier", NF_COLUMN_INTEGER},
    {"weight", "weight", NF_COLUMN_INTEGER},
    {"detail", "detail", NF_COLUMN_TEXT},
};

struct found {
    struct nf_node nodes[NF_NODES_MAX];
    struct nf_devices devices;
    int n_nodes;
    char sys[512];
    char machine[384]; /* what holds for the whole machine */
};

static void known(struct nf_table *t, double v)
{
    if (v > 0)
        nf_table_number(t, v);
    else
        nf_table_unknown(t);
}

static void at_least(struct nf_table *t, int v, int least)
{
    if (v >= least)
        nf_table_integer(t, v);
    else
        nf_table_unknown(t);
}

/* Weights are new pages only, 1 to 255; the switch that makes the kernel choose them has had two names. */
static const char *weights(const struct found *f)
{
    char text[16];

    if (!nf_sysfs_line(text, sizeof text, f->sys, "kernel/mm/mempolicy/weighted_interleave/auto") &&
        !nf_sysfs_line(text, sizeof text, f->sys, "kernel/mm/mempolicy/weighted_interleave/__auto_type"))
        return f->n_nodes && f->nodes[0].weight ? "set by hand" : "not in this kernel";
    return *text == 't' || *text == '1' || *text == 'Y' ? "chosen by the kernel" : "set by hand";
}

static void read_machine(struct found *f, const char *root)
{
    char prefetchers[64], why[128], huge[64];
    int cpu = 0;

    for (int i = f->n_nodes - 1; i >= 0; i--)
        if (f->nodes[i].has_cpu)
            cpu = atoi(f->nodes[i].cpus);
    nf_prefetchers_read(root, cpu, prefetchers, sizeof prefetchers, why, sizeof why);
    if (!nf_sysfs_line(huge, sizeof huge, f->sys, "kernel/mm/transparent_hugepage/enabled"))
        snprintf(huge, sizeof huge, "unknown");
    snprintf(f->machine, sizeof f->machine, "prefetchers %s%s%s%s; transparent huge pages %s; interleave weights %s",
             prefetchers, *why ? " (" : "", why, *why ? ")" : "", huge, weights(f));
}

static int look(struct found *f, const char *root)
{
    int rc;

    snprintf(f->sys, sizeof f->sys, "%s/sys", root);
    f->n_nodes = nf_nodes_list_all(f->sys, f->nodes, NF_NODES_MAX);
    if (f->n_nodes < 0)
        return f->n_nodes;
    rc = nf_devices_list(f->sys, &f->devices);
    read_machine(f, root);
    return rc;
}

/* What no column of a node says. */
static void node_detail(const struct nf_node *n, struct nf_buf *b)
{
    if (n->has_cpu)
        nf_buf_printf(b, "with CPUs %s", n->cpus);
    else
        nf_buf_puts(b, n->memory_bytes ? "memory only" : "no CPUs");
    if (!n->memory_bytes)
        nf_buf_puts(b, ", no memory");
    if (*n->initiators)
        nf_buf_printf(b, ", rated from node %s", n->initiators);
    if (n->huge_2m || n->huge_1g)
        nf_buf_printf(b, ", huge pages %llu x 2 MiB, %llu x 1 GiB", (unsigned long long)n->huge_2m,
                      (unsigned long long)n->huge_1g);
}

/* The dax devices and regions whose memory is this node's. */
static void node_stands_on(const struct found *f, int node, struct nf_buf *b)
{
    for (size_t i = 0; i < f->devices.n; i++)
        if (f->devices.v[i].is_node && f->devices.v[i].target_node == node)
            nf_buf_printf(b, "%s%s", b->n ? " " : "", f->devices.v[i].name);
}

static void rated_cells(const struct nf_rated *r, struct nf_table *t)
{
    known(t, r->read_ns);
    known(t, r->write_ns);
    known(t, r->read_bps);
    known(t, r->write_bps);
}

static void node_row(const struct found *f, const struct nf_node *n, struct nf_table *t)
{
    struct nf_buf detail = {0}, on = {0};
    char name[16];

    node_detail(n, &detail);
    node_stands_on(f, n->number, &on);
    snprintf(name, sizeof name, "node%d", n->number);
    nf_table_text(t, "node");
    nf_table_text(t, name);
    nf_table_integer(t, (int64_t)n->memory_bytes);
    nf_table_integer(t, n->number);
    nf_table_text(t, on.n ? on.data : "");
    at_least(t, n->distance, 1);
    rated_cells(&n->rated[NF_RATED_ANY], t);
    at_least(t, n->kernel_tier, 0);
    at_least(t, n->weight, 1);
    nf_table_text(t, detail.failed ? "" : detail.data);
    nf_buf_deinit(&detail);
    nf_buf_deinit(&on);
}

static void device_row(const struct nf_device *d, struct nf_table *t)
{
    nf_table_text(t, d->kind);
    nf_table_text(t, d->name);
    known(t, (double)d->bytes);
    at_least(t, d->target_node, 0);
    nf_table_text(t, d->on);
    nf_table_unknown(t); /* distance, kernel tier and weight are a node's */
    rated_cells(&d->rated[NF_RATED_ANY], t);
    nf_table_unknown(t);
    nf_table_unknown(t);
    nf_table_text(t, d->detail);
}

static int print_table(const struct found *f, enum nf_table_format format)
{
    struct nf_table *t = nf_table_new(columns, sizeof columns / sizeof *columns);
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "no memory");
    for (int i = 0; i < f->n_nodes; i++)
        node_row(f, &f->nodes[i], t);
    for (size_t i = 0; i < f->devices.n; i++)
        device_row(&f->devices.v[i], t);
    nf_table_text(t, "machine");
    nf_table_text(t, "");
    for (int i = 0; i < 2; i++)
        nf_table_unknown(t);
    nf_table_text(t, "");
    for (int i = 0; i < 7; i++)
        nf_table_unknown(t);
    nf_table_text(t, f->machine);
    rc = nf_table_print(t, format, stdout);
    nf_table_free(t);
    return rc;
}

/* --- tree --- */

static void rated_line(const struct nf_rated *r, const char *from, int depth, struct nf_buf *b)
{
    char ns[2][NF_UNITS_TEXT], bps[2][NF_UNITS_TEXT];

    if (r->read_ns > 0 || r->read_bps > 0)
        nf_buf_printf(b, "%*srated%s: read %s, %s/s; write %s, %s/s\n", 3 * depth, "", from, nf_format_ns(ns[0], r->read_ns),
                      nf_format_bytes(bps[0], r->read_bps), nf_format_ns(ns[1], r->write_ns),
                      nf_format_bytes(bps[1], r->write_bps));
}

static void rated_lines(const struct nf_rated r[NF_RATED_CLASSES], int depth, struct nf_buf *b)
{
    rated_line(&r[NF_RATED_ANY], "", depth, b);
    if (memcmp(&r[NF_RATED_ANY], &r[NF_RATED_CPU], sizeof *r))
        rated_line(&r[NF_RATED_CPU], " from CPUs", depth, b);
}

static void device_tree(const struct found *f, const struct nf_device *d, int depth, bool *shown, struct nf_buf *b)
{
    char size[NF_UNITS_TEXT];

    nf_buf_printf(b, "%*s%s: %s, %s, %s\n", 3 * depth, "", d->name, d->kind,
                  d->bytes ? nf_format_bytes(size, (double)d->bytes) : "size unknown", d->detail);
    shown[d - f->devices.v] = true;
    if (!strcmp(d->kind, "cxl region")) /* a dax device's are those of its region */
        rated_lines(d->rated, depth + 1, b);
    for (const char *p = d->on; *p && depth < DEPTH_MAX; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        const struct nf_device *below = nf_devices_named(&f->devices, p, n);

        if (below)
            device_tree(f, below, depth + 1, shown, b);
        p += n;
    }
}

static void node_tree(const struct found *f, const struct nf_node *n, bool *shown, struct nf_buf *b)
{
    char size[NF_UNITS_TEXT];

    nf_buf_printf(b, "node%d: ", n->number);
    if (n->memory_bytes)
        nf_buf_printf(b, "%s, ", nf_format_bytes(size, (double)n->memory_bytes));
    node_detail(n, b);
    if (n->distance)
        nf_buf_printf(b, ", distance %d", n->distance);
    if (n->kernel_tier >= 0)
        nf_buf_printf(b, ", kernel tier %d", n->kernel_tier);
    if (n->weight)
        nf_buf_printf(b, ", weight %d", n->weight);
    nf_buf_puts(b, "\n");
    rated_lines(n->rated, 1, b);
    for (size_t i = 0; i < f->devices.n; i++)
        if (f->devices.v[i].is_node && f->devices.v[i].target_node == n->number)
            device_tree(f, &f->devices.v[i], 1, shown, b);
}

/* Whether another device that has not been shown stands on this one. */
static bool carries(const struct found *f, const struct nf_device *d, const bool *shown)
{
    size_t n = strlen(d->name);

    for (size_t i = 0; i < f->devices.n; i++)
        for (const char *p = f->devices.v[i].on; !shown[i] && (p = strstr(p, d->name)); p += n)
            if ((p == f->devices.v[i].on || p[-1] == ' ') && (!p[n] || p[n] == ' '))
                return true;
    return false;
}

static int print_tree(const struct found *f)
{
    bool *shown = calloc(f->devices.n + 1, sizeof *shown), heading = false;
    struct nf_buf b = {0};
    int rc = 0;

    if (!shown)
        return nf_fail(-ENOMEM, "no memory");
    for (int i = 0; i < f->n_nodes; i++)
        node_tree(f, &f->nodes[i], shown, &b);
    for (int again = 0; again < DEPTH_MAX; again++)
        for (size_t i = 0; i < f->devices.n; i++)
            if (!shown[i] && !carries(f, &f->devices.v[i], shown)) {
                if (!heading)
                    nf_buf_puts(&b, "below no node:\n");
                heading = true;
                device_tree(f, &f->devices.v[i], 1, shown, &b);
            }
    nf_buf_printf(&b, "%s\n", f->machine);
    if (b.failed)
        rc = nf_fail(-ENOMEM, "no memory");
    else if (fwrite(b.data, 1, b.n, stdout) != b.n && errno != EPIPE)
        rc = nf_fail(-errno, "cannot write the output: %s", strerror(errno));
    nf_buf_deinit(&b);
    free(shown);
    return rc;
}

int nf_tiers_print_found(const char *root, bool tree, enum nf_table_format format)
{
    struct found *f = calloc(1, sizeof *f);
    int rc;

    if (!f)
        return nf_fail(-ENOMEM, "no memory");
    rc = look(f, root);
    if (!rc)
        rc = tree ? print_tree(f) : print_table(f, format);
    nf_devices_free(&f->devices);
    free(f);
    return rc;
}
