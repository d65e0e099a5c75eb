#pragma once
/* On which nodes a running process's own memory is, as the kernel says in /proc/PID/numa_maps. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pool/tier.h"

enum { NF_RESIDENCE_NODES = 64 };
struct nf_residence {
    uint64_t bytes[NF_RESIDENCE_NODES]; /* of anonymous memory, by node */
    uint64_t total;
};

/* Adds one line of numa_maps; mappings without anonymous pages (program text, shared files) do not count: a rule for new
 * pages says nothing about what others read in before. */
void nf_residence_add_line(struct nf_residence *r, const char *line);
/* 0 or -errno (cause set). */
int nf_residence_of(pid_t pid, struct nf_residence *r);
/* Share of the bytes that are on one of the nodes; 1 when there are none. */
double nf_residence_share(const struct nf_residence *r, const int *nodes, unsigned n);

/* Looks every now and then until stopped; what it had seen at the process's largest is kept. */
struct nf_residence_watch;
/* NULL: no memory or no thread (cause set). */
struct nf_residence_watch *nf_residence_watch_start(pid_t pid);
/* NULL is fine. Returns NULL; *out is zeroed when the process was never seen. */
struct nf_residence_watch *nf_residence_watch_stop(struct nf_residence_watch *w, struct nf_residence *out);
