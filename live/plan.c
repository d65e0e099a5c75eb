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
#include "pool/pool.h"

_Static_assert((int)NF_PLAN_TIERS == (int)NF_TIER_MAX, "as many tiers in a plan as in a pool");

enum { NO_HANDLE = UINT32_MAX, STEADY_CYCLES = 3 };

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
    struct nf_tier tiers[NF_TIER_MAX];
    struct nf_policy_ops played; /* the policy, whose moves copy: there are no nodes to migrate between in a play */
    struct nf_pool *pool;
    uint32_t *handles, *carry;
    uint64_t *pages_at; /* of each storage in tiers_of_pages; UINT64_MAX: not placed */
    tier_array page_tiers;
    entry_array entries;
    group_array groups;
    uint32_t *by_birth, *by_death; /* numbers, in that order */
    uint32_t *operands, *operand_of; /* of the running op: handles; 1 + index of the last one by number */
    uint8_t *rw;
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

static int open_pool(struct play *p)
{
    const struct nf_live_plan_wish *w = p->w;
    struct nf_pool_config c = {.tiers = p->tiers, .n_tiers = w->tiers->n, .policy = &p->played, .policy_options = w->options,
                               .profiles = p->profiles, .n_profiles = w->stream->n_classes, .steady_class = p->steady,
                               .seed = w->seed, .weightless = true};
    int rc = 0;

    p->played = *w->policy;
    if (p->played.semantics.mover == NF_MOVER_MOVE_PAGES)
        p->played.semantics.mover = NF_MOVER_COPY;

    for (uint32_t i = 0; i < w->tiers->n && !rc; i++) {
        char name[16];

        snprintf(name, sizeof name, "tier%u", i);
        rc = nf_tier_open(name, "null", NULL, &p->tiers[i]);
        c.capacity[i] = UINT64_MAX;
        c.arena_bytes[i] = 2 * p->out->peak_bytes + (16 << 20); /* addresses, never touched */
        c.latency_ns[i] = w->tiers->latency_ns[i];
        c.read_bps[i] = w->tiers->read_bps[i];
    }
    c.capacity[0] = p->out->near_bytes;
    return rc ? rc : nf_pool_open(&c, &p->pool);
}

static int prepare_profiles(struct play *p)
{
    const struct nf_stream *s = p->w->stream;
    int rc = 0;

    p->profiles = calloc(s->n_classes, sizeof *p->profiles);
    if (!p->profiles)
        return nf_fail(-ENOMEM, "out of memory for %u step classes", s->n_classes);
    for (uint32_t i = 0; i < s->n_classes && !rc; i++)
        rc = nf_profile_init(&p->profiles[i], &s->classes[i], p->w->llc_bytes, p->w->llc_bytes);
    return rc;
}

static int allocate(struct play *p, uint32_t number, uint32_t op)
{
    const struct nf_tensor *t = &p->c->tensors[number];
    const struct nf_pool_alloc a = {.bytes = nf_page_bytes(t->bytes), .address = t->address, .op = op, .step_class = p->steady,
                                    .number = number, .role = t->role};

    return t->bytes ? nf_pool_allocate(p->pool, &a, &p->handles[number]) : 0;
}

static void release(struct play *p, uint32_t *handle)
{
    if (*handle != NO_HANDLE)
        nf_pool_free(p->pool, *handle);
    *handle = NO_HANDLE;
}

/* The op's operands, each once. Returns how many. */
static uint32_t list_operands(struct play *p, uint32_t op)
{
    const struct nf_op *o = &p->c->ops[op];
    uint32_t n = 0;

    for (uint32_t i = o->first_visit; i < o->first_visit + o->n_visits; i++) {
        const struct nf_visit *v = &p->c->visits[i];
        uint32_t known = p->operand_of[v->tensor];

        if (!v->bytes)
            continue;
        if (known && known <= n && p->operands[known - 1] == p->handles[v->tensor]) {
            if (p->rw[known - 1] != v->rw)
                p->rw[known - 1] = NF_RW_UPDATE;
            continue;
        }
        p->operands[n] = p->handles[v->tensor];
        p->rw[n++] = v->rw;
        p->operand_of[v->tensor] = n;
    }
    return n;
}

/* Whether it lies elsewhere than when it was last looked at. */
static bool look(struct play *p, uint32_t number)
{
    const struct nf_pool_storage *s = nf_pool_storage(p->pool, p->handles[number]);
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
    const struct nf_pool_storage *s = nf_pool_storage(p->pool, p->handles[number]);
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
    uint32_t *moved = p->operand_of, n = 0; /* free between two ops */
    int rc = 0;

    p->ops[op].first_move = (uint32_t)p->moves.n;
    nf_pool_stats(p->pool, &stats);
    if (stats.moves == p->moves_made)
        return 0;
    p->moves_made = stats.moves;
    for (uint32_t i = 0; i < p->c->n_tensors; i++) {
        if (p->handles[i] != NO_HANDLE && look(p, i) && p->c->tensors[i].bytes >= NF_PLAN_MIN_BYTES)
            moved[n++] = i;
    }
    for (uint32_t i = 0; i < 2 * n && !rc; i++)
        rc = push_moves(p, moved[i % n], i >= n);
    memset(moved, 0, n * sizeof *moved);
    p->ops[op].n_moves = (uint32_t)p->moves.n - p->ops[op].first_move;
    return rc;
}

/* Where its pages are now. */
static int note(struct play *p, uint32_t number)
{
    const struct nf_pool_storage *s;
    uint64_t at = 0, run;
    uint32_t tier;

    if (p->handles[number] == NO_HANDLE)
        return 0;
    s = nf_pool_storage(p->pool, p->handles[number]);
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

static int enter_step(struct play *p)
{
    int rc = 0;

    for (uint32_t i = 0; i < p->c->n_tensors && !rc; i++) {
        int32_t slot = p->c->tensors[i].carry_in;

        if (slot == NF_CARRY_NONE)
            continue;
        p->handles[i] = p->carry[slot];
        p->carry[slot] = NO_HANDLE;
        if (p->handles[i] == NO_HANDLE)
            rc = allocate(p, i, 0);
    }
    return rc;
}

static void leave_step(struct play *p)
{
    for (uint32_t i = 0; i < p->c->n_tensors; i++) {
        int32_t slot = p->c->tensors[i].carry_out;

        if (slot == NF_CARRY_NONE || p->handles[i] == NO_HANDLE)
            continue;
        release(p, &p->carry[slot]);
        p->carry[slot] = p->handles[i];
        p->handles[i] = NO_HANDLE;
    }
    for (uint32_t i = 0; i < p->c->n_tensors; i++)
        release(p, &p->handles[i]);
}

/* An op as the job will have it: its storages are born, moves are over, it runs. */
static int play_op(struct play *p, uint32_t op, uint32_t *born, bool last)
{
    uint32_t first = *born, n;
    int rc = 0;

    for (; *born < p->c->n_tensors && p->c->tensors[p->by_birth[*born]].birth == (int32_t)op && !rc; (*born)++)
        rc = allocate(p, p->by_birth[*born], op);
    if (rc)
        return rc;
    n = list_operands(p, op);
    for (uint32_t i = 0; i < n; i++) {
        if (p->operands[i] == NO_HANDLE)
            return nf_fail(-EBADMSG, "op %u visits a tensor that is not alive", op);
    }
    rc = nf_pool_begin(p->pool, op, p->operands, p->rw, n);
    if (rc)
        return rc;
    rc = nf_pool_settle(p->pool); /* as if moves had time enough */
    for (uint32_t i = first; i < *born && last && !rc; i++)
        rc = note(p, p->by_birth[i]);
    memset(p->operand_of, 0, p->c->n_tensors * sizeof *p->operand_of);
    if (!rc && last)
        rc = note_moves(p, op);
    if (!rc)
        rc = nf_pool_end(p->pool, op);
    return rc ? rc : nf_pool_settle(p->pool);
}

static int play_step(struct play *p, bool last)
{
    uint32_t born = 0, dead = 0;
    struct nf_pool_stats stats;
    nf_regime regime = 0;
    int rc = enter_step(p);

    nf_pool_stats(p->pool, &stats);
    p->moves_made = stats.moves;
    for (uint32_t i = 0; i < p->c->n_tensors && last && !rc; i++)
        rc = note(p, i); /* those that were carried in */
    while (born < p->c->n_tensors && p->c->tensors[p->by_birth[born]].birth < 0)
        born++;
    for (uint32_t op = 0; op < p->c->n_ops && !rc; op++) {
        if (p->c->ops[op].regime != regime)
            rc = nf_pool_enter(p->pool, p->c->ops[op].regime);
        regime = p->c->ops[op].regime;
        if (!rc)
            rc = play_op(p, op, &born, last);
        for (; !rc && dead < p->c->n_tensors && p->c->tensors[p->by_death[dead]].death <= (int32_t)op; dead++)
            release(p, &p->handles[p->by_death[dead]]);
    }
    if (!rc && last)
        rc = note_moves(p, p->c->n_ops);
    if (rc)
        return rc;
    leave_step(p);
    rc = nf_pool_tick(p->pool);
    return rc ? rc : nf_pool_settle(p->pool);
}

static const struct nf_tensor *sorted; /* for the comparisons below */

static int earlier_birth(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;

    return sorted[i].birth != sorted[j].birth ? (sorted[i].birth < sorted[j].birth ? -1 : 1) : i < j ? -1 : i > j;
}

static int earlier_death(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;

    return sorted[i].death != sorted[j].death ? (sorted[i].death < sorted[j].death ? -1 : 1) : i < j ? -1 : i > j;
}

static uint32_t *in_order(const struct nf_step_class *c, int (*compare)(const void *, const void *))
{
    uint32_t *order = malloc((c->n_tensors + (size_t)1) * sizeof *order);

    for (uint32_t i = 0; order && i < c->n_tensors; i++)
        order[i] = i;
    sorted = c->tensors;
    if (order)
        qsort(order, c->n_tensors, sizeof *order, compare);
    return order;
}

static int play(struct play *p)
{
    uint32_t n = p->c->n_tensors, slots = p->w->stream->n_carry;
    int rc;

    p->handles = malloc((n + (size_t)1) * sizeof *p->handles);
    p->carry = malloc((slots + (size_t)1) * sizeof *p->carry);
    p->pages_at = malloc((n + (size_t)1) * sizeof *p->pages_at);
    p->by_birth = in_order(p->c, earlier_birth);
    p->by_death = in_order(p->c, earlier_death);
    p->operands = malloc((n + (size_t)1) * sizeof *p->operands);
    p->operand_of = calloc(n + (size_t)1, sizeof *p->operand_of);
    p->rw = malloc(n + (size_t)1);
    p->seen = calloc(n + (size_t)1, sizeof *p->seen);
    p->ops = calloc(p->c->n_ops + (size_t)1, sizeof *p->ops);
    p->entry_of = malloc((n + (size_t)1) * sizeof *p->entry_of);
    if (!p->handles || !p->carry || !p->pages_at || !p->by_birth || !p->by_death || !p->operands || !p->operand_of || !p->rw ||
        !p->seen || !p->ops || !p->entry_of)
        return nf_fail(-ENOMEM, "out of memory for %u storages", n);
    for (uint32_t i = 0; i < n; i++) {
        p->handles[i] = NO_HANDLE;
        p->pages_at[i] = UINT64_MAX;
        p->entry_of[i] = NF_PLAN_NONE;
    }
    for (uint32_t i = 0; i < p->c->n_ops; i++)
        p->ops[i].name = nf_job_name_hash(p->w->stream->names[p->c->ops[i].name]);
    for (uint32_t i = 0; i < slots; i++)
        p->carry[i] = NO_HANDLE;
    rc = prepare_profiles(p);
    if (!rc)
        rc = open_pool(p);
    for (unsigned i = 0; i < STEADY_CYCLES && !rc; i++)
        rc = play_step(p, i + 1 == STEADY_CYCLES);
    return rc;
}

/* --- the file --- */

static int push_entry(struct play *p, const struct nf_tensor *t, uint64_t pages_at)
{
    const char *name = p->w->stream->names[t->name];
    const struct nf_plan_entry e = {.bytes = t->bytes, .address = t->address, .pages_at = pages_at, .pages = (uint32_t)pages_of(t),
                                    .slot = t->carry_out != NF_CARRY_NONE ? t->carry_out : t->carry_in,
                                    .name = *name ? nf_job_tensor_hash(name, t->role) : 0};

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

/* What a step class allocates, and with `carried` what it finds. Of the steady one all; of another, whose storages nobody
 * placed, what it hands on. */
static int push_group(struct play *p, const struct nf_step_class *c, bool carried)
{
    struct nf_plan_group g = {.first = (uint32_t)p->entries.n};
    uint32_t *order = in_order(c, earlier_birth);
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
    struct nf_plan_storage s = {.slot = t->carry_in, .entry = p->entry_of[number]};

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
        rc = write_file(&p, out);
    nf_pool_close(p.pool);
    for (uint32_t i = 0; i < NF_TIER_MAX; i++)
        nf_tier_close(&p.tiers[i]);
    for (uint32_t i = 0; p.profiles && i < s->n_classes; i++)
        nf_profile_deinit(&p.profiles[i]);
    free(p.profiles);
    free(p.handles);
    free(p.carry);
    free(p.pages_at);
    free(p.by_birth);
    free(p.by_death);
    free(p.operands);
    free(p.operand_of);
    free(p.rw);
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
