#pragma once
/* What a source saw in a pass: its observation, the meaning of its events, its samples. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"
#include "core/store/study.h"

/* A row of observation, whose columns have these names and meanings (doc/format.md). Texts may be NULL for "". */
struct nf_observation {
    int64_t id, pass_id; /* id: filled by nf_observation_insert */
    const char *source, *options, *rw, *notes;
    uint8_t evidence; /* enum nf_access_evidence */
    bool validated;
    uint32_t resolution_bytes, boundary_ops;
    uint64_t samples, attributed, between_ops, unattributed, out_of_arena, other_process, outside_steps;
    uint64_t lost, throttled, undecoded;
    uint64_t arena_base, arena_bytes; /* the memory it watches; bytes 0: all */
};

/* A row of sample_event. */
struct nf_sample_event {
    const char *name, *meaning;
    uint32_t type;
    uint64_t config, config1, config2, period;
    uint8_t precise, rw;
};

/* All of it is written in the caller's transaction. 0 or -errno (cause set). */
int nf_observation_insert(struct nf_study *s, struct nf_observation *o);
/* Writes the totals and the notes of an inserted observation again. */
int nf_observation_update(struct nf_study *s, const struct nf_observation *o);
int nf_observation_event(struct nf_study *s, int64_t observation, uint16_t number, const struct nf_sample_event *e);
/* The latest capture that has an observation, or the given one if it has. > 0, -ENOENT (cause set), -errno. */
int64_t nf_observation_capture(struct nf_study *s, int64_t wanted);

/* Appends samples to an observation: full chunks are written as they fill, each in the transaction that is open then. */
struct nf_sample_writer;
/* An observation that has samples already is continued. NULL: no memory. */
struct nf_sample_writer *nf_sample_writer_new(struct nf_study *s, int64_t observation);
/* 0 or -errno (cause set). */
int nf_sample_writer_add(struct nf_sample_writer *w, const struct nf_sample *samples, size_t n);
/* Writes what is still buffered as a chunk of its own; before a commit that must keep it, and at the end. */
int nf_sample_writer_flush(struct nf_sample_writer *w);
/* Drops what was not flushed. NULL is fine; returns NULL. */
struct nf_sample_writer *nf_sample_writer_free(struct nf_sample_writer *w);

/* Walks an observation's samples in the order they were added. */
struct nf_sample_reader;
/* 0 or -errno (cause set). */
int nf_sample_reader_new(struct nf_study *s, int64_t observation, struct nf_sample_reader **out);
/* The next chunk, owned by r until its next call. 1: there is one, 0: the end, -EBADMSG for damaged rows, -errno
 * (cause set). */
int nf_sample_reader_next(struct nf_sample_reader *r, const struct nf_sample **samples, size_t *n);
struct nf_sample_reader *nf_sample_reader_free(struct nf_sample_reader *r); /* NULL is fine; returns NULL */

/* Calls back for every sample of an observation that fell into a step of the class; one call per run of them.
 * 0, what the callback returned, -EBADMSG for damaged rows, -errno (cause set). */
int nf_samples_of_class(struct nf_study *s, int64_t observation, int64_t class_id,
                        int (*each)(void *context, const struct nf_sample *samples, size_t n), void *context);
