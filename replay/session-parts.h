#pragma once
/* What the parts of a replay share: session.c loads, opens and prepares, session-plan.c says before anything is measured what
 * it would take and what would spoil it, session-trials.c runs the blocks. Nobody else includes this. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/profile.h"
#include "core/model/stream.h"
#include "pool/pool.h"
#include "replay/background.h"
#include "replay/batches.h"
#include "replay/counters.h"
#include "replay/engine.h"
#include "replay/residual.h"
#include "replay/script.h"
#include "replay/session.h"
#include "replay/stale.h"
#include "replay/stop-rule.h"
#include "replay/team.h"
#include "replay/testbed.h"
#include "replay/trials.h"
#include "replay/factors.h"

struct nf_session {
    struct nf_study *study;
    const struct nf_replay_options *o;
    struct nf_replay_result *result;
    int cpu;
    unsigned threads;
    int cpus[NF_TEAM_MAX + 1]; /* of the threads; behind them the mover's, where it has one of its own */
    uint32_t n_cpus;           /* with it */
    int helper_cpu;            /* of a mover with a thread of its own; -1: no policy has one */
    int64_t capture, machine;
    struct nf_stream *stream;
    uint32_t steady;
    uint64_t peak_bytes;
    bool timed; /* the capture holds op times */
    struct nf_trials trials;
    struct nf_testbed testbed;
    struct nf_profile *profiles;
    struct nf_script *scripts;
    struct nf_residual residual;
    struct nf_stop_rule rule;
    bool *kept; /* [block][position]: a trial that a resumed replay has already */
    struct nf_background_spec background[NF_BACKGROUND_MAX];
    size_t n_background;
    uint64_t batch_bytes; /* half for arrays that stay in memory, half for the batch that is read in */
    struct nf_batches batches;
    struct nf_stale stale; /* stream NULL: policies plan on what is replayed */
    struct nf_factors factors; /* where the sensitivity is asked for */
    const struct nf_counter_ops *const *sources; /* of counters */
    struct nf_counters *counters;
    uint64_t started_ns;
    char despite[128]; /* spoilers that are there and were asked to be gone on with: "load,thp" */
};

/* Captured time of one cycle, operators and the gaps before them, in ns; 0: the capture holds no times. */
double nf_session_cycle_ns(const struct nf_session *s);

/* The names that the tiers will have once they are open, "name=provider:..." or by their order. Returns how many. */
uint32_t nf_session_name_tiers(const struct nf_replay_options *o, struct nf_tier *tiers);
/* Policies that cannot work on these tiers, and those that change a stream that is read in batches: found out before they would be
 * failed trials. 0 or -ENODEV (cause set). */
int nf_session_check_movers(const struct nf_session *s, const struct nf_tier *tiers, uint32_t n_tiers);
int nf_session_check_recompute(const struct nf_session *s, bool batches);

/* --- session-plan.c --- */

/* Both of the above by what is known before a tier is open or a script made. */
int nf_session_check_policies(const struct nf_session *s);

/* Near capacity of a trial, whole pages. */
uint64_t nf_session_near_bytes(const struct nf_session *s, const struct nf_trials_one *t);
/* Arenas and ledger limits of a trial on n_tiers tiers (may be what the options ask for, before any tier is open). */
void nf_session_size_arenas(const struct nf_session *s, const struct nf_trials_one *t, uint32_t n_tiers,
                            struct nf_pool_config *pool);
/* What the largest trial maps, and whoever contends beside it. */
uint64_t nf_session_most_memory(const struct nf_session *s, uint32_t n_tiers);
/* 0, or -ENOMEM (cause set, with a scale that would fit). */
int nf_session_check_memory(const struct nf_session *s, uint64_t need);
/* What a dry run prints. need: nf_session_most_memory. */
void nf_session_describe(const struct nf_session *s, uint64_t need);
/* Refuses what would make the figures wrong, with the command that mends it, but for what the user goes on despite; that
 * is kept in s->despite. 0 or -ENODEV (cause set; each spoiler has been named on its own). */
int nf_session_check_spoilers(struct nf_session *s);

/* --- session-trials.c --- */

/* The engine's config of a trial. */
struct nf_engine_config nf_session_configure(const struct nf_session *s, const struct nf_trials_one *t, uint32_t block);
/* Every block, each trial recorded as it ends. 0, NF_REPLAY_E_STOPPED, -errno (cause set). */
int nf_session_replay(struct nf_session *s);
