#pragma once
/* The rows of a replay: written as trials end, so that a killed replay leaves what it did. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/store/study.h"
#include "replay/engine.h"
#include "replay/residual.h"
#include "replay/trials.h"

struct nf_ledger_replay {
    int64_t invocation, capture, testbed;
    int64_t k_testbed; /* whose k by class of access was assumed; 0: nobody's */
    uint64_t seed, peak_live_bytes, llc_filter_bytes; /* 0: unfiltered */
    double scale, until_width;
    uint64_t batch_bytes;
    uint32_t planned_trials, blocks, threads;
    const char *counters; /* what each source of them said; NULL: "" */
};

struct nf_ledger_trial {
    uint32_t block, position;
    const struct nf_trials_policy *policy;
    const struct nf_trials_one *plan;
    uint64_t near_bytes;
    double parallelism_scale, floored_share;
    enum nf_evidence evidence;
    uint32_t n_tiers;
    const char *variant;    /* "" : none */
    const char *profile_from; /* the study and capture that the policy planned on; "" : what was replayed */
    double profile_matched;   /* share of the step's bytes that it found there */
    const char *page;       /* of the arenas: "4k", "thp" */
    const char *background; /* "" : none */
    const char *despite;    /* spoilers that were gone on with: "load,thp"; "": none */
    const char *before, *after; /* JSON: the machine's state */
};

/* Replays still 'running' were killed: the study has one writer, and it is this one. They become 'partial'.
 * 0 or -errno (cause set), each below with a transaction of its own. */
int nf_ledger_mark_dead(struct nf_study *s);
/* > 0: the row, 'running', with the compute times that its trials spend. stream: theirs. -errno (cause set). */
int64_t nf_ledger_begin(struct nf_study *s, const struct nf_ledger_replay *r, const struct nf_residual *residual,
                        const struct nf_stream *stream);
int nf_ledger_add(struct nf_study *s, int64_t replay, const struct nf_ledger_trial *t, const struct nf_trial *trial);
/* The latest replay, if it is partial: its rows, and the arguments of the command that began it (JSON array of texts,
 * to be freed by nf_buf_deinit). 0, -ENOENT (cause set: there is none, or it is whole), -EPERM (cause set: another version began it),
 * -errno (cause set). */
struct nf_ledger_partial {
    int64_t replay, capture, testbed;
    struct nf_buf command;
};
int nf_ledger_find_partial(struct nf_study *s, struct nf_ledger_partial *out);
/* What a replay calibrated when it began, and its threads. 0, -ENODATA (cause set: it kept none), -EBADMSG (cause set: not those of this
 * stream), -errno (cause set). Caller deinits *residual in every case. */
int nf_ledger_residual(struct nf_study *s, int64_t replay, const struct nf_stream *stream, struct nf_residual *residual, unsigned *threads);
/* The testbed whose k by class of access a replay assumes; 0: nobody's. -errno (cause set). */
int64_t nf_ledger_k_testbed(struct nf_study *s, int64_t replay);
/* Takes a partial replay up again: 'running', counted. 0 or -errno (cause set). */
int nf_ledger_resume(struct nf_study *s, int64_t replay);
/* Calls `each` for every trial a replay has, in no order: its place, and the mean time of its measured steps (0 when it
 * failed). 0 or -errno (cause set). */
int nf_ledger_done(struct nf_study *s, int64_t replay, void (*each)(void *context, uint32_t block, uint32_t position, double step_ns),
                   void *context);
/* status: "complete" or "partial". */
int nf_ledger_end(struct nf_study *s, int64_t replay, const char *status, const char *message);
