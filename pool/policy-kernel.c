/* Policy `kernel`: the kernel's own tiering. Pages are allocated near while there is room, then far, and left to the kernel: it demotes by
 * reclaim and promotes by NUMA balancing as this machine is set up.
 * Rule: the running kernel's (Documentation/admin-guide/sysctl/kernel.rst, numa_balancing mode 2; sysfs mm/numa/demotion_enabled).
 * Semantics: in place, insert near, write back, moved by the kernel. Sees nothing of the job.
 * Needs two NUMA nodes, demotion and promotion switched on: where one is missing, its probe says which. The replay reads back where pages
 * went, and a trial fails whose pages are more near than near may hold: the node's memory has to be as small as the near share says.
 * Fails as `nbt` does, whose emulation it is beside: in seconds. */
#include <errno.h>
#include <stddef.h>

#include "core/base/error.h"
#include "pool/kernel-tiering.h"
#include "pool/placement.h"
#include "pool/policies.h"

static int probe(char *why, size_t size)
{
    return nf_kernel_tiering_probe("", why, size);
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    *policy = (void *)env; /* stateless: the environment is all it needs */
    return 0;
}

static void close_policy(void *policy)
{
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    return nf_placement_first_fit(policy, 0, t->bytes, out);
}

const struct nf_policy_ops nf_policy_kernel = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_PROBE),
    .name = "kernel",
    .about = "near first, then left to the kernel's own demotion and promotion",
    .source = "the running kernel: numa_balancing mode 2, demotion_enabled",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_WRITE_BACK,
                  .mover = NF_MOVER_KERNEL},
    .probe = probe,
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
};
