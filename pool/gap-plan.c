#include "pool/gap-plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/load.h"
#include "pool/policies.h"
#include "pool/stays.h"

const struct nf_option nf_gap_option_table[] = {
    {"slack", 0, NF_OPTION_F64, offsetof(struct nf_gap_options, slack), "X", "a fetch takes so much longer than its bytes (default 0.5)"},
    {"prefetch", 0, NF_OPTION_STRING, offsetof(struct nf_gap_options, prefetch), "yes|no", "fetch for uses whose gap was not kept (default yes)"},
    {NULL},
};
const struct nf_gap_options nf_gap_option_defaults = {.slack = 0.5, .prefetch = "yes"};

struct plan {
    struct nf_timetable *t;
    const struct nf_gap_options *o;
    struct nf_stays stays;
    bool *kept;          /* by stay */
    uint32_t *fetched_at; /* by stay: the op after which it is fetched; NONE */
    struct nf_load load;
    double link_ns;      /* of one direction in a step, not yet reserved */
};

static void hold(struct plan *p, const struct nf_stay *s)
{
    if (s->first <= s->last) {
        nf_load_add(&p->load, s->first, s->until, s->pages);
        return;
    }
    nf_load_add(&p->load, s->first, p->stays.n_ops - 1, s->pages);
    nf_load_add(&p->load, 0, s->last, s->pages);
}

/* Most bytes per page first. */
static const struct nf_stays *ranked;
static int more_useful(const void *a, const void *b)
{
    const struct nf_stay *x = &ranked->v[*(const uint32_t *)a], *y = &ranked->v[*(const uint32_t *)b];
    double dx = (double)x->bytes / x->pages, dy = (double)y->bytes / y->pages;

    return dx > dy ? -1 : dx < dy;
}

/* Where a gap is not kept but its use can be met: within the step only. */
static void fetch(struct plan *p, uint32_t i)
{
    const struct nf_stay *s = &p->stays.v[i];
    const struct nf_step_uses *u = &p->t->uses;
    uint64_t capacity = p->t->env->capacity[0] / NF_PAGE_BYTES;
    double takes = nf_timetable_link_ns(p->t->env) +
                   (double)s->pages * NF_PAGE_BYTES / nf_timetable_link_bps(p->t->env) * 1e9 * (1 + p->o->slack);
    double begins = u->start_ns[s->to] - takes;
    uint32_t at;

    if (p->kept[i] || s->born || s->from >= s->to || begins <= u->start_ns[s->from + 1] + takes || takes > p->link_ns)
        return;
    at = nf_step_uses_at(u, begins);
    if (at <= s->from + 1 || nf_load_peak(&p->load, at, s->to) + (uint64_t)s->pages > capacity)
        return;
    nf_load_add(&p->load, at, s->to, s->pages);
    p->link_ns -= takes;
    p->fetched_at[i] = at - 1;
}

static int fetch_all(struct plan *p)
{
    uint32_t *order = malloc((p->stays.n + (size_t)1) * sizeof *order);

    if (!order)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->stays.n; i++)
        order[i] = i;
    ranked = &p->stays;
    qsort(order, p->stays.n, sizeof *order, more_useful);
    for (uint32_t i = 0; i < p->stays.n; i++)
        fetch(p, order[i]);
    free(order);
    return 0;
}

static bool is_near_after(const struct plan *p, uint32_t stay)
{
    return p->kept[stay] || p->fetched_at[stay] != NF_TIMETABLE_NONE;
}

/* The moves that a stay wants, when the tensor was just used at its beginning and lies where `near` says. */
static int move_for(struct plan *p, uint32_t i, bool near)
{
    const struct nf_stay *s = &p->stays.v[i];
    int rc = 0;

    if (p->kept[i] && !near) /* promoted after use */
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){s->from, s->before, s->to, true});
    else if (!p->kept[i] && near)
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){.op = s->from, .tensor = s->before});
    if (!rc && p->fetched_at[i] != NF_TIMETABLE_NONE)
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){p->fetched_at[i], s->before, s->to, true});
    return rc;
}

/* last_of: by tensor, its last stay; NONE: it has none. gone: whether somebody sees to what becomes of it after that. */
static int move_all(struct plan *p, uint32_t *last_of, bool *seen_to)
{
    const struct nf_step_class *c = p->t->of;
    int rc = 0;

    memset(p->t->far_at_birth, 1, c->n_tensors);
    p->t->unplanned_far = true;
    for (uint32_t i = 0; i < c->n_tensors; i++)
        last_of[i] = NF_TIMETABLE_NONE;
    for (uint32_t i = 0; i < p->stays.n; i++)
        last_of[p->stays.v[i].tensor] = i;
    for (uint32_t i = 0; i < p->stays.n && !rc; i++) {
        const struct nf_stay *s = &p->stays.v[i];
        bool first = !i || p->stays.v[i - 1].tensor != s->tensor, round = first && !s->born && c->tensors[s->tensor].birth < 0;
        uint32_t earlier = round ? last_of[s->before] : first ? NF_TIMETABLE_NONE : i - 1;

        if (first)
            p->t->far_at_birth[s->tensor] = !p->kept[i];
        if (round)
            seen_to[s->before] = true;
        if (!s->born)
            rc = move_for(p, i, earlier != NF_TIMETABLE_NONE && is_near_after(p, earlier));
    }
    /* Nobody will use what is left, or nobody knows when. */
    for (uint32_t i = 0; i < c->n_tensors && !rc; i++) {
        uint32_t last = last_of[i];

        if (last != NF_TIMETABLE_NONE && c->tensors[i].death == NF_OP_AFTER && !seen_to[i] && is_near_after(p, last))
            rc = nf_timetable_add(p->t, (struct nf_timetable_entry){.op = p->stays.v[last].to, .tensor = i});
    }
    return rc;
}

static int move_tensors(struct plan *p)
{
    size_t n = p->t->of->n_tensors + (size_t)1;
    uint32_t *last_of = malloc(n * sizeof *last_of);
    bool *seen_to = calloc(n, sizeof *seen_to);
    int rc = last_of && seen_to ? move_all(p, last_of, seen_to) : -ENOMEM;

    free(last_of);
    free(seen_to);
    return rc;
}

int nf_gap_plan(struct nf_timetable *t, nf_gap_choose_fn *choose)
{
    const struct nf_gap_options *o = t->env->options;
    struct plan p = {.t = t, .o = o, .link_ns = t->uses.start_ns[t->of->n_ops] / 2}; /* the other half is for what is written back */
    int rc;

    if (!(o->slack >= 0))
        return nf_fail(-EINVAL, "slack=%g: a slack is not below 0", o->slack);
    if (strcmp(o->prefetch, "yes") && strcmp(o->prefetch, "no"))
        return nf_fail(-EINVAL, "prefetch=%s: there are yes and no", o->prefetch);
    if (!t->of->n_ops)
        return 0;
    rc = nf_stays_init(&p.stays, &t->env->profiles[t->env->steady_class], &t->uses);
    if (!rc)
        rc = nf_load_init(&p.load, t->of->n_ops);
    p.kept = calloc(p.stays.n + (size_t)1, sizeof *p.kept);
    p.fetched_at = malloc((p.stays.n + (size_t)1) * sizeof *p.fetched_at);
    if (!rc && (!p.kept || !p.fetched_at))
        rc = -ENOMEM;
    for (uint32_t i = 0; !rc && i < p.stays.n; i++)
        p.fetched_at[i] = NF_TIMETABLE_NONE;
    if (!rc)
        rc = choose(t, &p.stays, t->env->capacity[0] / NF_PAGE_BYTES, p.kept);
    for (uint32_t i = 0; !rc && i < p.stays.n; i++) {
        if (p.kept[i])
            hold(&p, &p.stays.v[i]);
    }
    if (!rc && !strcmp(o->prefetch, "yes"))
        rc = fetch_all(&p);
    if (!rc)
        rc = move_tensors(&p);
    nf_load_deinit(&p.load);
    nf_stays_deinit(&p.stays);
    free(p.kept);
    free(p.fetched_at);
    return rc == -ENOMEM ? nf_fail(rc, "no memory to plan %u tensors", t->of->n_tensors) : rc;
}

