#pragma once
/* Classes of access, as a visit's pattern and kind make them: how many line fetches a thread has under way in each decides what a
 * latency costs it. */
#include <stdint.h>

#include "core/model/words.h"

struct nf_access_class {
    const char *name; /* "gather update" */
    enum nf_pattern pattern;
    enum nf_rw rw;
};
/* Streams, every fourth line, single lines in no order (TLB-local); each read, written, updated. */
enum { NF_ACCESS_CLASSES = 9 };
extern const struct nf_access_class nf_access_classes[NF_ACCESS_CLASSES];

/* Lines per nanosecond that the widest kernel touches: the middle of several pieces of one run over another part of the memory than
 * the run before. bytes: a multiple of 64 KiB, beyond what the caches hold. */
double nf_access_class_run(const struct nf_access_class *c, char *memory, uint64_t bytes, unsigned run);
