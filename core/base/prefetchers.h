#pragma once
/* The hardware prefetchers of a CPU: what every latency and bandwidth of it depends on, and few machines tell. */
#include <stddef.h>

/* Which are off, read back from the CPU ("off-mask 0x0": none; the bits are those of the maker's register), or "unknown"; below `root`, "" for this machine. why: what hindered it,
 * in words; empty when they are known. */
void nf_prefetchers_read(const char *root, int cpu, char *text, size_t size, char *why, size_t why_size);
