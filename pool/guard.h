#pragma once
/* A guard around policies from outside: what they plan and decide happens in a child process, with a time limit, so that one that
 * crashes, loops or errs is known by name and ends nothing but the child. Built-in policies are not guarded. */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "pool/policy.h"

enum { NF_GUARD_LIMIT_S = 60 /* the default */, NF_GUARD_LIMIT_MAX_S = 1000000 };
enum { NF_GUARD_ANSWER_MAX = 1 << 30 /* bytes: a plan has one per page and 16 per move */ };
enum { NF_GUARD_E_STOPPED = 1 };

/* What a guard is about, for its words. */
struct nf_guarded {
    const char *who, *doing; /* "policy hare", "planning" */
    double limit_s;          /* 0 < limit_s <= NF_GUARD_LIMIT_MAX_S: after so many seconds the child is killed */
    const char *limit_from;  /* how to give more, "--policy-limit"; NULL: not at all */
    /* As nf_pool_config.asked, in memory that the child shares: the limit is of one question to the policy. NULL: of the whole call. */
    const _Atomic uint32_t *asked;
};

/* Calls work(context) in a child; whatever it changes there is lost. stop: the child is killed as soon as it is not zero, too; may be
 * NULL. 0: work returned 0; NF_GUARD_E_STOPPED; -EPROTO (it crashed or ended its process), -ETIMEDOUT or what work returned, the cause set
 * to one sentence that says who. To be called while this process has one thread. */
int nf_guard_call(const struct nf_guarded *g, const volatile sig_atomic_t *stop, int (*work)(void *context), void *context);
/* The same of a policy that plans, if it is one from outside; nothing is called of a built-in one, or of none (NULL). What `trace` wraps
 * is found by nf_policy_find_outside. */
int nf_guard(const struct nf_policy_ops *policy, double limit_s, const volatile sig_atomic_t *stop, int (*work)(void *context),
             void *context);
/* Work that comes to something: in the child it is written down, here it is read. */
struct nf_guard_talk {
    /* As work, but what it appends comes over. */
    int (*answer)(void *context, struct nf_buf *to);
    /* Whoever wrote it: the policy shares the memory it was written in, or answered in its place. 0, -EPROTO (it can be no answer),
     * -ENOMEM; needs no cause. */
    int (*take)(void *context, const struct nf_buf *from);
    void *context;
};
/* As nf_guard of a policy from outside, and then what `take` returns, with a cause; of a built-in one neither is called. */
int nf_guard_answer(const struct nf_policy_ops *policy, double limit_s, const volatile sig_atomic_t *stop, const struct nf_guard_talk *talk);
/* Copies the next n bytes of an answer, from *at on, and goes behind them. False: it has not so many. */
bool nf_guard_take(const struct nf_buf *answer, size_t *at, void *to, size_t n);
/* The same of a trial, where the limit is of each of its questions to the policy alone. */
int nf_guard_trial(const struct nf_policy_ops *policy, double limit_s, const _Atomic uint32_t *asked, const volatile sig_atomic_t *stop,
                   int (*work)(void *context), void *context);
