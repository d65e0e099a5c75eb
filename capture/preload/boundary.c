#include "capture/preload/boundary.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "capture/preload/arena.h"
#include "capture/preload/writer.h"

enum { PROBE_BYTES = 1 << 20, BATCH = 64 };

static const struct nf_exact_observer *observer; /* engine tsan */
static bool watching, training, emulated;        /* emulated: engine qemu */
static uint64_t base, bytes;

static void write_touches(void *context, const struct nf_event *events, uint32_t n)
{
    /* A small ring has no room for a long batch. */
    for (uint32_t at = 0, step; at < n; at += step) {
        step = n - at < BATCH ? n - at : BATCH;
        if (!nf_writer_begin(step, NF_WRITER_ORDINARY))
            continue;
        for (uint32_t i = 0; i < step; i++) {
            struct nf_event *event = nf_writer_slot(i), filled = *event;

            *event = events[at + i];
            event->time_ns = filled.time_ns;
            event->thread = filled.thread;
        }
        nf_writer_commit();
    }
}

static void ask_emulator(enum nf_exact_request request, uint64_t address, uint64_t size, enum nf_touch_owner owner)
{
    int saved_errno = errno;

    prctl(NF_EXACT_PRCTL, request, address, size, (unsigned long)owner);
    errno = saved_errno;
}

/* A block of the arena, so that it exists before the job's first tensor does. */
static void find_arena(void)
{
    void *block = nf_arena_alloc(64, PROBE_BYTES);

    if (block)
        nf_arena_free(block);
    base = nf_arena_base();
    bytes = nf_arena_size();
}

void nf_boundary_observe(const struct nf_exact_observer *o)
{
    observer = o;
}

void nf_boundary_attach(struct nf_ring_header *header)
{
    const char *engine = getenv(NF_EXACT_ENV), *pass = getenv(NF_PASS_ENV);

    watching = false;
    if (!header || !engine || !pass || strcmp(pass, "access") != 0)
        return;
    nf_writer_be_patient();
    find_arena();
    if (!bytes)
        return;
    if (!strcmp(engine, NF_EXACT_ENGINE_QEMU)) {
        emulated = watching = true;
        ask_emulator(NF_EXACT_WATCH, base, bytes, NF_TOUCH_OUTSIDE); /* it says in the header that it watches */
    } else if (observer && !observer->watch(base, bytes)) {
        watching = true;
        atomic_store(&header->exact_watching, 1);
    }
}

void nf_boundary_training(void)
{
    if (!watching)
        return;
    training = true;
    if (emulated)
        ask_emulator(NF_EXACT_DISCARD, 0, 0, NF_TOUCH_OUTSIDE);
    else
        observer->discard();
}

static void flush(uint64_t address, uint64_t size, enum nf_touch_owner owner)
{
    if (emulated)
        ask_emulator(NF_EXACT_FLUSH, address, size, owner);
    else
        observer->flush(address, size, owner, write_touches, NULL);
}

void nf_boundary_flush(enum nf_touch_owner owner)
{
    if (watching && training)
        flush(base, bytes, owner);
}

void nf_boundary_block(uintptr_t block, uint64_t size)
{
    if (watching && training && block - base < bytes)
        flush(block, size, NF_TOUCH_OF_OP);
}

void nf_boundary_forget(void)
{
    if (watching && !emulated)
        observer->watch(0, 0);
    watching = false;
}
