#pragma once
/* The live aligned blocks of the process and the allocator counters of the ring's header. Idle until the torch hook
 * calls nf_tracker_start, so that a preloaded shell costs one load per free. Its memory comes from mmap. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>

#include "capture/ring.h"

/* Tensors come with this alignment; blocks with less are not tracked, so most frees end after one test. */
enum { NF_TRACKER_ALIGNMENT = 64 };

enum nf_tracker_state { NF_TRACKER_ABANDONED = -1, NF_TRACKER_IDLE = 0, NF_TRACKER_COUNTING = 1 };

extern _Atomic int nf_tracker_state;

/* Begins to follow blocks; counts privately until a ring is attached. False after nf_tracker_forget(false). */
bool nf_tracker_start(void);
/* Moves the counters to the claimed ring and, when events are wanted, writes an ALLOC for every live block: exactly
 * once for each, whatever other threads do meanwhile. */
void nf_tracker_attach(struct nf_ring_header *header, bool events);
/* Events stop; counting goes on. */
void nf_tracker_detach(void);
/* In a forked child, where another thread may have held a lock: drops every block, and goes on counting from zero or
 * never tracks again. */
void nf_tracker_forget(bool go_on);

void nf_tracker_add(const void *block, size_t bytes);
/* False when the block isn't tracked. */
bool nf_tracker_remove(const void *block, size_t *bytes);
/* Whether a tracked block begins there. */
bool nf_tracker_holds(const void *block);

static inline bool nf_tracker_may_hold(const void *block)
{
    return block && !((uintptr_t)block & (NF_TRACKER_ALIGNMENT - 1)) &&
           atomic_load_explicit(&nf_tracker_state, memory_order_relaxed) > NF_TRACKER_IDLE;
}
