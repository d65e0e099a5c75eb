#pragma once
/* Ground truth for tests and small jobs: every access, by code that is instrumented (engine tsan) or emulated (qemu). */
#include "capture/source.h"

extern const struct nf_source_ops nf_source_exact;

/* Whether an engine ("tsan", "qemu") works here, and what it is or why not, in text. 0 or -errno. Runs programs. */
int nf_source_exact_probe(const char *engine, char *text, size_t size);
