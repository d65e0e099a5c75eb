#pragma once
/* perf's sample records as they stand in a ring or a file. */
#include <linux/perf_event.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"

/* The fields of perf_event_attr that say how a sample is laid out. */
struct nf_record_layout {
    uint64_t sample_type, read_format, branch_sample_type, sample_regs_user, sample_regs_intr;
};
struct nf_record_layout nf_record_layout_of(const struct perf_event_attr *attr);

/* Decodes a PERF_RECORD_SAMPLE of `size` bytes (its header's). Absent fields are as core/model/sample.h says unknown;
 * op, tensor, step are NF_SAMPLE_NONE, event 0. id (may be NULL): IDENTIFIER or ID, 0 when absent.
 * 0 or -EBADMSG when its fields do not fit its size. No cause is set: the caller knows where it stood. */
int nf_record_decode(const struct nf_record_layout *layout, const struct perf_event_header *header, struct nf_sample *out,
                     uint64_t *id);
