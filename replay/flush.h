#pragma once
/* What it costs to have a store leave the caches: a line written back, and a fence that waits for it. The price of a publish on
 * memory that others read. */
#include <stdint.h>

/* The instruction that writes a line back, "clwb"; "" where this CPU has none that is known here. */
const char *nf_flush_name(void);
/* Nanoseconds a line when many are stored to, written back, and waited for once. Memory: 64 KiB at least; run: another part of it. */
double nf_flush_run(char *memory, uint64_t bytes, unsigned run);
/* Nanoseconds a line when each is waited for before the next. */
double nf_flush_fence_run(char *memory, uint64_t bytes, unsigned run);
