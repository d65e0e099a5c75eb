#include "live/preload/move-thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

enum { RUNS = 4096 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t posted, done;
    pthread_t thread;
    bool started;
    struct nf_move_run runs[RUNS]; /* pages 0: cancelled */
    uint32_t head, tail;           /* posted, done; the one at tail is under way when busy */
    bool busy;
    void (*bind)(uint32_t first, uint32_t pages, uint8_t tier);
} mover = {.lock = PTHREAD_MUTEX_INITIALIZER, .posted = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void *work(void *arg)
{
    cpu_set_t all;

    /* The job may be pinned: what runs beside it takes another CPU, where it may have one. */
    memset(&all, 0xff, sizeof all);
    sched_setaffinity(0, sizeof all, &all);
    pthread_mutex_lock(&mover.lock);
    for (;;) {
        struct nf_move_run run;

        while (mover.head == mover.tail)
            pthread_cond_wait(&mover.posted, &mover.lock);
        run = mover.runs[mover.tail % RUNS];
        mover.busy = true;
        pthread_mutex_unlock(&mover.lock);
        if (run.pages)
            mover.bind(run.first, run.pages, run.tier);
        pthread_mutex_lock(&mover.lock);
        mover.busy = false;
        mover.tail++;
        pthread_cond_broadcast(&mover.done);
    }
    return arg;
}

int nf_move_thread_start(void (*bind)(uint32_t first, uint32_t pages, uint8_t tier))
{
    sigset_t all, before;
    int rc;

    mover.bind = bind;
    /* The job's signals are for the job's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&mover.thread, NULL, work, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    mover.started = !rc;
    return rc;
}

bool nf_move_thread_post(const struct nf_move_run *run)
{
    bool room;

    pthread_mutex_lock(&mover.lock);
    room = mover.started && mover.head - mover.tail < RUNS;
    if (room) {
        mover.runs[mover.head++ % RUNS] = *run;
        pthread_cond_signal(&mover.posted);
    }
    pthread_mutex_unlock(&mover.lock);
    return room;
}

static bool overlaps(const struct nf_move_run *r, uint32_t first, uint32_t pages)
{
    return r->pages && r->first < first + pages && first < r->first + r->pages;
}

void nf_move_thread_settle(uint32_t first, uint32_t pages, void (*cancelled)(const struct nf_move_run *run))
{
    pthread_mutex_lock(&mover.lock);
    for (uint32_t i = mover.tail + mover.busy; i != mover.head; i++) {
        struct nf_move_run *r = &mover.runs[i % RUNS];

        if (!overlaps(r, first, pages))
            continue;
        cancelled(r);
        r->pages = 0;
    }
    while (mover.busy && overlaps(&mover.runs[mover.tail % RUNS], first, pages))
        pthread_cond_wait(&mover.done, &mover.lock);
    pthread_mutex_unlock(&mover.lock);
}

void nf_move_thread_drain(void)
{
    pthread_mutex_lock(&mover.lock);
    while (mover.head != mover.tail)
        pthread_cond_wait(&mover.done, &mover.lock);
    pthread_mutex_unlock(&mover.lock);
}

void nf_move_thread_forget(void)
{
    pthread_mutex_init(&mover.lock, NULL);
    mover.started = false;
    mover.head = mover.tail = 0;
    mover.busy = false;
}
