#pragma once
/* NUMA nodes: which have memory, binding memory to one, proving where pages are. tier-binding.c asks libnuma;
 * tier-binding-fallback.c stands in where the build had none. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0, or -ENODEV / -EPERM with why in words. */
int nf_binding_probe(char *why, size_t size);
/* Node of the CPU this thread runs on; -1 unknown. */
int nf_binding_local_node(void);
/* 0, or -ENODEV (cause set: the nodes that have memory). */
int nf_binding_check_node(int node);
/* The node a tier's option asks for: UINT64_MAX is the local one. A number no node has stays one. */
static inline int nf_binding_wanted_node(uint64_t option)
{
    return option == UINT64_MAX ? nf_binding_local_node() : option > INT32_MAX ? INT32_MAX : (int)option;
}
bool nf_binding_has_cpus(int node);
/* Bytes that can still be taken from the node without swapping or killing anybody; UINT64_MAX unknown. */
uint64_t nf_binding_available(int node);
/* Binds untouched memory. 0 or -errno (cause set). */
int nf_binding_bind(void *memory, size_t bytes, int node);
/* Every page is on the node. 0, -EXDEV (cause set: which page is where), -errno (cause set). */
int nf_binding_verify(const void *memory, size_t bytes, int node);

/* How the kernel spreads a process's new pages over nodes. */
enum nf_binding_rule {
    NF_BINDING_ONE,
    NF_BINDING_INTERLEAVE,
    NF_BINDING_WEIGHTED,
    NF_BINDING_PREFERRED_MANY, /* the nearest of the nodes that has room, then any other */
    NF_BINDING_FIRST_TOUCH,    /* the toucher's node; takes no nodes */
    NF_BINDING_RULES
};
/* 0, or -ENODEV / -EPERM with why in words: the kernel does not know the rule. */
int nf_binding_rule_probe(enum nf_binding_rule rule, char *why, size_t size);
/* Makes the rule that of the calling thread and of what it executes. NF_BINDING_ONE takes one node; all are below 64.
 * Async-signal-safe, for a child between fork and exec. 0 or -errno (no cause is set). */
int nf_binding_rule_enter(enum nf_binding_rule rule, const int *nodes, unsigned n);
