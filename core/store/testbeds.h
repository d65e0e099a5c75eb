#pragma once
/* Testbeds that travel: measured in one study, counted with in another. */
#include <stdint.h>

#include "core/store/study.h"

/* Copies the latest testbed of a study into another: its tiers, samples and figures, the machine and the invocation that measured it.
 * One that was copied before is found again. *machine: its row in `to`. > 0: the testbed's row in `to`; -ENOENT where there is none,
 * -errno (cause set; nothing was copied). */
int64_t nf_record_testbed_copy(struct nf_study *from, struct nf_study *to, int64_t *machine);

/* The CPU that a testbed was measured on; id 0: the latest one. -1: there is none, or it is not known. */
int nf_record_testbed_cpu(struct nf_study *s, int64_t id);
