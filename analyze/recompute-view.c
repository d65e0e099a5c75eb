#include "analyze/recompute-view.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/profile.h"
#include "core/model/recompute.h"

/* As policy `recompute` has it by default. */
enum { DEPTH = 8 };
static const double MAP_NEAR_SHARE = 0.2;
/* Far tiers from a fast SSD to HBM; compute from a tenth of this machine to an accelerator. */
static const double LEAST_BPS = 1e8, MOST_BPS = 1e12, LEAST_RATE = 0.1, MOST_RATE = 1e4;
/* A far tier so slow that whatever can be made again is. */
static const double NEVER_FAR = 1e-9;

static const struct nf_column curve_columns[] = {
    {"near_share", "near", NF_COLUMN_SHARE},
    {"offload", "offloaded", NF_COLUMN_REAL},
    {"recompute", "made again", NF_COLUMN_REAL},
    {"both", "the cheaper", NF_COLUMN_REAL},
    {"near_byte_time", "near, of byte-time in gaps", NF_COLUMN_SHARE},
    {"far_byte_time", "far", NF_COLUMN_SHARE},
    {"again_byte_time", "not held", NF_COLUMN_SHARE},
    {"evidence", "evidence", NF_COLUMN_TEXT},
};
static const struct nf_column map_columns[] = {
    {"far_bytes_per_s", "far bandwidth", NF_COLUMN_BYTES},
    {"compute_rate", "times the captured compute rate", NF_COLUMN_REAL},
    {"again_share", "made again faster, of what can be, one by one", NF_COLUMN_SHARE},
    {"planned_share", "planned so together, at 20 % near", NF_COLUMN_SHARE},
    {"evidence", "evidence", NF_COLUMN_TEXT},
};

/* only: of items that can be made again. */
static void shares_of(const struct nf_recompute *r, const uint8_t *choices, bool only, double share[3])
{
    double all = 0;

    share[0] = share[1] = share[2] = 0;
    for (uint32_t i = 0; i < r->n_items; i++) {
        double held = only && !r->items[i].can ? 0 : (double)r->items[i].pages * r->items[i].gap_ns;

        share[choices[i]] += held;
        all += held;
    }
    for (int k = 0; k < 3; k++)
        share[k] = all > 0 ? share[k] / all : 0;
}

/* planned: the prices the choice is made by; real: those it is paid by. NAN: no plan. */
static int price(const struct nf_recompute *r, const struct nf_recompute_prices *planned, const struct nf_recompute_prices *real,
                 uint8_t *choices, double step_ns, double *slowdown)
{
    int rc = nf_recompute_choose(r, planned, choices);
    double cost = rc ? 0 : nf_recompute_cost(r, choices, real);

    *slowdown = cost < 0 ? NAN : 1 + cost / step_ns;
    return rc;
}

static int fill_curve(struct nf_recompute_view *v, const struct nf_recompute *r, const struct nf_step_class *c, uint8_t *choices, double step_ns)
{
    int rc = 0;

    for (unsigned i = 0; i < NF_RECOMPUTE_SHARES && !rc; i++) {
        struct nf_recompute_point *p = &v->points[i];
        struct nf_recompute_prices both = {.far_bps = v->far_bps, .exposed = 1, .compute_x = 1}, offload, again;

        p->near_share = (i + 1.0) / NF_RECOMPUTE_SHARES;
        both.near_pages = nf_near_bytes(p->near_share, c->peak_live_bytes) / NF_PAGE_BYTES;
        offload = again = both;
        offload.no_again = true;
        again.far_bps *= NEVER_FAR;
        rc = price(r, &offload, &offload, choices, step_ns, &p->offload);
        if (!rc)
            rc = price(r, &again, &both, choices, step_ns, &p->again);
        if (!rc)
            rc = price(r, &both, &both, choices, step_ns, &p->both);
        shares_of(r, choices, false, p->share);
        nf_table_number(v->curve, p->near_share);
        nf_table_number(v->curve, p->offload);
        nf_table_number(v->curve, p->again);
        nf_table_number(v->curve, p->both);
        for (int k = 0; k < 3; k++)
            nf_table_number(v->curve, p->share[k]);
        nf_table_text(v->curve, "modelled");
    }
    return rc;
}

/* The quick test, one tensor at a time: size / c against BW_far / 2. */
static double quick_share(const struct nf_recompute *r, const struct nf_recompute_prices *p)
{
    double all = 0, wins = 0;

    for (uint32_t i = 0; i < r->n_items; i++) {
        double held = r->items[i].can ? (double)r->items[i].pages * r->items[i].gap_ns : 0;

        all += held;
        wins += r->items[i].c_ns / p->compute_x < nf_recompute_far_ns(&r->items[i], p) ? held : 0;
    }
    return all > 0 ? wins / all : 0;
}

static double step_of(double least, double most, unsigned i, unsigned n)
{
    return least * pow(most / least, (double)i / (n - 1));
}

static int fill_map(struct nf_recompute_view *v, const struct nf_recompute *r, const struct nf_step_class *c, uint8_t *choices)
{
    int rc = 0;

    v->map_near_share = MAP_NEAR_SHARE;
    for (unsigned y = 0; y < NF_RECOMPUTE_RATES; y++)
        v->rate[y] = step_of(LEAST_RATE, MOST_RATE, y, NF_RECOMPUTE_RATES);
    for (unsigned x = 0; x < NF_RECOMPUTE_BANDWIDTHS; x++)
        v->bandwidth[x] = step_of(LEAST_BPS, MOST_BPS, x, NF_RECOMPUTE_BANDWIDTHS);
    for (unsigned y = 0; y < NF_RECOMPUTE_RATES && !rc; y++)
        for (unsigned x = 0; x < NF_RECOMPUTE_BANDWIDTHS && !rc; x++) {
            const struct nf_recompute_prices p = {
                .near_pages = (uint64_t)(MAP_NEAR_SHARE * (double)c->peak_live_bytes) / NF_PAGE_BYTES,
                .far_bps = v->bandwidth[x],
                .exposed = 1,
                .compute_x = v->rate[y],
            };
            double share[3];

            rc = nf_recompute_choose(r, &p, choices);
            shares_of(r, choices, true, share);
            v->map[y][x] = quick_share(r, &p);
            nf_table_number(v->crossover, p.far_bps);
            nf_table_number(v->crossover, p.compute_x);
            nf_table_number(v->crossover, v->map[y][x]);
            nf_table_number(v->crossover, share[1] + share[2] > 0 ? share[2] / (share[1] + share[2]) : 0);
            nf_table_text(v->crossover, "modelled");
        }
    return rc;
}

static int fill(struct nf_recompute_view *v, const struct nf_stream *stream, const struct nf_step_class *c, const struct nf_profile *p,
                double step_ns)
{
    struct nf_recompute r;
    uint8_t *choices = NULL;
    int rc = nf_recompute_init(&r, p, stream->names, (struct nf_recompute_rules){.depth = DEPTH});

    v->gaps = r.n_items;
    for (uint32_t i = 0; i < r.n_items && !rc; i++)
        v->can += r.items[i].can;
    if (!rc && !r.n_items)
        snprintf(v->why, sizeof v->why, "no tensor of the step has a gap beyond the effective LLC between two uses");
    if (!rc && r.n_items) {
        choices = calloc(r.n_items, sizeof *choices);
        v->curve = nf_table_new(curve_columns, sizeof curve_columns / sizeof *curve_columns);
        v->crossover = nf_table_new(map_columns, sizeof map_columns / sizeof *map_columns);
        rc = choices && v->curve && v->crossover ? 0 : nf_fail(-ENOMEM, "out of memory for %u gaps", r.n_items);
        if (!rc)
            rc = fill_curve(v, &r, c, choices, step_ns);
        if (!rc)
            rc = fill_map(v, &r, c, choices);
        v->known = !rc;
    }
    free(choices);
    nf_recompute_deinit(&r);
    return rc;
}

int nf_recompute_view_init(struct nf_recompute_view *v, const struct nf_stream *stream, const struct nf_step_class *c, uint64_t llc_bytes,
                           double far_bps)
{
    struct nf_profile p;
    double step_ns = 0;
    int rc;

    *v = (struct nf_recompute_view){.far_bps = far_bps};
    for (uint32_t i = 0; i < c->n_ops; i++)
        step_ns += c->ops[i].dur_ns + c->ops[i].gap_ns;
    if (!(step_ns > 0))
        snprintf(v->why, sizeof v->why, "the capture holds no op times: what making again costs is not known");
    else if (!(far_bps > 0))
        snprintf(v->why, sizeof v->why, "no bandwidth of a far tier was measured");
    if (*v->why)
        return 0;
    rc = nf_profile_init(&p, c, llc_bytes, llc_bytes);
    if (rc)
        return rc;
    rc = fill(v, stream, c, &p, step_ns);
    nf_profile_deinit(&p);
    return rc;
}

void nf_recompute_view_deinit(struct nf_recompute_view *v)
{
    v->curve = nf_table_free(v->curve);
    v->crossover = nf_table_free(v->crossover);
}
