#pragma once
/* Hardware event names to perf encodings, through libpfm4. */
#include <stddef.h>
#include <stdint.h>

#include "core/base/pmu.h"

/* "skx::MEM_TRANS_RETIRED:LOAD_LATENCY:ldlat=3:u:precise=2". Works for CPUs that are not here.
 * 0, -ENOENT for a name libpfm4 does not know, -ENOSYS without libpfm4 (cause set). */
int nf_event_encode(const char *name, struct nf_event_encoding *out);
/* The PMUs libpfm4 finds active here, as "name, name"; "" when none. 0 or -ENOSYS (cause set). */
int nf_event_pmus(char *text, size_t size);
