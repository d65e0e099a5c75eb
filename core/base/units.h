#pragma once
/* Numbers people write and read: 64MiB, 20%, 10%..100%, 1.2 GB/s. */
#include <stddef.h>
#include <stdint.h>

/* "4096", "64K", "1.5GiB", "2GB" (K, M, G, T; iB or none: 1024, B with SI prefix: 1000). 0 or -EINVAL (cause set). */
int nf_parse_bytes(const char *text, uint64_t *out);
/* Unsigned integer in full. 0 or -EINVAL (cause set). */
int nf_parse_u64(const char *text, uint64_t *out);
/* Finite decimal number. 0 or -EINVAL (cause set). */
int nf_parse_f64(const char *text, double *out);
/* "10%,20%,0.4", "10%..100%" (steps of 10 points) -> shares in (0, 1], at most max.
 * 0, -EINVAL (cause set), -ERANGE where a share lies outside (0 %, 100 %] (cause set). */
int nf_parse_shares(const char *text, double *out, size_t max, size_t *n);

enum { NF_UNITS_TEXT = 32 };
/* "1.50 GiB"; the buffer must hold NF_UNITS_TEXT characters. Returns it. */
char *nf_format_bytes(char *text, double bytes);
/* "12.3 ms". */
char *nf_format_ns(char *text, double ns);
