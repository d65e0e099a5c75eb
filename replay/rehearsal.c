#include "replay/rehearsal.h"

#include "pool/player.h"
#include "replay/touches.h"

struct rehearsal {
    const struct nf_engine_config *config;
    struct nf_player player;
    struct nf_touches touches;
    uint64_t now_ns; /* of a clock that advances by what the capture took */
};

static int next_op(void *context, uint32_t class_index, uint32_t number, struct nf_play_op *out)
{
    const struct nf_engine_config *c = ((struct rehearsal *)context)->config;
    int rc = c->between ? c->between(c->between_ctx, class_index, number) : 0;

    if (!rc)
        nf_script_play_op(&c->scripts[class_index], number, out);
    return rc;
}

static int tell_touches(void *context, uint32_t class_index, uint32_t number, const struct nf_play_op *played, const uint32_t *handles)
{
    struct rehearsal *r = context;
    const struct nf_script *s = &r->config->scripts[class_index];
    const struct nf_script_op *op = &s->ops[number];

    r->now_ns += (uint64_t)op->captured_ns;
    return nf_pool_samples(r->player.pool) ? nf_touches_tell(&r->touches, r->player.pool, s, op, handles, NULL, 0, r->now_ns) : 0;
}

int nf_rehearse(const struct nf_engine_config *config)
{
    struct rehearsal r = {.config = config};
    struct nf_player_config c = {.stream = config->stream, .pool = config->pool, .seen = config->seen,
                                 .watch = {.context = &r, .op = next_op, .op_runs = tell_touches}};
    uint64_t cycles = (uint64_t)config->warmup_min + config->cycles;
    int rc;

    if (config->seen)
        c.pool.steady_class = config->planned_class;
    rc = nf_player_init(&r.player, &c);
    cycles = cycles < NF_REHEARSAL_CYCLES_MAX ? cycles : NF_REHEARSAL_CYCLES_MAX;
    for (uint64_t cycle = 0; cycle < cycles && !rc; cycle++)
        for (uint32_t i = 0; i < nf_engine_cycle_steps(config) && !rc; i++)
            rc = nf_player_step(&r.player, nf_engine_cycle_class(config, i));
    nf_player_deinit(&r.player);
    nf_touches_deinit(&r.touches);
    return rc;
}
