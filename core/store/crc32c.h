#pragma once
/* The checksum of what is stored in chunks. */
#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) of n bytes. Thread-safe. */
uint32_t nf_crc32c(const void *data, size_t n);
/* Of the bytes crc was made of, followed by these. */
uint32_t nf_crc32c_more(uint32_t crc, const void *data, size_t n);
