#pragma once
/* Arrays that may be larger than memory. Up to a limit they are memory like any other; what is asked for beyond it lies in
 * unlinked temporary files that are mapped, so that everybody reads and writes it unchanged, and the kernel keeps of it
 * what it has room for. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of such arrays that may be memory, all together; arrays that are there already stay where they are. Initially
 * there is no limit. */
void nf_spill_limit(uint64_t bytes);

/* n × size bytes, zeroed; also for none. Files lie in $TMPDIR, else in /var/tmp, else in /tmp, the first that is not itself
 * in memory; their space is reserved, so that writing to them cannot fail later. NULL: no memory and no space (cause
 * set). Thread-safe, as all below. */
void *nf_spill_alloc(size_t n, size_t size);
/* An array of nf_spill_alloc, and of nothing else. NULL is fine. Returns NULL. */
void *nf_spill_free(void *array);

/* Whether the array lies in a file. */
bool nf_spill_in_file(const void *array);
/* Bytes of all arrays in files. */
uint64_t nf_spill_file_bytes(void);

/* Writes all files back and lets go of their pages. For the time between filling arrays and measuring: what the kernel
 * would otherwise write back in the middle of it, and could not give up before. 0 or -errno (cause set). */
int nf_spill_settle(void);
/* Bytes [from, from + bytes) of an array: mapped in now, so that reading them does not fault, or let go of (whole pages
 * inside). Nothing for an array in memory. The first is 0 or -errno (cause set). */
int nf_spill_fetch(const void *array, size_t from, size_t bytes);
void nf_spill_drop(const void *array, size_t from, size_t bytes);
