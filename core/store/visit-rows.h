#pragma once
/* Reads rows of encoded visits; what visit_chunk and sighting_chunk have in common. */
#include <stdint.h>

#include "core/model/stream.h"
#include "core/store/study.h"

/* q: bound and not stepped; its columns are visits, raw_bytes, crc32, data, codec. It is given back.
 * c: its tensors and ops are loaded; visits of others are refused, as are visits out of order.
 * Fills exactly n visits at out. 0, -EBADMSG (cause set; `what` begins its sentence), -ENOMEM. */
int nf_visit_rows_read(struct nf_query *q, const char *what, const struct nf_step_class *c, struct nf_visit *out,
                       uint32_t n);
