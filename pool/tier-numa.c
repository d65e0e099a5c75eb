/* Tier provider `numa`: memory of one NUMA node: local DRAM, another socket's, or CXL memory onlined as a node.
 * Bound by mbind, proved by move_pages, nothing injected. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/tier-binding.h"
#include "pool/tier-memory.h"
#include "pool/tiers.h"

struct options {
    uint64_t node;
    const char *page;
};

static const struct nf_option table[] = {
    {"node", 0, NF_OPTION_U64, offsetof(struct options, node), "N", "NUMA node (default: the one this runs on)"},
    {"page", 0, NF_OPTION_STRING, offsetof(struct options, page), "4k|thp", "page size (default: 4k)"},
    {NULL},
};
static const struct options defaults = {.node = UINT64_MAX, .page = "4k"};

struct numa {
    int node;
    enum nf_tier_pages pages;
};

static int node(const void *options, int here)
{
    const struct options *o = options;

    return o->node == UINT64_MAX ? here : (int)o->node;
}

static int open_tier(const void *options, const struct nf_tier_local *local, void **tier)
{
    const struct options *o = options;
    struct numa *n;
    int rc;

    n = calloc(1, sizeof *n);
    if (!n)
        return nf_fail(-ENOMEM, "no memory");
    n->node = nf_binding_wanted_node(o->node);
    rc = nf_tier_pages_parse(o->page, &n->pages);
    if (!rc)
        rc = nf_binding_check_node(n->node);
    if (rc) {
        free(n);
        return rc;
    }
    *tier = n;
    return 0;
}

static void close_tier(void *tier)
{
    free(tier);
}

static void facts(const void *tier, struct nf_tier_facts *out)
{
    const struct numa *n = tier;

    *out = (struct nf_tier_facts){.evidence = NF_EVIDENCE_MEASURED_DEVICE, .node = n->node, .target_node = n->node,
                                  .page = nf_tier_pages_size(n->pages), .huge = n->pages == NF_TIER_PAGES_THP};
    if (nf_tier_is_emulated_node(n->node))
        out->evidence = NF_EVIDENCE_EMULATED_MACHINE;
    else if (nf_binding_has_cpus(n->node) && n->node != nf_binding_local_node())
        out->evidence = NF_EVIDENCE_MEASURED_PROXY; /* another socket's DRAM stands in for a device */
}

static int map(void *tier, size_t bytes, void **memory)
{
    const struct numa *n = tier;

    return nf_tier_memory_map(bytes, n->pages, n->node, memory);
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    nf_tier_memory_unmap(memory, bytes);
}

static int verify(void *tier, const void *memory, size_t bytes)
{
    const struct numa *n = tier;

    return nf_binding_verify(memory, bytes, n->node);
}

const struct nf_tier_ops nf_tier_numa = {
    .abi = NF_TIER_ABI,
    .name = "numa",
    .about = "memory of a NUMA node, bound and proved: DRAM, another socket, CXL memory onlined as a node",
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .node = node,
    .probe = nf_binding_probe,
    .open = open_tier,
    .close = close_tier,
    .facts = facts,
    .map = map,
    .unmap = unmap,
    .verify = verify,
};
