#pragma once
/* Writes and reads rows of encoded visits; what visit_chunk and sighting_chunk have in common. */
#include <stdint.h>

#include "core/model/stream.h"
#include "core/store/study.h"
#include "core/store/visit-codec.h"

/* q: bound and not stepped; its columns are visits, raw_bytes, crc32, data, codec. It is given back.
 * c: its tensors and ops are loaded; visits of others are refused, as are visits out of order.
 * Fills exactly n visits at out. 0, -EBADMSG (cause set; `what` begins its sentence), -ENOMEM. */
int nf_visit_rows_read(struct nf_query *q, const char *what, const struct nf_step_class *c, struct nf_visit *out,
                       uint32_t n);

/* Writes n visits as chunks, inside a transaction of the caller. sql: a literal that inserts a row; its parameters are the
 * n_keys keys, then number, first_op, last_op, visits, codec, crc32, raw_bytes, data. tensor_bytes: as nf_visit_encode has
 * them. 0 or -errno (cause set). */
int nf_visit_rows_write(struct nf_study *s, const char *sql, const int64_t *keys, int n_keys, struct nf_visit_codec *codec,
                        const struct nf_visit *visits, uint32_t n, const uint64_t *tensor_bytes, size_t n_tensors);
