#include "cmd/show.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/figure-locality.h"
#include "core/base/error.h"
#include "core/model/locality.h"

enum { LAYERS_MAX = 24 };

#define COLUMNS(c) c, sizeof c / sizeof *c

struct reuse {
    struct nf_mrc *curves;
    struct nf_histogram *traffic, *ns;
    bool timed;
};

/* The value below which a share of the weight lies; cold accesses lie above all. NAN: nothing there. */
static double quantile(const struct nf_histogram *h, double share)
{
    double want = share * h->total, sum = 0;

    for (uint32_t b = 0; b < NF_HISTOGRAM_BUCKETS; b++) {
        double low = (double)nf_histogram_edge(b), width = (double)nf_histogram_edge(b + 1) - low;

        if (h->at[b] > 0 && sum + h->at[b] >= want)
            return low + width * (want - sum) / h->at[b];
        sum += h->at[b];
    }
    return h->total > 0 && h->cold > 0 ? INFINITY : NAN;
}

static void put_quantile(struct nf_table *t, const struct nf_histogram *h, double share, double unit)
{
    double v = quantile(h, share) * unit;

    if (isfinite(v))
        nf_table_number(t, v);
    else
        nf_table_unknown(t);
}

static const struct nf_column reuse_columns[] = {
    {"group", "of", NF_COLUMN_TEXT},
    {"bytes", "accessed/step", NF_COLUMN_BYTES},
    {"cold_share", "first access", NF_COLUMN_SHARE},
    {"distance_p50", "distance p50", NF_COLUMN_BYTES},
    {"distance_p90", "p90", NF_COLUMN_BYTES},
    {"traffic_p50", "traffic p50", NF_COLUMN_BYTES},
    {"traffic_p90", "p90", NF_COLUMN_BYTES},
    {"time_p50", "time p50", NF_COLUMN_NS},
    {"time_p90", "p90", NF_COLUMN_NS},
};

static int print_summary(const struct nf_show *s, const struct nf_show_groups *g, const struct reuse *r)
{
    struct nf_table *t = nf_table_new(COLUMNS(reuse_columns));
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t at = nf_show_first_curve(s); at <= g->n; at++) {
        const struct nf_histogram *d = &r->curves[at].distances;

        if (!(d->total > 0))
            continue; /* a tensor that is never visited */
        nf_table_text(t, nf_show_curve_name(g, at));
        nf_table_number(t, d->total);
        nf_table_number(t, d->cold / d->total);
        put_quantile(t, d, 0.5, (double)s->block);
        put_quantile(t, d, 0.9, (double)s->block);
        put_quantile(t, &r->traffic[at], 0.5, 1);
        put_quantile(t, &r->traffic[at], 0.9, 1);
        for (int k = 0; k < 2; k++) {
            if (r->timed)
                put_quantile(t, &r->ns[at], k ? 0.9 : 0.5, 1);
            else
                nf_table_unknown(t);
        }
    }
    rc = nf_show_print(t, s, 40);
    nf_table_free(t);
    printf("\n");
    return rc;
}

static const struct nf_column histogram_columns[] = {
    {"group", "of", NF_COLUMN_TEXT}, {"measure", "measure", NF_COLUMN_TEXT}, {"low", "from", NF_COLUMN_REAL},
    {"high", "to", NF_COLUMN_REAL},  {"bytes", "bytes", NF_COLUMN_REAL},     {"evidence", "evidence", NF_COLUMN_TEXT},
};

/* For programs: octaves with weight, and the first accesses with neither end. */
static void put_octaves(struct nf_table *t, const char *group, const char *measure, const struct nf_histogram *h,
                        double unit, const char *evidence)
{
    for (int b = -1; b < NF_HISTOGRAM_OCTAVES; b++) {
        double low = b < 0 ? 0 : exp2(b), high = exp2(b + 1);
        double bytes = nf_histogram_above(h, low) - nf_histogram_above(h, high);

        if (!(bytes > 0))
            continue;
        nf_table_text(t, group);
        nf_table_text(t, measure);
        nf_table_number(t, low * unit);
        nf_table_number(t, high * unit);
        nf_table_number(t, bytes);
        nf_table_text(t, evidence);
    }
    if (h->cold > 0) {
        nf_table_text(t, group);
        nf_table_text(t, measure);
        nf_table_unknown(t);
        nf_table_unknown(t);
        nf_table_number(t, h->cold);
        nf_table_text(t, evidence);
    }
}

static int print_octaves(const struct nf_show *s, const struct nf_show_groups *g, const struct reuse *r,
                         const char *evidence)
{
    struct nf_table *t = nf_table_new(COLUMNS(histogram_columns));
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t at = nf_show_first_curve(s); at <= g->n; at++) {
        put_octaves(t, nf_show_curve_name(g, at), "distance_bytes", &r->curves[at].distances, (double)s->block,
                    evidence);
        put_octaves(t, nf_show_curve_name(g, at), "traffic_bytes", &r->traffic[at], 1, evidence);
        if (r->timed)
            put_octaves(t, nf_show_curve_name(g, at), "time_ns", &r->ns[at], 1, evidence);
    }
    rc = nf_show_print(t, s, SIZE_MAX);
    nf_table_free(t);
    return rc;
}

static const struct nf_column octave_columns[] = {
    {"low", "from", NF_COLUMN_BYTES},
    {"high", "to", NF_COLUMN_BYTES},
    {"distance_bytes", "by distance", NF_COLUMN_BYTES},
    {"traffic_bytes", "by traffic", NF_COLUMN_BYTES},
    {"distance_share", "share within", NF_COLUMN_SHARE},
};

/* For people: the histograms of one group side by side. */
static int print_histogram(const struct nf_show *s, const struct nf_show_groups *g, const struct reuse *r)
{
    uint32_t at = nf_show_first_curve(s);
    const struct nf_histogram *d = &r->curves[at].distances;
    struct nf_table *t = nf_table_new(COLUMNS(octave_columns));
    double within = 0, unit = (double)s->block;
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    printf("accessed bytes of %s, by what lies between two accesses of a %llu-byte block\n", nf_show_curve_name(g, at),
           (unsigned long long)s->block);
    for (int b = 0; b < NF_HISTOGRAM_OCTAVES; b++) {
        double low = b ? exp2(b) : 0, high = exp2(b + 1);
        double distance = nf_histogram_above(d, low / unit) - nf_histogram_above(d, high / unit);
        double traffic = nf_histogram_above(&r->traffic[at], low) - nf_histogram_above(&r->traffic[at], high);

        if (high <= unit || (!(distance > 0) && !(traffic > 0)))
            continue;
        within += distance;
        nf_table_number(t, low <= unit / 2 ? 0 : low);
        nf_table_number(t, high);
        nf_table_number(t, distance);
        nf_table_number(t, traffic);
        nf_table_number(t, within / d->total);
    }
    rc = nf_table_print(t, NF_TABLE_TEXT, stdout);
    nf_table_free(t);
    return rc;
}

static int draw_reuse(const struct nf_show *s, const struct nf_show_groups *g, const struct reuse *r,
                      const struct nf_show_facts *f)
{
    struct nf_locality_head head = {"Reuse of accessed bytes: distance and time", f->evidence, f->step};
    struct nf_reuse_layer layers[LAYERS_MAX];
    struct nf_canvas c = {.name = "plot"};
    uint32_t from = s->tensor != UINT64_MAX ? 2 : g->n ? 1 : 0;
    size_t n = 0;

    if (g->n > LAYERS_MAX)
        return nf_fail(-EINVAL, "a figure has no room for %u groups; use --by role or --tensor", g->n);
    for (uint32_t at = from; at <= g->n && n < LAYERS_MAX; at++, n++) {
        int role = at ? g->roles[at - 1] : -1;

        layers[n] =
            (struct nf_reuse_layer){nf_show_curve_name(g, at), role < 0 ? NULL : nf_canvas_role_colour((unsigned)role),
                                    &r->curves[at].distances, r->timed ? &r->ns[at] : &r->traffic[at]};
    }
    nf_figure_reuse(&c, &head, layers, n, (uint32_t)s->block, r->timed, (double)s->llc_bytes);
    return nf_show_draw(&c, s, 0);
}

int nf_show_reuse(const struct nf_show *s)
{
    struct nf_locality l = {s->class, (uint32_t)s->block, {0}, NULL};
    struct nf_show_groups g = {0};
    struct reuse r = {0};
    struct nf_show_facts f;
    int rc;

    if (s->by && strcmp(s->by, "role") && strcmp(s->by, "tensor"))
        return nf_fail(-EINVAL, "--reuse knows --by role and --by tensor");
    for (uint32_t i = 0; i < s->class->n_ops; i++)
        r.timed |= s->class->ops[i].dur_ns > 0;
    rc = nf_show_groups_init(&g, s, s->by ? s->by : "role");
    if (!rc)
        rc = nf_show_facts_init(
            &f, s,
            r.timed ? "exact distances; op times measured in the timing pass, corrected to the bare step"
                    : "exact distances; ops untimed");
    if (!rc) {
        r.curves = calloc(g.n + (size_t)1, sizeof *r.curves);
        r.traffic = calloc(g.n + (size_t)1, sizeof *r.traffic);
        r.ns = calloc(g.n + (size_t)1, sizeof *r.ns);
        rc = r.curves && r.traffic && r.ns ? 0 : nf_fail(-ENOMEM, "out of memory for %u histograms", g.n);
    }
    l.groups = (struct nf_grouping){g.of, g.n};
    l.curves = r.curves;
    if (!rc)
        rc = nf_locality_exact(&l);
    if (!rc)
        rc = nf_locality_times(&l, r.traffic, r.timed ? r.ns : NULL);
    if (!rc && !(r.curves[nf_show_first_curve(s)].distances.total > 0))
        rc = nf_fail(-EINVAL, "nothing was accessed: there is no reuse");
    if (!rc && s->format == NF_TABLE_TEXT) {
        rc = print_summary(s, &g, &r);
        if (!rc)
            rc = print_histogram(s, &g, &r);
    } else if (!rc) {
        rc = print_octaves(s, &g, &r, f.accesses);
    }
    if (!rc && s->plot)
        rc = draw_reuse(s, &g, &r, &f);
    free(r.curves);
    free(r.traffic);
    free(r.ns);
    nf_show_groups_deinit(&g);
    return rc;
}
