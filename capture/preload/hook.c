#include "capture/preload/hook.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/preload/arena.h"
#include "capture/preload/boundary.h"
#include "capture/preload/tracker.h"
#include "capture/preload/trap.h"
#include "capture/preload/writer.h"
#include "core/base/job-placer.h"

#define NF_EXPORT __attribute__((visibility("default")))

enum { OP_WORDS = 5, VISIT_WORDS = 6, TENSOR_WORDS = 5 };
/* Foreign storages of one step; more than three quarters of it are not asked for any more. */
enum { FOREIGN_SLOTS = 1 << 12 };

static struct nf_ring_header *ring; /* set while this process owns it and hasn't closed it */
static uint64_t previous_mark_ns;
static uint64_t foreign[FOREIGN_SLOTS]; /* 0: empty; callers hold Python's lock */
static unsigned foreign_used;
static bool forks_guarded;

/* The child of a captured process is none. Before the claim it may be the one that trains: it starts anew. */
static void forget_in_child(void)
{
    nf_arena_fork_child(!ring);
    nf_boundary_forget();
    nf_tracker_forget(!ring);
    ring = NULL;
}

/* At load, not at the first tracked block: the arena may have blocks before. */
__attribute__((constructor)) static void guard_forks(void)
{
    if (getenv(NF_RING_ENV))
        forks_guarded = !pthread_atfork(nf_arena_fork_prepare, nf_arena_fork_parent, forget_in_child);
}

NF_EXPORT int nf_hook_track(void)
{
    return forks_guarded && nf_tracker_start() ? 0 : -1;
}

NF_EXPORT int nf_hook_claim(void)
{
    const char *path = getenv(NF_RING_ENV), *pass = getenv(NF_PASS_ENV);
    struct nf_ring_header *header;
    int saved_errno = errno;
    uint32_t owner = 0;

    if (ring)
        return 0;
    header = path && nf_hook_track() == 0 ? nf_writer_map(path) : NULL;
    errno = saved_errno;
    if (!header || !pass)
        return -1;
    if (!atomic_compare_exchange_strong(&header->owner, &owner, (uint32_t)getpid())) {
        atomic_fetch_add(&header->others, 1);
        return 1;
    }
    nf_tracker_attach(header, strcmp(pass, "bare") != 0);
    nf_arena_attach(header);
    nf_trap_guard();
    nf_boundary_attach(header);
    previous_mark_ns = nf_writer_now_ns();
    ring = header;
    return 0;
}

NF_EXPORT int nf_hook_emit(const void *events, uint32_t n)
{
    const struct nf_event *from = events;

    if (!ring || !n || !nf_writer_begin(n, NF_WRITER_VITAL))
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        struct nf_event *event = nf_writer_slot(i), filled = *event;

        *event = from[i];
        event->time_ns = filled.time_ns;
        event->thread = filled.thread;
    }
    nf_writer_commit();
    return 0;
}

static uint64_t *foreign_slot(uint64_t address)
{
    uint64_t i = address * 0x9e3779b97f4a7c15ull >> 52; /* the top 12 bits of a Fibonacci hash */

    while (foreign[i] && foreign[i] != address)
        i = (i + 1) % FOREIGN_SLOTS;
    return &foreign[i];
}

static bool foreign_is_full(void)
{
    return foreign_used >= FOREIGN_SLOTS / 4 * 3;
}

NF_EXPORT void nf_hook_foreign(uint64_t address)
{
    uint64_t *slot = foreign_slot(address);

    if (*slot || !address || foreign_is_full())
        return;
    *slot = address;
    foreign_used++;
}

static bool storages_known(const uint64_t *visits, uint32_t n)
{
    if (foreign_is_full())
        return true;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t storage = visits[(size_t)i * VISIT_WORDS + 5];

        if (!nf_tracker_holds((const void *)(uintptr_t)storage) && !*foreign_slot(storage))
            return false;
    }
    return true;
}

NF_EXPORT int nf_hook_op(const uint64_t *words, uint32_t n_words)
{
    uint32_t n_visits, n_tensors, slot = 0;
    const uint64_t *visits, *tensors;
    struct nf_event *event;

    if (!ring || n_words < OP_WORDS)
        return -1;
    n_visits = (uint32_t)words[4];
    n_tensors = (uint32_t)(words[4] >> 32);
    if (n_visits > UINT16_MAX ||
        OP_WORDS + (uint64_t)n_visits * VISIT_WORDS + (uint64_t)n_tensors * TENSOR_WORDS != n_words)
        return -1;
    visits = words + OP_WORDS;
    tensors = visits + (size_t)n_visits * VISIT_WORDS;
    if (!storages_known(visits, n_visits))
        return 1;
    nf_boundary_flush(NF_TOUCH_OF_OP);
    if (!nf_writer_begin(1 + n_visits + n_tensors, NF_WRITER_ORDINARY)) {
        nf_arena_boundary(); /* its touches go to the next op: lost events are counted */
        return -1;
    }
    for (uint32_t i = 0; i < n_tensors; i++, tensors += TENSOR_WORDS) {
        event = nf_writer_slot(slot++);
        event->kind = NF_EVENT_TENSOR;
        event->address = tensors[0];
        event->a = tensors[1];
        event->id = (uint32_t)tensors[2];
        event->name = (uint32_t)(tensors[2] >> 32);
        event->module = (uint32_t)tensors[3];
        event->b = tensors[3] >> 32;
        event->c = tensors[4];
    }
    event = nf_writer_slot(slot++);
    event->kind = NF_EVENT_OP;
    event->id = (uint32_t)words[0];
    event->module = (uint32_t)(words[0] >> 32);
    event->phase = (uint8_t)words[1];
    event->microbatch = (uint16_t)(words[1] >> 32);
    event->n = (uint16_t)n_visits;
    event->a = words[2];
    event->b = words[3];
    for (uint32_t i = 0; i < n_visits; i++, visits += VISIT_WORDS) {
        event = nf_writer_slot(slot++);
        event->kind = NF_EVENT_VISIT;
        event->address = visits[0];
        event->a = visits[1];
        event->b = visits[2];
        event->c = visits[3];
        event->rw = (uint8_t)visits[4];
        event->pattern = (uint8_t)(visits[4] >> 8);
        event->id = (uint8_t)(visits[4] >> 16);
        event->n = (uint16_t)(visits[4] >> 32);
    }
    nf_writer_commit();
    nf_arena_boundary();
    return 0;
}

NF_EXPORT void nf_hook_op_begins(void)
{
    if (ring)
        nf_boundary_flush(NF_TOUCH_OUTSIDE);
}

NF_EXPORT void nf_hook_boundary(uint64_t op)
{
    if (!ring)
        return;
    ring->op_boundaries++;
    if (&nf_job_placer_library)
        nf_job_placer_library.boundary(op);
}

NF_EXPORT void nf_hook_named(uint64_t address, uint64_t name)
{
    if (ring && &nf_job_placer_library && nf_job_placer_library.owns((const void *)(uintptr_t)address))
        nf_job_placer_library.named((const void *)(uintptr_t)address, name);
}

NF_EXPORT int nf_hook_text(uint32_t id, const char *text, uint32_t length)
{
    uint32_t pieces = length ? (length + NF_RING_TEXT - 1) / NF_RING_TEXT : 1;

    if (!ring || !nf_writer_begin(pieces, NF_WRITER_VITAL))
        return -1;
    for (uint32_t i = 0; i < pieces; i++) {
        struct nf_event *event = nf_writer_slot(i);
        uint32_t offset = i * NF_RING_TEXT, left = length - offset;

        event->kind = NF_EVENT_TEXT;
        event->id = id;
        event->name = length;
        event->module = offset;
        memcpy(event->text, text + offset, left < NF_RING_TEXT ? left : NF_RING_TEXT);
    }
    nf_writer_commit();
    return 0;
}

NF_EXPORT int nf_hook_mark(uint32_t mark, uint32_t name, uint32_t module, uint64_t a)
{
    struct nf_event *event;

    if (!ring)
        return -1;
    if (mark == NF_MARK_TRAINING_BEGINS) {
        nf_boundary_training();
        nf_arena_restart();
        if (&nf_job_placer_library)
            nf_job_placer_library.training();
        a = previous_mark_ns = nf_writer_now_ns();
    }
    if (!nf_writer_begin(1, NF_WRITER_VITAL))
        return -1;
    event = nf_writer_slot(0);
    event->kind = NF_EVENT_MARK;
    event->id = mark;
    event->name = name;
    event->module = module;
    event->a = a;
    nf_writer_commit();
    return 0;
}

NF_EXPORT int nf_hook_step(void)
{
    uint64_t now_ns, hash;
    struct nf_event *event;

    if (!ring)
        return -1;
    now_ns = nf_writer_now_ns();
    hash = atomic_exchange(&ring->allocation_hash, 0);
    memset(foreign, 0, sizeof foreign);
    foreign_used = 0;
    nf_boundary_flush(NF_TOUCH_OUTSIDE);
    nf_arena_restart();
    if (&nf_job_placer_library)
        nf_job_placer_library.step();
    if (!nf_writer_begin(1, NF_WRITER_VITAL)) {
        previous_mark_ns = now_ns;
        return -1;
    }
    event = nf_writer_slot(0);
    event->kind = NF_EVENT_STEP;
    event->a = now_ns - previous_mark_ns;
    event->b = hash;
    event->c = now_ns;
    previous_mark_ns = now_ns;
    nf_writer_commit();
    return 0;
}

NF_EXPORT int nf_hook_arena(uint64_t *base, uint64_t *bytes)
{
    *base = nf_arena_base();
    *bytes = nf_arena_size();
    return *bytes ? 0 : -1;
}

NF_EXPORT void nf_hook_observe(const struct nf_exact_observer *observer)
{
    nf_boundary_observe(observer);
}

NF_EXPORT void nf_hook_close(void)
{
    struct nf_ring_header *header = ring;

    if (!header)
        return;
    nf_tracker_detach();
    nf_arena_attach(NULL);
    nf_boundary_attach(NULL);
    ring = NULL;
    atomic_store(&header->closed, 1);
}
