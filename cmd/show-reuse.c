#include "cmd/show.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "analyze/figure-locality.h"
#include "core/base/error.h"

#define COLUMNS(c) c, sizeof c / sizeof *c

static int print_summary(const struct nf_show *s, const struct nf_tensor_groups *g, const struct nf_reuse_set *r)
{
    struct nf_table *t = nf_table_new(COLUMNS(nf_reuse_summary_columns));
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    nf_reuse_set_summary(r, g, t);
    rc = nf_show_print(t, s, 40);
    nf_table_free(t);
    printf("\n");
    return rc;
}

/* For programs. */
static int print_octaves(const struct nf_show *s, const struct nf_tensor_groups *g, const struct nf_reuse_set *r,
                         const char *evidence)
{
    struct nf_table *t = nf_table_new(COLUMNS(nf_reuse_columns));
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    nf_reuse_set_octaves(r, g, evidence, t);
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
static int print_histogram(const struct nf_show *s, const struct nf_tensor_groups *g, const struct nf_reuse_set *r)
{
    uint32_t at = g->first;
    const struct nf_histogram *d = &r->curves[at].distances;
    struct nf_table *t = nf_table_new(COLUMNS(octave_columns));
    double within = 0, unit = (double)s->block;
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    printf("accessed bytes of %s, by what lies between two accesses of a %llu-byte block\n", nf_tensor_groups_name(g, at),
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

static int draw_reuse(const struct nf_show *s, const struct nf_tensor_groups *g, const struct nf_reuse_set *r,
                      const struct nf_show_facts *f)
{
    struct nf_locality_head head = {"Reuse of accessed bytes: distance and time", f->evidence, f->step};
    struct nf_canvas c = {.name = "plot"};

    if (g->n > NF_FIGURE_GROUPS)
        return nf_fail(-EINVAL, "a figure has no room for %u groups; use --by role or --tensor", g->n);
    nf_figure_reuse(&c, &head, r, g, (double)s->llc_bytes);
    return nf_show_draw(&c, s, 0);
}

int nf_show_reuse(const struct nf_show *s)
{
    struct nf_tensor_groups g = {0};
    struct nf_reuse_set r = {0};
    struct nf_show_facts f;
    bool timed = false;
    int rc;

    if (s->by && strcmp(s->by, "role") && strcmp(s->by, "tensor"))
        return nf_fail(-EINVAL, "--reuse knows --by role and --by tensor");
    for (uint32_t i = 0; i < s->class->n_ops; i++)
        timed |= s->class->ops[i].dur_ns > 0;
    rc = nf_tensor_groups_init(&g, s->class, s->by ? s->by : "role", s->tensor);
    if (!rc)
        rc = nf_show_facts_init(
            &f, s,
            timed ? "exact distances; op times measured in the timing pass, corrected to the bare step time"
                  : "exact distances; ops untimed");
    if (!rc)
        rc = nf_reuse_set_init(&r, s->class, (uint32_t)s->block, &g);
    if (!rc && !(r.curves[g.first].distances.total > 0))
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
    nf_reuse_set_deinit(&r);
    nf_tensor_groups_deinit(&g);
    return rc;
}
