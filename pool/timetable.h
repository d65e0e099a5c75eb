#pragma once
/* What policies share that plan moves of tensors beforehand: a list of moves, each due when an op of the steady step class has
 * ended, and the book-keeping that turns it into decisions. What is near of a tensor are its first pages, all or some. Room is
 * counted as it will be once all moves are done. A tensor is known again from step to step by the op and the position it is an
 * operand at. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/array.h"
#include "pool/policy.h"
#include "pool/step-uses.h"

#define NF_TIMETABLE_NONE UINT32_MAX
#define NF_TIMETABLE_ALL UINT32_MAX /* pages */

struct nf_timetable_entry {
    uint32_t op;     /* due once it has ended */
    uint32_t tensor; /* of the steady class */
    uint32_t by_op;  /* to near: the use it is fetched for; once that op began it is too late */
    bool near;       /* to near, when there is room until by_op; or away from it, at once */
    uint32_t pages;  /* to near: the first so many, 0 all; away: all but the first so many. Parts need by_page */
};

/* A live storage. */
struct nf_timetable_item {
    uint64_t bytes;
    uint64_t near;   /* bytes that are there, or on their way */
    uint32_t far;    /* tier of the others */
    uint32_t tensor; /* of the steady class, as last seen; NF_TIMETABLE_NONE: unknown */
    bool live, reserved;
};

struct nf_timetable {
    const struct nf_policy_env *env;
    const struct nf_step_class *of; /* NULL: nothing is planned */
    struct nf_step_uses uses;
    NF_ARRAY(struct nf_timetable_entry) entries;
    uint32_t *due; /* n_ops + 1: entries of op o are due[o] to due[o + 1] - 1; NULL before nf_timetable_seal */
    uint32_t *near_at_birth; /* pages, per tensor of the steady class; at first NF_TIMETABLE_ALL */
    bool *reserved;     /* per tensor: may use the last `reserve` bytes of near */
    uint64_t reserve;
    bool unplanned_far; /* what no plan saw is born far */
    bool parts;         /* what is to be near at birth and does not fit is, as far as it fits; otherwise all of it is far */

    NF_ARRAY(struct nf_timetable_item) items; /* by handle */
    uint32_t *handle_of; /* per tensor */
    uint32_t *tensor_of_slot, n_slots; /* of carried tensors */
    NF_ARRAY(struct nf_timetable_entry) waiting; /* to near, due, without room so far */
    uint64_t used[NF_TIER_MAX], used_reserved; /* reserved: bytes near of tensors that may use the reserve */
    uint32_t running_class, op;
};

/* An empty table for the steady class of env (without profiles: none). future: also its uses. 0 or -ENOMEM (cause set).
 * Caller deinits in every case. */
int nf_timetable_init(struct nf_timetable *t, const struct nf_policy_env *env, bool future);
void nf_timetable_deinit(struct nf_timetable *t);
/* Plans a move. 0 or -ENOMEM (cause set). */
int nf_timetable_add(struct nf_timetable *t, struct nf_timetable_entry entry);
/* After the last one and before the verbs below: away from near comes before to near, otherwise in the order they were
 * added. 0 or -ENOMEM (cause set). */
int nf_timetable_seal(struct nf_timetable *t);

/* Carry slot of a tensor, NF_CARRY_NONE where it does not outlive the step. */
static inline int32_t nf_timetable_slot(const struct nf_tensor *t)
{
    return t->carry_in != NF_CARRY_NONE ? t->carry_in : t->carry_out;
}
/* Bytes per second between near and the slowest far tier, as the planners of moves assume: its measured read bandwidth. */
double nf_timetable_link_bps(const struct nf_policy_env *env);
/* Nanoseconds until the first byte of a move arrives: the slowest far tier's latency. */
double nf_timetable_link_ns(const struct nf_policy_env *env);

/* A policy that is nothing but a table: opened, filled by `plan` where there is a steady class, sealed. plan: 0 or -errno (cause set). */
int nf_timetable_policy_open(const struct nf_policy_env *env, int (*plan)(struct nf_timetable *t), void **policy);
/* The verbs of struct nf_policy_ops for one; policy is the struct nf_timetable. */
void nf_timetable_close(void *policy);
int nf_timetable_place(void *policy, const struct nf_policy_tensor *tensor, struct nf_policy_moves *evictions,
                       struct nf_placement *out);
int nf_timetable_access(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                        struct nf_policy_moves *moves);
int nf_timetable_after(void *policy, uint32_t op, struct nf_policy_moves *moves);
void nf_timetable_freed(void *policy, uint32_t handle);

/* All of an ops struct but its name, about, options and init. parts: it moves parts of tensors. more: capabilities beside those of a
 * table. */
#define NF_TIMETABLE_VERBS(parts) NF_TIMETABLE_VERBS_AND(parts, 0)
#define NF_TIMETABLE_VERBS_AND(parts, more)                                                                    \
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE | (more)),       \
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_WRITE_BACK,      \
                  .mover = NF_MOVER_COPY, .sync = NF_SYNC_HELPER, .sees_profile = true, .sees_future = true,   \
                  .by_page = (parts)},                                                                         \
    .deinit = nf_timetable_close, .on_alloc = nf_timetable_place, .on_op = nf_timetable_access,                \
    .on_op_end = nf_timetable_after, .on_free = nf_timetable_freed
