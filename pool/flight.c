#include "pool/flight.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#else
#define RELAX() ((void)0)
#endif

/* Looks before a thread sleeps or lets others have the CPU: some hundred microseconds, several times a wake-up's cost. */
enum { PATIENCE = 1 << 12, CACHE_LINE = 64 };

struct nf_flight {
    _Alignas(CACHE_LINE) _Atomic uint64_t ended; /* by the thread; a line of its own */
    _Alignas(CACHE_LINE) struct nf_mover *mover;
    struct nf_flight_move *ring;
    uint64_t posted, landed; /* of the owner */
    sem_t waiting;
    atomic_bool stop;
    pthread_t thread;
    bool started;
};

static struct nf_flight_move *place(struct nf_flight *f, uint64_t number)
{
    return &f->ring[(number - 1) % NF_FLIGHT_MOVES];
}

static void await_post(struct nf_flight *f)
{
    if (!f->mover->yields) {
        for (int looks = 0; looks < PATIENCE; looks++) {
            if (!sem_trywait(&f->waiting))
                return;
            RELAX();
        }
    }
    while (sem_wait(&f->waiting)) /* EINTR */
        ;
}

static void *fly(void *arg)
{
    struct nf_flight *f = arg;

    for (uint64_t number = 1;; number++) {
        struct nf_flight_move *m;
        uint64_t start;

        await_post(f);
        if (atomic_load_explicit(&f->stop, memory_order_acquire))
            return NULL;
        m = place(f, number);
        start = nf_now_ns();
        m->rc = nf_mover_move(f->mover, &m->from, m->offset, m->bytes, m->to.memory, m->to_tier, &m->cancelled);
        m->ns = nf_now_ns() - start;
        if (m->rc)
            snprintf(m->cause, sizeof m->cause, "%s", nf_error_text(m->rc));
        atomic_store_explicit(&f->ended, number, memory_order_release);
    }
}

static int start(struct nf_flight *f, const int *cpu)
{
    pthread_attr_t attributes;
    cpu_set_t one;
    int rc = pthread_attr_init(&attributes);

    if (rc)
        return rc;
    CPU_ZERO(&one);
    if (cpu && *cpu >= 0 && *cpu < CPU_SETSIZE) {
        CPU_SET(*cpu, &one);
        rc = pthread_attr_setaffinity_np(&attributes, sizeof one, &one);
    }
    if (!rc)
        rc = pthread_create(&f->thread, &attributes, fly, f);
    pthread_attr_destroy(&attributes);
    return rc;
}

int nf_flight_start(struct nf_mover *mover, const int *cpu, struct nf_flight **out)
{
    struct nf_flight *f = aligned_alloc(CACHE_LINE, sizeof *f);
    int rc;

    if (!f)
        return nf_fail(-ENOMEM, "no memory for the mover's thread");
    memset(f, 0, sizeof *f);
    f->mover = mover;
    f->ring = calloc(NF_FLIGHT_MOVES, sizeof *f->ring);
    if (!f->ring) {
        free(f);
        return nf_fail(-ENOMEM, "no memory for %d moves under way", NF_FLIGHT_MOVES);
    }
    memset(f->ring, 0xff, NF_FLIGHT_MOVES * sizeof *f->ring); /* faulted here, not while the replay runs */
    sem_init(&f->waiting, 0, 0);
    rc = start(f, cpu);
    f->started = !rc;
    if (rc) {
        nf_flight_stop(f);
        return nf_fail(-rc, "cannot start the mover's thread: %s", strerror(rc));
    }
    *out = f;
    return 0;
}

struct nf_flight *nf_flight_stop(struct nf_flight *f)
{
    if (!f)
        return NULL;
    for (uint64_t n = f->landed + 1; n <= f->posted; n++)
        atomic_store(&place(f, n)->cancelled, true);
    atomic_store_explicit(&f->stop, true, memory_order_release);
    atomic_store(&f->mover->held, false);
    sem_post(&f->waiting);
    if (f->started)
        pthread_join(f->thread, NULL);
    sem_destroy(&f->waiting);
    free(f->ring);
    free(f);
    return NULL;
}

struct nf_flight_move *nf_flight_next(struct nf_flight *f)
{
    struct nf_flight_move *m = f->posted - f->landed < NF_FLIGHT_MOVES ? place(f, f->posted + 1) : NULL;

    if (m) {
        m->orphan = false;
        atomic_store_explicit(&m->cancelled, false, memory_order_relaxed);
    }
    return m;
}

uint64_t nf_flight_post(struct nf_flight *f)
{
    f->posted++;
    sem_post(&f->waiting);
    return f->posted;
}

uint32_t nf_flight_n(const struct nf_flight *f)
{
    return (uint32_t)(f->posted - f->landed);
}

struct nf_flight_move *nf_flight_at(struct nf_flight *f, uint32_t i)
{
    return place(f, f->landed + 1 + i);
}

struct nf_flight_move *nf_flight_find(struct nf_flight *f, uint64_t number)
{
    return place(f, number);
}

bool nf_flight_ended(const struct nf_flight *f)
{
    return f->landed < f->posted && atomic_load_explicit(&f->ended, memory_order_acquire) > f->landed;
}

void nf_flight_await(struct nf_flight *f)
{
    for (unsigned looks = 0; !nf_flight_ended(f); looks++) {
        RELAX();
        if (f->mover->yields || looks >= PATIENCE) {
            sched_yield();
            looks = 0;
        }
    }
}

void nf_flight_land(struct nf_flight *f)
{
    f->landed++;
}
