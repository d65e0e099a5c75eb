#include "replay/hog.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "replay/kernel.h"
#include "replay/pin.h"

enum { PIECE = 1 << 20 /* between two looks at the stop flag: under a millisecond */ };
static const uint64_t LEAST_BYTES = 64ull << 20; /* beyond what one core reaches of most last-level caches */

struct nf_hog {
    pthread_t thread;
    char *memory;
    uint64_t bytes;
    int cpu;
    atomic_bool running, stop;
    uint64_t moved, ns; /* written by the thread, read after it ended */
};

static void *work(void *arg)
{
    struct nf_hog *h = arg;
    const struct nf_kernels *kernels = nf_kernels_best();
    struct nf_pin pin;
    uint64_t start, half = h->bytes / 2;

    if (nf_pin_init(&pin, h->cpu))
        nf_warn("the hog is not pinned: %s", nf_error_text(0));
    start = nf_now_ns();
    atomic_store(&h->running, true);
    for (uint64_t at = 0; !atomic_load_explicit(&h->stop, memory_order_relaxed); at = (at + PIECE) % half) {
        kernels->touch[NF_RW_READ](h->memory + at, PIECE, PIECE, 1);
        kernels->touch[NF_RW_WRITE](h->memory + half + at, PIECE, PIECE, 1);
        h->moved += 2 * PIECE;
    }
    h->ns = nf_now_ns() - start;
    return NULL;
}

int nf_hog_probe(char *why, size_t size)
{
    if (nf_pin_cpus() >= 2)
        return 0;
    snprintf(why, size, "a bandwidth hog needs a second CPU, and this process may use only one");
    return -ENODEV;
}

int nf_hog_start(int avoid_cpu, uint64_t llc_bytes, struct nf_hog **out)
{
    uint64_t bytes = 4 * llc_bytes > LEAST_BYTES ? 4 * llc_bytes : LEAST_BYTES;
    struct nf_hog *h;
    int cpu = nf_pin_other(avoid_cpu), rc;

    if (cpu < 0)
        return nf_fail(-ENODEV, "a bandwidth hog needs a second CPU, and this process may use only one");
    h = calloc(1, sizeof *h);
    if (!h)
        return nf_fail(-ENOMEM, "out of memory for the hog");
    h->cpu = cpu;
    h->bytes = (bytes + 2 * PIECE - 1) / (2 * PIECE) * (2 * PIECE);
    h->memory = mmap(NULL, h->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (h->memory == MAP_FAILED) {
        rc = nf_fail(-errno, "cannot map %llu bytes for the hog: %m", (unsigned long long)h->bytes);
        free(h);
        return rc;
    }
    memset(h->memory, 1, h->bytes); /* faulted here, not while the replay runs beside it */
    rc = pthread_create(&h->thread, NULL, work, h);
    if (rc) {
        munmap(h->memory, h->bytes);
        free(h);
        return nf_fail(-rc, "cannot start the hog");
    }
    while (!atomic_load(&h->running))
        sched_yield();
    *out = h;
    return 0;
}

struct nf_hog *nf_hog_stop(struct nf_hog *h, double *bps)
{
    if (!h)
        return NULL;
    atomic_store(&h->stop, true);
    pthread_join(h->thread, NULL);
    if (bps)
        *bps = h->ns ? (double)h->moved / (double)h->ns * 1e9 : 0;
    munmap(h->memory, h->bytes);
    free(h);
    return NULL;
}
