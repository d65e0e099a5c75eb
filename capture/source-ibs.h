#pragma once
/* Memory operations sampled by AMD's CPUs (IBS op), with level and latency. */
#include "capture/source.h"

extern const struct nf_source_ops nf_source_ibs;
/* probe on the machine that a recorded tree shows. */
int nf_source_ibs_probe(const char *root, char *why, size_t size);
