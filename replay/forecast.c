#include "replay/forecast.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "pool/belady.h"
#include "pool/bound.h"
#include "pool/guard.h"
#include "pool/player.h"
#include "replay/forecast-answer.h"
#include "replay/variant.h"

enum { WARM_STEPS = 2 };

/* A tensor whose course is told, or what it is once it was made again. */
struct explained {
    uint32_t number;
    uint64_t near; /* bytes that were near when last looked at */
};

struct play {
    const struct nf_forecast_wish *w;
    struct nf_forecast *f;
    const struct nf_step_class *c;
    const struct nf_profile *profile; /* of the steady class */
    struct nf_step_order order;       /* as below */
    struct nf_step_uses uses;
    struct nf_stays stays;
    uint32_t *rank;  /* of each stay */
    double *lp_share;
    struct nf_player player;
    const struct nf_recompute_applied *varied; /* NULL: the step is as captured */
    NF_ARRAY(struct explained) explained;
    uint64_t moves; /* when last looked at */
    bool counting;
};

/* --- the steady step --- */

/* A move takes as long as the slowest of its tiers. */
static double slowest_bps(const struct nf_forecast_wish *w)
{
    double slowest = w->read_bps[0];

    for (uint32_t t = 1; t < w->n_tiers; t++)
        slowest = fmin(slowest, w->read_bps[t]);
    return slowest;
}

static uint32_t handle_of(const struct play *p, uint32_t number)
{
    return p->player.lives.handles[p->f->steady][number];
}

static uint64_t near_of(const struct play *p, uint32_t number)
{
    return nf_pool_storage(p->player.pool, handle_of(p, number))->piece[0].bytes;
}

static const int whys[] = {[NF_FORECAST_ENTERS] = NF_POLICY_WHY_ENTERS, [NF_FORECAST_BORN] = NF_POLICY_WHY_BORN,
                           [NF_FORECAST_AGAIN] = NF_POLICY_WHY_BORN, [NF_FORECAST_USED] = NF_POLICY_WHY_USED, [NF_FORECAST_TO_NEAR] = NF_POLICY_WHY_TO_NEAR,
                           [NF_FORECAST_TO_FAR] = NF_POLICY_WHY_TO_FAR};

static struct explained *explained_as(const struct play *p, uint32_t number)
{
    if (p->w->moves)
        return &p->explained.v[number];
    for (size_t i = 0; i < p->explained.n; i++)
        if (p->explained.v[i].number == number)
            return &p->explained.v[i];
    return NULL;
}

static uint32_t captured_as(const struct play *p, uint32_t number)
{
    return p->varied ? p->varied->tensor_of[number] : number;
}

/* All that the explained tensor is in the step that is played; where moves are wanted, all tensors. */
static int list_explained(struct play *p)
{
    int rc = 0;

    for (uint32_t t = 0; t < p->c->n_tensors && (p->w->moves || p->w->explain != UINT32_MAX) && !rc; t++)
        if (p->w->moves || captured_as(p, t) == p->w->explain)
            rc = nf_array_push(&p->explained, (struct explained){.number = t});
    return rc ? nf_fail(-ENOMEM, "out of memory for a tensor's course") : 0;
}

static int ask_why(struct play *p, const struct explained *x, struct nf_forecast_event *e)
{
    struct nf_policy_question q = {.what = whys[e->what], .handle = handle_of(p, x->number), .op = e->op,
                                   .step_class = p->f->steady, .number = x->number, .near_share = e->near};
    char text[NF_FORECAST_WHY_MAX];

    if (!nf_pool_explain(p->player.pool, &q, text, sizeof text))
        return 0;
    e->why = strdup(text);
    return e->why ? 0 : -ENOMEM;
}

/* e.op: of the step that is played, as the policy knows it. */
static int tell(struct play *p, const struct explained *x, struct nf_forecast_event e)
{
    int rc;

    if (p->w->moves && e.what != NF_FORECAST_AGAIN && e.what != NF_FORECAST_TO_NEAR && e.what != NF_FORECAST_TO_FAR)
        return 0;
    e.tensor = captured_as(p, x->number);
    e.near = (double)x->near / (double)nf_page_bytes(p->c->tensors[x->number].bytes);
    rc = ask_why(p, x, &e);
    e.again = p->varied && p->varied->again[e.op];
    e.op = p->varied ? p->varied->op_of[e.op] : e.op;
    if (!rc && !nf_array_push(&p->f->events, e))
        return 0;
    free(e.why);
    return nf_fail(-ENOMEM, "out of memory for a tensor's course");
}

/* Whether anything was moved since this was last asked. */
static bool moved(struct play *p)
{
    struct nf_pool_stats stats;
    uint64_t before = p->moves;

    nf_pool_stats(p->player.pool, &stats);
    p->moves = stats.moves;
    return p->moves != before;
}

/* Whether what is explained has moved since it was last looked at. */
static int look(struct play *p, uint32_t op)
{
    int rc = 0;

    if (p->w->moves && !moved(p)) /* all tensors are: not at every op */
        return 0;
    for (size_t i = 0; i < p->explained.n && p->counting && !rc; i++) {
        struct explained *x = &p->explained.v[i];
        uint64_t before = x->near;

        if (handle_of(p, x->number) == NF_NO_HANDLE)
            continue;
        x->near = near_of(p, x->number);
        if (x->near != before)
            rc = tell(p, x, (struct nf_forecast_event){.what = x->near > before ? NF_FORECAST_TO_NEAR : NF_FORECAST_TO_FAR, .op = op,
                                                       .bytes = x->near > before ? x->near - before : before - x->near});
    }
    return rc;
}

static int begin_explained(struct play *p, struct explained *x, enum nf_arrival how)
{
    const struct nf_tensor *t = &p->c->tensors[x->number];
    struct nf_forecast_event e = {.what = NF_FORECAST_ENTERS};

    x->near = near_of(p, x->number);
    if (how == NF_ARRIVES_BORN) {
        e.op = (uint32_t)t->birth;
        e.what = p->varied && p->varied->again[e.op] ? NF_FORECAST_AGAIN : NF_FORECAST_BORN;
    }
    if (e.what == NF_FORECAST_AGAIN) {
        e.chain_ns = p->varied->made_ns[x->number];
        e.far_ns = (double)nf_page_bytes(t->bytes) / slowest_bps(p->w) * 1e9;
    }
    return tell(p, x, e);
}

static int begin_course(void *context, uint32_t class_index, uint32_t number, enum nf_arrival how)
{
    struct play *p = context;
    struct nf_forecast_role *r = &p->f->role[p->c->tensors[number].role];
    struct explained *x = explained_as(p, number);

    if (!p->counting)
        return 0;
    r->tensors++;
    r->bytes += nf_page_bytes(p->c->tensors[number].bytes);
    r->born_near_bytes += near_of(p, number);
    return x ? begin_explained(p, x, how) : 0;
}

/* The stay that ends in a use of the explained tensor. */
static void add_gap(const struct play *p, uint32_t number, struct nf_forecast_event *e)
{
    for (uint32_t i = 0; i < p->stays.n; i++) {
        const struct nf_stay *s = &p->stays.v[i];

        if (s->tensor != number || s->to != e->op || (s->born && s->from == s->to))
            continue;
        e->after_gap = true;
        e->gap_ops = nf_stay_length(s, p->c->n_ops);
        e->rank = p->rank[i];
        e->gap_ns = p->uses.start_ns[s->to] - p->uses.start_ns[s->from + 1];
        e->gap_ns += e->gap_ns < 0 ? p->uses.start_ns[p->c->n_ops] : 0;
        e->lp_share = p->lp_share ? p->lp_share[i] : NAN;
    }
}

/* Of a step as captured, where the stays were not known yet when its course was told. */
static void add_gaps(const struct play *p)
{
    for (size_t i = 0; i < p->f->events.n; i++) {
        if (p->f->events.v[i].what == NF_FORECAST_USED)
            add_gap(p, p->w->explain, &p->f->events.v[i]);
    }
}

/* What an op uses of the explained tensor. */
static int tell_uses(struct play *p, uint32_t number, const struct nf_play_op *played)
{
    const struct nf_op *op = &p->c->ops[number];
    int rc = 0;

    for (uint32_t i = 0; i < played->n_operands && p->explained.n && !rc; i++) {
        const struct explained *x = explained_as(p, played->operands[i]);
        struct nf_forecast_event e = {.what = NF_FORECAST_USED, .op = number, .lp_share = NAN};

        if (!x)
            continue;
        for (uint32_t v = op->first_visit; v < op->first_visit + op->n_visits; v++)
            e.bytes += p->c->visits[v].tensor == x->number ? p->profile->visit_miss_bytes[v] : 0;
        add_gap(p, x->number, &e);
        rc = tell(p, x, e);
    }
    return rc;
}

/* Bytes past the LLC of an op, by where they lie; the time that takes. */
static void count_op(struct play *p, uint32_t number)
{
    const struct nf_op *op = &p->c->ops[number];
    double by_tier[NF_TIER_MAX] = {0}, longest = op->dur_ns + op->gap_ns;

    for (uint32_t v = op->first_visit; v < op->first_visit + op->n_visits; v++) {
        uint32_t tensor = p->c->visits[v].tensor;
        const struct nf_pool_storage *s = nf_pool_storage(p->player.pool, handle_of(p, tensor));
        struct nf_forecast_role *r = &p->f->role[p->c->tensors[tensor].role];
        double bytes = (double)p->profile->visit_miss_bytes[v];
        double far = bytes * (1 - (double)s->piece[0].bytes / (double)s->bytes);

        for (uint32_t t = 0; t < p->w->n_tiers; t++)
            by_tier[t] += bytes * (double)s->piece[t].bytes / (double)s->bytes;
        p->f->demand_bytes += (uint64_t)bytes;
        p->f->far_bytes += (uint64_t)far;
        r->demand_bytes += (uint64_t)bytes;
        r->far_bytes += (uint64_t)far;
    }
    p->f->captured_ns += p->varied && p->varied->again[number] ? 0 : longest;
    for (uint32_t t = 0; t < p->w->n_tiers; t++)
        longest = fmax(longest, by_tier[t] / p->w->read_bps[t] * 1e9);
    p->f->predicted_ns += longest;
}

static int next_op(void *context, uint32_t class_index, uint32_t number, struct nf_play_op *out)
{
    nf_play_op_of(&((struct play *)context)->order, number, out);
    return 0;
}

static int op_runs(void *context, uint32_t class_index, uint32_t number, const struct nf_play_op *played, const uint32_t *handles)
{
    struct play *p = context;
    int rc = look(p, number);

    if (rc || !p->counting)
        return rc;
    count_op(p, number);
    return tell_uses(p, number, played);
}

static int op_ended(void *context, uint32_t class_index, uint32_t number)
{
    return look(context, number);
}

/* --- before and after --- */

static const struct nf_stays *ranked;
static int denser(const void *a, const void *b)
{
    const struct nf_stay *x = &ranked->v[*(const uint32_t *)a], *y = &ranked->v[*(const uint32_t *)b];
    double dx = (double)x->bytes / x->pages / nf_stay_length(x, ranked->n_ops), dy = (double)y->bytes / y->pages / nf_stay_length(y, ranked->n_ops);

    return dx > dy ? -1 : dx < dy;
}

static int rank_stays(struct play *p)
{
    uint32_t n = p->stays.n, *order = malloc((n + (size_t)1) * sizeof *order);

    p->rank = malloc((n + (size_t)1) * sizeof *p->rank);
    if (!order || !p->rank) {
        free(order);
        return nf_fail(-ENOMEM, "out of memory for %u stays", n);
    }
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    ranked = &p->stays;
    qsort(order, n, sizeof *order, denser);
    for (uint32_t i = 0; i < n; i++)
        p->rank[order[i]] = i + 1;
    free(order);
    return 0;
}

/* Those that need no solver. */
static int bound_loosely(struct play *p, uint64_t capacity)
{
    struct nf_forecast_bounds *b = &p->f->bounds;
    double all = (double)p->stays.bytes;

    b->pfoo = all - nf_bound_pfoo(&p->stays, capacity);
    b->belady = all - nf_belady_saved(&p->stays, capacity);
    return isnan(b->pfoo) || isnan(b->belady) ? nf_fail(-ENOMEM, "out of memory for a bound") : 0;
}

static int bound_by_program(struct play *p, uint64_t capacity)
{
    struct nf_forecast_bounds *b = &p->f->bounds;
    struct nf_stays lives = {0};
    double saved = 0;
    int rc;

    if (nf_bound_lp_probe(b->lp_why, sizeof b->lp_why))
        return 0;
    p->lp_share = calloc(p->stays.n + (size_t)1, sizeof *p->lp_share);
    rc = p->lp_share ? nf_bound_lp(&p->stays, capacity, &saved, p->lp_share) : nf_fail(-ENOMEM, "out of memory for a bound");
    b->lp = (double)p->stays.bytes - saved;
    if (!rc)
        rc = nf_stays_init_lives(&lives, p->profile, &p->uses);
    if (!rc)
        rc = nf_bound_lp(&lives, capacity, &saved, NULL);
    b->static_lp = (double)lives.bytes - saved;
    nf_stays_deinit(&lives);
    return rc;
}

static int bound_whole(struct play *p, uint64_t capacity)
{
    struct nf_forecast_bounds *b = &p->f->bounds;
    double saved;
    int rc;

    if (!(p->w->whole_seconds > 0) || p->varied || nf_bound_milp_probe(b->whole_why, sizeof b->whole_why))
        return 0;
    rc = nf_bound_milp(&p->stays, capacity, p->w->whole_seconds, &saved, &b->whole_proved);
    b->whole = (double)p->stays.bytes - saved;
    return rc;
}

/* Of the captured step once, whoever asks; of a varied one each time. */
static int bound(struct play *p)
{
    struct nf_forecast *f = p->f;
    uint64_t capacity = f->near_bytes / NF_PAGE_BYTES;
    struct nf_forecast_bounds *shared = p->varied ? NULL : p->w->bounds;
    int rc = p->w->unbounded ? 0 : nf_step_uses_init(&p->uses, p->c, p->w->read_bps[0]);

    if (rc || p->w->unbounded)
        return rc;
    rc = nf_stays_init_apart(&p->stays, p->profile, &p->uses);
    if (!rc)
        rc = rank_stays(p);
    if (rc)
        return rc;
    f->n_stays = p->stays.n;
    if (shared && shared->known) {
        f->bounds = *shared;
        return 0;
    }
    f->bounds = (struct nf_forecast_bounds){.known = true, .lp = NAN, .whole = NAN, .static_lp = NAN};
    rc = bound_loosely(p, capacity);
    if (!rc)
        rc = bound_by_program(p, capacity);
    if (!rc)
        rc = bound_whole(p, capacity);
    if (!rc && shared)
        *shared = f->bounds;
    return rc;
}

static int open_player(struct play *p)
{
    const struct nf_forecast_wish *w = p->w;
    struct nf_player_config c = {
        .stream = w->stream,
        .pool = {.n_tiers = w->n_tiers, .policy = w->policy, .policy_options = w->options, .profiles = w->profiles,
                 .n_profiles = w->stream->n_classes, .steady_class = p->f->steady, .seed = w->seed},
        .in_time = true,
        .watch = {.context = p, .op = next_op, .arrives = begin_course, .op_runs = op_runs, .op_ended = op_ended},
    };

    for (uint32_t i = 0; i < w->n_tiers; i++) {
        c.pool.capacity[i] = UINT64_MAX;
        c.pool.arena_bytes[i] = nf_player_arena_bytes(p->f->peak_bytes);
        c.pool.latency_ns[i] = w->latency_ns[i];
        c.pool.read_bps[i] = w->read_bps[i];
    }
    if (strcmp(w->policy->name, "all-near"))
        c.pool.capacity[0] = p->f->near_bytes;
    return nf_player_init(&p->player, &c);
}

/* Moves stand in the way of the ops, or run beside them as far as the slowest link has the time. */
static void conclude(struct play *p)
{
    struct nf_forecast *f = p->f;
    struct nf_pool_stats stats;
    double moves_ns;

    nf_pool_stats(p->player.pool, &stats);
    f->moves = stats.moves;
    f->to_near_bytes = stats.tier[0].moved_in_bytes;
    f->to_far_bytes = stats.tier[0].moved_out_bytes;
    f->near_peak_bytes = stats.tier[0].peak_bytes;
    moves_ns = (double)stats.moved_bytes / slowest_bps(p->w) * 1e9;
    f->exposed_ns = p->w->policy->semantics.sync == NF_SYNC_HELPER ? fmax(0, moves_ns - f->predicted_ns) : moves_ns;
    f->predicted_ns += f->exposed_ns;
}

static int check(const struct nf_forecast_wish *w, const struct nf_step_class *c)
{
    const struct nf_policy_semantics *s = &w->policy->semantics;

    if (!(w->near_share > 0 && w->near_share <= 1))
        return nf_fail(-EINVAL, "a near share lies above 0 %% and at most at 100 %%, not at %g %%", 100 * w->near_share);
    if (s->samples || s->mover == NF_MOVER_KERNEL)
        return nf_fail(-EINVAL, "what policy %s does depends on the time it is given: replay it", w->policy->name);
    if (w->explain != UINT32_MAX && (w->explain >= c->n_tensors || !c->tensors[w->explain].bytes))
        return nf_fail(-EINVAL, "the steady step has no tensor %u with any bytes: nearfar show STUDY tensors lists them", w->explain);
    return 0;
}

static void play_deinit(struct play *p)
{
    nf_player_deinit(&p->player);
    nf_step_order_deinit(&p->order);
    nf_stays_deinit(&p->stays);
    nf_step_uses_deinit(&p->uses);
    free(p->rank);
    free(p->lp_share);
    nf_array_free(&p->explained);
}

/* near_bytes and what else is in f already are the captured step's, whatever is played. */
static int play(struct nf_forecast *f, const struct nf_forecast_wish *wish, const struct nf_recompute_applied *varied)
{
    struct play p = {.w = wish, .f = f, .c = &wish->stream->classes[f->steady], .profile = &wish->profiles[f->steady], .varied = varied};
    int rc = nf_step_order_init(&p.order, p.c);

    if (!rc)
        rc = list_explained(&p);
    if (!rc)
        rc = bound(&p);
    if (!rc)
        rc = open_player(&p);
    for (unsigned i = 0; i < WARM_STEPS && !rc; i++)
        rc = nf_player_step(&p.player, f->steady);
    if (!rc)
        nf_pool_stats_reset(p.player.pool);
    p.counting = true;
    if (!rc)
        rc = nf_player_step(&p.player, f->steady);
    if (!rc)
        conclude(&p);
    play_deinit(&p);
    return rc;
}

/* The step without what the policy does not hold. */
static int play_varied(struct nf_forecast *f, const struct nf_forecast_wish *wish)
{
    const struct nf_stream *s = wish->stream;
    const struct nf_variant_options o = {.llc_bytes = wish->llc_bytes, .burst_bytes = wish->llc_bytes, .seed = wish->seed, .steady = f->steady};
    struct nf_engine_config c = NF_ENGINE_CONFIG_INIT;
    struct nf_forecast_wish varied = *wish;
    struct nf_variant variant = {0};
    int rc;

    c.stream = s;
    c.pool = (struct nf_pool_config){.n_tiers = wish->n_tiers, .policy = wish->policy, .policy_options = wish->options,
                                     .profiles = wish->profiles, .n_profiles = s->n_classes, .steady_class = f->steady, .seed = wish->seed};
    for (uint32_t i = 0; i < wish->n_tiers; i++) {
        c.pool.capacity[i] = i ? UINT64_MAX : f->near_bytes;
        c.pool.latency_ns[i] = wish->latency_ns[i];
        c.pool.read_bps[i] = wish->read_bps[i];
    }
    rc = nf_variant_init(&variant, &c, &o);
    if (!rc) {
        const struct nf_recompute_applied *a = &variant.applied[f->steady];

        f->recomputed = a->recomputed;
        f->recomputed_ops = a->ops;
        f->unheld_bytes = a->unheld_bytes;
        f->recompute_ns = a->captured_ns;
        varied.stream = &variant.stream;
        varied.profiles = variant.profiles;
        rc = play(f, &varied, a->op_of ? a : NULL);
    }
    nf_variant_deinit(&variant);
    return rc;
}

/* What does not depend on the policy. w: of the caller, who has profiles made where it has none. */
static int begin(struct nf_forecast *f, struct nf_forecast_wish *w, struct nf_profile **made)
{
    const struct nf_step_class *c;
    int rc;

    *f = (struct nf_forecast){.steady = nf_stream_steady_class(w->stream)};
    *made = NULL;
    c = &w->stream->classes[f->steady];
    rc = check(w, c);
    if (!rc)
        rc = nf_step_class_peak(c, &f->peak_bytes);
    f->near_bytes = nf_near_bytes(w->near_share, f->peak_bytes);
    if (!rc && !w->profiles)
        rc = nf_profiles_new(w->stream, w->llc_bytes, w->llc_bytes, made);
    w->profiles = *made ? *made : w->profiles;
    return rc;
}

/* --- apart --- */

struct apart {
    const struct nf_forecast_wish *w;
    const struct play *p;
};

static int play_apart(void *context, struct nf_buf *answer)
{
    const struct apart *a = context;
    struct nf_forecast f = *a->p->f; /* as begun */
    int rc = play(&f, a->w, NULL);

    nf_forecast_add(&f, answer);
    nf_forecast_deinit(&f);
    return rc;
}

static int take(void *context, const struct nf_buf *answer)
{
    const struct play *p = ((const struct apart *)context)->p;

    return nf_forecast_take(p->f, p->c, p->profile, answer);
}

/* The bounds are this process's: the limit is the policy's, not a solver's. f: as begun. */
static int forecast_apart(struct nf_forecast *f, const struct nf_forecast_wish *wish)
{
    struct nf_forecast_wish unbounded = *wish;
    struct play p = {.w = wish, .f = f, .c = &wish->stream->classes[f->steady], .profile = &wish->profiles[f->steady]};
    struct apart a = {.w = &unbounded, .p = &p};
    const struct nf_guard_talk talk = {.answer = play_apart, .take = take, .context = &a};
    int rc;

    unbounded.unbounded = true;
    rc = nf_guard_answer(wish->policy, wish->limit_s, wish->stop, &talk);
    if (!rc)
        rc = bound(&p);
    if (!rc)
        add_gaps(&p);
    play_deinit(&p);
    return rc;
}

int nf_forecast_init(struct nf_forecast *f, const struct nf_forecast_wish *wish)
{
    struct nf_forecast_wish w = *wish;
    struct nf_profile *made;
    int rc = begin(f, &w, &made);

    if (!rc && nf_policy_is_outside(w.policy))
        rc = forecast_apart(f, &w);
    else if (!rc)
        rc = w.policy->recompute ? play_varied(f, &w) : play(f, &w, NULL);
    nf_profiles_free(made, w.stream->n_classes);
    return rc;
}

void nf_forecast_deinit(struct nf_forecast *f)
{
    for (size_t i = 0; i < f->events.n; i++)
        free(f->events.v[i].why);
    nf_array_free(&f->events);
}
