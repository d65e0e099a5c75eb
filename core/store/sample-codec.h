#pragma once
/* Samples as columns: a chunk of up to NF_SAMPLE_CHUNK samples becomes one blob.
 *
 * Blob: the length of its loose part u32, the loose part, and the dense part as a zstd frame (level -1). The dense part has
 * one column per field of struct nf_sample; planes that would not get smaller stand in the loose part instead, in the same
 * order. raw_size and crc are of the loose part followed by the dense one.
 * A column: coding u8, bits u8, shift u8, loose u16, base u64; with SPARSE a bitmap; then its numbers as planes, the lowest
 * first: for each whole byte of `bits` one of a byte per number, for each bit above those one of a bit per number. Bit k of
 * `loose` tells that byte plane k is loose, bit 8 + k that the k-th bit plane is. A bit plane and a bitmap have eight numbers to a
 * byte, the first lowest, and zeros at the end (in a bitmap; a reader ignores those of a plane). A field that is the same
 * in all samples is plain with 0 bits.
 * Codings, plus SPARSE (8): the bitmap tells which numbers are not 0, and only those follow:
 *   0 plain       base + (number << shift)
 *   1 delta       zigzag number; (number << shift) is the difference from the one before; base is the first
 *   2 dictionary  the numbers are indices of base many literals, which follow in eight byte planes; shift 0
 *   3 start       of address: plain address minus offset, zigzag as delta, the difference from that of the last sample of
 *                 the tensor (as stored, mod 1024), which is base at first
 *   4 frame       of physical: physical minus address, as delta
 * tensor, step, op and cpu are stored plus one (modulo 2^32), so that "none" is 0. */
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
