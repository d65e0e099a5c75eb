#pragma once
/* Samples as columns: a chunk of up to NF_SAMPLE_CHUNK samples becomes one compressed blob.
 *
 * Raw: one column per field of struct nf_sample, each a coding u8, a width u8, a base u64 and its numbers as `width` planes
 * of one byte each, the lowest first; then zstd at its level -1. A field that is the same in all samples has width 0 and costs ten
 * raw bytes. Codings:
 *   0 plain       base + number
 *   1 delta       zigzag difference from the one before; base is the first
 *   2 dictionary  base many literals (eight planes), then indices of width 1 or 2
 *   3 start       of address: plain address minus offset, zigzag difference from that of the last sample of the tensor
 *                 (tensor mod 1024); base 0
 *   4 frame       of physical: physical minus address, as delta
 * step, op and cpu are stored plus one (modulo 2^32), so that "none" is 0. */
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"

enum { NF_SAMPLE_CHUNK = 4096, NF_SAMPLE_CODEC = 1 };

struct nf_sample_codec; /* scratch memory and zstd contexts, reused from chunk to chunk */

struct nf_sample_codec *nf_sample_codec_new(void); /* NULL: no memory */
struct nf_sample_codec *nf_sample_codec_free(struct nf_sample_codec *c);
/* 1 to NF_SAMPLE_CHUNK samples. *data is owned by c, valid until its next call. 0 or -errno (cause set). */
int nf_sample_encode(struct nf_sample_codec *c, const struct nf_sample *s, size_t n, const void **data, size_t *size,
                     size_t *raw_size, uint32_t *crc);
/* Decodes exactly n samples into out, padding zeroed. 0, -EBADMSG (cause set) on anything that contradicts itself,
 * -ENOMEM. */
int nf_sample_decode(struct nf_sample_codec *c, const void *data, size_t size, size_t raw_size, uint32_t crc,
                     struct nf_sample *out, size_t n);
