/* Tier provider `dax` of a build without libdaxctl: says so. */
#include <errno.h>
#include <stdio.h>

#include "core/base/error.h"
#include "pool/tiers.h"

static const char missing[] = "built without libdaxctl (package libdaxctl-dev)";

static int probe(char *why, size_t size)
{
    snprintf(why, size, "%s", missing);
    return -ENOSYS;
}

static int open_tier(const void *options, const struct nf_tier_local *local, void **tier)
{
    return nf_fail(-ENOSYS, "%s", missing);
}

static void close_tier(void *tier)
{
}

static void facts(const void *tier, struct nf_tier_facts *out)
{
    *out = (struct nf_tier_facts){.evidence = NF_EVIDENCE_UNKNOWN, .node = -1, .target_node = -1};
}

static int map(void *tier, size_t bytes, void **memory)
{
    return nf_fail(-ENOSYS, "%s", missing);
}

static void unmap(void *tier, void *memory, size_t bytes)
{
}

const struct nf_tier_ops nf_tier_dax = {
    .abi = NF_TIER_ABI,
    .name = "dax",
    .about = "memory of a devdax device (left out of this build)",
    .probe = probe,
    .open = open_tier,
    .close = close_tier,
    .facts = facts,
    .map = map,
    .unmap = unmap,
};
