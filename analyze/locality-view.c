#include "analyze/locality-view.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"
#include "core/model/fuse.h"
#include "core/model/locality.h"
#include "core/model/thin.h"
#include "core/model/walk.h"

enum {
    TENSORS_MAX = 10000, /* of --by tensor: three histograms each */
    S_MAX = 8192,
    /* Accesses of one pass and live blocks that a default may cost: the six curves walk each access some ten times at 10 to
     * 100 M/s, and follow a live block with up to 120 bytes, three of them at a time. */
    ACCESSES_MAX = 1 << 25,
    LIVE_MAX = 1 << 22,
    BLOCK_LARGE = 4096,
    BLOCK_MAX = 1 << 20,
};

/* --- groups --- */

static int group_by_role(struct nf_tensor_groups *g, const struct nf_step_class *c)
{
    uint32_t number[NF_ROLE_COUNT];

    memset(number, 0xff, sizeof number);
    for (uint32_t i = 0; i < c->n_visits; i++)
        number[c->tensors[c->visits[i].tensor].role] = 0;
    for (unsigned role = 0; role < NF_ROLE_COUNT; role++) {
        if (number[role])
            continue;
        number[role] = g->n;
        g->roles[g->n] = (int)role;
        snprintf(g->names[g->n++], sizeof *g->names, "%s", nf_role_name(role));
    }
    /* Tensors that are never visited belong anywhere. */
    for (uint32_t i = 0; i < c->n_tensors; i++)
        g->of[i] = number[c->tensors[i].role] == UINT32_MAX ? 0 : number[c->tensors[i].role];
    return 0;
}

static void name_tensor(char name[96], const struct nf_step_class *c, uint32_t tensor)
{
    const struct nf_tensor *t = &c->tensors[tensor];
    char bytes[NF_UNITS_TEXT];

    snprintf(name, 96, "tensor %u, %s, %s", tensor, nf_role_name(t->role), nf_format_bytes(bytes, (double)t->bytes));
}

int nf_tensor_groups_init(struct nf_tensor_groups *g, const struct nf_step_class *c, const char *by, uint64_t tensor)
{
    size_t most = c->n_tensors + (size_t)NF_ROLE_COUNT + 2;

    *g = (struct nf_tensor_groups){.of = calloc(most, sizeof *g->of),
                                   .names = calloc(most, sizeof *g->names),
                                   .roles = malloc(most * sizeof *g->roles)};
    if (!g->of || !g->names || !g->roles)
        return nf_fail(-ENOMEM, "out of memory");
    for (size_t i = 0; i < most; i++)
        g->roles[i] = -1;
    if (tensor != NF_TENSOR_ALL) {
        if (tensor >= c->n_tensors)
            return nf_fail(-EINVAL, "there is no tensor %llu; the step class has %u", (unsigned long long)tensor,
                           c->n_tensors);
        g->of[tensor] = 1;
        g->n = 2;
        g->first = 2;
        snprintf(g->names[0], sizeof *g->names, "all other tensors");
        name_tensor(g->names[1], c, (uint32_t)tensor);
        g->roles[1] = c->tensors[tensor].role;
    } else if (by && !strcmp(by, "role")) {
        return group_by_role(g, c);
    } else if (by && !strcmp(by, "tensor")) {
        if (c->n_tensors > TENSORS_MAX)
            return nf_fail(-EINVAL, "the step has %u tensors, too many for curves of each; choose with --tensor",
                           c->n_tensors);
        for (g->n = 0; g->n < c->n_tensors; g->n++) {
            g->of[g->n] = g->n;
            name_tensor(g->names[g->n], c, g->n);
            g->roles[g->n] = c->tensors[g->n].role;
        }
    } else if (by) {
        return nf_fail(-EINVAL, "--by '%s' is not known here", by);
    }
    return 0;
}

void nf_tensor_groups_deinit(struct nf_tensor_groups *g)
{
    free(g->of);
    free(g->names);
    free(g->roles);
    *g = (struct nf_tensor_groups){0};
}

const char *nf_tensor_groups_name(const struct nf_tensor_groups *g, uint32_t at)
{
    return at ? g->names[at - 1] : "all";
}

static struct nf_grouping grouping(const struct nf_tensor_groups *g)
{
    return (struct nf_grouping){g->n ? g->of : NULL, g->n};
}

/* --- blocks --- */

static int count_blocks(void *context, const struct nf_walk_extent *e)
{
    uint64_t *n = context;

    *n += e->n;
    return *n > ACCESSES_MAX;
}

uint32_t nf_locality_block(const struct nf_step_class *c, uint64_t *accesses)
{
    for (uint32_t block = NF_LINE_BYTES; block <= BLOCK_MAX; block = block < BLOCK_LARGE ? BLOCK_LARGE : block * 2) {
        *accesses = 0;
        if (c->peak_live_bytes / block <= LIVE_MAX && !nf_walk(c, block, NULL, count_blocks, accesses))
            return block;
    }
    return 0;
}

void nf_locality_evidence(const struct nf_step_class *c, char *text, size_t size)
{
    double bytes[NF_ACCESS_COUNT] = {0}, all = 0;
    size_t n = 0;

    for (uint32_t i = 0; i < c->n_visits; i++) {
        bytes[c->visits[i].evidence] += (double)c->visits[i].bytes;
        all += (double)c->visits[i].bytes;
    }
    snprintf(text, size, "unknown");
    for (unsigned e = 0; e < NF_ACCESS_COUNT; e++) {
        if (bytes[e] > 0 && n < size)
            n += (size_t)snprintf(text + n, size - n, bytes[e] < all ? "%s%s %.3g %%" : "%s%s", n ? ", " : "",
                                  nf_access_evidence_name(e), 100 * bytes[e] / all);
    }
}

void nf_locality_step(const struct nf_step_class *c, char *text, size_t size)
{
    char visited[NF_UNITS_TEXT], live[NF_UNITS_TEXT];
    double bytes = 0;

    for (uint32_t i = 0; i < c->n_visits; i++)
        bytes += (double)c->visits[i].bytes;
    snprintf(text, size, "steady state of one step: %u ops, %u visits of %s, %u tensors, peak live %s", c->n_ops,
             c->n_visits, nf_format_bytes(visited, bytes), c->n_tensors, nf_format_bytes(live, (double)c->peak_live_bytes));
}

/* --- miss-ratio curves --- */

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

int nf_mrc_set_init(struct nf_mrc_set *m, const struct nf_step_class *c, uint32_t block_bytes,
                    const struct nf_tensor_groups *g, uint64_t period)
{
    *m = (struct nf_mrc_set){0};
    for (int i = 0; i < NF_MRC_ESTIMATORS; i++) {
        struct nf_locality l = {c, block_bytes, grouping(g), NULL};
        uint64_t begun = nf_now_ns();
        int rc;

        nf_progress("miss-ratio curves: %d of %d estimators", i, NF_MRC_ESTIMATORS);
        l.curves = m->curves[i] = calloc(g->n + (size_t)1, sizeof *l.curves);
        if (!l.curves)
            return nf_fail(-ENOMEM, "out of memory for %u curves", g->n + 1);
        switch ((enum nf_mrc_by)i) {
        case NF_MRC_EXACT: rc = nf_locality_exact(&l); break;
        case NF_MRC_SHARDS_TENTH: rc = nf_locality_shards(&l, 0.1, 0); break;
        case NF_MRC_SHARDS_HUNDREDTH: rc = nf_locality_shards(&l, 0.01, 0); break;
        case NF_MRC_SHARDS_SIZE: rc = nf_locality_shards(&l, 1, S_MAX); break;
        case NF_MRC_AET: rc = nf_locality_aet(&l); break;
        default: rc = fuse(&l, period); break;
        }
        if (rc)
            return rc;
        m->ns[i] = (double)(nf_now_ns() - begun);
    }
    m->reach = nf_mrc_reach(&m->curves[NF_MRC_EXACT][0]);
    return 0;
}

void nf_mrc_set_deinit(struct nf_mrc_set *m)
{
    for (int i = 0; i < NF_MRC_ESTIMATORS; i++)
        free(m->curves[i]);
    *m = (struct nf_mrc_set){0};
}

const struct nf_column nf_mrc_error_columns[NF_MRC_ERROR_COLUMNS] = {
    {"estimator", "estimator", NF_COLUMN_TEXT},   {"group", "of", NF_COLUMN_TEXT},
    {"mean_error", "mean error", NF_COLUMN_REAL}, {"largest_error", "largest", NF_COLUMN_REAL},
    {"largest_at_bytes", "at", NF_COLUMN_BYTES},  {"time_ns", "time", NF_COLUMN_NS},
};

void nf_mrc_set_errors(const struct nf_mrc_set *m, const struct nf_tensor_groups *g, bool timed, struct nf_table *t)
{
    for (uint32_t at = g->first; at <= g->n; at++) {
        for (int i = 0; i < NF_MRC_ESTIMATORS; i++) {
            struct nf_mrc_error error;

            nf_table_text(t, m->curves[i][at].estimator);
            nf_table_text(t, nf_tensor_groups_name(g, at));
            if (nf_mrc_compare(&m->curves[NF_MRC_EXACT][at], &m->curves[i][at], &error)) {
                for (int k = 0; k < 3; k++)
                    nf_table_unknown(t); /* nothing accessed, or nothing sampled */
            } else {
                nf_table_number(t, error.mean);
                nf_table_number(t, error.most);
                nf_table_integer(t, (int64_t)error.most_at_bytes);
            }
            if (timed)
                nf_table_number(t, m->ns[i]);
        }
    }
}

const struct nf_column nf_mrc_columns[NF_MRC_COLUMNS] = {
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

void nf_mrc_set_rows(const struct nf_mrc_set *m, const struct nf_tensor_groups *g, const char *accesses, bool timed,
                     struct nf_table *t)
{
    uint32_t block = m->curves[NF_MRC_EXACT][0].block_bytes;
    char evidence[160];
    uint64_t size;

    for (int i = 0; i < NF_MRC_ESTIMATORS; i++) {
        snprintf(evidence, sizeof evidence, "%s%s", i == NF_MRC_FUSED ? "simulated samples of " : "", accesses);
        for (uint32_t at = g->first; at <= g->n; at++) {
            struct nf_mrc_error error;
            bool known = !nf_mrc_compare(&m->curves[NF_MRC_EXACT][at], &m->curves[i][at], &error);

            for (uint32_t k = 0; (size = nf_mrc_size(block, m->reach, k)); k++) {
                nf_table_text(t, m->curves[i][at].estimator);
                nf_table_text(t, evidence);
                nf_table_text(t, nf_tensor_groups_name(g, at));
                nf_table_integer(t, block);
                nf_table_integer(t, (int64_t)size);
                nf_table_number(t, nf_mrc_ratio(&m->curves[i][at], size));
                nf_table_number(t, known ? error.mean : NAN);
                nf_table_number(t, known ? error.most : NAN);
                if (timed)
                    nf_table_number(t, m->ns[i]);
            }
        }
    }
}

/* --- reuse --- */

int nf_reuse_set_init(struct nf_reuse_set *r, const struct nf_step_class *c, uint32_t block_bytes,
                      const struct nf_tensor_groups *g)
{
    struct nf_locality l = {c, block_bytes, grouping(g), NULL};
    int rc;

    *r = (struct nf_reuse_set){.block_bytes = block_bytes};
    for (uint32_t i = 0; i < c->n_ops; i++)
        r->timed |= c->ops[i].dur_ns > 0;
    l.curves = r->curves = calloc(g->n + (size_t)1, sizeof *r->curves);
    r->traffic = calloc(g->n + (size_t)1, sizeof *r->traffic);
    r->ns = calloc(g->n + (size_t)1, sizeof *r->ns);
    if (!r->curves || !r->traffic || !r->ns)
        return nf_fail(-ENOMEM, "out of memory for %u histograms", g->n);
    rc = nf_locality_exact(&l);
    return rc ? rc : nf_locality_times(&l, r->traffic, r->timed ? r->ns : NULL);
}

void nf_reuse_set_deinit(struct nf_reuse_set *r)
{
    free(r->curves);
    free(r->traffic);
    free(r->ns);
    *r = (struct nf_reuse_set){0};
}

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

const struct nf_column nf_reuse_summary_columns[NF_REUSE_SUMMARY_COLUMNS] = {
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

void nf_reuse_set_summary(const struct nf_reuse_set *r, const struct nf_tensor_groups *g, struct nf_table *t)
{
    for (uint32_t at = g->first; at <= g->n; at++) {
        const struct nf_histogram *d = &r->curves[at].distances;

        if (!(d->total > 0))
            continue; /* a tensor that is never visited */
        nf_table_text(t, nf_tensor_groups_name(g, at));
        nf_table_number(t, d->total);
        nf_table_number(t, d->cold / d->total);
        put_quantile(t, d, 0.5, r->block_bytes);
        put_quantile(t, d, 0.9, r->block_bytes);
        put_quantile(t, &r->traffic[at], 0.5, 1);
        put_quantile(t, &r->traffic[at], 0.9, 1);
        for (int k = 0; k < 2; k++) {
            if (r->timed)
                put_quantile(t, &r->ns[at], k ? 0.9 : 0.5, 1);
            else
                nf_table_unknown(t);
        }
    }
}

const struct nf_column nf_reuse_columns[NF_REUSE_COLUMNS] = {
    {"group", "of", NF_COLUMN_TEXT}, {"measure", "measure", NF_COLUMN_TEXT}, {"low", "from", NF_COLUMN_REAL},
    {"high", "to", NF_COLUMN_REAL},  {"bytes", "bytes", NF_COLUMN_REAL},     {"evidence", "evidence", NF_COLUMN_TEXT},
};

/* Octaves with weight, and the first accesses with neither end. */
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

void nf_reuse_set_octaves(const struct nf_reuse_set *r, const struct nf_tensor_groups *g, const char *evidence,
                          struct nf_table *t)
{
    for (uint32_t at = g->first; at <= g->n; at++) {
        const char *name = nf_tensor_groups_name(g, at);

        put_octaves(t, name, "distance_bytes", &r->curves[at].distances, r->block_bytes, evidence);
        put_octaves(t, name, "traffic_bytes", &r->traffic[at], 1, evidence);
        if (r->timed)
            put_octaves(t, name, "time_ns", &r->ns[at], 1, evidence);
    }
}
