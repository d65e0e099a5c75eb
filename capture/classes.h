#pragma once
/* The step classes of one capture: each structure is written to the study once, later steps only add their times. */
#include <stdint.h>

#include "capture/reduce.h"
#include "core/store/study.h"

struct nf_classes;

/* job_number: the 16 job bits of regime ids. NULL: no memory. study is borrowed. */
struct nf_classes *nf_classes_new(struct nf_study *study, int64_t capture_id, uint16_t job_number);
struct nf_classes *nf_classes_free(struct nf_classes *c);

/* Inside a transaction of the caller: the row id of the step's class, written when it is new.
 * > 0 or -errno (cause set). */
int64_t nf_classes_put(struct nf_classes *c, const struct nf_reduce *r, const struct nf_step *step, int64_t rank);
/* A timing-pass step: remembers its op durations under the class of the same ops. The class's row id, 0 when no class
 * matches, or -errno. */
int64_t nf_classes_time(struct nf_classes *c, const struct nf_step *step);
/* A bare-pass step, before or after its class is known. 0 or -ENOMEM. */
int nf_classes_bare(struct nf_classes *c, uint32_t number, uint64_t allocation_hash, uint64_t dur_ns);
/* Inside a transaction of the caller: writes duration distributions and the correction to bare step times, and links the
 * bare pass's steps to their classes. 0 or -errno (cause set). */
int nf_classes_write_times(struct nf_classes *c, int64_t bare_pass_id);
uint32_t nf_classes_count(const struct nf_classes *c);
