#pragma once
/* Pages of this process by NUMA node: where they are, and moving them without changing their addresses. Needs no library:
 * two system calls, which tests replace. */
#include <stddef.h>
#include <stdint.h>

struct nf_pages_system {
    /* As move_pages(2) of this process, only pages that are its alone: nodes NULL asks. < 0: errno says. */
    long (*move_pages)(unsigned long n, void **pages, const int *nodes, int *status);
    /* Takes the rule off the memory that bound it, its pages staying where they are. < 0: errno says. */
    long (*unbind)(void *memory, size_t bytes);
};
extern const struct nf_pages_system nf_pages_kernel;

/* Moves every page of [memory, memory + bytes) to the node; those already there stay. moved: how many were moved, also
 * when it failed; may be NULL. 0, -ENOMEM (the node is full), -EXDEV (a page cannot be moved), -errno (causes set). */
int nf_pages_move(const struct nf_pages_system *system, void *memory, uint64_t bytes, int node, uint64_t *moved);
/* node[i]: where page i is; negative: -errno of the kernel (-ENOENT: nowhere, also after the 10 ms that pages under migration are waited
 * for). 0 or -errno (cause set). */
int nf_pages_where(const struct nf_pages_system *system, const void *memory, uint64_t bytes, int *node);
