#pragma once
/* The job's events and the samples of several sources in one order of time, for the reducer: what the job said before a
 * sample was taken is heard before it, and no sample is handed on while one from before it can still come. What waits is
 * bounded: beyond a million samples or events, the oldest go on in any case. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/reduce.h"

struct nf_merge;

/* Hears what is handed on, in its order. */
struct nf_merge_listener {
    int (*sample)(void *context, unsigned source, const struct nf_sample *s, bool *keep); /* *keep false: not for the reducer */
    int (*before_event)(void *context, const struct nf_event *e); /* 0 or an error, which ends the run */
    int (*after_event)(void *context, const struct nf_event *e);
    void *context;
};

struct nf_merge *nf_merge_new(void); /* NULL: no memory */
struct nf_merge *nf_merge_free(struct nf_merge *m); /* NULL is fine; returns NULL */
/* listener: borrowed; NULL: none, which is the default. */
void nf_merge_listen(struct nf_merge *m, const struct nf_merge_listener *listener);
/* A sample, in any order. source: its number at the reducer. touch: of a source that sees all, of which only the place,
 * the time and whether it wrote is kept. 0 or -ENOMEM. */
int nf_merge_sample(struct nf_merge *m, unsigned source, bool touch, const struct nf_sample *s);
/* Events, in their order. 0 or -ENOMEM. */
int nf_merge_events(struct nf_merge *m, const struct nf_event *e, size_t n);
/* Hands on what can be: events up to complete_ns, which nothing older than that will follow, and before each the samples
 * that are not younger. Younger samples wait for the next event. 0, -ENOMEM, or what the reducer returned. */
int nf_merge_run(struct nf_merge *m, struct nf_reduce *reduce, uint64_t complete_ns);
