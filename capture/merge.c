#include "capture/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capture/key-sort.h"
#include "core/base/array.h"

/* 64 MiB of events, 24 MiB of touches. A run of samples is attributed at once. */
enum { EVENTS_MAX = 1 << 20, SAMPLES_MAX = 1 << 20, RUN = 64, COMPACT_FROM = 4096 };
#define NO_SAMPLE UINT32_MAX

struct waiting {
    uint64_t time_ns, address;
    uint32_t at; /* in samples; NO_SAMPLE: a touch */
    uint8_t source, rw;
};

struct nf_merge {
    NF_ARRAY(struct nf_event) events;
    size_t events_done;
    NF_ARRAY(struct waiting) arrived; /* since the last run, in any order */
    NF_ARRAY(struct waiting) queue;   /* by time */
    size_t queue_done;
    NF_ARRAY(struct nf_sample) samples;
    size_t whole; /* of them, in arrived or queue */
    NF_ARRAY(struct nf_key) keys, scratch;
    struct nf_sample touches[RUN];
    const struct nf_sample *run[RUN];
    const struct nf_merge_listener *listener;
};

struct nf_merge *nf_merge_new(void)
{
    return calloc(1, sizeof(struct nf_merge));
}

struct nf_merge *nf_merge_free(struct nf_merge *m)
{
    if (!m)
        return NULL;
    nf_array_free(&m->events);
    nf_array_free(&m->arrived);
    nf_array_free(&m->queue);
    nf_array_free(&m->samples);
    nf_array_free(&m->keys);
    nf_array_free(&m->scratch);
    free(m);
    return NULL;
}

void nf_merge_listen(struct nf_merge *m, const struct nf_merge_listener *listener)
{
    m->listener = listener;
}

int nf_merge_sample(struct nf_merge *m, unsigned source, bool touch, const struct nf_sample *s)
{
    struct waiting w = {s->time_ns, s->address, NO_SAMPLE, (uint8_t)source, s->rw};

    if (!touch) {
        if (m->samples.n == NO_SAMPLE || nf_array_push(&m->samples, *s))
            return -ENOMEM;
        w.at = (uint32_t)m->samples.n - 1;
        m->whole++;
    }
    return nf_array_push(&m->arrived, w);
}

int nf_merge_events(struct nf_merge *m, const struct nf_event *e, size_t n)
{
    if (m->events_done > m->events.n / 2) {
        m->events.n -= m->events_done;
        memmove(m->events.v, m->events.v + m->events_done, m->events.n * sizeof *m->events.v);
        m->events_done = 0;
    }
    if (nf_array_reserve(&m->events, m->events.n + n))
        return -ENOMEM;
    if (n)
        memcpy(m->events.v + m->events.n, e, n * sizeof *e);
    m->events.n += n;
    return 0;
}

/* Of sources with a ring per CPU, what arrives is a few sorted runs, hardly any of it older than what waits already. */
static int sort_arrived(struct nf_merge *m)
{
    size_t n = m->arrived.n, left;
    struct waiting *end, *last;

    if (!n)
        return 0;
    if (nf_array_reserve(&m->keys, n) || nf_array_reserve(&m->scratch, n) || n > UINT32_MAX)
        return -ENOMEM;
    if (m->queue_done > m->queue.n / 2) {
        m->queue.n -= m->queue_done;
        memmove(m->queue.v, m->queue.v + m->queue_done, m->queue.n * sizeof *m->queue.v);
        m->queue_done = 0;
    }
    if (nf_array_reserve(&m->queue, m->queue.n + n))
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        m->keys.v[i] = (struct nf_key){m->arrived.v[i].time_ns, (uint32_t)i};
    nf_keys_sort(m->keys.v, n, m->scratch.v);
    /* From the youngest down, until the rest of the queue is older than all that arrived. */
    left = m->queue.n - m->queue_done;
    last = m->queue.v + m->queue.n;
    end = last + n;
    while (n) {
        const struct waiting *youngest = &m->arrived.v[m->keys.v[n - 1].at];

        if (left && last[-1].time_ns > youngest->time_ns) {
            *--end = *--last;
            left--;
        } else {
            *--end = *youngest;
            n--;
        }
    }
    m->queue.n += m->arrived.n;
    m->arrived.n = 0;
    return 0;
}

/* Lets the listener hear a run; *n: what is left of it for the reducer. */
static int hear(struct nf_merge *m, unsigned source, unsigned *n)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < *n; i++) {
        bool keep = true;
        int rc = m->listener->sample(m->listener->context, source, m->run[i], &keep);

        if (rc)
            return rc;
        if (keep)
            m->run[kept++] = m->run[i];
    }
    *n = kept;
    return 0;
}

/* Hands on what is not younger than until_ns, and the `least` oldest in any case. */
static int hand_on(struct nf_merge *m, struct nf_reduce *reduce, uint64_t until_ns, size_t least)
{
    while (m->queue_done < m->queue.n) {
        const struct waiting *w = m->queue.v + m->queue_done, *end = m->queue.v + m->queue.n;
        unsigned source = w->source, n = 0, left;
        int rc = 0;

        for (; w < end && n < RUN && w->source == source && (w->time_ns <= until_ns || n < least); w++, n++) {
            struct nf_sample *touch = &m->touches[n];

            m->run[n] = w->at == NO_SAMPLE ? touch : &m->samples.v[w->at];
            touch->time_ns = w->time_ns;
            touch->address = w->address;
            touch->rw = w->rw;
            m->whole -= w->at != NO_SAMPLE;
        }
        if (!n)
            break;
        left = n;
        if (m->listener)
            rc = hear(m, source, &left);
        if (!rc && left)
            rc = nf_reduce_samples(reduce, source, m->run, left);
        if (rc)
            return rc;
        m->queue_done += n;
        least -= least < n ? least : n;
    }
    if (m->queue_done == m->queue.n)
        m->queue.n = m->queue_done = 0;
    return 0;
}

/* What still waits moves to the front, in order. */
static int compact_samples(struct nf_merge *m)
{
    NF_ARRAY(struct nf_sample) kept = {0};

    if (!m->whole)
        m->samples.n = 0;
    if (m->samples.n < COMPACT_FROM || m->samples.n / 2 < m->whole)
        return 0;
    if (nf_array_reserve(&kept, m->whole))
        return -ENOMEM;
    for (size_t i = m->queue_done; i < m->queue.n; i++) {
        struct waiting *w = &m->queue.v[i];

        if (w->at == NO_SAMPLE)
            continue;
        kept.v[kept.n] = m->samples.v[w->at];
        w->at = (uint32_t)kept.n++;
    }
    nf_array_free(&m->samples);
    m->samples.v = kept.v;
    m->samples.n = kept.n;
    m->samples.cap = kept.cap;
    return 0;
}

int nf_merge_run(struct nf_merge *m, struct nf_reduce *reduce, uint64_t complete_ns)
{
    int rc = sort_arrived(m);

    for (; m->events_done < m->events.n && !rc; m->events_done++) {
        const struct nf_event *e = &m->events.v[m->events_done];

        if (e->time_ns > complete_ns && m->events.n - m->events_done < EVENTS_MAX)
            break;
        rc = hand_on(m, reduce, e->time_ns, 0);
        if (!rc && m->listener)
            rc = m->listener->before_event(m->listener->context, e);
        if (!rc)
            rc = nf_reduce_event(reduce, e);
        if (!rc && m->listener)
            rc = m->listener->after_event(m->listener->context, e);
    }
    if (!rc && m->queue.n - m->queue_done > SAMPLES_MAX)
        rc = hand_on(m, reduce, 0, m->queue.n - m->queue_done - SAMPLES_MAX / 2);
    return rc ? rc : compact_samples(m);
}
