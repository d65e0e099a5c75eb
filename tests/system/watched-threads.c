/* A job of two threads for tests of source watchpoint: in each step the second one writes every word of `to` once, and the
 * first reads every word of it once. usage: watched-threads pool|fresh|blocked STEPS
 *   pool     the second thread lives as long as the job
 *   fresh    a new one in every PERIODth step, in the others the first thread does it
 *   blocked  as pool, and it blocks SIGTRAP: a stray one would kill the job */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nearfar_annotate.h"

enum {
    WORDS = 8192,
    PERIOD = 1024, /* of fresh threads: a few ms, so that a watch is surely armed and sees whole steps in between */
};

static volatile uint64_t *to;
static atomic_ulong wanted, done;

static void write_all(uint64_t value)
{
    for (size_t i = 0; i < WORDS; i++)
        to[i] = value + i;
}

static void *fresh(void *value)
{
    write_all(*(unsigned long *)value);
    return NULL;
}

static void *pool(void *blocked)
{
    sigset_t trap;

    sigemptyset(&trap);
    sigaddset(&trap, SIGTRAP);
    if (blocked)
        pthread_sigmask(SIG_BLOCK, &trap, NULL);
    for (unsigned long step = 1;; step++) {
        while (atomic_load(&wanted) < step)
            sched_yield(); /* there may be one core only */
        write_all(step);
        atomic_store(&done, step);
    }
}

int main(int argc, char **argv)
{
    unsigned long steps = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    int each = argc > 1 && !strcmp(argv[1], "fresh");
    uint64_t sum = 0;
    pthread_t thread;

    nf_annotate_begin();
    to = nf_annotate_alloc(WORDS * sizeof *to);
    if (!to || !steps)
        return 2;
    nf_annotate_tensor((const void *)to, WORDS * sizeof *to, "to", NF_ANNOTATE_PARAMETER, "int64", "8192");
    if (!each && pthread_create(&thread, NULL, pool, !strcmp(argv[1], "blocked") ? argv[1] : NULL))
        return 1;
    nf_annotate_begin_training(2);
    for (unsigned long step = 1; step <= steps; step++) {
        nf_annotate_op_begin("test::write");
        if (each && step % PERIOD) {
            write_all(step);
        } else if (each) {
            if (pthread_create(&thread, NULL, fresh, &step) || pthread_join(thread, NULL))
                return 1;
        } else {
            atomic_store(&wanted, step);
            while (atomic_load(&done) < step)
                sched_yield();
        }
        nf_annotate_visit((const void *)to, 0, WORDS * sizeof *to, NF_ANNOTATE_WRITE, NF_ANNOTATE_STREAM);
        nf_annotate_op_end();
        nf_annotate_op_begin("test::read");
        for (size_t i = 0; i < WORDS; i++)
            sum += to[i];
        nf_annotate_visit((const void *)to, 0, WORDS * sizeof *to, NF_ANNOTATE_READ, NF_ANNOTATE_STREAM);
        nf_annotate_op_end();
        nf_annotate_step();
    }
    printf("%llu\n", (unsigned long long)sum);
    nf_annotate_close();
    return 0; /* the other thread ends with the process */
}
