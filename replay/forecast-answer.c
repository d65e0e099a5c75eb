#include "replay/forecast-answer.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "pool/guard.h"

/* The struct, its events, their words; a pointer says no more than that there are some. */
void nf_forecast_add(const struct nf_forecast *f, struct nf_buf *answer)
{
    nf_buf_add(answer, f, sizeof *f);
    nf_buf_add(answer, f->events.v, f->events.n * sizeof *f->events.v);
    for (size_t i = 0; i < f->events.n; i++) {
        if (f->events.v[i].why)
            nf_buf_add(answer, f->events.v[i].why, strlen(f->events.v[i].why) + 1);
    }
}

static bool is_time(double ns)
{
    return isfinite(ns) && ns >= 0;
}

static bool roles_are_possible(const struct nf_forecast *f)
{
    uint64_t demand = 0, far = 0;

    for (int i = 0; i < NF_ROLE_COUNT; i++) {
        const struct nf_forecast_role *r = &f->role[i];

        if (r->born_near_bytes > r->bytes || r->far_bytes > r->demand_bytes || r->demand_bytes > f->demand_bytes - demand)
            return false;
        demand += r->demand_bytes;
        far += r->far_bytes;
    }
    return demand == f->demand_bytes && far == f->far_bytes;
}

static bool times_are_possible(const struct nf_forecast *f, const struct nf_step_class *c)
{
    double rounding = 1 + DBL_EPSILON * (c->n_ops + 2.0); /* of sums over the ops */

    return is_time(f->captured_ns) && is_time(f->predicted_ns) && is_time(f->exposed_ns) && f->recompute_ns == 0 &&
           f->captured_ns + f->exposed_ns <= f->predicted_ns * rounding;
}

static bool is_possible(const struct nf_forecast *f, const struct nf_step_class *c, const struct nf_profile *profile)
{
    uint64_t demand = 0;

    for (uint32_t v = 0; v < c->n_visits; v++)
        demand += profile->visit_miss_bytes[v];
    return f->demand_bytes == demand && roles_are_possible(f) && times_are_possible(f, c) && f->near_peak_bytes <= f->near_bytes &&
           !f->recomputed && !f->recomputed_ops && !f->unheld_bytes;
}

static int take_event(struct nf_forecast *f, const struct nf_step_class *c, const struct nf_buf *answer, size_t *at)
{
    struct nf_forecast_event e;

    if (!nf_guard_take(answer, at, &e, sizeof e) || (unsigned)e.what > NF_FORECAST_TO_FAR || e.what == NF_FORECAST_AGAIN ||
        e.op >= c->n_ops || e.tensor >= c->n_tensors || !(e.near >= 0 && e.near <= 1))
        return -EPROTO;
    e.again = e.after_gap = false;
    e.gap_ops = e.rank = 0;
    e.chain_ns = e.far_ns = e.gap_ns = 0;
    e.lp_share = NAN;
    return nf_array_push(&f->events, e);
}

static int take_words(char **why, const struct nf_buf *answer, size_t *at)
{
    size_t n = strnlen(answer->data + *at, answer->n - *at) + 1;

    *why = n <= NF_FORECAST_WHY_MAX ? malloc(n) : NULL;
    if (!*why)
        return n <= NF_FORECAST_WHY_MAX ? -ENOMEM : -EPROTO;
    return nf_guard_take(answer, at, *why, n) ? 0 : -EPROTO;
}

int nf_forecast_take(struct nf_forecast *f, const struct nf_step_class *c, const struct nf_profile *profile, const struct nf_buf *answer)
{
    struct nf_forecast said;
    size_t at = 0, n, i = 0;
    int rc = 0;

    if (!nf_guard_take(answer, &at, &said, sizeof said))
        return -EPROTO;
    n = said.events.n;
    said.steady = f->steady;
    said.n_stays = f->n_stays;
    said.peak_bytes = f->peak_bytes;
    said.near_bytes = f->near_bytes;
    said.bounds = f->bounds;
    memset(&said.events, 0, sizeof said.events);
    if (!is_possible(&said, c, profile))
        return -EPROTO;
    *f = said;
    for (; n && !rc; n--)
        rc = take_event(f, c, answer, &at);
    for (; i < f->events.n && !rc; i++) {
        if (f->events.v[i].why)
            rc = take_words(&f->events.v[i].why, answer, &at);
    }
    for (; i < f->events.n; i++)
        f->events.v[i].why = NULL; /* a pointer of the child's */
    return rc ? rc : at == answer->n ? 0 : -EPROTO;
}
