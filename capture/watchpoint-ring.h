#pragma once
/* Hardware breakpoints on data words of every thread of a process, straight from the kernel: libperf keeps the file
 * descriptors to itself that moving a breakpoint takes. Each word uses two of the four x86 has: one for reads and writes,
 * one for writes. They share one ring per thread, which also tells of new threads. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/array.h"

enum { NF_WATCHPOINT_SLOTS = 2, NF_WATCHPOINT_THREADS_MAX = 128 };

enum nf_watchpoint_record_kind {
    NF_WATCHPOINT_ACCESS, /* the breakpoint for reads and writes fired */
    NF_WATCHPOINT_WRITE,  /* the one for writes did, from the same trap */
    NF_WATCHPOINT_THREAD, /* a thread was created: accesses it makes are not seen until it is adopted */
    NF_WATCHPOINT_EXIT,   /* this thread ended */
    NF_WATCHPOINT_LOST    /* records were lost before this one */
};

struct nf_watchpoint_record {
    uint64_t time_ns; /* CLOCK_MONOTONIC */
    uint64_t address, ip;
    uint32_t pid, tid, cpu;
    uint8_t kind, slot, kernel;
};

struct nf_watchpoint_records {
    NF_ARRAY(struct nf_watchpoint_record) list;
};

struct nf_watchpoint_ring;

/* kernel_too: count what the kernel does for the process as well (root, or kernel.perf_event_paranoid <= 1).
 * NULL: no memory. */
struct nf_watchpoint_ring *nf_watchpoint_ring_new(bool kernel_too);
struct nf_watchpoint_ring *nf_watchpoint_ring_free(struct nf_watchpoint_ring *r); /* NULL is fine; returns NULL */

/* Opens breakpoints, not armed, on each thread of pid that has none yet, and lets go of threads that are gone.
 * 0; NF_WATCHPOINT_E_UNSAFE: the process, or one of its threads, would die of a SIGTRAP that a breakpoint may leave behind
 * (it has no handler, or blocks it), or it has too many threads: do not arm; or -errno (cause set). A process that has gone
 * has no threads and is no error. */
enum { NF_WATCHPOINT_E_UNSAFE = 1 };
int nf_watchpoint_ring_adopt(struct nf_watchpoint_ring *r, pid_t pid);
/* One thread of this process, whatever it does with SIGTRAP. 0 or -errno (cause set). */
int nf_watchpoint_ring_adopt_thread(struct nf_watchpoint_ring *r, pid_t tid);
unsigned nf_watchpoint_ring_threads(const struct nf_watchpoint_ring *r);
/* How many hits a thread may take of one word, so that its ring cannot overflow before it is drained. */
uint64_t nf_watchpoint_ring_hits_max(const struct nf_watchpoint_ring *r);

/* Watches the aligned word in a free slot on all threads. On each of them the kernel stops after `limit` accesses by itself,
 * however late the tool is. 0 or -errno (cause set); a thread that has just ended is no error. */
int nf_watchpoint_ring_arm(struct nf_watchpoint_ring *r, unsigned slot, uint64_t address, uint64_t limit);
/* No hit comes after it has returned. */
void nf_watchpoint_ring_disarm(struct nf_watchpoint_ring *r, unsigned slot);
/* Appends what has come since, by thread: not in order of time. 0 or -ENOMEM. undecoded: counted up. */
int nf_watchpoint_ring_drain(struct nf_watchpoint_ring *r, struct nf_watchpoint_records *out, uint64_t *undecoded);
