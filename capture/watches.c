#include "capture/watches.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/store/watches.h"

struct watch {
    struct nf_watch_row row;
    const struct nf_storage *storage; /* that lived there when it began; NULL: none */
    bool open;                        /* in the order of time that has been read; its end may have happened */
    bool told;                        /* the source has said that it ended */
    uint64_t part_reads, part_writes; /* since the step began */
    NF_ARRAY(struct nf_watch_part_row) parts;
};

/* A handful: those that are open, and those that ended in the running step. */
struct nf_watches {
    struct nf_study *study;
    int64_t observation;
    uint32_t hit_ns;
    uint64_t now_ns;
    NF_ARRAY(struct watch) list;
};

struct nf_watches *nf_watches_new(struct nf_study *study, int64_t observation, uint32_t hit_ns)
{
    struct nf_watches *w = calloc(1, sizeof *w);

    if (w) {
        w->study = study;
        w->observation = observation;
        w->hit_ns = hit_ns;
    }
    return w;
}

struct nf_watches *nf_watches_free(struct nf_watches *w)
{
    if (!w)
        return NULL;
    for (size_t i = 0; i < w->list.n; i++)
        nf_array_free(&w->list.v[i].parts);
    nf_array_free(&w->list);
    free(w);
    return NULL;
}

static void end_watch(struct watch *t, uint64_t time_ns, uint8_t why)
{
    if (!t->open)
        return;
    t->open = false;
    t->row.ended = why;
    t->row.to_ns = time_ns > t->row.from_ns ? time_ns : t->row.from_ns;
}

static struct watch *find_open(struct nf_watches *w, uint64_t address)
{
    for (size_t i = w->list.n; i-- > 0;)
        if (w->list.v[i].open && w->list.v[i].row.address == address)
            return &w->list.v[i];
    return NULL;
}

int nf_watches_sample(struct nf_watches *w, const struct nf_sample *sample, const struct nf_storage_map *live)
{
    struct watch *t;

    w->now_ns = sample->time_ns;
    if (sample->event == NF_SOURCE_WATCH_ARMED) {
        struct watch new = {
            .row = {.number = sample->weight, .address = sample->address, .from_ns = sample->time_ns, .hit_ns = w->hit_ns},
            .storage = nf_storage_map_find(live, sample->address),
            .open = true,
        };

        return nf_array_push(&w->list, new);
    }
    if (sample->event == NF_SOURCE_WATCH_ENDED) {
        for (size_t i = 0; i < w->list.n; i++) {
            t = &w->list.v[i];
            if (t->row.number != sample->weight)
                continue;
            t->told = true;
            t->row.threads = sample->weight3;
            end_watch(t, sample->time_ns, (uint8_t)sample->weight2);
        }
        return 0;
    }
    t = find_open(w, sample->address);
    if (!t)
        return 0;
    t->row.hits++;
    if (sample->rw == NF_RW_READ) {
        t->row.reads++;
        t->part_reads++;
    } else {
        t->row.writes++;
        t->part_writes++;
    }
    return 0;
}

int nf_watches_event(struct nf_watches *w, const struct nf_event *e, const struct nf_storage_map *live)
{
    w->now_ns = e->time_ns;
    for (size_t i = 0; i < w->list.n; i++) {
        struct watch *t = &w->list.v[i];

        /* What lived and died before training is forgotten, and its storages with it. */
        if (e->kind == NF_EVENT_MARK && e->id == NF_MARK_TRAINING_BEGINS && !t->open)
            t->storage = NULL;
        if (t->open && t->storage && nf_storage_map_find(live, t->row.address) != t->storage)
            end_watch(t, e->time_ns, NF_WATCH_END_FREED);
    }
    return 0;
}

static uint64_t between(uint64_t v, uint64_t low, uint64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* The part of the watch in the step that has ended. */
static int add_part(struct watch *t, const struct nf_step *step, int64_t class_id, uint64_t end_ns)
{
    uint64_t begin_ns = end_ns - (step->dur_ns < end_ns ? step->dur_ns : end_ns);
    uint64_t to_ns = t->open ? end_ns : t->row.to_ns;
    const struct nf_step_tensor *tensor;
    struct nf_watch_part_row part;

    if (!class_id || !t->storage || t->storage->number >= step->n_tensors || to_ns < begin_ns || t->row.from_ns > end_ns)
        return 0;
    tensor = &step->tensors[t->storage->number];
    part = (struct nf_watch_part_row){
        .number = t->row.number,
        .step = step->number,
        .class_id = class_id,
        .tensor = t->storage->number,
        .offset = t->row.address - t->storage->address,
        .step_from_ns = begin_ns,
        .step_to_ns = end_ns,
        .life_from_ns = begin_ns,
        .life_to_ns = end_ns,
        .from_ns = between(t->row.from_ns, begin_ns, end_ns),
        .to_ns = between(to_ns, begin_ns, end_ns),
        .reads = t->part_reads,
        .writes = t->part_writes,
    };
    if (tensor->birth >= 0 && (uint32_t)tensor->birth < step->n_ops)
        part.life_from_ns = between(step->ops[tensor->birth].start_ns, begin_ns, end_ns);
    if (tensor->death >= 0 && (uint32_t)tensor->death < step->n_ops)
        part.life_to_ns = between(step->ops[tensor->death].start_ns + step->ops[tensor->death].dur_ns, part.life_from_ns,
                                  end_ns);
    return nf_array_push(&t->parts, part);
}

static int write_watch(struct nf_watches *w, struct watch *t)
{
    int rc = nf_watch_insert(w->study, w->observation, &t->row);

    /* Of a watch that lost hits nothing can be said, beyond that it was. */
    for (size_t i = 0; t->row.ended != NF_WATCH_END_LOST && i < t->parts.n && !rc; i++)
        rc = nf_watch_part_insert(w->study, w->observation, &t->parts.v[i]);
    return rc;
}

/* Writes what has ended and has been said to have; keeps the rest. */
static int write_ended(struct nf_watches *w, bool all)
{
    size_t kept = 0;
    int rc = 0;

    for (size_t i = 0; i < w->list.n; i++) {
        struct watch *t = &w->list.v[i];

        if (!rc && (all || (!t->open && t->told))) {
            rc = write_watch(w, t);
            nf_array_free(&t->parts);
        } else {
            w->list.v[kept++] = *t;
        }
    }
    w->list.n = kept;
    return rc;
}

int nf_watches_step(struct nf_watches *w, const struct nf_step *step, int64_t class_id, uint64_t end_ns)
{
    for (size_t i = 0; i < w->list.n; i++) {
        struct watch *t = &w->list.v[i];

        if (add_part(t, step, class_id, end_ns))
            return nf_fail(-ENOMEM, "out of memory");
        t->part_reads = t->part_writes = 0;
        /* Its storage is let go with this step; one that lives on is still found by the next event. */
        if (!t->open)
            t->storage = NULL;
    }
    return write_ended(w, false);
}

int nf_watches_end(struct nf_watches *w)
{
    for (size_t i = 0; i < w->list.n; i++)
        end_watch(&w->list.v[i], w->now_ns, NF_WATCH_END_JOB);
    return write_ended(w, true);
}
