#pragma once
/* A trial in a process of its own, for policies from outside: one that crashes, ends its process or never answers ends that, and the
 * replay goes on. All a trial uses is made in the child, arenas, threads and movers included; what it reads beside them, it inherits. */
#include <signal.h>
#include <stdatomic.h>

#include "pool/policy.h"
#include "replay/engine.h"

struct nf_apart {
    const struct nf_policy_ops *outside; /* who is guarded, never NULL */
    double limit_s;                      /* of each question to it */
    const volatile sig_atomic_t *stop;   /* may be NULL */
    const struct nf_engine_config *config; /* of the trial, which what comes back is held against */
    /* The trial, as nf_trial_run; asked: for nf_pool_config. */
    int (*run)(void *context, _Atomic uint32_t *asked, struct nf_trial *out);
    void *context;
};

/* 0 or NF_TRIAL_E_STOPPED; -ENOMEM (cause set). The caller deinits *out in every case. *refused: 0, or why there is no trial, of which
 * -EPROTO, -ETIMEDOUT, what the trial itself returned, the cause set to one sentence that names the policy; *out is of no use then. What
 * an erring policy did to the child's own memory is not known: figures that no trial could have (replay/plausible.h) are refused, others
 * it may have made up. To be called while this process has one thread. */
int nf_trial_apart(const struct nf_apart *a, struct nf_trial *out, int *refused);
