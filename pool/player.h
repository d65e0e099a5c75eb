#pragma once
/* A policy without its memory: it is opened, told everything a run would tell it and asked for every decision, on tiers that nobody
 * reads. Who plays looks at what it did. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/array.h"
#include "core/model/step-order.h"
#include "pool/lives.h"

/* What happens in an op, in order: births, the op on its operands, deaths. Borrowed; valid until the next one is asked for. */
struct nf_play_op {
    const uint32_t *births, *deaths, *operands; /* tensors */
    const uint8_t *rw;                          /* enum nf_rw, per operand */
    uint32_t n_births, n_deaths, n_operands;
};

/* Each 0, or an error that ends the play (cause set). All but `op` may be NULL. */
struct nf_player_watch {
    void *context;
    /* What is played next. */
    int (*op)(void *context, uint32_t class_index, uint32_t number, struct nf_play_op *out);
    /* As nf_lives_watch.arrives. */
    int (*arrives)(void *context, uint32_t class_index, uint32_t number, enum nf_arrival how);
    /* All that is carried into the step is there; about to be handed on. */
    int (*step_begins)(void *context, uint32_t class_index);
    int (*step_ends)(void *context, uint32_t class_index);
    /* Its operands are pinned. handles: of them. */
    int (*op_runs)(void *context, uint32_t class_index, uint32_t number, const struct nf_play_op *op, const uint32_t *handles);
    /* What it asked for is done; what dies in it is still there. */
    int (*op_ended)(void *context, uint32_t class_index, uint32_t number);
};

struct nf_player_config {
    const struct nf_stream *stream; /* borrowed until deinit, as is what the others point to */
    /* As for a run. tiers: whose names and nodes the policy is told; NULL: tier0 and so on, on no node. weightless, helper_cpu and
     * helper_shares are the player's. */
    struct nf_pool_config pool;
    const struct nf_seen_as *seen; /* per class; NULL: the policy sees what is played */
    /* Moves have time enough: what an op, or the end of a step, asked for is done before the next begins. */
    bool in_time;
    struct nf_player_watch watch;
};

struct nf_player {
    struct nf_player_config config;
    struct nf_tier tiers[NF_TIER_MAX];
    struct nf_pool *pool;
    struct nf_lives lives;
    NF_ARRAY(uint32_t) operands; /* handles */
};

/* 0, -errno (cause set; the policy's own included). Caller deinits in every case. */
int nf_player_init(struct nf_player *p, const struct nf_player_config *config);
void nf_player_deinit(struct nf_player *p);
/* One step of a class. 0, -EPROTO (the policy broke a rule), -ENOSPC, -EBADMSG (an op visits what is not alive), -errno (cause set). */
int nf_player_step(struct nf_player *p, uint32_t class_index);

/* For nf_player_watch.op: an op of its class's order. */
void nf_play_op_of(const struct nf_step_order *o, uint32_t number, struct nf_play_op *out);
/* Arenas of a play whose storages take at most peak_bytes at once: addresses, never touched, with room for both copies of all that moves. */
uint64_t nf_player_arena_bytes(uint64_t peak_bytes);
