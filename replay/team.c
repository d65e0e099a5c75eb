#include "replay/team.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "replay/pin.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#else
#define RELAX() ((void)0)
#endif

/* Looks before a spinning thread lets others have the CPU: some hundred microseconds. Where every thread has a CPU of its
 * own nobody takes it; where not (tests), the team still gets on. */
enum { PATIENCE = 1 << 14, CACHE_LINE = 64 };

struct member {
    _Alignas(CACHE_LINE) _Atomic uint64_t done; /* the last piece this thread finished; a line of its own */
    struct nf_team *team;
    pthread_t thread;
    unsigned index;
    int cpu;
};

struct nf_team {
    _Alignas(CACHE_LINE) _Atomic uint64_t piece; /* that is to be done now */
    _Alignas(CACHE_LINE) void (*work)(void *context, unsigned index);
    void *context;
    unsigned n, started;
    bool stop;
    struct member *member;
};

static void await(const _Atomic uint64_t *value, uint64_t wanted)
{
    for (unsigned looks = 0; atomic_load_explicit(value, memory_order_acquire) < wanted; looks++) {
        RELAX();
        if (looks >= PATIENCE) {
            sched_yield();
            looks = 0;
        }
    }
}

static void *serve(void *arg)
{
    struct member *m = arg;
    struct nf_team *t = m->team;
    uint64_t piece = 1;

    atomic_store_explicit(&m->done, piece, memory_order_release);
    for (;;) {
        await(&t->piece, ++piece);
        if (t->stop)
            return NULL;
        t->work(t->context, m->index);
        atomic_store_explicit(&m->done, piece, memory_order_release);
    }
}

static void await_all(struct nf_team *t, uint64_t piece)
{
    for (unsigned i = 1; i < t->started; i++)
        await(&t->member[i].done, piece);
}

int nf_team_start(unsigned n, const int *cpus, void (*work)(void *context, unsigned index), void *context,
                  struct nf_team **out)
{
    struct nf_team *t;
    int rc = 0;

    if (!n || n > NF_TEAM_MAX)
        return nf_fail(-EINVAL, "a team has 1 to %d threads, not %u", NF_TEAM_MAX, n);
    t = aligned_alloc(CACHE_LINE, sizeof *t);
    if (!t)
        return nf_fail(-ENOMEM, "out of memory for %u threads", n);
    memset(t, 0, sizeof *t);
    t->work = work;
    t->context = context;
    t->n = n;
    t->started = 1;
    atomic_init(&t->piece, 1);
    t->member = aligned_alloc(CACHE_LINE, n * sizeof *t->member);
    if (!t->member) {
        free(t);
        return nf_fail(-ENOMEM, "out of memory for %u threads", n);
    }
    memset(t->member, 0, n * sizeof *t->member);
    for (unsigned i = 1; i < n && !rc; i++) {
        t->member[i].team = t;
        t->member[i].index = i;
        t->member[i].cpu = cpus[i];
        rc = nf_pin_thread(&t->member[i].thread, t->member[i].cpu, serve, &t->member[i]);
        t->started += !rc;
    }
    if (rc) {
        nf_team_stop(t);
        return nf_fail(-rc, "cannot start %u replay threads: %s", n, strerror(rc));
    }
    await_all(t, 1);
    *out = t;
    return 0;
}

void nf_team_run(struct nf_team *t)
{
    uint64_t piece = atomic_load_explicit(&t->piece, memory_order_relaxed) + 1;

    atomic_store_explicit(&t->piece, piece, memory_order_release);
    t->work(t->context, 0);
    await_all(t, piece);
}

struct nf_team *nf_team_stop(struct nf_team *t)
{
    if (!t)
        return NULL;
    t->stop = true;
    atomic_fetch_add_explicit(&t->piece, 1, memory_order_release);
    for (unsigned i = 1; i < t->started; i++)
        pthread_join(t->member[i].thread, NULL);
    free(t->member);
    free(t);
    return NULL;
}
