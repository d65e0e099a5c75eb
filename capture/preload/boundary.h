#pragma once
/* Op boundaries for the exact source: tells its engine where the tensors are, when an op ends and when a block goes away,
 * so that the touches stand in the ring before the event they belong to. Does nothing without that source. */
#include <stdbool.h>
#include <stdint.h>

#include "capture/exact/exact.h"

struct nf_ring_header;

/* The ring is claimed, the arena known: the engine watches it. NULL: no more boundaries. */
void nf_boundary_attach(struct nf_ring_header *header);
/* The tool runs engine tsan and this job has it; before nf_boundary_attach. */
void nf_boundary_observe(const struct nf_exact_observer *observer);
/* Preparation is over: what it touched is nobody's. */
void nf_boundary_training(void);
/* What was touched since the last boundary is written to the ring, for the op that is written next or for none. */
void nf_boundary_flush(enum nf_touch_owner owner);
/* The same for one block, before its FREE. Called under the tracker's locks. */
void nf_boundary_block(uintptr_t block, uint64_t bytes);
/* In a forked child. */
void nf_boundary_forget(void);
