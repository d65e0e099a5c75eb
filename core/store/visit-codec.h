#pragma once
/* Visits as columns: a chunk of up to NF_VISIT_CHUNK visits becomes one compressed blob.
 *
 * Raw columns, in order: flags u8 per visit; op deltas, tensor deltas (zigzag) as LEB128; then, for the visits whose
 * flags ask for it, offset, bytes, run, stride, touches, parallelism. Then zstd level 1. A whole-tensor contiguous visit
 * with default touches costs three raw bytes. */
#include <stddef.h>
#include <stdint.h>

#include "core/model/stream.h"

enum { NF_VISIT_CHUNK = 4096, NF_VISIT_CODEC = 1 };

struct nf_visit_codec; /* scratch memory and zstd contexts, reused from chunk to chunk */

struct nf_visit_codec *nf_visit_codec_new(void); /* NULL: no memory */
struct nf_visit_codec *nf_visit_codec_free(struct nf_visit_codec *c);
/* tensor_bytes[v->tensor] are the sizes whole-tensor visits are recognised by; n_tensors of them.
 * *data is owned by c, valid until its next call. 0 or -errno (cause set). */
int nf_visit_encode(struct nf_visit_codec *c, const struct nf_visit *v, size_t n, const uint64_t *tensor_bytes,
                    size_t n_tensors, const void **data, size_t *size, size_t *raw_size, uint32_t *crc);
/* Decodes exactly n visits into out. 0, -EBADMSG (cause set) on anything that contradicts itself, -ENOMEM. */
int nf_visit_decode(struct nf_visit_codec *c, const void *data, size_t size, size_t raw_size, uint32_t crc,
                    const uint64_t *tensor_bytes, size_t n_tensors, struct nf_visit *out, size_t n);
