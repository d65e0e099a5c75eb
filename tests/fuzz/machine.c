/* What a machine's kernel says of its nodes and memory devices, as somebody may have recorded or made it up: whatever the tree
 * holds, a listing ends, and nothing in it is out of bounds. Input: a tree as tests/machines has them. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/devices.h"
#include "pool/nodes.h"
#include "replay/counters-pmu.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tree.h"

static char sys[80];

static void check_rated(const struct nf_rated *r)
{
    if (!(r->read_ns >= 0 && r->write_ns >= 0 && r->read_bps >= 0 && r->write_bps >= 0))
        abort();
}

static void nodes(void)
{
    static struct nf_node all[NF_NODES_MAX], some[NF_NODES_MAX];
    int n = nf_nodes_list_all(sys, all, NF_NODES_MAX), with_memory = 0, kept;

    for (int i = 0; i < n; i++) {
        const struct nf_node *node = &all[i];

        if ((i && node->number <= all[i - 1].number) || node->kernel_tier < -1 || node->weight < 0 ||
            !memchr(node->cpus, '\0', sizeof node->cpus) || !memchr(node->initiators, '\0', sizeof node->initiators))
            abort();
        for (int c = 0; c < NF_RATED_CLASSES; c++)
            check_rated(&node->rated[c]);
        with_memory += node->memory_bytes != 0;
    }
    kept = nf_nodes_list(sys, some, NF_NODES_MAX);
    if (kept > 0 ? kept != with_memory : with_memory)
        abort();
}

/* Every name that a device stands on is told from its neighbours, and the kinds are those documented. */
static void check_device(const struct nf_device *d)
{
    static const char *const kinds[] = {"cxl memdev", "cxl region", "cxl decoder", "devdax", "system-ram"};
    bool known = false;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        known |= !strcmp(d->kind, kinds[i]);
    if (!known || !*d->name || d->target_node < -1 || !d->on || strstr(d->on, "  ") ||
        !memchr(d->detail, '\0', sizeof d->detail))
        abort();
    for (int c = 0; c < NF_RATED_CLASSES; c++)
        check_rated(&d->rated[c]);
}

static void devices(void)
{
    struct nf_devices d, again;
    int rc = nf_devices_list(sys, &d);

    for (size_t i = 0; i < d.n; i++) {
        check_device(&d.v[i]);
        if (!strcmp(d.v[i].kind, "cxl memdev"))
            nf_counter_nodes_of_memdev(fuzz_tree_root(), d.v[i].name);
    }
    if (nf_devices_list(sys, &again) != rc || again.n != d.n)
        abort();
    nf_devices_free(&again);
    nf_devices_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    snprintf(sys, sizeof sys, "%s/sys", fuzz_tree_root());
    fuzz_tree_unpack(text);
    nodes();
    devices();
    nf_counter_nodes_without_cpu(fuzz_tree_root());
    nf_counter_nodes_of_cpu(fuzz_tree_root(), 0);
    nf_error_clear();
    fuzz_tree_clear();
    free(text);
    return 0;
}
