#pragma once
/* What a source watched word by word: rows of watch and watch_part (doc/format.md). */
#include <stdbool.h>
#include <stdint.h>

#include "core/model/watch-estimate.h"
#include "core/store/study.h"

/* Why a watch ended; numbers are written to files and never change meaning. */
enum nf_watch_end {
    NF_WATCH_END_MOVED = 0,   /* its time was over */
    NF_WATCH_END_BUDGET = 1,  /* it had cost the job what it may */
    NF_WATCH_END_FREED = 2,   /* the storage was freed */
    NF_WATCH_END_THREAD = 3,  /* a thread began that was not watched yet */
    NF_WATCH_END_JOB = 4,     /* the job, or its capture, ended */
    NF_WATCH_END_LOST = 5,    /* the kernel lost hits */
    NF_WATCH_END_COUNT
};

struct nf_watch_row {
    uint32_t number;
    uint64_t address, from_ns, to_ns, hits, reads, writes;
    uint32_t threads;
    uint8_t ended; /* enum nf_watch_end */
    uint32_t hit_ns;
};

struct nf_watch_part_row {
    uint32_t number, step, tensor;
    int64_t class_id;
    uint64_t offset, step_from_ns, step_to_ns, life_from_ns, life_to_ns, from_ns, to_ns, reads, writes;
};

/* Both in the caller's transaction. 0 or -errno (cause set). */
int nf_watch_insert(struct nf_study *s, int64_t observation, const struct nf_watch_row *row);
int nf_watch_part_insert(struct nf_study *s, int64_t observation, const struct nf_watch_part_row *row);

struct nf_watched_tensor {
    int64_t class_id;
    uint32_t tensor;
    uint64_t hit_ns;
    /* Ordered as nf_watch_estimate wants them; valid during the call. */
    const struct nf_watch_part *parts;
    size_t n_parts;
    const struct nf_watch_access *accesses;
    size_t n_accesses;
};

/* Calls back for every tensor that an observation watched, by class and tensor. Accesses are the observation's samples.
 * 0, what the callback returned, -EBADMSG for contradictory rows, or -errno (cause set). */
int nf_watched_tensors(struct nf_study *s, int64_t observation,
                       int (*tensor)(void *context, const struct nf_watched_tensor *t), void *context);
