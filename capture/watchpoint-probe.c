#include "capture/watchpoint-probe.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "capture/watchpoint-ring.h"
#include "core/base/error.h"
#include "core/base/log.h"

enum { TRIES = 32, ROUNDS = 5 };

static _Alignas(8) volatile uint64_t word, other_word;

static void ignore(int signal)
{
    (void)signal;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The least of several rounds: what another process takes away is not the breakpoint's doing. */
static int measure(struct nf_watchpoint_ring *r, struct nf_watchpoint_records *records, struct nf_watch_costs *costs)
{
    uint64_t undecoded = 0;
    int rc = 0;

    *costs = (struct nf_watch_costs){UINT64_MAX, UINT64_MAX, UINT64_MAX};
    for (unsigned round = 0; round < ROUNDS && !rc; round++) {
        uint64_t armed_ns = nf_now_ns(), read_ns, write_ns, done_ns;

        rc = nf_watchpoint_ring_arm(r, 0, (uint64_t)(uintptr_t)&word, nf_watchpoint_ring_hits_max(r));
        read_ns = nf_now_ns();
        for (unsigned i = 0; i < TRIES; i++)
            other_word += word;
        write_ns = nf_now_ns();
        for (unsigned i = 0; i < TRIES; i++)
            word = i;
        done_ns = nf_now_ns();
        nf_watchpoint_ring_disarm(r, 0);
        costs->move_ns = least(costs->move_ns, read_ns - armed_ns + (nf_now_ns() - done_ns));
        costs->read_ns = least(costs->read_ns, (write_ns - read_ns) / TRIES);
        costs->write_ns = least(costs->write_ns, (done_ns - write_ns) / TRIES);
        if (!rc)
            rc = nf_watchpoint_ring_drain(r, records, &undecoded);
    }
    return rc;
}

static int check(const struct nf_watchpoint_records *records, char *why, size_t size)
{
    size_t accesses = 0, writes = 0;

    for (size_t i = 0; i < records->list.n; i++) {
        accesses += records->list.v[i].kind == NF_WATCHPOINT_ACCESS;
        writes += records->list.v[i].kind == NF_WATCHPOINT_WRITE;
    }
    if (accesses == 2 * TRIES * ROUNDS && writes == TRIES * ROUNDS)
        return 0;
    snprintf(why, size, "breakpoints open but do not tell the truth here: %zu of %d accesses and %zu of %d writes seen",
             accesses, 2 * TRIES * ROUNDS, writes, TRIES * ROUNDS);
    return -ENODATA;
}

int nf_watchpoint_probe(struct nf_watch_costs *costs, char *why, size_t size)
{
    struct sigaction quiet = {.sa_handler = ignore, .sa_flags = SA_RESTART}, before;
    struct nf_watchpoint_records records = {0};
    struct nf_watchpoint_ring *r = nf_watchpoint_ring_new(false);
    int rc = r ? 0 : -ENOMEM;

#if !defined(__x86_64__)
    snprintf(why, size, "watchpoints are written for x86-64, where two breakpoints on one word tell reads from writes");
    nf_watchpoint_ring_free(r);
    return -ENOTSUP;
#endif
    /* A hit may leave a SIGTRAP behind. */
    sigemptyset(&quiet.sa_mask);
    sigaction(SIGTRAP, &quiet, &before);
    if (!rc)
        rc = nf_watchpoint_ring_adopt_thread(r, (pid_t)syscall(SYS_gettid));
    if (!rc)
        rc = measure(r, &records, costs);
    if (rc)
        snprintf(why, size, "%s", nf_error_text(rc));
    else
        rc = check(&records, why, size);
    nf_watchpoint_ring_free(r);
    sigaction(SIGTRAP, &before, NULL);
    nf_array_free(&records.list);
    return rc;
}
