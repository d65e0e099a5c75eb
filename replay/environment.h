#pragma once
/* The state of the machine around a trial, for the study: what a reader must know to trust its times, and what to compare
 * before with after by. What the machine does not show is the word "unknown", never absent. */
#include <stddef.h>

#include "core/base/buf.h"

/* Below `root` ("" for this machine) at /proc, /sys and /dev; cpu: the one that replays. Appends a JSON object; well under
 * a millisecond. An out-of-memory shows in b->failed. */
void nf_environment_json(const char *root, int cpu, struct nf_buf *b);
/* The frequency governor of a CPU, below `root`; "unknown". */
void nf_environment_governor(const char *root, int cpu, char *text, size_t size);
