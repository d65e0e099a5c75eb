#include "cmd/show.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/figure-locality.h"
#include "core/base/error.h"
#include "core/base/log.h"

#define COLUMNS(c) c, sizeof c / sizeof *c

static int print_errors(const struct nf_tensor_groups *g, const struct nf_mrc_set *m)
{
    struct nf_table *t = nf_table_new(COLUMNS(nf_mrc_error_columns));
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    nf_mrc_set_errors(m, g, true, t);
    rc = nf_table_print(t, NF_TABLE_TEXT, stdout);
    nf_table_free(t);
    printf("errors: absolute difference of the miss ratio from exact, over cache sizes from %d KiB up, %d an octave; "
           "time: for all curves together\n\n",
           NF_MRC_FROM_BYTES >> 10, NF_HISTOGRAM_OCTAVE);
    return rc;
}

/* The curve for people: an estimator (or with --by a group, exact) per column, a row for each power of two. */
static int print_curve(const struct nf_show *s, const struct nf_tensor_groups *g, const struct nf_mrc_set *m)
{
    bool by_group = g->n && !g->first;
    size_t n = by_group ? g->n + (size_t)1 : NF_MRC_ESTIMATORS;
    struct nf_column *columns = calloc(n + 1, sizeof *columns);
    struct nf_table *t = NULL;
    uint64_t size;
    int rc;

    if (columns) {
        columns[0] = (struct nf_column){"cache_bytes", "cache", NF_COLUMN_BYTES};
        for (size_t i = 0; i < n; i++) {
            const char *name = by_group ? nf_tensor_groups_name(g, (uint32_t)i) : m->curves[i][0].estimator;

            columns[i + 1] = (struct nf_column){name, name, NF_COLUMN_REAL};
        }
        t = nf_table_new(columns, n + 1);
    }
    if (!t) {
        free(columns);
        return nf_fail(-ENOMEM, "out of memory");
    }
    for (uint32_t at = 0; (size = nf_mrc_size((uint32_t)s->block, m->reach, at)); at++) {
        if (size & (size - 1) && nf_mrc_size((uint32_t)s->block, m->reach, at + 1))
            continue;
        nf_table_integer(t, (int64_t)size);
        for (size_t i = 0; i < n; i++) {
            const struct nf_mrc *curve = by_group ? &m->curves[NF_MRC_EXACT][i] : &m->curves[i][g->first];

            nf_table_number(t, nf_mrc_ratio(curve, size));
        }
    }
    rc = nf_show_print(t, s, 60);
    nf_table_free(t);
    free(columns);
    return rc;
}

/* For programs: every estimator, group and size as a row. */
static int print_rows(const struct nf_show *s, const struct nf_tensor_groups *g, const struct nf_mrc_set *m,
                      const char *accesses)
{
    struct nf_table *t = nf_table_new(COLUMNS(nf_mrc_columns));
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    nf_mrc_set_rows(m, g, accesses, true, t);
    rc = nf_show_print(t, s, SIZE_MAX);
    nf_table_free(t);
    return rc;
}

static int draw_mrc(const struct nf_show *s, const struct nf_tensor_groups *g, const struct nf_mrc_set *m,
                    const struct nf_show_facts *f)
{
    bool by_group = g->n && !g->first;
    struct nf_locality_head head = {
        by_group ? "Miss-ratio curves by role: exact; dashed: visit-fused, from simulated samples"
                 : "Miss-ratio curve: exact, and its estimates (dashed)",
        f->evidence, f->step};
    struct nf_canvas c = {.name = "plot"};

    nf_figure_mrc(&c, &head, m, g, by_group, (double)s->llc_bytes);
    return nf_show_draw(&c, s, 0);
}

int nf_show_mrc(const struct nf_show *s)
{
    struct nf_tensor_groups g = {0};
    struct nf_mrc_set m = {0};
    struct nf_show_facts f;
    int rc;

    if (!s->period)
        return nf_fail(-EINVAL, "--period must be at least 1");
    if (s->by && strcmp(s->by, "role"))
        return nf_fail(-EINVAL, "--mrc knows --by role; one tensor is chosen with --tensor");
    rc = nf_tensor_groups_init(&g, s->class, s->by, s->tensor);
    if (!rc)
        rc = nf_show_facts_init(
            &f, s, "fully associative LRU over captured addresses, each block once per visit; samples simulated");
    if (!rc)
        rc = nf_mrc_set_init(&m, s->class, (uint32_t)s->block, &g, s->period);
    nf_progress_end();
    if (!rc && !(m.curves[NF_MRC_EXACT][g.first].distances.total > 0))
        rc = nf_fail(-EINVAL, "nothing was accessed: there is no curve");
    if (!rc && s->format == NF_TABLE_TEXT) {
        rc = print_errors(&g, &m);
        if (!rc)
            rc = print_curve(s, &g, &m);
    } else if (!rc) {
        rc = print_rows(s, &g, &m, f.accesses);
    }
    if (!rc && s->plot)
        rc = draw_mrc(s, &g, &m, &f);
    nf_mrc_set_deinit(&m);
    nf_tensor_groups_deinit(&g);
    return rc;
}
