#pragma once
/* A bandwidth hog: a thread on another CPU that reads and writes a buffer no cache holds, as a stranger's job would. */
#include <stddef.h>
#include <stdint.h>

struct nf_hog;

/* avoid_cpu: where the replay runs. llc_bytes: the buffer is four times that, at least 64 MiB.
 * 0, -ENODEV (cause set: there is no other CPU), -errno (cause set). */
int nf_hog_start(int avoid_cpu, uint64_t llc_bytes, struct nf_hog **out);
/* *bps: payload bytes it read and wrote per second, start to stop; may be NULL. NULL hog is fine. Returns NULL. */
struct nf_hog *nf_hog_stop(struct nf_hog *hog, double *bps);
/* 0, or -ENODEV with why. */
int nf_hog_probe(char *why, size_t size);
