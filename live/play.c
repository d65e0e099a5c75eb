#include "live/play.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/profile.h"
#include "pool/guard.h"
#include "pool/player.h"

_Static_assert((int)NF_PLAN_TIERS == (int)NF_TIER_MAX, "as many tiers in a plan as in a pool");

enum { STEADY_CYCLES = 3 };

/* Bytes of a storage on each tier when last looked at. */
struct seen {
    uint64_t bytes[NF_TIER_MAX];
};

struct play {
    const struct nf_live_plan_wish *w;
    struct nf_live_play *out;
    const struct nf_step_class *c;
    uint64_t near_bytes, peak_bytes;
    uint32_t steady;
    struct nf_profile *profiles;
    struct nf_step_order order;
    struct nf_policy_ops played; /* the policy, whose moves copy: there are no nodes to migrate between in a play */
    struct nf_player player;
    bool last;           /* the step that is written down */
    uint32_t *moved;     /* numbers; room for all */
    struct seen *seen;   /* by number */
    uint64_t moves_made; /* by the pool, when last looked */
};

static uint32_t handle_of(const struct play *p, uint32_t number)
{
    return p->player.lives.handles[p->steady][number];
}

/* Whether it lies elsewhere than when it was last looked at. */
static bool look(struct play *p, uint32_t number)
{
    const struct nf_pool_storage *s = nf_pool_storage(p->player.pool, handle_of(p, number));
    bool moved = false;

    for (uint32_t t = 0; t < p->w->tiers->n; t++) {
        moved |= p->seen[number].bytes[t] != s->piece[t].bytes;
        p->seen[number].bytes[t] = s->piece[t].bytes;
    }
    return moved;
}

/* All of a storage that is to be near, or all that is not: room is made before it is taken. */
static int push_moves(struct play *p, uint32_t number, bool near)
{
    const struct nf_pool_storage *s = nf_pool_storage(p->player.pool, handle_of(p, number));
    uint64_t run;
    uint32_t tier;

    for (uint64_t at = 0; at < s->bytes; at += run) {
        struct nf_plan_move m = {.storage = number, .first_page = (uint32_t)(at / NF_PAGE_BYTES)};

        nf_pool_locate(s, at, &tier, &run);
        run = run < s->bytes - at ? run : s->bytes - at;
        m.to_tier = tier;
        m.n_pages = (uint32_t)(run / NF_PAGE_BYTES);
        if ((tier == 0) == near && nf_array_push(&p->out->moves, m))
            return nf_fail(-ENOMEM, "out of memory for the plan's moves");
    }
    return 0;
}

/* What moved since the last op began (op n_ops: the step ends), storages that were born since left out. */
static int note_moves(struct play *p, uint32_t op)
{
    struct nf_pool_stats stats;
    uint32_t n = 0;
    int rc = 0;

    p->out->ops[op].first_move = (uint32_t)p->out->moves.n;
    nf_pool_stats(p->player.pool, &stats);
    if (stats.moves == p->moves_made)
        return 0;
    p->moves_made = stats.moves;
    for (uint32_t i = 0; i < p->c->n_tensors; i++) {
        if (handle_of(p, i) != NF_NO_HANDLE && look(p, i) && p->c->tensors[i].bytes >= NF_PLAN_MIN_BYTES)
            p->moved[n++] = i;
    }
    for (uint32_t i = 0; i < 2 * n && !rc; i++)
        rc = push_moves(p, p->moved[i % n], i >= n);
    p->out->ops[op].n_moves = (uint32_t)p->out->moves.n - p->out->ops[op].first_move;
    return rc;
}

/* Where its pages are now. */
static int note(struct play *p, uint32_t number)
{
    const struct nf_pool_storage *s;
    uint64_t at = 0, run;
    uint32_t tier;

    if (handle_of(p, number) == NF_NO_HANDLE)
        return 0;
    s = nf_pool_storage(p->player.pool, handle_of(p, number));
    look(p, number);
    p->out->pages_at[number] = p->out->page_tiers.n;
    for (; at < s->bytes; at += run) {
        nf_pool_locate(s, at, &tier, &run);
        for (uint64_t i = 0; i < run; i += NF_PAGE_BYTES) {
            if (nf_array_push(&p->out->page_tiers, (uint8_t)tier))
                return nf_fail(-ENOMEM, "out of memory for the plan's pages");
        }
    }
    return 0;
}

static int next_op(void *context, uint32_t class_index, uint32_t number, struct nf_play_op *out)
{
    nf_play_op_of(&((struct play *)context)->order, number, out);
    return 0;
}

/* Where what was carried in lies. */
static int step_begins(void *context, uint32_t class_index)
{
    struct play *p = context;
    struct nf_pool_stats stats;
    int rc = 0;

    nf_pool_stats(p->player.pool, &stats);
    p->moves_made = stats.moves;
    for (uint32_t i = 0; i < p->c->n_tensors && p->last && !rc; i++)
        rc = note(p, i);
    return rc;
}

/* An op as the job will have it: its storages are born, moves are over, it runs. */
static int op_runs(void *context, uint32_t class_index, uint32_t number, const struct nf_play_op *op, const uint32_t *handles)
{
    struct play *p = context;
    int rc = nf_pool_settle(p->player.pool); /* as if moves had time enough */

    for (uint32_t i = 0; i < op->n_births && p->last && !rc; i++)
        rc = note(p, op->births[i]);
    return rc || !p->last ? rc : note_moves(p, number);
}

static int step_ends(void *context, uint32_t class_index)
{
    struct play *p = context;

    return p->last ? note_moves(p, p->c->n_ops) : 0;
}

static int open_player(struct play *p)
{
    const struct nf_live_plan_wish *w = p->w;
    struct nf_player_config c = {
        .stream = w->stream,
        .pool = {.n_tiers = w->tiers->n, .policy = &p->played, .policy_options = w->options, .profiles = p->profiles,
                 .n_profiles = w->stream->n_classes, .steady_class = p->steady, .seed = w->seed},
        .in_time = true,
        .watch = {.context = p, .op = next_op, .step_begins = step_begins, .step_ends = step_ends, .op_runs = op_runs},
    };

    p->played = *w->policy;
    if (p->played.semantics.mover == NF_MOVER_MOVE_PAGES)
        p->played.semantics.mover = NF_MOVER_COPY;
    for (uint32_t i = 0; i < w->tiers->n; i++) {
        c.pool.capacity[i] = i ? UINT64_MAX : p->near_bytes;
        c.pool.arena_bytes[i] = nf_player_arena_bytes(p->peak_bytes);
        c.pool.latency_ns[i] = w->tiers->latency_ns[i];
        c.pool.read_bps[i] = w->tiers->read_bps[i];
    }
    return nf_player_init(&p->player, &c);
}

/* Room for what a play of the step comes to. */
static int begin(struct nf_live_play *p, const struct nf_step_class *c)
{
    p->pages_at = malloc((c->n_tensors + (size_t)1) * sizeof *p->pages_at);
    p->ops = calloc(c->n_ops + (size_t)1, sizeof *p->ops);
    if (!p->pages_at || !p->ops)
        return nf_fail(-ENOMEM, "out of memory for %u storages", c->n_tensors);
    for (uint32_t i = 0; i < c->n_tensors; i++)
        p->pages_at[i] = UINT64_MAX;
    return 0;
}

static int play(struct play *p, struct nf_live_play *out)
{
    int rc = begin(out, p->c);

    p->out = out;
    p->moved = malloc((p->c->n_tensors + (size_t)1) * sizeof *p->moved);
    p->seen = calloc(p->c->n_tensors + (size_t)1, sizeof *p->seen);
    if (!rc && (!p->moved || !p->seen))
        rc = nf_fail(-ENOMEM, "out of memory for %u storages", p->c->n_tensors);
    if (!rc)
        rc = open_player(p);
    for (unsigned i = 0; i < STEADY_CYCLES && !rc; i++) {
        p->last = i + 1 == STEADY_CYCLES;
        rc = nf_player_step(&p->player, p->steady);
    }
    nf_player_deinit(&p->player);
    free(p->moved);
    free(p->seen);
    return rc;
}

/* --- apart --- */

/* An answer is this, then the parts. */
struct header {
    uint64_t page_tiers, moves;
};

enum { PARTS = 4 };
struct part {
    void *at;
    size_t bytes;
};

static void parts_of(const struct nf_live_play *p, const struct nf_step_class *c, struct part out[PARTS])
{
    out[0] = (struct part){p->pages_at, c->n_tensors * sizeof *p->pages_at};
    out[1] = (struct part){p->ops, (c->n_ops + (size_t)1) * sizeof *p->ops};
    out[2] = (struct part){p->moves.v, p->moves.n * sizeof *p->moves.v};
    out[3] = (struct part){p->page_tiers.v, p->page_tiers.n};
}

void nf_live_play_add(const struct nf_live_play *p, const struct nf_step_class *c, struct nf_buf *answer)
{
    const struct header h = {.page_tiers = p->page_tiers.n, .moves = p->moves.n};
    struct part parts[PARTS];

    parts_of(p, c, parts);
    nf_buf_add(answer, &h, sizeof h);
    for (unsigned i = 0; i < PARTS; i++)
        nf_buf_add(answer, parts[i].at, parts[i].bytes);
}

static int play_apart(void *context, struct nf_buf *answer)
{
    struct play *p = context;
    struct nf_live_play out = {0};
    int rc = play(p, &out);

    if (!rc)
        nf_live_play_add(&out, p->c, answer);
    nf_live_play_deinit(&out);
    return rc;
}

static int take(void *context, const struct nf_buf *answer)
{
    const struct play *p = context;

    return nf_live_play_take(p->out, p->c, p->w->tiers->n, answer);
}

static bool storages_are_sound(const struct nf_live_play *p, const struct nf_step_class *c, uint32_t n_tiers)
{
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        if (p->pages_at[i] != UINT64_MAX &&
            (p->pages_at[i] > p->page_tiers.n || nf_live_pages(&c->tensors[i]) > p->page_tiers.n - p->pages_at[i]))
            return false;
    }
    for (uint64_t i = 0; i < p->page_tiers.n; i++) {
        if (p->page_tiers.v[i] >= n_tiers)
            return false;
    }
    return true;
}

/* One op's after the other's. */
static bool moves_are_sound(const struct nf_live_play *p, const struct nf_step_class *c, uint32_t n_tiers)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i <= c->n_ops; i++) {
        if (p->ops[i].first_move != n)
            return false;
        n += p->ops[i].n_moves;
    }
    for (uint64_t i = 0; i < p->moves.n; i++) {
        const struct nf_plan_move *m = &p->moves.v[i];
        uint64_t pages = m->storage < c->n_tensors ? nf_live_pages(&c->tensors[m->storage]) : 0;

        if (!m->n_pages || m->to_tier >= n_tiers || m->first_page > pages || m->n_pages > pages - m->first_page)
            return false;
    }
    return n == p->moves.n;
}

int nf_live_play_take(struct nf_live_play *p, const struct nf_step_class *c, uint32_t n_tiers, const struct nf_buf *answer)
{
    struct part parts[PARTS];
    struct header h;
    size_t at = 0;

    *p = (struct nf_live_play){0};
    if (!nf_guard_take(answer, &at, &h, sizeof h) || h.moves > answer->n / sizeof *p->moves.v || h.page_tiers > answer->n)
        return -EPROTO;
    if (begin(p, c) || nf_array_reserve(&p->moves, h.moves + 1) || nf_array_reserve(&p->page_tiers, h.page_tiers + 1))
        return -ENOMEM;
    p->moves.n = h.moves;
    p->page_tiers.n = h.page_tiers;
    parts_of(p, c, parts);
    for (unsigned i = 0; i < PARTS; i++) {
        if (!nf_guard_take(answer, &at, parts[i].at, parts[i].bytes))
            return -EPROTO;
    }
    return at == answer->n && storages_are_sound(p, c, n_tiers) && moves_are_sound(p, c, n_tiers) ? 0 : -EPROTO;
}

int nf_live_play_init(struct nf_live_play *out, const struct nf_live_plan_wish *wish, uint64_t near_bytes, uint64_t peak_bytes)
{
    const struct nf_stream *s = wish->stream;
    struct play p = {.w = wish, .out = out, .near_bytes = near_bytes, .peak_bytes = peak_bytes, .steady = nf_stream_steady_class(s)};
    const struct nf_guard_talk talk = {.answer = play_apart, .take = take, .context = &p};
    int rc;

    *out = (struct nf_live_play){0};
    p.c = &s->classes[p.steady];
    rc = nf_step_order_init(&p.order, p.c);
    if (!rc)
        rc = nf_profiles_new(s, wish->llc_bytes, wish->llc_bytes, &p.profiles);
    if (!rc)
        rc = nf_policy_is_outside(wish->policy) ? nf_guard_answer(wish->policy, wish->limit_s, NULL, &talk) : play(&p, out);
    nf_step_order_deinit(&p.order);
    nf_profiles_free(p.profiles, s->n_classes);
    return rc;
}

void nf_live_play_deinit(struct nf_live_play *p)
{
    free(p->pages_at);
    free(p->ops);
    nf_array_free(&p->page_tiers);
    nf_array_free(&p->moves);
}
