#pragma once
/* What the Python hook calls through ctypes. All are safe before a claim, after the close and in forked children:
 * they do nothing and return -1 there. errno is preserved. */
#include <stdint.h>

/* Begins to follow aligned blocks, before it is known whether this process will train. 0; -1 without a ring. */
int nf_hook_track(void);
/* Makes this process the captured one. 0: claimed, the ALLOC events of what is live are written (passes timing and
 * access). 1: another process has it, counted in `others`. -1: no usable ring. */
int nf_hook_claim(void);

/* n finished events of 64 bytes; time_ns and thread are filled in here. 0; -1 when they were lost. */
int nf_hook_emit(const void *events, uint32_t n);
/* One op as 64-bit words, in one batch: TENSORs, OP, VISITs.
 *   0: name | module << 32      1: phase | microbatch << 32     2: start ns     3: duration ns
 *   4: visits | tensors << 32
 *   each visit:  address, bytes, run, stride, rw | pattern << 8 | parallelism << 16 | touches × 256 << 32 (the last two as far as known, else 0),
 *                address of the storage
 *   each tensor: address, bytes, dtype | name << 32, module | role << 32, shape
 * 0; -1 when it was lost. 1, and nothing was written, when a visited storage is neither an aligned block nor known
 * through nf_hook_foreign: announce the op's storages and call again. */
int nf_hook_op(const uint64_t *words, uint32_t n_words);
/* Storages that others allocated and that were announced as TENSORs. Known until the end of the step, because such a
 * storage goes away unseen. */
void nf_hook_foreign(uint64_t address);
/* An op begins. Optional: sets what was touched since the last one ended apart from it, under the exact source. */
void nf_hook_op_begins(void);
/* An op begins whose name has this hash (core/base/job-placer.h): counted, and told to the library that places blocks. */
void nf_hook_boundary(uint64_t op);
/* The hash of the name and role of the storage at an address, for that library. */
void nf_hook_named(uint64_t address, uint64_t name);
/* The text of a number > 0, any length. 0; -1 when it was lost: say it again later. */
int nf_hook_text(uint32_t id, const char *text, uint32_t length);
/* A mark with its values (enum nf_mark). The training mark sets the clock for the first step and gets its time here. */
int nf_hook_mark(uint32_t mark, uint32_t name, uint32_t module, uint64_t a);
/* The end of an optimizer step: writes the time since the previous step (or the training mark) and the allocator
 * hash, and starts both anew. */
int nf_hook_step(void);
/* The range in which large tensors live (capture/preload/arena.h). 0; -1 and zeros when there is none. */
int nf_hook_arena(uint64_t *base, uint64_t *bytes);
/* No events after this one. */
void nf_hook_close(void);
/* For the runtime library of the exact source's engine tsan, which lives in the job: before the claim. */
struct nf_exact_observer;
void nf_hook_observe(const struct nf_exact_observer *observer);
