#include "replay/rehearsal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "replay/touches.h"

enum { NO_HANDLE = UINT32_MAX };

struct rehearsal {
    const struct nf_engine_config *config;
    struct nf_tier tiers[NF_TIER_MAX];
    struct nf_pool *pool;
    uint32_t **handles, *carry, *operands; /* handles: per class and tensor */
    struct nf_touches touches;
    uint64_t now_ns; /* of a clock that advances by what the capture took */
};

static uint32_t seen_op(const struct rehearsal *r, uint32_t class_index, uint32_t op)
{
    return r->config->seen ? r->config->seen[class_index].op[op] : op;
}

static int allocate(struct rehearsal *r, uint32_t class_index, uint32_t number, uint32_t op)
{
    const struct nf_tensor *t = &r->config->stream->classes[class_index].tensors[number];
    struct nf_pool_alloc a = {.bytes = nf_page_bytes(t->bytes), .address = t->address, .op = seen_op(r, class_index, op),
                              .step_class = class_index, .number = number, .role = t->role};

    if (r->config->seen) {
        a.step_class = r->config->seen[class_index].step_class;
        a.number = r->config->seen[class_index].tensor[number];
        a.role = a.number == UINT32_MAX ? NF_ROLE_UNKNOWN : t->role;
    }
    return t->bytes ? nf_pool_allocate(r->pool, &a, &r->handles[class_index][number]) : 0;
}

static void release(struct rehearsal *r, uint32_t *handle)
{
    if (*handle != NO_HANDLE)
        nf_pool_free(r->pool, *handle);
    *handle = NO_HANDLE;
}

static int play_op(struct rehearsal *r, uint32_t class_index, uint32_t number)
{
    const struct nf_script *s = &r->config->scripts[class_index];
    const struct nf_script_op *op = &s->ops[number];
    int rc = r->config->between ? r->config->between(r->config->between_ctx, class_index, number) : 0;

    if (!rc)
        rc = nf_pool_enter(r->pool, s->of->ops[number].regime);
    for (uint32_t i = 0; i < op->births.n && !rc; i++)
        rc = allocate(r, class_index, s->births[op->births.first + i], number);
    for (uint32_t i = 0; i < op->operands.n; i++)
        r->operands[i] = r->handles[class_index][s->operands[op->operands.first + i]];
    if (!rc)
        rc = nf_pool_begin(r->pool, seen_op(r, class_index, number), r->operands, s->operand_rw + op->operands.first, op->operands.n);
    if (rc)
        return rc;
    r->now_ns += (uint64_t)op->captured_ns;
    if (nf_pool_samples(r->pool))
        rc = nf_touches_tell(&r->touches, r->pool, s, op, r->operands, NULL, 0, r->now_ns);
    if (!rc)
        rc = nf_pool_end(r->pool, seen_op(r, class_index, number));
    for (uint32_t i = 0; i < op->deaths.n; i++)
        release(r, &r->handles[class_index][s->deaths[op->deaths.first + i]]);
    return rc;
}

static int play_step(struct rehearsal *r, uint32_t class_index)
{
    const struct nf_step_class *c = &r->config->stream->classes[class_index];
    uint32_t *handles = r->handles[class_index];
    int rc = 0;

    for (uint32_t i = 0; i < c->n_tensors && !rc; i++) {
        int32_t slot = c->tensors[i].carry_in;

        if (slot == NF_CARRY_NONE)
            continue;
        handles[i] = r->carry[slot];
        r->carry[slot] = NO_HANDLE;
        if (handles[i] == NO_HANDLE)
            rc = allocate(r, class_index, i, 0);
    }
    for (uint32_t op = 0; op < c->n_ops && !rc; op++)
        rc = play_op(r, class_index, op);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        int32_t slot = c->tensors[i].carry_out;

        if (slot == NF_CARRY_NONE || handles[i] == NO_HANDLE)
            continue;
        release(r, &r->carry[slot]);
        r->carry[slot] = handles[i];
        handles[i] = NO_HANDLE;
    }
    for (uint32_t i = 0; i < c->n_tensors; i++)
        release(r, &handles[i]);
    return nf_pool_tick(r->pool);
}

static int prepare(struct rehearsal *r)
{
    const struct nf_stream *s = r->config->stream;
    uint32_t most = 0;

    r->handles = calloc(s->n_classes + (size_t)1, sizeof *r->handles);
    r->carry = malloc((s->n_carry + (size_t)1) * sizeof *r->carry);
    for (uint32_t i = 0; r->handles && i < s->n_classes; i++) {
        size_t bytes = (s->classes[i].n_tensors + (size_t)1) * sizeof **r->handles;

        most = r->config->scripts[i].operands_max > most ? r->config->scripts[i].operands_max : most;
        r->handles[i] = malloc(bytes);
        if (!r->handles[i])
            return nf_fail(-ENOMEM, "out of memory for %u tensors", s->classes[i].n_tensors);
        memset(r->handles[i], 0xff, bytes);
    }
    r->operands = malloc((most + (size_t)1) * sizeof *r->operands);
    if (!r->handles || !r->carry || !r->operands)
        return nf_fail(-ENOMEM, "out of memory for %u step classes", s->n_classes);
    memset(r->carry, 0xff, (s->n_carry + (size_t)1) * sizeof *r->carry);
    return 0;
}

static int open_pool(struct rehearsal *r)
{
    struct nf_pool_config c = r->config->pool;
    int rc = 0;

    for (uint32_t i = 0; i < c.n_tiers && !rc; i++) {
        rc = nf_tier_open(r->config->pool.tiers[i].name, "null", NULL, &r->tiers[i]);
        r->tiers[i].facts.node = r->config->pool.tiers[i].facts.node; /* as the trial will say */
    }
    c.tiers = r->tiers;
    c.weightless = true;
    c.helper_cpu = NULL;
    c.helper_shares = true; /* it waits for no time to pass */
    if (r->config->seen)
        c.steady_class = r->config->planned_class;
    return rc ? rc : nf_pool_open(&c, &r->pool);
}

int nf_rehearse(const struct nf_engine_config *config)
{
    struct rehearsal r = {.config = config};
    uint64_t cycles = (uint64_t)config->warmup_min + config->cycles;
    int rc = prepare(&r);

    cycles = cycles < NF_REHEARSAL_CYCLES_MAX ? cycles : NF_REHEARSAL_CYCLES_MAX;
    if (!rc)
        rc = open_pool(&r);
    for (uint64_t cycle = 0; cycle < cycles && !rc; cycle++)
        for (uint32_t i = 0; i < nf_engine_cycle_steps(config) && !rc; i++)
            rc = play_step(&r, nf_engine_cycle_class(config, i));
    nf_pool_close(r.pool);
    for (uint32_t i = 0; i < NF_TIER_MAX; i++)
        nf_tier_close(&r.tiers[i]);
    for (uint32_t i = 0; r.handles && i < config->stream->n_classes; i++)
        free(r.handles[i]);
    nf_touches_deinit(&r.touches);
    free(r.handles);
    free(r.carry);
    free(r.operands);
    return rc;
}
