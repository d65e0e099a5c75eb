#pragma once
/* The watches of a source that sees single words (source.h: NF_SOURCE_WATCH_*), attributed to tensors and steps: the session
 * feeds it the source's samples and the job's events in one order of time. */
#include <stdbool.h>
#include <stdint.h>

#include "capture/reduce.h"
#include "capture/ring.h"
#include "capture/source.h"
#include "capture/storage.h"
#include "core/model/sample.h"
#include "core/store/study.h"

struct nf_watches;

/* hit_ns: what a hit costs the job. NULL: no memory. */
struct nf_watches *nf_watches_new(struct nf_study *study, int64_t observation, uint32_t hit_ns);
struct nf_watches *nf_watches_free(struct nf_watches *w); /* NULL is fine; returns NULL */

static inline bool nf_watches_is_marker(const struct nf_sample *s)
{
    return s->event >= NF_SOURCE_WATCH_ARMED;
}

/* A hit or a marker. live: the storages at its time. 0 or -ENOMEM. */
int nf_watches_sample(struct nf_watches *w, const struct nf_sample *sample, const struct nf_storage_map *live);
/* After the reducer has taken an event: a watch whose storage it ended, ended with it. 0 or -ENOMEM. */
int nf_watches_event(struct nf_watches *w, const struct nf_event *e, const struct nf_storage_map *live);
/* A step has ended, its storages are numbered; inside a transaction of the caller. class_id 0: it has no structure.
 * 0 or -errno (cause set). */
int nf_watches_step(struct nf_watches *w, const struct nf_step *step, int64_t class_id, uint64_t end_ns);
/* The pass has ended; inside a transaction of the caller. 0 or -errno (cause set). */
int nf_watches_end(struct nf_watches *w);
