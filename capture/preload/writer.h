#pragma once
/* The job's end of the ring (capture/ring.h): maps it, writes batches of events, waits for the reader only when told to.
 * One per process. Nothing here allocates from the heap, because the writer runs inside posix_memalign and free. */
#include <stdbool.h>
#include <stdint.h>

#include "capture/ring.h"

/* What a batch may do to the ring. Names, steps and marks are few and give the rest its meaning, so ordinary events
 * leave them the last sixteenth of the ring. */
enum nf_writer_class { NF_WRITER_ORDINARY = 0, NF_WRITER_VITAL = 1 };

/* Maps the ring and checks its header. NULL when there is none or it isn't ours. */
struct nf_ring_header *nf_writer_map(const char *path);

/* From now on a batch without room waits for the reader instead of being lost, unless it asks for more than the ring
 * holds. A reader that takes nothing for NF_WRITER_PATIENCE_NS is taken for dead; nobody waits for it again. */
#define NF_WRITER_PATIENCE_NS 20000000000ull
void nf_writer_be_patient(void);

/* Takes the lock when n slots are free: the caller fills nf_writer_slot(0..n-1), then commits. Without room the n
 * events are counted as lost and the answer is false. */
bool nf_writer_begin(uint32_t n, enum nf_writer_class class);
/* The i-th slot of the batch, zeroed, with time and thread filled in. */
struct nf_event *nf_writer_slot(uint32_t i);
void nf_writer_commit(void);

/* CLOCK_MONOTONIC. */
uint64_t nf_writer_now_ns(void);

/* A lock for a few stores: no heap, no futex, valid from the first instruction of the process. */
static inline void nf_spin_lock(_Atomic uint32_t *lock);
static inline void nf_spin_unlock(_Atomic uint32_t *lock);

#include <sched.h>

static inline void nf_spin_lock(_Atomic uint32_t *lock)
{
    /* The holder may have lost its core: after a few hundred cycles let it run. */
    enum { SPINS_BEFORE_YIELD = 128 };

    for (unsigned spins = 0; atomic_exchange_explicit(lock, 1, memory_order_acquire); spins++)
        if (spins >= SPINS_BEFORE_YIELD)
            sched_yield();
}

static inline void nf_spin_unlock(_Atomic uint32_t *lock)
{
    atomic_store_explicit(lock, 0, memory_order_release);
}
