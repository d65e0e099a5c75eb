#include "live/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/job-placer.h"
#include "core/model/profile.h"
#include "live/plan-file.h"
#include "pool/player.h"

_Static_assert((int)NF_PLAN_TIERS == (int)NF_TIER_MAX, "as many tiers in a plan as in a pool");

enum { STEADY_CYCLES = 3 };

typedef NF_ARRAY(struct nf_plan_entry) entry_array;
typedef NF_ARRAY(struct nf_plan_group) group_array;
typedef NF_ARRAY(uint8_t) tier_array;
typedef NF_ARRAY(struct nf_plan_move) move_array;

/* Bytes of a storage on each tier when last looked at. */
struct seen {
    uint64_t bytes[NF_TIER_MAX];
};

/* Where the storages of the steady step lay, by number and page. */
struct play {
    const struct nf_live_plan_wish *w;
    const struct nf_live_plan *out; /* how much near holds */
    const struct nf_step_class *c;
    uint32_t steady;
    struct nf_profile *profiles;
    struct nf_step_order order;
    struct nf_policy_ops played; /* the policy, whose moves copy: there are no nodes to migrate between in a play */
    struct nf_player player;
    bool last; /* the step that is written down */
    uint64_t *pages_at; /* of each storage in tiers_of_pages; UINT64_MAX: not placed */
    tier_array page_tiers;
    entry_array entries;
    group_array groups;
    uint32_t *moved; /* numbers; room for all */
    struct seen *seen;
    struct nf_plan_op *ops; /* of the step, and one for its end */
    move_array moves;
    uint64_t moves_made;    /* by the pool, when last looked */
    uint32_t *entry_of;     /* by number of the steady step; NF_PLAN_NONE: none */
};

static uint64_t pages_of(const struct nf_tensor *t)
{
    return nf_page_bytes(t->bytes) / NF_PAGE_BYTES;
}

/* --- playing the policy --- */

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
        if ((tier == 0) == near && nf_array_push(&p->moves, m))
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

    p->ops[op].first_move = (uint32_t)p->moves.n;
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
    p->ops[op].n_moves = (uint32_t)p->moves.n - p->ops[op].first_move;
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
    p->pages_at[number] = p->page_tiers.n;
    for (; at < s->bytes; at += run) {
        nf_pool_locate(s, at, &tier, &run);
        for (uint64_t i = 0; i < run; i += NF_PAGE_BYTES) {
            if (nf_array_push(&p->page_tiers, (uint8_t)tier))
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
        c.pool.capacity[i] = i ? UINT64_MAX : p->out->near_bytes;
        c.pool.arena_bytes[i] = nf_player_arena_bytes(p->out->peak_bytes);
        c.pool.latency_ns[i] = w->tiers->latency_ns[i];
        c.pool.read_bps[i] = w->tiers->read_bps[i];
    }
    return nf_player_init(&p->player, &c);
}

static int play(struct play *p)
{
    uint32_t n = p->c->n_tensors;
    int rc;

    p->pages_at = malloc((n + (size_t)1) * sizeof *p->pages_at);
    p->moved = malloc((n + (size_t)1) * sizeof *p->moved);
    p->seen = calloc(n + (size_t)1, sizeof *p->seen);
    p->ops = calloc(p->c->n_ops + (size_t)1, sizeof *p->ops);
    p->entry_of = malloc((n + (size_t)1) * sizeof *p->entry_of);
    if (!p->pages_at || !p->moved || !p->seen || !p->ops || !p->entry_of)
        return nf_fail(-ENOMEM, "out of memory for %u storages", n);
    for (uint32_t i = 0; i < n; i++) {
        p->pages_at[i] = UINT64_MAX;
        p->entry_of[i] = NF_PLAN_NONE;
    }
    for (uint32_t i = 0; i < p->c->n_ops; i++)
        p->ops[i].name = nf_job_name_hash(p->w->stream->names[p->c->ops[i].name]);
    rc = nf_step_order_init(&p->order, p->c);
    if (!rc)
        rc = nf_profiles_new(p->w->stream, p->w->llc_bytes, p->w->llc_bytes, &p->profiles);
    if (!rc)
        rc = open_player(p);
    for (unsigned i = 0; i < STEADY_CYCLES && !rc; i++) {
        p->last = i + 1 == STEADY_CYCLES;
        rc = nf_player_step(&p->player, p->steady);
    }
    return rc;
}

/* --- the file --- */

static int push_entry(struct play *p, const struct nf_tensor *t, uint64_t pages_at)
{
    const char *name = p->w->stream->names[t->name];
    const struct nf_plan_entry e = {.bytes = t->bytes, .address = t->address, .pages_at = pages_at, .pages = (uint32_t)pages_of(t),
                                    .slot = t->carry_out != NF_CARRY_NONE ? t->carry_out : t->carry_in,
                                    .name = *name ? nf_job_tensor_hash(name, t->role) : 0,
                                    .born = t->birth < 0 ? NF_PLAN_NONE : (uint32_t)t->birth, .gone = nf_live_gone(t)};

    return nf_array_push(&p->entries, e) ? nf_fail(-ENOMEM, "out of memory for the plan") : 0;
}

/* The steady step's storage that a slot carries, or UINT64_MAX: its pages. */
static uint64_t carried_pages(const struct play *p, int32_t slot)
{
    for (uint32_t i = 0; slot != NF_CARRY_NONE && i < p->c->n_tensors; i++) {
        if (p->c->tensors[i].carry_in == slot)
            return p->pages_at[i];
    }
    return UINT64_MAX;
}

static const struct nf_tensor *sorted; /* for the comparison below */

static int earlier_birth(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;

    return sorted[i].birth != sorted[j].birth ? (sorted[i].birth < sorted[j].birth ? -1 : 1) : i < j ? -1 : i > j;
}

/* Numbers in order of birth, what is carried in first. NULL: no memory. */
static uint32_t *in_order(const struct nf_step_class *c)
{
    uint32_t *order = malloc((c->n_tensors + (size_t)1) * sizeof *order);

    for (uint32_t i = 0; order && i < c->n_tensors; i++)
        order[i] = i;
    sorted = c->tensors;
    if (order)
        qsort(order, c->n_tensors, sizeof *order, earlier_birth);
    return order;
}

/* What a step class allocates, and with `carried` what it finds. Of the steady one all; of another, whose storages nobody
 * placed, what it hands on. */
static int push_group(struct play *p, const struct nf_step_class *c, bool carried)
{
    struct nf_plan_group g = {.first = (uint32_t)p->entries.n};
    uint32_t *order = in_order(c);
    int rc = order ? 0 : nf_fail(-ENOMEM, "out of memory for %u storages", c->n_tensors);

    for (uint32_t i = 0; i < c->n_tensors && !rc; i++) {
        const struct nf_tensor *t = &c->tensors[order[i]];
        int32_t slot = t->carry_out != NF_CARRY_NONE ? t->carry_out : t->carry_in;
        uint64_t at = c == p->c ? p->pages_at[order[i]] : carried_pages(p, slot);

        if (!(carried || t->birth >= 0) || t->bytes < NF_PLAN_MIN_BYTES || at == UINT64_MAX)
            continue;
        if (c == p->c && !carried)
            p->entry_of[order[i]] = (uint32_t)p->entries.n;
        rc = push_entry(p, t, at);
    }
    free(order);
    g.n = (uint32_t)p->entries.n - g.first;
    if (!rc && nf_array_push(&p->groups, g))
        rc = nf_fail(-ENOMEM, "out of memory for the plan");
    return rc;
}

static bool is_moving(const struct nf_policy_ops *policy)
{
    const struct nf_policy_semantics *s = &policy->semantics;

    return s->access != NF_ACCESS_IN_PLACE || s->demote != NF_DEMOTE_NEVER || s->mover != NF_MOVER_NONE;
}

static size_t eights(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static struct nf_plan_storage storage_of(const struct play *p, uint32_t number)
{
    const struct nf_tensor *t = &p->c->tensors[number];
    struct nf_plan_storage s = {.slot = t->carry_in, .entry = p->entry_of[number], .gone = nf_live_gone(t)};

    if (p->pages_at[number] != UINT64_MAX && t->bytes >= NF_PLAN_MIN_BYTES) {
        s.pages_at = p->pages_at[number];
        s.pages = (uint32_t)pages_of(t);
    }
    return s;
}

static int write_file(struct play *p, struct nf_live_plan *out)
{
    const struct nf_stream *s = p->w->stream;
    uint32_t n_sequence = s->n_sequence ? s->n_sequence : 1;
    struct nf_plan_file f = {.version = NF_PLAN_VERSION, .n_tiers = p->w->tiers->n, .capacity = out->near_bytes,
                             .arena_bytes = 4 * out->peak_bytes + ((uint64_t)256 << 20), .n_sequence = n_sequence,
                             .n_groups = (uint32_t)p->groups.n, .n_entries = (uint32_t)p->entries.n,
                             .before = (uint32_t)p->groups.n - 1, .steady = p->steady, .n_page_tiers = p->page_tiers.n};

    bool moves = is_moving(p->w->policy);
    char *at;

    memcpy(f.magic, NF_PLAN_MAGIC, sizeof f.magic);
    for (uint32_t i = 0; i < NF_PLAN_TIERS; i++)
        f.node[i] = i < p->w->tiers->n ? p->w->tiers->node[i] : -1;
    f.sequence_at = eights(sizeof f);
    f.groups_at = f.sequence_at + eights(n_sequence * sizeof(uint32_t));
    f.entries_at = f.groups_at + eights(p->groups.n * sizeof *p->groups.v);
    f.page_tiers_at = f.entries_at + eights(p->entries.n * sizeof *p->entries.v);
    f.storages_at = f.page_tiers_at + eights(p->page_tiers.n);
    if (moves) {
        f.n_storages = p->c->n_tensors;
        f.n_ops = p->c->n_ops;
        f.n_moves = (uint32_t)p->moves.n;
        f.n_slots = s->n_carry;
        f.helper = p->w->policy->semantics.sync == NF_SYNC_HELPER;
    }
    f.ops_at = f.storages_at + eights(f.n_storages * sizeof(struct nf_plan_storage));
    f.moves_at = f.ops_at + (moves ? (f.n_ops + (uint64_t)1) * sizeof *p->ops : 0);
    out->size = f.moves_at + eights(f.n_moves * sizeof *p->moves.v);
    out->n_ops = f.n_ops;
    out->n_moves = f.n_moves;
    out->data = calloc(1, out->size);
    if (!out->data)
        return nf_fail(-ENOMEM, "out of memory for the plan");
    memcpy(out->data, &f, sizeof f);
    if (s->n_sequence)
        memcpy(out->data + f.sequence_at, s->sequence, s->n_sequence * sizeof *s->sequence);
    else
        memcpy(out->data + f.sequence_at, &p->steady, sizeof p->steady);
    memcpy(out->data + f.groups_at, p->groups.v, p->groups.n * sizeof *p->groups.v);
    if (p->entries.n)
        memcpy(out->data + f.entries_at, p->entries.v, p->entries.n * sizeof *p->entries.v);
    if (p->page_tiers.n)
        memcpy(out->data + f.page_tiers_at, p->page_tiers.v, p->page_tiers.n);
    at = out->data + f.storages_at;
    for (uint32_t i = 0; i < f.n_storages; i++, at += sizeof(struct nf_plan_storage))
        *(struct nf_plan_storage *)(void *)at = storage_of(p, i);
    if (moves)
        memcpy(out->data + f.ops_at, p->ops, (f.n_ops + (size_t)1) * sizeof *p->ops);
    if (f.n_moves)
        memcpy(out->data + f.moves_at, p->moves.v, f.n_moves * sizeof *p->moves.v);
    return 0;
}

static int check(const struct nf_live_plan_wish *w)
{
    const struct nf_policy_semantics *s = &w->policy->semantics;

    if (!(w->near_share > 0 && w->near_share <= 1))
        return nf_fail(-EINVAL, "a near share lies above 0 %% and at most at 100 %%, not at %g %%", 100 * w->near_share);
    if (s->samples || s->mover == NF_MOVER_KERNEL)
        return nf_fail(-EINVAL, "what policy %s does depends on the time and the accesses it sees while it runs, and a plan is made "
                                "beforehand: only a replay can follow it", w->policy->name);
    if (w->policy->recompute)
        return nf_fail(-EINVAL, "policy %s runs operators again, and a job cannot be made to do so by what allocates its memory: "
                                "only a replay can", w->policy->name);
    return 0;
}

int nf_live_plan_init(struct nf_live_plan *out, const struct nf_live_plan_wish *wish)
{
    const struct nf_stream *s = wish->stream;
    struct play p = {.w = wish, .out = out, .steady = nf_stream_steady_class(s)};
    int rc = check(wish);

    *out = (struct nf_live_plan){0};
    if (rc)
        return rc;
    p.c = &s->classes[p.steady];
    rc = nf_step_class_peak(p.c, &out->peak_bytes);
    out->near_bytes = nf_near_bytes(wish->near_share, out->peak_bytes);
    if (!rc)
        rc = play(&p);
    for (uint32_t i = 0; i < s->n_classes && !rc; i++)
        rc = push_group(&p, &s->classes[i], false);
    /* A capture's first step begins with the program: what is there before training is of its class. */
    if (!rc)
        rc = push_group(&p, s->n_sequence ? &s->classes[s->sequence[0]] : p.c, true);
    if (!rc)
        rc = nf_live_anchor(p.c, p.ops, &out->early);
    if (!rc)
        rc = write_file(&p, out);
    nf_player_deinit(&p.player);
    nf_step_order_deinit(&p.order);
    nf_profiles_free(p.profiles, s->n_classes);
    free(p.pages_at);
    free(p.moved);
    free(p.seen);
    free(p.ops);
    free(p.entry_of);
    nf_array_free(&p.moves);
    nf_array_free(&p.page_tiers);
    nf_array_free(&p.entries);
    nf_array_free(&p.groups);
    return rc;
}

void nf_live_plan_deinit(struct nf_live_plan *p)
{
    free(p->data);
    *p = (struct nf_live_plan){0};
}
