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
    uint32_t capacity; /* pages */
    bool parts, prefetch;
    uint32_t *kept;    /* pages, by stay */
    struct course {
        uint32_t before, after; /* the stay that ends where this one begins, that begins where it ends; NONE */
        uint32_t fetched;       /* pages more that come before the use it ends in */
        uint32_t back;          /* so many ops before that use they are there */
    } *of;             /* by stay */
    struct nf_load load;
    double link_ns;    /* of one direction in a step, not yet reserved */
};

static int out_of_memory(const struct plan *p)
{
    return nf_fail(-ENOMEM, "no memory to plan %u tensors", p->t->of->n_tensors);
}

/* --- which stay follows which --- */

/* Round the end of the step the last stay of the tensor that leaves is followed by the first of the one it enters as. */
static int link_stays(struct plan *p)
{
    uint32_t n = p->t->of->n_tensors, *last_of = malloc((n + (size_t)1) * sizeof *last_of);

    if (!last_of)
        return out_of_memory(p);
    for (uint32_t t = 0; t < n; t++)
        last_of[t] = NF_TIMETABLE_NONE;
    for (uint32_t i = 0; i < p->stays.n; i++)
        last_of[p->stays.v[i].tensor] = i;
    for (uint32_t i = 0; i < p->stays.n; i++)
        p->of[i] = (struct course){NF_TIMETABLE_NONE, NF_TIMETABLE_NONE, 0, 0};
    for (uint32_t i = 0; i < p->stays.n; i++) {
        const struct nf_stay *s = &p->stays.v[i];
        uint32_t before = i && p->stays.v[i - 1].tensor == s->tensor ? i - 1 : NF_TIMETABLE_NONE;

        if (before == NF_TIMETABLE_NONE && !s->born && p->t->of->tensors[s->tensor].birth < 0 && s->use == 0)
            before = last_of[s->before];
        p->of[i].before = before;
        if (before != NF_TIMETABLE_NONE)
            p->of[before].after = i;
    }
    free(last_of);
    return 0;
}

static uint32_t kept_of(const struct plan *p, uint32_t stay)
{
    return stay != NF_TIMETABLE_NONE ? p->kept[stay] : 0;
}

/* Pages near at the use a stay ends in. */
static uint32_t near_after(const struct plan *p, uint32_t stay)
{
    return stay != NF_TIMETABLE_NONE ? p->kept[stay] + p->of[stay].fetched : 0;
}

static void hold(struct plan *p, uint32_t i, uint32_t pages)
{
    if (pages != p->kept[i])
        nf_stay_hold(&p->stays.v[i], &p->load, p->stays.n_ops, pages - p->kept[i]); /* modulo 2^32 */
    p->kept[i] = pages;
}

/* --- fetches --- */

/* Ops from one use to the next, that use included. */
static uint32_t gap_ops(const struct plan *p, const struct nf_stay *s)
{
    uint32_t n = p->stays.n_ops;

    return s->born && s->from == s->to ? 0 : s->from < s->to ? s->to - s->from : s->to + n - s->from;
}

static double gap_ns(const struct plan *p, const struct nf_stay *s)
{
    const double *start = p->t->uses.start_ns;

    return start[s->to] - start[s->from + 1] + (s->from < s->to ? 0 : start[p->stays.n_ops]);
}

static uint32_t op_before(const struct plan *p, const struct nf_stay *s, uint32_t back)
{
    return back <= s->to ? s->to - back : s->to + p->stays.n_ops - back;
}

static uint32_t room_before_use(const struct plan *p, const struct nf_stay *s, uint32_t back)
{
    uint32_t first = op_before(p, s, back), peak = nf_load_peak(&p->load, first <= s->to ? first : 0, s->to);

    if (first > s->to) {
        uint32_t late = nf_load_peak(&p->load, first, p->stays.n_ops - 1);

        peak = late > peak ? late : peak;
    }
    return peak < p->capacity ? p->capacity - peak : 0;
}

static void hold_before_use(struct plan *p, const struct nf_stay *s, uint32_t back, uint32_t pages)
{
    uint32_t first = op_before(p, s, back);

    nf_load_add(&p->load, first <= s->to ? first : 0, s->to, pages);
    if (first > s->to)
        nf_load_add(&p->load, first, p->stays.n_ops - 1, pages);
}

static double fetch_ns(const struct plan *p, uint32_t pages)
{
    return nf_timetable_link_ns(p->t->env) + (double)pages * NF_PAGE_BYTES / nf_timetable_link_bps(p->t->env) * 1e9 * (1 + p->o->slack);
}

/* How many ops before the use a fetch has to begin so that it is done; within the gap, and after what left at its beginning. */
static uint32_t ops_ahead(const struct plan *p, const struct nf_stay *s, double takes)
{
    const struct nf_step_uses *u = &p->t->uses;
    double begins = u->start_ns[s->to] - takes;
    uint32_t most = gap_ops(p, s) - 2, at, back;

    if (takes >= gap_ns(p, s))
        return most;
    at = nf_step_uses_at(u, begins < 0 ? begins + u->start_ns[p->stays.n_ops] : begins);
    back = at <= s->to ? s->to - at : s->to + p->stays.n_ops - at;
    return back < most ? back : most;
}

static void reserve(struct plan *p, uint32_t i, uint32_t back, uint32_t pages, double takes)
{
    hold_before_use(p, &p->stays.v[i], back, pages);
    p->of[i].back = back;
    p->of[i].fetched = pages;
    p->link_ns -= takes;
}

/* What is kept after a use and not before it comes once, and best before that use: in time if near has the room for so long. */
static void fetch_for_stay(struct plan *p, uint32_t i)
{
    uint32_t before = p->of[i].before, missing, room, back;
    const struct nf_stay *s;

    if (before == NF_TIMETABLE_NONE || p->kept[i] <= near_after(p, before) || p->of[before].fetched)
        return;
    s = &p->stays.v[before];
    if (gap_ops(p, s) < 2)
        return;
    missing = p->kept[i] - p->kept[before];
    back = p->prefetch ? ops_ahead(p, s, fetch_ns(p, missing)) : 0;
    while ((room = room_before_use(p, s, back)) < missing && back)
        back /= 2;
    if (room < missing && !p->parts)
        return;
    missing = room < missing ? room : missing;
    if (missing)
        reserve(p, before, back, missing, fetch_ns(p, missing));
}

static void fetch_no_more(struct plan *p, uint32_t i)
{
    if (!p->of[i].fetched)
        return;
    hold_before_use(p, &p->stays.v[i], p->of[i].back, -p->of[i].fetched);
    p->link_ns += fetch_ns(p, p->of[i].fetched);
    p->of[i].fetched = 0;
}

/* A use that saves more than its tensor's bytes is worth a fetch of its own. */
static bool worth_fetching(const struct plan *p, uint32_t i)
{
    const struct nf_stay *s = &p->stays.v[i];

    return p->kept[i] < s->pages && !p->of[i].fetched && gap_ops(p, s) > 2 &&
           (double)s->last_bytes > p->o->migration * (double)s->pages * NF_PAGE_BYTES;
}

static void fetch_for_use(struct plan *p, uint32_t i)
{
    const struct nf_stay *s = &p->stays.v[i];
    uint32_t missing = s->pages - p->kept[i], back, room;
    double takes = fetch_ns(p, missing);

    if (gap_ns(p, s) <= 2 * takes || takes > p->link_ns)
        return;
    back = ops_ahead(p, s, takes); /* a part begins when all would have */
    room = room_before_use(p, s, back);
    if (!room || (room < missing && !p->parts))
        return;
    missing = room < missing ? room : missing;
    reserve(p, i, back, missing, fetch_ns(p, missing));
}

/* --- what is worth its moves --- */

/* Most bytes per page first, as a number to sort by: a float's bits are in its order where none is below 0. */
static uint64_t usefulness(const struct nf_stay *s, uint32_t number)
{
    float density = (float)((double)s->bytes / s->pages);
    uint32_t bits;

    memcpy(&bits, &density, sizeof bits);
    return (uint64_t)~bits << 32 | number;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* For the stays that are wanted, the most useful first. */
static int for_each(struct plan *p, bool (*wanted)(const struct plan *p, uint32_t stay), void (*act)(struct plan *p, uint32_t stay))
{
    uint64_t *order = malloc((p->stays.n + (size_t)1) * sizeof *order);
    uint32_t n = 0;

    if (!order)
        return out_of_memory(p);
    for (uint32_t i = 0; i < p->stays.n; i++)
        if (wanted(p, i))
            order[n++] = usefulness(&p->stays.v[i], i);
    qsort(order, n, sizeof *order, ascending);
    for (uint32_t i = 0; i < n; i++)
        act(p, (uint32_t)order[i]);
    free(order);
    return 0;
}

static bool has_to_come(const struct plan *p, uint32_t i)
{
    return !p->stays.v[i].born && p->kept[i] > near_after(p, p->of[i].before);
}

/* Whether pages of a stay that were not near before it, and stay near in those that follow, save more than they cost to bring. */
static bool worth_bringing(const struct plan *p, uint32_t i)
{
    uint32_t before = p->of[i].before, level = kept_of(p, before), last = level;
    double pages = p->stays.v[i].pages, brought = 0, saved = 0;

    for (uint32_t k = i; k != NF_TIMETABLE_NONE && p->kept[k] > level; k = p->of[k].after) {
        const struct nf_stay *s = &p->stays.v[k];

        saved += (double)s->bytes * (p->kept[k] - level) / pages;
        brought += p->kept[k] > last ? (double)(p->kept[k] - last) * NF_PAGE_BYTES : 0;
        if (p->kept[k] > last && p->of[k].before != NF_TIMETABLE_NONE)
            saved += (double)p->stays.v[p->of[k].before].last_bytes * p->of[p->of[k].before].fetched / pages;
        last = p->kept[k];
    }
    return saved > p->o->migration * brought;
}

static void give_up(struct plan *p, uint32_t i)
{
    uint32_t before = p->of[i].before, level = kept_of(p, before);

    for (uint32_t k = i; k != NF_TIMETABLE_NONE && p->kept[k] > level; k = p->of[k].after) {
        if (p->of[k].before != NF_TIMETABLE_NONE)
            fetch_no_more(p, p->of[k].before);
        hold(p, k, level);
    }
}

/* What is near on one side of a stay could be near throughout it. */
static bool could_stay(const struct plan *p, uint32_t i)
{
    uint32_t before = p->of[i].before, after = p->of[i].after;

    return p->kept[i] < p->stays.v[i].pages && (p->stays.v[i].born || near_after(p, before) > p->kept[i] || kept_of(p, after) > p->kept[i]);
}

static void let_stay(struct plan *p, uint32_t i)
{
    const struct nf_stay *s = &p->stays.v[i];
    uint32_t before = near_after(p, p->of[i].before), after = kept_of(p, p->of[i].after), most, room;

    fetch_no_more(p, i);
    most = s->born ? s->pages : before > after ? before : after;
    most = most < s->pages ? most : s->pages;
    room = nf_stay_room(s, &p->load, p->stays.n_ops, p->capacity);
    if (most > p->kept[i] && (p->parts || room >= most - p->kept[i]))
        hold(p, i, room < most - p->kept[i] ? p->kept[i] + room : most);
    if (p->of[i].after != NF_TIMETABLE_NONE)
        fetch_for_stay(p, p->of[i].after);
}

static int weigh_moves(struct plan *p)
{
    int rc = for_each(p, has_to_come, fetch_for_stay);
    bool some = false;

    for (uint32_t i = 0; !rc && i < p->stays.n; i++) {
        if (p->stays.v[i].born || p->kept[i] <= kept_of(p, p->of[i].before) || worth_bringing(p, i))
            continue;
        give_up(p, i);
        some = true;
    }
    if (!rc && some)
        rc = for_each(p, could_stay, let_stay);
    if (!rc)
        rc = for_each(p, has_to_come, fetch_for_stay);
    return rc || !p->prefetch ? rc : for_each(p, worth_fetching, fetch_for_use);
}

/* --- moves --- */

/* The moves that a stay wants, when the tensor was just used at its beginning and so many pages are near. */
static int move_for(struct plan *p, uint32_t i, uint32_t near)
{
    const struct nf_stay *s = &p->stays.v[i];
    int rc = 0;

    if (p->kept[i] > near) /* promoted after use */
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){s->from, s->before, s->to, true, p->kept[i]});
    else if (p->kept[i] < near)
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){.op = s->from, .tensor = s->before, .pages = p->kept[i]});
    if (!rc && p->of[i].fetched)
        rc = nf_timetable_add(p->t, (struct nf_timetable_entry){op_before(p, s, p->of[i].back + 1), s->before, s->to, true, near_after(p, i)});
    return rc;
}

static int move_tensors(struct plan *p)
{
    const struct nf_step_class *c = p->t->of;
    int rc = 0;

    memset(p->t->near_at_birth, 0, c->n_tensors * sizeof *p->t->near_at_birth);
    p->t->unplanned_far = true;
    p->t->parts = p->parts;
    for (uint32_t i = 0; i < p->stays.n && !rc; i++) {
        const struct nf_stay *s = &p->stays.v[i];
        bool first = !i || p->stays.v[i - 1].tensor != s->tensor, last = i + 1 == p->stays.n || p->stays.v[i + 1].tensor != s->tensor;

        if (first)
            p->t->near_at_birth[s->tensor] = p->kept[i];
        rc = move_for(p, i, s->born ? p->kept[i] : near_after(p, p->of[i].before));
        /* Nobody will use what is left, or nobody knows when. */
        if (!rc && last && p->of[i].after == NF_TIMETABLE_NONE && c->tensors[s->tensor].death == NF_OP_AFTER && near_after(p, i))
            rc = nf_timetable_add(p->t, (struct nf_timetable_entry){.op = s->to, .tensor = s->tensor});
    }
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
    p->of = malloc(n * sizeof *p->of);
    if (!p->kept || !p->of || nf_load_init(&p->load, p->t->of->n_ops))
        return out_of_memory(p);
    return link_stays(p);
}

/* All at once: as nf_stay_hold of each. */
static int hold_chosen(struct plan *p)
{
    uint32_t n = p->stays.n_ops, *change = calloc(n + (size_t)1, sizeof *change);

    if (!change)
        return out_of_memory(p);
    for (uint32_t i = 0; i < p->stays.n; i++) {
        const struct nf_stay *s = &p->stays.v[i];
        bool round = s->first > s->last;

        change[s->since] += p->kept[i];
        change[round ? n : s->until + 1] -= p->kept[i];
        change[0] += round ? p->kept[i] : 0;
        change[s->last + 1] -= round ? p->kept[i] : 0;
    }
    nf_load_fill(&p->load, change, n);
    free(change);
    return 0;
}

static int read_options(struct plan *p)
{
    int rc = 0;

    if (!(p->o->slack >= 0))
        rc = nf_fail(-EINVAL, "slack=%g: a slack is not below 0", p->o->slack);
    if (!rc && !(p->o->migration >= 0))
        rc = nf_fail(-EINVAL, "migration=%g: a weight is not below 0", p->o->migration);
    if (!rc)
        rc = yes_or_no("prefetch", p->o->prefetch, &p->prefetch);
    return rc ? rc : yes_or_no("parts", p->o->parts, &p->parts);
}

int nf_gap_plan(struct nf_timetable *t, nf_gap_choose_fn *choose)
{
    struct plan p = {.t = t, .o = t->env->options, .link_ns = t->uses.start_ns[t->of->n_ops] / 2}; /* the other half is for what is written back */
    int rc = read_options(&p);

    if (rc || !t->of->n_ops)
        return rc;
    rc = plan_init(&p);
    if (!rc)
        rc = choose(t, &p.stays, p.capacity, p.parts, p.kept);
    if (!rc)
        rc = hold_chosen(&p);
    if (!rc)
        rc = weigh_moves(&p);
    if (!rc)
        rc = move_tensors(&p);
    nf_load_deinit(&p.load);
    nf_stays_deinit(&p.stays);
    free(p.kept);
    free(p.of);
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
