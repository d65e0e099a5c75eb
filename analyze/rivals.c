#include "analyze/rivals.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/print.h"
#include "core/base/error.h"
#include "core/model/words.h"

enum { SHARES_MAX = 64 };

static const struct nf_column columns[] = {
    {"near_share", "near", NF_COLUMN_SHARE},
    {"overlap", "mode", NF_COLUMN_TEXT},
    {"policy", "policy", NF_COLUMN_TEXT},
    {"sees", "sees", NF_COLUMN_TEXT},
    {"rival", "against", NF_COLUMN_TEXT},
    {"verdict", "it is", NF_COLUMN_TEXT},
    {"ratio", "its step / theirs", NF_COLUMN_REAL},
    {"ratio_low", "low", NF_COLUMN_REAL},
    {"ratio_high", "high", NF_COLUMN_REAL},
    {"blocks", "blocks", NF_COLUMN_INTEGER},
    {"charged_bytes", "far charged", NF_COLUMN_BYTES},
    {"rival_charged_bytes", "theirs", NF_COLUMN_BYTES},
    {"moved_bytes", "migrated", NF_COLUMN_BYTES},
    {"rival_moved_bytes", "theirs", NF_COLUMN_BYTES},
    {"why", "where the time goes", NF_COLUMN_TEXT},
};

const char *nf_rivals_word(enum nf_rivals_verdict verdict)
{
    static const char *const words[] = {"faster", "slower", "not told apart", "too few blocks"};

    return words[verdict];
}

/* The one with the least slowdown of those names. */
static const struct nf_point *best_of(const struct nf_curve *c, const char *const *names, double share, unsigned overlap)
{
    const struct nf_point *best = NULL;

    for (uint32_t i = 0; i < c->policies.n; i++) {
        const struct nf_point *p = c->policies.v[i].swept ? NULL : nf_curve_find(c, i, share, overlap, false, 1);
        bool named = false;

        for (size_t k = 0; names[k]; k++)
            named = named || !strcmp(c->policies.v[i].name, names[k]);
        if (named && p && p->slowdown.n && (!best || p->slowdown.median < best->slowdown.median))
            best = p;
    }
    return best;
}

static enum nf_rivals_verdict verdict_of(const struct nf_estimate *ratio)
{
    if (ratio->n < NF_RIVALS_BLOCKS_MIN)
        return NF_RIVALS_TOO_FEW;
    return ratio->high < 1 ? NF_RIVALS_FASTER : ratio->low > 1 ? NF_RIVALS_SLOWER : NF_RIVALS_NOT_TOLD_APART;
}

/* Medians, so the parts need not add up to the difference of the steps to the nanosecond. */
static void say_why(struct nf_rivalry *r, const char *rival)
{
    const struct nf_point *p = r->point, *q = r->rival;
    const struct {
        const char *what;
        double ns, rival_ns;
    } parts[] = {{"waits for far accesses", p->injected_ns, q->injected_ns},
                 {"standing still for moves", p->stall_ns, q->stall_ns},
                 {"the accesses themselves", p->memory_ns, q->memory_ns},
                 {"compute", p->compute_ns, q->compute_ns}};
    enum { PARTS = sizeof parts / sizeof *parts };
    size_t most = 0;
    struct nf_buf b = {0};

    for (size_t i = 0; i < PARTS; i++) {
        double d = parts[i].ns - parts[i].rival_ns;

        if (isnan(d)) {
            nf_buf_puts(&b, "unknown: older trials do not account for their time");
            nf_print_keep(r->why, sizeof r->why, &b);
            nf_buf_deinit(&b);
            return;
        }
        most = fabs(d) > fabs(parts[most].ns - parts[most].rival_ns) ? i : most;
        nf_buf_printf(&b, "%s%s ", i ? ", " : "of the step (theirs): ", parts[i].what);
        nf_print_share(&b, parts[i].ns / p->wall_ns);
        nf_buf_puts(&b, " (");
        nf_print_share(&b, parts[i].rival_ns / q->wall_ns);
        nf_buf_puts(&b, ")");
    }
    nf_buf_printf(&b, "; they differ most in %s: ", parts[most].what);
    nf_print_ns(&b, fabs(parts[most].ns - parts[most].rival_ns));
    nf_buf_printf(&b, " %s than with %s", parts[most].ns < parts[most].rival_ns ? "less" : "more", rival);
    nf_print_keep(r->why, sizeof r->why, &b);
    nf_buf_deinit(&b);
}

static int compare(struct nf_rivals *r, const struct nf_curve *c, const struct nf_point *p, const struct nf_point *rival, double *room)
{
    struct nf_rivalry v = {.point = p, .rival = rival};
    size_t n = rival ? nf_curve_ratios(c, p, rival, room) : 0;
    int rc = n ? nf_estimate(room, n, r->v.n + 1, &v.ratio) : 0;

    if (rc || !n)
        return rc;
    v.verdict = verdict_of(&v.ratio);
    say_why(&v, c->policies.v[rival->policy].name);
    return nf_array_push(&r->v, v);
}

static int compare_at(struct nf_rivals *r, const struct nf_curve *c, double share, unsigned overlap, double *room)
{
    static const char *const lru[] = {"lru", NULL}, *const spread[] = {"interleave", "weighted", "best-interleave", NULL};
    const struct nf_point *rivals[] = {best_of(c, lru, share, overlap), best_of(c, spread, share, overlap)};
    int rc = 0;

    for (uint32_t i = 0; i < c->policies.n && !rc; i++) {
        const struct nf_policy_line *line = &c->policies.v[i];
        const struct nf_point *p = line->informed && !line->swept ? nf_curve_find(c, i, share, overlap, false, 1) : NULL;

        for (size_t k = 0; k < sizeof rivals / sizeof *rivals && p && !rc; k++)
            rc = compare(r, c, p, rivals[k], room);
    }
    return rc;
}

static void fill(struct nf_table *t, const struct nf_curve *c, const struct nf_rivalry *v)
{
    const struct nf_policy_line *line = &c->policies.v[v->point->policy];

    nf_table_number(t, v->point->near_share);
    nf_table_text(t, nf_overlap_name(v->point->overlap));
    nf_table_text(t, line->label);
    nf_table_text(t, line->oracle ? "profile and future" : "profile");
    nf_table_text(t, c->policies.v[v->rival->policy].label);
    nf_table_text(t, nf_rivals_word(v->verdict));
    nf_table_number(t, v->ratio.median);
    nf_table_number(t, v->ratio.low);
    nf_table_number(t, v->ratio.high);
    nf_table_integer(t, (int64_t)v->ratio.n);
    nf_table_number(t, v->point->charged_bytes);
    nf_table_number(t, v->rival->charged_bytes);
    nf_table_number(t, v->point->moved_bytes);
    nf_table_number(t, v->rival->moved_bytes);
    nf_table_text(t, v->why);
}

int nf_rivals_init(struct nf_rivals *r, const struct nf_curve *c)
{
    double shares[SHARES_MAX], *room = malloc((c->n_blocks + 1) * sizeof *room);
    size_t n = nf_curve_shares(c, shares, SHARES_MAX);
    int rc = room ? 0 : -ENOMEM;

    *r = (struct nf_rivals){0};
    for (size_t i = 0; i < n && !rc; i++)
        for (unsigned o = NF_OVERLAP_FULL; o <= NF_OVERLAP_NONE && !rc; o++)
            rc = compare_at(r, c, shares[i], o, room);
    free(room);
    if (!rc && r->v.n) {
        r->rows = nf_table_new(columns, sizeof columns / sizeof *columns);
        rc = r->rows ? 0 : -ENOMEM;
    }
    for (size_t i = 0; i < r->v.n && !rc; i++)
        fill(r->rows, c, &r->v.v[i]);
    return rc ? nf_fail(rc, "out of memory for %zu comparisons", r->v.n) : 0;
}

void nf_rivals_deinit(struct nf_rivals *r)
{
    nf_array_free(&r->v);
    r->rows = nf_table_free(r->rows);
}
