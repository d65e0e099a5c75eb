#pragma once
/* A replay to be watched, not timed: the steady step of a capture, as fast as it goes, told to an observer: everything on one tier, or under
 * a policy on two that are the same memory. What is watched is the engine itself: its order, its addresses, its threads and its
 * access kernels, or with a policy what its threads ask of these wherever storages are. */
#include <stdint.h>

#include "core/store/study.h"
#include "pool/policy.h"
#include "replay/observer.h"

/* What is replayed, as the capture has it. */
struct nf_again {
    int64_t capture;
    double scale;              /* of every storage, as replayed */
    struct nf_stream *stream;  /* scaled; the visits of other classes are forgotten */
    uint32_t steady;
    uint64_t arena_bytes;      /* memory that the replay maps, of each tier */
    uint64_t near_bytes;       /* capacity of near under the policy */
    const struct nf_policy_ops *policy; /* NULL: everything near, on one tier */
    char policy_name[256];     /* as asked for, with options */
    const char *policy_options;
    double near_share;
};

/* capture 0: the latest. 0, -ENOENT, -EINVAL (a scale that is none), -errno (cause set). Caller deinits in every case. */
int nf_again_load(struct nf_again *a, struct nf_study *study, int64_t capture, double scale);
/* After loading: "NAME:options" and near's share of peak live. 0, -EINVAL (none of the name; one whose decisions depend on time or
 * samples, that recomputes or leaves pages to the kernel), with the cause set. */
int nf_again_take_policy(struct nf_again *a, const char *policy, double near_share);
void nf_again_deinit(struct nf_again *a);
/* Whether `times` times the arena fit into this machine beside everybody else: who watches may need as much again.
 * 0 or -ENOMEM (the cause names the numbers, and a scale that would fit). */
int nf_again_check_memory(const struct nf_again *a, double times);

struct nf_again_options {
    unsigned steps;   /* watched ones; the first of them may differ in what it carries in */
    unsigned threads; /* that share each op; 0: as the job had, as far as there are CPUs */
    int cpu;          /* -1: the one this runs on */
    uint64_t seed;    /* of the order of rows in a gather */
};
/* moves: of storages, in the watched steps. 0, or -errno with the cause of what failed the replay. */
int nf_again_replay(const struct nf_again *a, const struct nf_again_options *o, const struct nf_replay_observer *observer, uint64_t *moves);
