/* NUMA nodes without libnuma: nothing can be bound or proved, and the probe says so. */
#include <errno.h>
#include <stdio.h>

#include "core/base/error.h"
#include "pool/tier-binding.h"

static const char missing[] = "built without libnuma (install libnuma-dev and rebuild)";

int nf_binding_probe(char *why, size_t size)
{
    snprintf(why, size, "%s", missing);
    return -ENODEV;
}

int nf_binding_local_node(void)
{
    return -1;
}

int nf_binding_check_node(int node)
{
    return nf_fail(-ENODEV, "node %d: %s", node, missing);
}

bool nf_binding_has_cpus(int node)
{
    return false;
}

uint64_t nf_binding_available(int node)
{
    return UINT64_MAX;
}

int nf_binding_bind(void *memory, size_t bytes, int node)
{
    return nf_fail(-ENODEV, "node %d: %s", node, missing);
}

int nf_binding_verify(const void *memory, size_t bytes, int node)
{
    return nf_fail(-ENODEV, "node %d: %s", node, missing);
}

int nf_binding_rule_probe(enum nf_binding_rule rule, char *why, size_t size)
{
    snprintf(why, size, "%s", missing);
    return -ENODEV;
}

int nf_binding_rule_enter(enum nf_binding_rule rule, const int *nodes, unsigned n)
{
    return -ENODEV;
}
