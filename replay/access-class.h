#pragma once
/* Classes of access, as a visit's pattern and kind make them: how many line fetches a thread has under way in each decides what a
 * latency costs it. */
#include <stdbool.h>
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

/* Number of the class that a visit belongs to. An operand of a matrix product (blocked) comes in runs long enough to be streams. */
unsigned nf_access_class_of(enum nf_pattern pattern, enum nf_rw rw);
/* The same of a class's name; NF_ACCESS_CLASSES: none has it. */
unsigned nf_access_class_named(const char *name);

/* Outstanding line fetches of one thread: lines a second × latency. */
struct nf_parallelism {
    double stream; /* contiguous reads */
    double gather; /* independent random lines, TLB-local as the latency is */
    double of_class[NF_ACCESS_CLASSES]; /* as nf_access_classes; 0: was not measured */
};
/* k of a visit that does not know its own: of its class, where that was measured (*by_class); else a stream's or, where runs lie apart, a
 * gather's. At least 1: one line under way is the least any access has. */
double nf_parallelism_of(const struct nf_parallelism *p, enum nf_pattern pattern, enum nf_rw rw, bool *by_class);
