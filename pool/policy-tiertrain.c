/* Policy `tiertrain`: what forward saves is offloaded in a queue right after its last use there, and fetched back in time for backward.
 * Rule: tensors saved for backward are put into a queue when forward is done with them and offloaded in its order; backward uses them
 * in reverse, so they are fetched in that order, each so early that it arrives before its use: the start of a fetch is the
 * earlier of its use and the start of the fetch after it, less size / bandwidth. What would have to be fetched before it is away stays.
 * Swaminathan, Kumar, Prasad, Subramoney: TierTrain: Proactive Memory Tiering for CPU-Based DNN Training, ISMM 2025.
 * Only abstract and overview were at hand: queue and timing are as told there; its dynamic correction of late fetches is not rebuilt, a
 * late one is awaited by its op.
 * Semantics: in place, insert near while there is room, write back, copied by a helper. Sees profile and future.
 * Fails where near is short because of parameters and optimizer state, which it leaves alone, and where it would not have been short:
 * it offloads all the same. */
#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/policies.h"
#include "pool/timetable.h"

struct stay {
    uint32_t tensor, from, to; /* last use of forward, first one of backward */
};

static bool backward(uint8_t phase)
{
    return phase == NF_PHASE_BACKWARD || phase == NF_PHASE_RECOMPUTE;
}

/* The uses around the change from forward to backward. False where there is none. */
static bool find_stay(const struct nf_timetable *t, uint32_t tensor, struct stay *out)
{
    const struct nf_step_uses *u = &t->uses;
    uint8_t role = t->of->tensors[tensor].role;

    if (role != NF_ROLE_SAVED && role != NF_ROLE_CHECKPOINT)
        return false;
    for (uint32_t k = 0; k + 1 < nf_step_uses_n(u, tensor); k++) {
        uint32_t from = nf_step_uses_op(u, tensor, k), to = nf_step_uses_op(u, tensor, k + 1);

        if (backward(t->of->ops[from].phase) || !backward(t->of->ops[to].phase))
            continue;
        *out = (struct stay){tensor, from, to};
        return true;
    }
    return false;
}

/* Last needed first; equal ones in the order they were offloaded. */
static int needed_later(const void *a, const void *b)
{
    const struct stay *x = a, *y = b;

    if (x->to != y->to)
        return x->to > y->to ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

static int make_plan(struct nf_timetable *t)
{
    const struct nf_step_uses *u = &t->uses;
    double bps = nf_timetable_link_bps(t->env), latency_ns = nf_timetable_link_ns(t->env), begin;
    struct stay *stays = malloc((t->of->n_tensors + (size_t)1) * sizeof *stays);
    uint32_t n = 0;
    int rc = stays ? 0 : nf_fail(-ENOMEM, "no memory to plan %u tensors", t->of->n_tensors);

    for (uint32_t i = 0; !rc && i < t->of->n_tensors; i++)
        n += find_stay(t, i, &stays[n]);
    if (!rc)
        qsort(stays, n, sizeof *stays, needed_later);
    begin = u->start_ns[t->of->n_ops];
    for (uint32_t i = 0; i < n && !rc; i++) {
        double takes = latency_ns + (double)nf_page_bytes(t->of->tensors[stays[i].tensor].bytes) / bps * 1e9, at;
        uint32_t op;

        at = (u->start_ns[stays[i].to] < begin ? u->start_ns[stays[i].to] : begin) - takes;
        op = nf_step_uses_at(u, at);
        if (at <= u->start_ns[stays[i].from + 1] + takes || op <= stays[i].from + 1) /* not away by then */
            continue;
        begin = at;
        /* It begins once the op before has ended, which is no later than `at`. */
        rc = nf_timetable_add(t, (struct nf_timetable_entry){.op = stays[i].from, .tensor = stays[i].tensor});
        if (!rc)
            rc = nf_timetable_add(t, (struct nf_timetable_entry){op - 1, stays[i].tensor, stays[i].to, true});
    }
    free(stays);
    return rc;
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_timetable_policy_open(env, make_plan, policy);
}

const struct nf_policy_ops nf_policy_tiertrain = {
    .name = "tiertrain",
    .about = "what forward saves is offloaded in a queue after use and fetched in time for backward",
    .source = "Swaminathan et al., TierTrain, ISMM 2025",
    .init = open_policy,
    NF_TIMETABLE_VERBS(false),
};
