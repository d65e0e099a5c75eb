#pragma once
/* The two figures by which policy `g10` judges a tensor's inactive interval, apart from where its inputs come from. */
#include <stdbool.h>
#include <stdint.h>

/* Whether a tensor can leave and come back within an interval: longer than twice (latency + bytes / bandwidth), by a margin. */
bool nf_g10_worth(double interval_ns, uint64_t bytes, double latency_ns, double bps, double margin);
/* What it takes off the memory in use above the line over n ops of ns[] each: byte nanoseconds, at most its bytes at any time. */
double nf_g10_benefit(const uint64_t *load_bytes, const double *ns, uint32_t n, uint64_t line_bytes, uint64_t bytes);
