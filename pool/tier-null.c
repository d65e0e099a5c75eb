/* Tier provider `null`: plain anonymous memory, faulted when it is first touched, bound to nothing, costing nothing
 * extra. For tests, dry runs, and planning without a testbed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/error.h"
#include "pool/tiers.h"

static int probe(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

static int open_tier(const void *options, const struct nf_tier_local *local, void **tier)
{
    *tier = NULL;
    return 0;
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
    /* NORESERVE: a dry run may map more than the machine has. */
    *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (*memory == MAP_FAILED)
        return nf_fail(-errno, "cannot map %zu bytes: %s", bytes, strerror(errno));
    return 0;
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    munmap(memory, bytes);
}

const struct nf_tier_ops nf_tier_null = {
    .abi = NF_TIER_ABI,
    .name = "null",
    .about = "unbound memory, nothing injected, nothing proved: for tests and dry runs",
    .probe = probe,
    .open = open_tier,
    .close = close_tier,
    .facts = facts,
    .map = map,
    .unmap = unmap,
};
