#include "pool/gap-plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/policies.h"
#include "pool/stays.h"

const struct nf_option nf_gap_option_table[] = {NF_GAP_OPTION_ROWS, {NULL}};
const struct nf_gap_options nf_gap_option_defaults = NF_GAP_OPTION_DEFAULTS;

struct plan {
    struct nf_timetable *t;
    const struct nf_gap_options *o;
    struct nf_stays stays;
    uint32_t capacity;    /* pages */
    bool parts;
    uint32_t *kept;       /* pages, by stay */
    uint32_t *fetched_at; /* by stay: the op after which the others are fetched; NONE */
    uint32_t *fetched;    /* by stay: pages that are near then */
    struct nf_load load;
    double link_ns;       /* of one direction in a step, not yet reserved */
};

static int out_of_memory(const struct plan *p)
{
    return nf_fail(-ENOMEM, "no memory to plan %u tensors", p->t->of->n_tensors);
}

/* Most bytes per page first. */
static const struct nf_stays *ranked;
static int more_useful(const void *a, const void *b)
{
    const struct nf_stay *x = &ranked->v[*(const uint32_t *)a], *y = &ranked->v[*(const uint32_t *)b];
    double dx = (double)x->bytes / x->pages, dy = (double)y->bytes / y->pages;

    return dx > dy ? -1 : dx < dy;
}

/* Room from an op on to the use. */
static uint32_t room_from(const struct plan *p, uint32_t op, const struct nf_stay *s)
{
    uint32_t peak = nf_load_peak(&p->load, op, s->to);

    return peak < p->capacity ? p->capacity - peak : 0;
}

/* Where a gap is not kept whole but its use can be met: within the step only. */
static void fetch(struct plan *p, uint32_t i)
{
    const struct nf_stay *s = &p->stays.v[i];
    const struct nf_step_uses *u = &p->t->uses;
    uint32_t missing = s->pages - p->kept[i], at, room;
    double takes = nf_timetable_link_ns(p->t->env) +
                   (double)missing * NF_PAGE_BYTES / nf_timetable_link_bps(p->t->env) * 1e9 * (1 + p->o->slack);
    double begins = u->start_ns[s->to] - takes;

    if (!missing || s->born || s->from >= s->to || begins <= u->start_ns[s->from + 1] + takes || takes > p->link_ns)
        return;
    at = nf_step_uses_at(u, begins);
    if (at <= s->from + 1)
        return;
    room = room_from(p, at, s);
    if (!room || (room < missing && !p->parts))
        return;
    if (room < missing) { /* a part begins when all would have */
        takes *= (double)room / missing;
        missing = room;
    }
    nf_load_add(&p->load, at, s->to, missing);
    p->link_ns -= takes;
    p->fetched_at[i] = at - 1;
    p->fetched[i] = p->kept[i] + missing;
}

static int fetch_all(struct plan *p)
{
    uint32_t *order = malloc((p->stays.n + (size_t)1) * sizeof *order);

    if (!order)
        return out_of_memory(p);
    for (uint32_t i = 0; i < p->stays.n; i++)
        order[i] = i;
    ranked = &p->stays;
    qsort(order, p->stays.n, sizeof *order, more_useful);
    for (uint32_t i = 0; i < p->stays.n; i++)
        fetch(p, order[i]);
    free(order);
    return 0;
}

static uint32_t near_after(const struct plan *p, uint32_t stay)
{
    return p->fetched_at[stay] != NF_TIMETABLE_NONE ? p->fetched[stay] : p->kept[stay];
}

/* The moves that a stay wants, when the tensor was just used at its beginning and so many pages are near. */
static int move_for(struct plan *p, uint32_t i, uint32_t near)
{
    const struct nf_stay *s = &p->stays.v[i];
    int rc = 0;

    if (p->kept[i] > near) /* promoted after use */
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){s->from, s->before, s->to, true, p->kept[i]});
    else if (p->kept[i] < near)
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){.op = s->from, .tensor = s->before, .pages = p->kept[i]});
    if (!rc && p->fetched_at[i] != NF_TIMETABLE_NONE)
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){p->fetched_at[i], s->before, s->to, true, p->fetched[i]});
    return rc;
}

/* last_of: by tensor, its last stay; NONE: it has none. gone: whether somebody sees to what becomes of it after that. */
static int move_all(struct plan *p, uint32_t *last_of, bool *seen_to)
{
    const struct nf_step_class *c = p->t->of;
    int rc = 0;

    memset(p->t->near_at_birth, 0, c->n_tensors * sizeof *p->t->near_at_birth);
    p->t->unplanned_far = true;
    p->t->parts = p->parts;
    for (uint32_t i = 0; i < c->n_tensors; i++)
        last_of[i] = NF_TIMETABLE_NONE;
    for (uint32_t i = 0; i < p->stays.n; i++)
        last_of[p->stays.v[i].tensor] = i;
    for (uint32_t i = 0; i < p->stays.n && !rc; i++) {
        const struct nf_stay *s = &p->stays.v[i];
        bool first = !i || p->stays.v[i - 1].tensor != s->tensor, round = first && !s->born && c->tensors[s->tensor].birth < 0;
        uint32_t earlier = round ? last_of[s->before] : first ? NF_TIMETABLE_NONE : i - 1;

        if (first)
            p->t->near_at_birth[s->tensor] = p->kept[i];
        if (round)
            seen_to[s->before] = true;
        if (!s->born)
            rc = move_for(p, i, earlier != NF_TIMETABLE_NONE ? near_after(p, earlier) : 0);
    }
    /* Nobody will use what is left, or nobody knows when. */
    for (uint32_t i = 0; i < c->n_tensors && !rc; i++) {
        uint32_t last = last_of[i];

        if (last != NF_TIMETABLE_NONE && c->tensors[i].death == NF_OP_AFTER && !seen_to[i] && near_after(p, last))
            rc = nf_timetable_add(p->t, (struct nf_timetable_entry){.op = p->stays.v[last].to, .tensor = i});
    }
    return rc;
}

static int move_tensors(struct plan *p)
{
    size_t n = p->t->of->n_tensors + (size_t)1;
    uint32_t *last_of = malloc(n * sizeof *last_of);
    bool *seen_to = calloc(n, sizeof *seen_to);
    int rc = last_of && seen_to ? move_all(p, last_of, seen_to) : out_of_memory(p);

    free(last_of);
    free(seen_to);
    return rc;
}

static int yes_or_no(const char *name, const char *given, bool *yes)
{
    *yes = !strcmp(given, "yes");
    return *yes || !strcmp(given, "no") ? 0 : nf_fail(-EINVAL, "%s=%s: there are yes and no", name, given);
}

static int plan_init(struct plan *p)
{
    int rc = nf_stays_init(&p->stays, &p->t->env->profiles[p->t->env->steady_class], &p->t->uses);
    size_t n = p->stays.n + (size_t)1;

    if (rc)
        return rc;
    p->capacity = nf_stays_capacity(p->t->env->capacity[0] / NF_PAGE_BYTES);
    p->kept = calloc(n, sizeof *p->kept);
    p->fetched = calloc(n, sizeof *p->fetched);
    p->fetched_at = malloc(n * sizeof *p->fetched_at);
    if (!p->kept || !p->fetched || !p->fetched_at || nf_load_init(&p->load, p->t->of->n_ops))
        return out_of_memory(p);
    for (uint32_t i = 0; i < p->stays.n; i++)
        p->fetched_at[i] = NF_TIMETABLE_NONE;
    return 0;
}

int nf_gap_plan(struct nf_timetable *t, nf_gap_choose_fn *choose)
{
    const struct nf_gap_options *o = t->env->options;
    struct plan p = {.t = t, .o = o, .link_ns = t->uses.start_ns[t->of->n_ops] / 2}; /* the other half is for what is written back */
    bool prefetch;
    int rc = !(o->slack >= 0) ? nf_fail(-EINVAL, "slack=%g: a slack is not below 0", o->slack) : yes_or_no("prefetch", o->prefetch, &prefetch);

    if (!rc)
        rc = yes_or_no("parts", o->parts, &p.parts);
    if (rc || !t->of->n_ops)
        return rc;
    rc = plan_init(&p);
    if (!rc)
        rc = choose(t, &p.stays, p.capacity, p.parts, p.kept);
    for (uint32_t i = 0; !rc && i < p.stays.n; i++) {
        if (p.kept[i])
            nf_stay_hold(&p.stays.v[i], &p.load, p.stays.n_ops, p.kept[i]);
    }
    if (!rc && prefetch)
        rc = fetch_all(&p);
    if (!rc)
        rc = move_tensors(&p);
    nf_load_deinit(&p.load);
    nf_stays_deinit(&p.stays);
    free(p.kept);
    free(p.fetched);
    free(p.fetched_at);
    return rc;
}

static int choose_greedily(const struct nf_timetable *t, const struct nf_stays *s, uint32_t capacity, bool parts, uint32_t *kept)
{
    return nf_stays_choose(s, capacity, parts, kept);
}

static int plan_greedily(struct nf_timetable *t)
{
    return nf_gap_plan(t, choose_greedily);
}

int nf_gap_greedy_init(const struct nf_policy_env *env, void **policy)
{
    return nf_timetable_policy_open(env, plan_greedily, policy);
}
