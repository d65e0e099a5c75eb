#pragma once
/* What the preloaded library and an engine of the exact source say to each other. An engine sees every access of the
 * job; the library knows where its tensors are, when an op ends and when a block goes away. Between two requests the
 * engine gathers what was touched in the watched range; at a flush it becomes TOUCH events (capture/ring.h). */
#include <stdint.h>

#include "capture/ring.h"

/* Environment of the job: "tsan" or "qemu". Writers wait for room in the ring then: exact loses nothing. */
#define NF_EXACT_ENV "NEARFAR_EXACT"
#define NF_EXACT_ENGINE_TSAN "tsan"
#define NF_EXACT_ENGINE_QEMU "qemu"

/* Whose touches are flushed: the `id` of a TOUCH event. */
enum nf_touch_owner {
    NF_TOUCH_OF_OP = 0,     /* the op whose OP event follows */
    NF_TOUCH_OUTSIDE = 1,   /* of no op: between the end of one and the beginning of the next */
};

/* Takes finished TOUCH events; time_ns and thread are still to be filled in. */
typedef void nf_touch_sink(void *context, const struct nf_event *events, uint32_t n);

/* Engine tsan lives in the job's process: its runtime library hands this to nf_hook_observe. */
struct nf_exact_observer {
    /* Every access within [base, base + bytes) counts from now on; bytes 0: none. 0; -1 without memory. */
    int (*watch)(uint64_t base, uint64_t bytes);
    /* Hands on what was touched within the range since, and forgets it. */
    void (*flush)(uint64_t address, uint64_t bytes, enum nf_touch_owner owner, nf_touch_sink *sink, void *context);
    /* Forgets it all. */
    void (*discard)(void);
};

/* Engine qemu lives around the job: it sees this system call of the guest, which the kernel then refuses:
 * prctl(NF_EXACT_PRCTL, request, address, bytes, owner). */
enum { NF_EXACT_PRCTL = 0x4e464558 };
enum nf_exact_request { NF_EXACT_WATCH = 1, NF_EXACT_FLUSH = 2, NF_EXACT_DISCARD = 3 };
