#pragma once
/* Loads and stores sampled by Intel's CPUs (PEBS), with the level and the latency where the event tells them. */
#include "capture/source.h"

extern const struct nf_source_ops nf_source_pebs;
/* probe on the machine that a recorded tree shows. */
int nf_source_pebs_probe(const char *root, char *why, size_t size);
