#pragma once
/* perf's sample records, written byte by byte as the kernel writes them for a sampling CPU. */
#include <linux/perf_event.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"

enum { PMU_RECORD_MAX = 256 };

/* One PERF_RECORD_SAMPLE of the attr's layout; returns its bytes. Of the sample it writes ip, pid, tid, time_ns, address,
 * cpu, period, weight, weight2, weight3, data_src and physical, as far as sample_type has them. */
size_t pmu_record_put(uint8_t *to, const struct perf_event_attr *attr, uint64_t id, const struct nf_sample *s);
