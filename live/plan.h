#pragma once
/* A policy's placements of a captured stream, played through a pool on no particular memory, as a plan that the job's
 * preloaded placer follows (live/plan-file.h): where each storage is born, and of a policy that migrates what moves before
 * each op of the steady step, as if moves had time enough. */
#include <stdint.h>

#include "core/model/stream.h"
#include "core/model/words.h"
#include "live/anchor.h"
#include "live/preloaded.h"
#include "pool/policy.h"
#include "pool/tier.h"

struct nf_live_tiers {
    int node[NF_TIER_MAX]; /* -1: the same memory as near, which costs nothing extra */
    double latency_ns[NF_TIER_MAX], read_bps[NF_TIER_MAX]; /* as last measured on a testbed; 0: unknown */
    uint32_t n;
    enum nf_evidence evidence; /* the weakest of them; NF_EVIDENCE_ASSUMED where far is no other memory */
};

struct nf_live_plan {
    char *data; /* the file */
    size_t size;
    uint64_t near_bytes, peak_bytes;
    uint32_t n_ops, n_moves; /* of the steady step; n_ops 0: the policy moves nothing */
    struct nf_live_early early; /* of a job that says no ops */
};

struct nf_live_plan_wish {
    const struct nf_stream *stream;
    const struct nf_live_tiers *tiers;
    const struct nf_policy_ops *policy;
    const char *options; /* "key=value,..." or "" */
    double near_share;   /* of peak live, (0, 1] */
    uint64_t llc_bytes, seed;
    double limit_s;      /* that a policy from outside may plan for (pool/guard.h) */
};

/* A policy from outside plans in a child process, and nowhere else. 0; -EINVAL (a policy that recomputes, samples or leaves its pages to
 * the kernel; a bad share or option), -ENOSPC (it cannot place the stream), -EPROTO (it broke a rule, or the child did not answer with a
 * plan), -ETIMEDOUT, -ENOMEM, with the cause set. Caller deinits in every case. */
int nf_live_plan_init(struct nf_live_plan *p, const struct nf_live_plan_wish *wish);
void nf_live_plan_deinit(struct nf_live_plan *p);

/* A run under a plan: the plan as a file that the job's placer finds. */
struct nf_live_placing {
    struct nf_live_preloaded preloaded;
};
/* library_folder: where preload/libnearfar-placer.so is. 0, -ENOENT (it is not there), -errno, with the cause set. Caller ends
 * it in every case. */
int nf_live_placing_init(struct nf_live_placing *p, const struct nf_live_plan *plan, const char *library_folder);
void nf_live_placing_deinit(struct nf_live_placing *p);
/* For a child between fork and exec whose environment is set. 0 or -errno. */
int nf_live_placing_enter(const struct nf_live_placing *p);

struct nf_live_placed {
    uint64_t placed, placed_bytes, unplaced, unplaced_bytes, spilled_bytes, refused, near_peak_bytes, unbound_bytes;
    uint64_t early_placed, early; /* blocks before the steady steps: by plan, all */
    uint32_t jobs;                /* processes that trained under it */
    uint32_t steady_steps;        /* that they ended */
    /* Moves, as in live/plan-file.h. */
    uint64_t due_moves, asked_moves, asked_bytes, absent_moves, cancelled_bytes, right_pages, wrong_pages;
    uint64_t deviation_name, deviation_count;
    uint32_t deviation, deviation_step, deviation_op, followed_steps; /* deviation: enum nf_plan_deviation */
};
void nf_live_placing_read(const struct nf_live_placing *p, struct nf_live_placed *out);
