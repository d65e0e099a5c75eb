#include "pool/player.h"

#include <errno.h>
#include <stdio.h>

#include "core/base/error.h"

enum { ARENA_SLACK_BYTES = 16 << 20 };

uint64_t nf_player_arena_bytes(uint64_t peak_bytes)
{
    return 2 * peak_bytes + ARENA_SLACK_BYTES;
}

static int open_pool(struct nf_player *p)
{
    struct nf_pool_config c = p->config.pool;
    int rc = 0;

    for (uint32_t i = 0; i < c.n_tiers && !rc; i++) {
        char name[sizeof p->tiers[i].name];

        snprintf(name, sizeof name, "tier%u", i);
        rc = nf_tier_open(c.tiers ? c.tiers[i].name : name, "null", NULL, &p->tiers[i]);
        if (c.tiers)
            p->tiers[i].facts.node = c.tiers[i].facts.node;
    }
    c.tiers = p->tiers;
    c.weightless = true;
    c.helper_cpu = NULL;
    c.helper_shares = true; /* it waits for no time to pass */
    return rc ? rc : nf_pool_open(&c, &p->pool);
}

int nf_player_init(struct nf_player *p, const struct nf_player_config *config)
{
    const struct nf_lives_watch watch = {.context = config->watch.context, .arrives = config->watch.arrives};
    int rc;

    *p = (struct nf_player){.config = *config};
    rc = nf_lives_init(&p->lives, config->stream, config->seen, &watch);
    if (!rc)
        rc = open_pool(p);
    p->lives.pool = p->pool;
    return rc;
}

void nf_player_deinit(struct nf_player *p)
{
    nf_pool_close(p->pool);
    for (uint32_t i = 0; i < NF_TIER_MAX; i++)
        nf_tier_close(&p->tiers[i]);
    nf_lives_deinit(&p->lives);
    nf_array_free(&p->operands);
    *p = (struct nf_player){0};
}

static int settle(struct nf_player *p)
{
    return p->config.in_time ? nf_pool_settle(p->pool) : 0;
}

static int find_operands(struct nf_player *p, uint32_t class_index, uint32_t number, const struct nf_play_op *op)
{
    if (nf_array_reserve(&p->operands, op->n_operands + (size_t)1))
        return nf_fail(-ENOMEM, "out of memory for %u operands", op->n_operands);
    for (uint32_t i = 0; i < op->n_operands; i++) {
        p->operands.v[i] = p->lives.handles[class_index][op->operands[i]];
        if (p->operands.v[i] == NF_NO_HANDLE)
            return nf_fail(-EBADMSG, "op %u visits tensor %u, which is not alive", number, op->operands[i]);
    }
    return 0;
}

static int play_op(struct nf_player *p, uint32_t class_index, uint32_t number)
{
    const struct nf_player_watch *w = &p->config.watch;
    uint32_t told = nf_lives_seen_op(&p->lives, class_index, number);
    struct nf_play_op op;
    int rc = w->op(w->context, class_index, number, &op);

    if (!rc)
        rc = nf_pool_enter(p->pool, p->config.stream->classes[class_index].ops[number].regime);
    for (uint32_t i = 0; !rc && i < op.n_births; i++)
        rc = nf_lives_bear(&p->lives, class_index, op.births[i], number);
    if (!rc)
        rc = find_operands(p, class_index, number, &op);
    if (!rc)
        rc = nf_pool_begin(p->pool, told, p->operands.v, op.rw, op.n_operands);
    if (!rc && w->op_runs)
        rc = w->op_runs(w->context, class_index, number, &op, p->operands.v);
    if (!rc)
        rc = nf_pool_end(p->pool, told);
    if (!rc)
        rc = settle(p);
    if (!rc && w->op_ended)
        rc = w->op_ended(w->context, class_index, number);
    for (uint32_t i = 0; !rc && i < op.n_deaths; i++)
        nf_lives_end(&p->lives, class_index, op.deaths[i]);
    return rc;
}

int nf_player_step(struct nf_player *p, uint32_t class_index)
{
    const struct nf_player_watch *w = &p->config.watch;
    int rc = nf_lives_enter(&p->lives, class_index);

    if (!rc && w->step_begins)
        rc = w->step_begins(w->context, class_index);
    for (uint32_t i = 0; i < p->config.stream->classes[class_index].n_ops && !rc; i++)
        rc = play_op(p, class_index, i);
    if (!rc && w->step_ends)
        rc = w->step_ends(w->context, class_index);
    if (rc)
        return rc;
    nf_lives_leave(&p->lives, class_index);
    rc = nf_pool_tick(p->pool);
    return rc ? rc : settle(p);
}

void nf_play_op_of(const struct nf_step_order *o, uint32_t number, struct nf_play_op *out)
{
    uint32_t births = o->births_first[number], deaths = o->deaths_first[number], operands = o->operands_first[number];

    *out = (struct nf_play_op){
        .births = o->births + births, .n_births = o->births_first[number + 1] - births,
        .deaths = o->deaths + deaths, .n_deaths = o->deaths_first[number + 1] - deaths,
        .operands = o->operands + operands, .rw = o->operand_rw + operands, .n_operands = o->operands_first[number + 1] - operands,
    };
}
