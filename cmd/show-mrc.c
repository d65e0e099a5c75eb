#include "cmd/show.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/figure-locality.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/fuse.h"
#include "core/model/locality.h"
#include "core/model/thin.h"

enum { S_MAX = 8192, LINES_MAX = 24 /* of a figure */ };

#define COLUMNS(c) c, sizeof c / sizeof *c

struct estimate {
    struct nf_mrc *curves; /* of the whole, then of the groups */
    double ns;             /* to compute them */
};

enum { EXACT, SHARDS_TENTH, SHARDS_HUNDREDTH, SHARDS_SIZE, AET, FUSED, ESTIMATES };

static int fuse(const struct nf_locality *l, uint64_t period)
{
    struct nf_thin_options o = {.period = period, .jitter = period / 8, .seed = 1, .steps = 1};
    struct nf_visit_samples *visits = calloc(l->of->n_visits + (size_t)1, sizeof *visits);
    uint8_t *seen = malloc(l->of->n_visits + (size_t)1);
    struct nf_sample *samples = NULL;
    size_t n;
    int rc = visits && seen ? nf_thin(l->of, &o, &samples, &n) : -ENOMEM;

    if (rc) {
        nf_fail(rc, "out of memory for the samples");
    } else {
        nf_fuse(l->of, samples, n, visits);
        nf_fuse_seen(l->of, visits, seen);
        rc = nf_locality_fused(l, seen, period);
    }
    free(samples);
    free(visits);
    free(seen);
    return rc;
}

static int run_estimate(const struct nf_show *s, const struct nf_show_groups *g, int which, struct estimate *e)
{
    struct nf_locality l = {s->class, (uint32_t)s->block, {g->n ? g->of : NULL, g->n}, NULL};
    uint64_t begun = nf_now_ns();
    int rc;

    e->curves = calloc(g->n + (size_t)1, sizeof *e->curves);
    if (!e->curves)
        return nf_fail(-ENOMEM, "out of memory for %u curves", g->n + 1);
    l.curves = e->curves;
    switch (which) {
    case EXACT: rc = nf_locality_exact(&l); break;
    case SHARDS_TENTH: rc = nf_locality_shards(&l, 0.1, 0); break;
    case SHARDS_HUNDREDTH: rc = nf_locality_shards(&l, 0.01, 0); break;
    case SHARDS_SIZE: rc = nf_locality_shards(&l, 1, S_MAX); break;
    case AET: rc = nf_locality_aet(&l); break;
    default: rc = fuse(&l, s->period); break;
    }
    e->ns = (double)(nf_now_ns() - begun);
    return rc;
}

static const struct nf_column estimate_columns[] = {
    {"estimator", "estimator", NF_COLUMN_TEXT},   {"group", "of", NF_COLUMN_TEXT},
    {"mean_error", "mean error", NF_COLUMN_REAL}, {"largest_error", "largest", NF_COLUMN_REAL},
    {"largest_at_bytes", "at", NF_COLUMN_BYTES},  {"time_ns", "time", NF_COLUMN_NS},
};

static int print_estimates(const struct nf_show *s, const struct nf_show_groups *g, const struct estimate *e)
{
    struct nf_table *t = nf_table_new(COLUMNS(estimate_columns));
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t at = nf_show_first_curve(s); at <= g->n; at++) {
        for (int i = 0; i < ESTIMATES; i++) {
            struct nf_mrc_error error;

            nf_table_text(t, e[i].curves[at].estimator);
            nf_table_text(t, nf_show_curve_name(g, at));
            if (nf_mrc_compare(&e[EXACT].curves[at], &e[i].curves[at], &error)) {
                for (int k = 0; k < 3; k++)
                    nf_table_unknown(t); /* nothing accessed, or nothing sampled */
            } else {
                nf_table_number(t, error.mean);
                nf_table_number(t, error.most);
                nf_table_integer(t, (int64_t)error.most_at_bytes);
            }
            nf_table_number(t, e[i].ns);
        }
    }
    rc = nf_table_print(t, NF_TABLE_TEXT, stdout);
    nf_table_free(t);
    printf("errors: absolute difference of the miss ratio from exact, over cache sizes from %d KiB up, %d an octave; "
           "time: for all curves together\n\n",
           NF_MRC_FROM_BYTES >> 10, NF_HISTOGRAM_OCTAVE);
    return rc;
}

/* The curve for people: an estimator (or with --by a group, exact) per column, a row for each power of two. */
static int print_curve(const struct nf_show *s, const struct nf_show_groups *g, const struct estimate *e,
                       uint64_t reach)
{
    bool by_group = g->n && s->tensor == UINT64_MAX;
    size_t n = by_group ? g->n + (size_t)1 : ESTIMATES;
    struct nf_column *columns = calloc(n + 1, sizeof *columns);
    struct nf_table *t = NULL;
    uint64_t size;
    int rc;

    if (columns) {
        columns[0] = (struct nf_column){"cache_bytes", "cache", NF_COLUMN_BYTES};
        for (size_t i = 0; i < n; i++) {
            const char *name = by_group ? nf_show_curve_name(g, (uint32_t)i) : e[i].curves[0].estimator;

            columns[i + 1] = (struct nf_column){name, name, NF_COLUMN_REAL};
        }
        t = nf_table_new(columns, n + 1);
    }
    if (!t) {
        free(columns);
        return nf_fail(-ENOMEM, "out of memory");
    }
    for (uint32_t at = 0; (size = nf_mrc_size((uint32_t)s->block, reach, at)); at++) {
        if (size & (size - 1) && nf_mrc_size((uint32_t)s->block, reach, at + 1))
            continue;
        nf_table_integer(t, (int64_t)size);
        for (size_t i = 0; i < n; i++) {
            const struct nf_mrc *m = by_group ? &e[EXACT].curves[i] : &e[i].curves[nf_show_first_curve(s)];

            nf_table_number(t, nf_mrc_ratio(m, size));
        }
    }
    rc = nf_show_print(t, s, 60);
    nf_table_free(t);
    free(columns);
    return rc;
}

static const struct nf_column mrc_columns[] = {
    {"estimator", "estimator", NF_COLUMN_TEXT},
    {"evidence", "evidence", NF_COLUMN_TEXT},
    {"group", "of", NF_COLUMN_TEXT},
    {"block_bytes", "block", NF_COLUMN_BYTES},
    {"cache_bytes", "cache", NF_COLUMN_BYTES},
    {"miss_ratio", "miss ratio", NF_COLUMN_REAL},
    {"mean_error", "mean error", NF_COLUMN_REAL},
    {"largest_error", "largest", NF_COLUMN_REAL},
    {"time_ns", "time", NF_COLUMN_NS},
};

/* For programs: every estimator, group and size as a row. */
static int print_rows(const struct nf_show *s, const struct nf_show_groups *g, const struct estimate *e, uint64_t reach,
                      const char *accesses)
{
    struct nf_table *t = nf_table_new(COLUMNS(mrc_columns));
    char evidence[160];
    uint64_t size;
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "out of memory");
    for (int i = 0; i < ESTIMATES; i++) {
        snprintf(evidence, sizeof evidence, "%s%s", i == FUSED ? "simulated samples of " : "", accesses);
        for (uint32_t at = nf_show_first_curve(s); at <= g->n; at++) {
            struct nf_mrc_error error;
            bool known = !nf_mrc_compare(&e[EXACT].curves[at], &e[i].curves[at], &error);

            for (uint32_t k = 0; (size = nf_mrc_size((uint32_t)s->block, reach, k)); k++) {
                nf_table_text(t, e[i].curves[at].estimator);
                nf_table_text(t, evidence);
                nf_table_text(t, nf_show_curve_name(g, at));
                nf_table_integer(t, (int64_t)s->block);
                nf_table_integer(t, (int64_t)size);
                nf_table_number(t, nf_mrc_ratio(&e[i].curves[at], size));
                nf_table_number(t, known ? error.mean : NAN);
                nf_table_number(t, known ? error.most : NAN);
                nf_table_number(t, e[i].ns);
            }
        }
    }
    rc = nf_show_print(t, s, SIZE_MAX);
    nf_table_free(t);
    return rc;
}

static int draw_mrc(const struct nf_show *s, const struct nf_show_groups *g, const struct estimate *e, uint64_t reach,
                    const struct nf_show_facts *f)
{
    bool by_group = g->n && s->tensor == UINT64_MAX;
    struct nf_locality_head head = {
        by_group ? "Miss-ratio curves by role: exact; dashed: visit-fused, from simulated samples"
                 : "Miss-ratio curve: exact, and its estimates (dashed)",
        f->evidence, f->step};
    struct nf_mrc_line lines[LINES_MAX];
    char names[LINES_MAX][128];
    struct nf_canvas c = {.name = "plot"};
    size_t n = 0;

    for (uint32_t at = nf_show_first_curve(s); by_group && at <= g->n && n + 2 <= LINES_MAX; at++) {
        const char *colour =
            at && g->roles[at - 1] >= 0 ? nf_canvas_role_colour((unsigned)g->roles[at - 1]) : "#555555";

        snprintf(names[n], sizeof *names, "%s", nf_show_curve_name(g, at));
        lines[n] = (struct nf_mrc_line){&e[EXACT].curves[at], names[n], colour, false};
        n++;
        names[n][0] = '\0';
        lines[n] = (struct nf_mrc_line){&e[FUSED].curves[at], names[n], colour, true};
        n++;
    }
    for (int i = 0; !by_group && i < ESTIMATES; i++, n++) {
        const struct nf_mrc *m = &e[i].curves[nf_show_first_curve(s)];
        struct nf_mrc_error error;

        if (i == EXACT || nf_mrc_compare(&e[EXACT].curves[nf_show_first_curve(s)], m, &error))
            snprintf(names[n], sizeof *names, "%s", m->estimator);
        else
            snprintf(names[n], sizeof *names, "%s, error %.4f", m->estimator, error.mean);
        lines[n] = (struct nf_mrc_line){m, names[n], NULL, i != EXACT};
    }
    nf_figure_mrc(&c, &head, lines, n, reach, (double)s->llc_bytes);
    return nf_show_draw(&c, s, 0);
}

int nf_show_mrc(const struct nf_show *s)
{
    struct estimate e[ESTIMATES] = {0};
    struct nf_show_groups g = {0};
    struct nf_show_facts f;
    uint64_t reach = 0;
    int rc;

    if (!s->period)
        return nf_fail(-EINVAL, "--period must be at least 1");
    if (s->by && strcmp(s->by, "role"))
        return nf_fail(-EINVAL, "--mrc knows --by role; one tensor is chosen with --tensor");
    rc = nf_show_groups_init(&g, s, s->by);
    if (!rc)
        rc = nf_show_facts_init(
            &f, s, "fully associative LRU over captured addresses, each block once per visit; samples simulated");
    for (int i = 0; i < ESTIMATES && !rc; i++) {
        nf_progress("%d of %d estimators", i, ESTIMATES);
        rc = run_estimate(s, &g, i, &e[i]);
    }
    nf_progress_end();
    if (!rc && !(e[EXACT].curves[nf_show_first_curve(s)].distances.total > 0))
        rc = nf_fail(-EINVAL, "nothing was accessed: there is no curve");
    if (!rc) {
        reach = nf_mrc_reach(&e[EXACT].curves[0]);
        if (s->format == NF_TABLE_TEXT) {
            rc = print_estimates(s, &g, e);
            if (!rc)
                rc = print_curve(s, &g, e, reach);
        } else {
            rc = print_rows(s, &g, e, reach, f.accesses);
        }
    }
    if (!rc && s->plot)
        rc = draw_mrc(s, &g, e, reach, &f);
    for (int i = 0; i < ESTIMATES; i++)
        free(e[i].curves);
    nf_show_groups_deinit(&g);
    return rc;
}
