#pragma once
/* What a policy would do with a captured step, without replaying it: its decisions are played on no particular memory, the traffic
 * they leave to each tier is counted, and a model says how long the step would take. All times here are modelled. */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/array.h"
#include "core/model/profile.h"
#include "core/model/stream.h"
#include "core/model/words.h"
#include "pool/policy.h"

/* The least bytes past the LLC that reach far in a step, in place or by a fetch; NAN: not known. */
struct nf_forecast_bounds {
    bool known; /* the ones below were computed */
    double lp;        /* under any choice of what to keep near from use to use, in parts */
    double whole;     /* ... of whole tensors; when the search ended early the least that is possible so far */
    double static_lp; /* of what lies where it is for its whole life, in parts */
    double pfoo;      /* as lp, looser */
    double belady;    /* what Belady's rule leaves; no bound (pool/belady.h) */
    bool whole_proved;
    char lp_why[128], whole_why[128]; /* why there is none */
};

struct nf_forecast_wish {
    const struct nf_stream *stream;
    const struct nf_policy_ops *policy;
    const char *options; /* "key=value,..." or "" */
    double near_share;   /* of peak live, (0, 1] */
    uint64_t llc_bytes;  /* of the cache filter */
    const struct nf_profile *profiles; /* one per class of the stream, of that filter; NULL: they are made, each time */
    uint32_t n_tiers;
    double latency_ns[NF_TIER_MAX], read_bps[NF_TIER_MAX]; /* measured; read_bps > 0 */
    uint64_t seed;
    double limit_s;      /* that a policy from outside may plan for, and what ends it before, as in pool/guard.h */
    const volatile sig_atomic_t *stop;
    bool unbounded;      /* no bounds are sought: only whether the policy keeps the rules is wanted */
    uint32_t explain;    /* a tensor's number in the steady step; UINT32_MAX: none */
    bool moves;          /* instead: of all tensors when they are moved or made again, and nothing else */
    double whole_seconds; /* for the bound of whole tensors; 0: not computed */
    /* Zeroed: the bounds of the captured step are put there. Known: taken from there, as they do not depend on the policy. NULL: neither. */
    struct nf_forecast_bounds *bounds;
};

struct nf_forecast_role {
    uint32_t tensors;
    uint64_t bytes, born_near_bytes;     /* of storages; of those, near when they are born or the step begins */
    uint64_t demand_bytes, far_bytes;    /* past the LLC; of those, while far */
};

enum { NF_FORECAST_WHY_MAX = 256 };
/* A tensor's course through the step. Where ops run again, it is that of all it lives as: it ends, and is made again. */
struct nf_forecast_event {
    enum { NF_FORECAST_ENTERS, NF_FORECAST_BORN, NF_FORECAST_AGAIN, NF_FORECAST_USED, NF_FORECAST_TO_NEAR, NF_FORECAST_TO_FAR } what;
    uint32_t tensor, op; /* of the captured step */
    bool again;     /* not when that op ran, but when it runs again */
    double near;    /* share of it that is near then */
    uint64_t bytes; /* used: past the LLC; moved: of it */
    /* Made again: captured time of the ops that do it, 0 where another tensor's chain makes it on its way; what fetching it would take. */
    double chain_ns, far_ns;
    /* Used, and a stay (pool/stays.h) ends here: */
    bool after_gap;
    uint32_t gap_ops, rank; /* ops near would be held; place among all stays by bytes saved per page and op, from 1 */
    double gap_ns, lp_share; /* captured time; what the linear program keeps of it, NAN unknown */
    char *why; /* in the policy's own words, shorter than NF_FORECAST_WHY_MAX; NULL: it has none */
};

struct nf_forecast {
    uint32_t steady, n_stays;
    uint64_t peak_bytes, near_bytes, near_peak_bytes;
    uint64_t demand_bytes, far_bytes;       /* of a step, past the LLC */
    uint64_t moves, to_near_bytes, to_far_bytes;
    /* Of a policy that makes storages again instead of holding them: gaps, ops that run again, bytes of those storages, captured time
     * of those ops (part of predicted). Demand and bounds are then of the step with them in it. */
    uint32_t recomputed, recomputed_ops;
    uint64_t unheld_bytes;
    double recompute_ns;
    double captured_ns, predicted_ns, exposed_ns; /* of a step; exposed: of moves, part of predicted */
    struct nf_forecast_bounds bounds; /* of a step that is varied without `whole` */
    struct nf_forecast_role role[NF_ROLE_COUNT];
    NF_ARRAY(struct nf_forecast_event) events;
};

/* The model: of each op the longest of its captured time, its near bytes / bandwidth and its far bytes / bandwidth; moves made
 * inline add size / bandwidth, those of a helper what does not fit beside the ops. Latency is not modelled.
 * A policy from outside is played in a child process, and nowhere else.
 * 0; NF_GUARD_E_STOPPED; -EINVAL (no such tensor; a policy that samples or leaves pages to the kernel, whose decisions need a run), -ENOSPC, -ENOMEM,
 * -EPROTO (the policy broke a rule, or its child did not answer with a forecast), -ETIMEDOUT, with the cause set. Caller deinits in every case. */
int nf_forecast_init(struct nf_forecast *f, const struct nf_forecast_wish *wish);
void nf_forecast_deinit(struct nf_forecast *f);
