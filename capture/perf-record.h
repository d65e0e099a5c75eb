#pragma once
/* perf's sample records as they stand in a ring or a file. */
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"

/* The fields of perf_event_attr that say how a sample is laid out. Made by nf_record_layout_of, never by hand. */
struct nf_record_layout {
    uint64_t sample_type, read_format, branch_sample_type, sample_regs_user, sample_regs_intr;
    uint32_t head_bytes;  /* what every record has before its first field of variable size, the header included */
    uint32_t least_bytes; /* what every record has at least */
    bool fixed;           /* no field of variable size: least_bytes is all there is */
};
struct nf_record_layout nf_record_layout_of(const struct perf_event_attr *attr);

/* Decodes a PERF_RECORD_SAMPLE of `size` bytes (its header's). Absent fields are as core/model/sample.h says unknown;
 * op, tensor, step are NF_SAMPLE_NONE, event 0. id (may be NULL): IDENTIFIER or ID, 0 when absent.
 * 0 or -EBADMSG when its fields do not fit its size. No cause is set: the caller knows where it stood.
 * Bytes behind the known fields are left alone: a newer kernel may have more to say. */
int nf_record_decode(const struct nf_record_layout *layout, const struct perf_event_header *header, struct nf_sample *out,
                     uint64_t *id);
/* The RAW field (a tracepoint's fields stand in it at their tracefs offsets) of a record that nf_record_decode accepted;
 * *size: its bytes, padding included. NULL and 0 when the layout has none. */
const void *nf_record_raw(const struct nf_record_layout *layout, const struct perf_event_header *header, uint32_t *size);
/* Where the id of a sample stands, in bytes from its header, so that it can be read before the event, and with it the
 * layout, is known. 0: the layout has neither IDENTIFIER nor ID. */
size_t nf_record_id_offset(const struct nf_record_layout *layout);
