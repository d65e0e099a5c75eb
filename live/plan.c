#include "live/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/base/job-placer.h"
#include "live/plan-file.h"
#include "live/play.h"

typedef NF_ARRAY(struct nf_plan_entry) entry_array;
typedef NF_ARRAY(struct nf_plan_group) group_array;

/* A plan while it is written down. */
struct writing {
    const struct nf_live_plan_wish *w;
    const struct nf_step_class *c; /* the steady step */
    uint32_t steady;
    struct nf_live_play play;
    entry_array entries;
    group_array groups;
    uint32_t *entry_of; /* by number of the steady step; NF_PLAN_NONE: none */
};

static int push_entry(struct writing *p, const struct nf_tensor *t, uint64_t pages_at)
{
    const char *name = p->w->stream->names[t->name];
    const struct nf_plan_entry e = {.bytes = t->bytes, .address = t->address, .pages_at = pages_at, .pages = (uint32_t)nf_live_pages(t),
                                    .slot = t->carry_out != NF_CARRY_NONE ? t->carry_out : t->carry_in,
                                    .name = *name ? nf_job_tensor_hash(name, t->role) : 0,
                                    .born = t->birth < 0 ? NF_PLAN_NONE : (uint32_t)t->birth, .gone = nf_live_gone(t)};

    return nf_array_push(&p->entries, e) ? nf_fail(-ENOMEM, "out of memory for the plan") : 0;
}

/* The steady step's storage that a slot carries, or UINT64_MAX: its pages. */
static uint64_t carried_pages(const struct writing *p, int32_t slot)
{
    for (uint32_t i = 0; slot != NF_CARRY_NONE && i < p->c->n_tensors; i++) {
        if (p->c->tensors[i].carry_in == slot)
            return p->play.pages_at[i];
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
static int push_group(struct writing *p, const struct nf_step_class *c, bool carried)
{
    struct nf_plan_group g = {.first = (uint32_t)p->entries.n};
    uint32_t *order = in_order(c);
    int rc = order ? 0 : nf_fail(-ENOMEM, "out of memory for %u storages", c->n_tensors);

    for (uint32_t i = 0; i < c->n_tensors && !rc; i++) {
        const struct nf_tensor *t = &c->tensors[order[i]];
        int32_t slot = t->carry_out != NF_CARRY_NONE ? t->carry_out : t->carry_in;
        uint64_t at = c == p->c ? p->play.pages_at[order[i]] : carried_pages(p, slot);

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

static struct nf_plan_storage storage_of(const struct writing *p, uint32_t number)
{
    const struct nf_tensor *t = &p->c->tensors[number];
    struct nf_plan_storage s = {.slot = t->carry_in, .entry = p->entry_of[number], .gone = nf_live_gone(t)};

    if (p->play.pages_at[number] != UINT64_MAX && t->bytes >= NF_PLAN_MIN_BYTES) {
        s.pages_at = p->play.pages_at[number];
        s.pages = (uint32_t)nf_live_pages(t);
    }
    return s;
}

static int write_file(struct writing *p, struct nf_live_plan *out)
{
    const struct nf_stream *s = p->w->stream;
    uint32_t n_sequence = s->n_sequence ? s->n_sequence : 1;
    struct nf_plan_file f = {.version = NF_PLAN_VERSION, .n_tiers = p->w->tiers->n, .capacity = out->near_bytes,
                             .arena_bytes = 4 * out->peak_bytes + ((uint64_t)256 << 20), .n_sequence = n_sequence,
                             .n_groups = (uint32_t)p->groups.n, .n_entries = (uint32_t)p->entries.n,
                             .before = (uint32_t)p->groups.n - 1, .steady = p->steady, .n_page_tiers = p->play.page_tiers.n};

    bool moves = is_moving(p->w->policy);
    char *at;

    memcpy(f.magic, NF_PLAN_MAGIC, sizeof f.magic);
    for (uint32_t i = 0; i < NF_PLAN_TIERS; i++)
        f.node[i] = i < p->w->tiers->n ? p->w->tiers->node[i] : -1;
    f.sequence_at = eights(sizeof f);
    f.groups_at = f.sequence_at + eights(n_sequence * sizeof(uint32_t));
    f.entries_at = f.groups_at + eights(p->groups.n * sizeof *p->groups.v);
    f.page_tiers_at = f.entries_at + eights(p->entries.n * sizeof *p->entries.v);
    f.storages_at = f.page_tiers_at + eights(p->play.page_tiers.n);
    if (moves) {
        f.n_storages = p->c->n_tensors;
        f.n_ops = p->c->n_ops;
        f.n_moves = (uint32_t)p->play.moves.n;
        f.n_slots = s->n_carry;
        f.helper = p->w->policy->semantics.sync == NF_SYNC_HELPER;
    }
    f.ops_at = f.storages_at + eights(f.n_storages * sizeof(struct nf_plan_storage));
    f.moves_at = f.ops_at + (moves ? (f.n_ops + (uint64_t)1) * sizeof *p->play.ops : 0);
    out->size = f.moves_at + eights(f.n_moves * sizeof *p->play.moves.v);
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
    if (p->play.page_tiers.n)
        memcpy(out->data + f.page_tiers_at, p->play.page_tiers.v, p->play.page_tiers.n);
    at = out->data + f.storages_at;
    for (uint32_t i = 0; i < f.n_storages; i++, at += sizeof(struct nf_plan_storage))
        *(struct nf_plan_storage *)(void *)at = storage_of(p, i);
    if (moves)
        memcpy(out->data + f.ops_at, p->play.ops, (f.n_ops + (size_t)1) * sizeof *p->play.ops);
    if (f.n_moves)
        memcpy(out->data + f.moves_at, p->play.moves.v, f.n_moves * sizeof *p->play.moves.v);
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

static int find_entries(struct writing *p)
{
    const struct nf_stream *s = p->w->stream;
    int rc = 0;

    p->entry_of = malloc((p->c->n_tensors + (size_t)1) * sizeof *p->entry_of);
    if (!p->entry_of)
        return nf_fail(-ENOMEM, "out of memory for %u storages", p->c->n_tensors);
    for (uint32_t i = 0; i < p->c->n_tensors; i++)
        p->entry_of[i] = NF_PLAN_NONE;
    for (uint32_t i = 0; i < s->n_classes && !rc; i++)
        rc = push_group(p, &s->classes[i], false);
    /* A capture's first step begins with the program: what is there before training is of its class. */
    return rc ? rc : push_group(p, s->n_sequence ? &s->classes[s->sequence[0]] : p->c, true);
}

int nf_live_plan_init(struct nf_live_plan *out, const struct nf_live_plan_wish *wish)
{
    const struct nf_stream *s = wish->stream;
    struct writing p = {.w = wish, .steady = nf_stream_steady_class(s)};
    int rc = check(wish);

    *out = (struct nf_live_plan){0};
    if (rc)
        return rc;
    p.c = &s->classes[p.steady];
    rc = nf_step_class_peak(p.c, &out->peak_bytes);
    out->near_bytes = nf_near_bytes(wish->near_share, out->peak_bytes);
    if (!rc)
        rc = nf_live_play_init(&p.play, wish, out->near_bytes, out->peak_bytes);
    if (!rc)
        rc = find_entries(&p);
    for (uint32_t i = 0; i < p.c->n_ops && !rc; i++)
        p.play.ops[i].name = nf_job_name_hash(s->names[p.c->ops[i].name]);
    if (!rc)
        rc = nf_live_anchor(p.c, p.play.ops, &out->early);
    if (!rc)
        rc = write_file(&p, out);
    nf_live_play_deinit(&p.play);
    free(p.entry_of);
    nf_array_free(&p.entries);
    nf_array_free(&p.groups);
    return rc;
}

void nf_live_plan_deinit(struct nf_live_plan *p)
{
    free(p->data);
    *p = (struct nf_live_plan){0};
}
