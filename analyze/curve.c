#include "analyze/curve.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "analyze/sweep.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/stats.h"

enum { BOOTSTRAP_ROUNDS = 2000 };

int nf_estimate(const double *v, size_t n, uint64_t seed, struct nf_estimate *out)
{
    *out = (struct nf_estimate){.median = NAN, .low = NAN, .high = NAN, .n = n};
    if (!n)
        return 0;
    out->median = nf_median(v, n);
    for (size_t i = 0; i < n; i++)
        out->outliers += nf_modified_z(v, n, v[i]) > NF_CURVE_OUTLIER_Z;
    return nf_median_interval(v, n, 0.95, BOOTSTRAP_ROUNDS, seed, &out->low, &out->high);
}

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int compare_policies(const void *a, const void *b)
{
    return strcmp(((const struct nf_policy_line *)a)->label, ((const struct nf_policy_line *)b)->label);
}

static int compare_points(const void *a, const void *b)
{
    const struct nf_point *x = a, *y = b;

    if (x->policy != y->policy)
        return x->policy < y->policy ? -1 : 1;
    if (x->hog != y->hog)
        return x->hog ? 1 : -1;
    if (x->parallelism_scale != y->parallelism_scale)
        return x->parallelism_scale < y->parallelism_scale ? -1 : 1;
    if (x->overlap != y->overlap)
        return x->overlap < y->overlap ? -1 : 1;
    return (x->near_share > y->near_share) - (x->near_share < y->near_share);
}

static int list_blocks(struct nf_curve *c, const struct nf_dataset *d)
{
    size_t n = 0;

    c->blocks = malloc((d->trials.n + 1) * sizeof *c->blocks);
    if (!c->blocks)
        return -ENOMEM;
    for (size_t i = 0; i < d->trials.n; i++) {
        if (!d->trials.v[i].left_out)
            c->blocks[n++] = d->trials.v[i].block;
    }
    qsort(c->blocks, n, sizeof *c->blocks, compare_i64);
    for (size_t i = 0; i < n; i++) {
        if (!i || c->blocks[i] != c->blocks[i - 1])
            c->blocks[c->n_blocks++] = c->blocks[i];
    }
    return 0;
}

static int find_policy(const struct nf_curve *c, const struct nf_trial_row *t)
{
    for (size_t i = 0; i < c->policies.n; i++) {
        if (!strcmp(c->policies.v[i].name, t->policy) && !strcmp(c->policies.v[i].options, t->options))
            return (int)i;
    }
    return -1;
}

/* Semantics end in "sees neither profile nor future", "sees profile", "sees future" or "sees profile and future". */
static bool sees(const char *semantics, const char *what)
{
    const char *end = strstr(semantics, "sees ");

    return end && !strstr(end, "neither") && strstr(end, what);
}

static int list_policies(struct nf_curve *c, const struct nf_dataset *d)
{
    for (size_t i = 0; i < d->trials.n; i++) {
        const struct nf_trial_row *t = &d->trials.v[i];
        struct nf_buf label = {0};

        if (find_policy(c, t) >= 0)
            continue;
        nf_buf_puts(&label, t->policy);
        if (*t->options)
            nf_buf_printf(&label, " (%s)", t->options);
        if (label.failed || nf_array_push(&c->policies, (struct nf_policy_line){
                                                            .name = t->policy,
                                                            .options = t->options,
                                                            .semantics = t->semantics,
                                                            .pages_by = t->pages_by,
                                                            .label = label.data,
                                                            .all_near = !strcmp(t->policy, "all-near"),
                                                            .all_far = !strcmp(t->policy, "all-far"),
                                                            .informed = sees(t->semantics, "profile"),
                                                            .oracle = sees(t->semantics, "future"),
                                                        })) {
            nf_buf_deinit(&label);
            return -ENOMEM;
        }
    }
    qsort(c->policies.v, c->policies.n, sizeof *c->policies.v, compare_policies);
    return 0;
}

const struct nf_point *nf_curve_find(const struct nf_curve *c, uint32_t policy, double near_share, unsigned overlap,
                                     bool hog, double parallelism_scale)
{
    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];

        if (p->policy == policy && p->overlap == overlap && p->hog == hog && p->near_share == near_share &&
            p->parallelism_scale == parallelism_scale)
            return p;
    }
    return NULL;
}

static int list_points(struct nf_curve *c, const struct nf_dataset *d)
{
    for (size_t i = 0; i < d->trials.n; i++) {
        const struct nf_trial_row *t = &d->trials.v[i];
        struct nf_point p = {
            .policy = (uint32_t)find_policy(c, t),
            .near_share = t->near_share,
            .near_bytes = t->near_bytes,
            .parallelism_scale = t->parallelism_scale,
            .overlap = t->overlap,
            .hog = t->hog,
            .vs_ratio = NAN,
            .vs_p = NAN,
        };

        if (t->left_out || nf_curve_find(c, p.policy, p.near_share, p.overlap, p.hog, p.parallelism_scale))
            continue;
        p.step_ns = malloc((c->n_blocks + 1) * sizeof *p.step_ns);
        if (!p.step_ns || nf_array_push(&c->points, p)) {
            free(p.step_ns);
            return -ENOMEM;
        }
    }
    qsort(c->points.v, c->points.n, sizeof *c->points.v, compare_points);
    return 0;
}

/* Median of one per-trial quantity over a point's trials, values that are unknown left out. */
static double median_of(const struct nf_trial_row *const *trials, size_t n, double *room, size_t field, bool per_step)
{
    size_t known = 0;

    for (size_t i = 0; i < n; i++) {
        double v = *(const double *)((const char *)trials[i] + field);

        if (!isnan(v))
            room[known++] = per_step ? v / (double)trials[i]->steps : v;
    }
    return nf_median(room, known);
}

#define MEDIAN(field, per_step) median_of(trials, n, room, offsetof(struct nf_trial_row, field), per_step)

static void fill_point(struct nf_curve *c, const struct nf_dataset *d, struct nf_point *p,
                       const struct nf_trial_row **trials, double *room)
{
    size_t n = 0;
    double far_read, far_write;

    for (size_t i = 0; i < d->trials.n; i++) {
        const struct nf_trial_row *t = &d->trials.v[i];

        if (!t->left_out && (uint32_t)find_policy(c, t) == p->policy && t->near_share == p->near_share &&
            t->overlap == p->overlap && t->hog == p->hog && t->parallelism_scale == p->parallelism_scale)
            trials[n++] = t;
    }
    for (size_t b = 0; b < c->n_blocks; b++) {
        size_t in_block = 0;

        /* A trial that was repeated within a block counts once, with its median. */
        for (size_t i = 0; i < n; i++) {
            if (trials[i]->block == c->blocks[b])
                room[in_block++] = trials[i]->wall_ns / (double)trials[i]->steps;
        }
        p->step_ns[b] = nf_median(room, in_block);
        p->blocks += in_block > 0;
    }
    p->wall_ns = MEDIAN(wall_ns, true);
    p->memory_ns = MEDIAN(memory_ns, true);
    p->injected_ns = MEDIAN(injected_ns, true);
    p->compute_ns = MEDIAN(compute_ns, true);
    p->stall_ns = MEDIAN(stall_ns, true);
    far_read = MEDIAN(far_read_bytes, true);
    far_write = MEDIAN(far_write_bytes, true);
    p->far_bytes = far_read + far_write;
    p->charged_bytes = MEDIAN(far_charged_bytes, true);
    p->fetched_bytes = MEDIAN(fetched_bytes, true);
    p->moved_bytes = MEDIAN(moved_bytes, true);
    p->policy_ns = MEDIAN(policy_ns, true);
    p->move_ns = MEDIAN(move_ns, true);
    p->stolen_ns = MEDIAN(stolen_ns, true);
    p->late_ns = MEDIAN(late_ns, true);
    p->floored_share = MEDIAN(floored_share, false);
    p->assumed_k_share = MEDIAN(assumed_k_share, false);
    p->class_k_share = MEDIAN(class_k_share, false);
    p->near_peak_bytes = MEDIAN(near_peak_bytes, false);
    p->far_latency_ns = MEDIAN(far_latency_ns, false);
    p->far_bps = MEDIAN(far_bps, false);
    for (size_t i = 0; i < n; i++) {
        p->saturated += trials[i]->saturated;
        p->k_repeated = p->k_repeated || trials[i]->k_repeated;
        p->evidence |= trials[i]->evidence < NF_EVIDENCE_COUNT ? 1u << trials[i]->evidence : 1u;
    }
}

static const struct nf_point *find_all_near(const struct nf_curve *c, const struct nf_point *like)
{
    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];

        if (c->policies.v[p->policy].all_near && p->overlap == like->overlap && p->hog == like->hog &&
            p->parallelism_scale == like->parallelism_scale)
            return p;
    }
    /* All near, nothing is injected: its parallelism scale makes no difference, and a sensitivity run needs no own. */
    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];

        if (c->policies.v[p->policy].all_near && p->overlap == like->overlap && p->hog == like->hog &&
            p->parallelism_scale == 1)
            return p;
    }
    return NULL;
}

size_t nf_curve_ratios(const struct nf_curve *c, const struct nf_point *x, const struct nf_point *y, double *ratio)
{
    size_t n = 0;

    for (size_t b = 0; x && y && b < c->n_blocks; b++) {
        if (!isnan(x->step_ns[b]) && !isnan(y->step_ns[b]))
            ratio[n++] = x->step_ns[b] / y->step_ns[b];
    }
    return n;
}

static void choose_reference(struct nf_curve *c)
{
    static const char *const wanted[] = {"near-first", "lru"};

    c->reference = -1;
    for (size_t w = 0; w < sizeof wanted / sizeof *wanted && c->reference < 0; w++) {
        for (size_t i = 0; i < c->policies.n && c->reference < 0; i++) {
            if (!strcmp(c->policies.v[i].name, wanted[w]))
                c->reference = (int)i;
        }
    }
}

static int compare_point(struct nf_curve *c, size_t at, double *room)
{
    struct nf_point *p = &c->points.v[at];
    const struct nf_policy_line *line = &c->policies.v[p->policy];
    size_t n = nf_curve_ratios(c, p, find_all_near(c, p), room);
    int rc = nf_estimate(room, n, at + 1, &p->slowdown);

    if (rc)
        return rc;
    p->unpaired = p->blocks - n;
    if (c->reference >= 0 && p->policy != (uint32_t)c->reference) {
        n = nf_curve_ratios(
            c, p, nf_curve_find(c, (uint32_t)c->reference, p->near_share, p->overlap, p->hog, p->parallelism_scale), room);
        p->vs_n = n;
        if (n) {
            p->vs_ratio = nf_median(room, n);
            p->vs_p = nf_signed_rank_p(room, n);
        }
    }
    if (nf_point_is_headline(p) && !line->all_near) {
        c->evidence |= p->evidence;
        if (p->slowdown.n && (!c->headline_blocks || p->slowdown.n < c->headline_blocks))
            c->headline_blocks = p->slowdown.n;
    }
    return 0;
}

int nf_curve_init(struct nf_curve *c, const struct nf_dataset *d)
{
    const struct nf_trial_row **trials = malloc((d->trials.n + 1) * sizeof *trials);
    double *room = malloc((d->trials.n + 1) * sizeof *room);
    int rc;

    *c = (struct nf_curve){.reference = -1};
    rc = trials && room ? list_blocks(c, d) : -ENOMEM;
    if (!rc)
        rc = list_policies(c, d);
    if (!rc)
        rc = list_points(c, d);
    for (size_t i = 0; i < c->points.n && !rc; i++)
        fill_point(c, d, &c->points.v[i], trials, room);
    choose_reference(c);
    for (size_t i = 0; i < c->points.n && !rc; i++)
        rc = compare_point(c, i, room);
    if (!rc)
        rc = nf_sweep_add(c);
    free(trials);
    free(room);
    return rc ? nf_fail(rc, "out of memory for %zu trials", d->trials.n) : 0;
}

void nf_curve_deinit(struct nf_curve *c)
{
    for (size_t i = 0; i < c->policies.n; i++)
        free(c->policies.v[i].label);
    for (size_t i = 0; i < c->points.n; i++)
        free(c->points.v[i].step_ns);
    nf_array_free(&c->policies);
    nf_array_free(&c->points);
    nf_array_free(&c->winners);
    free(c->blocks);
    *c = (struct nf_curve){0};
}

bool nf_curve_band(const struct nf_curve *c, uint32_t policy, double near_share, const struct nf_point **full,
                   const struct nf_point **none)
{
    *full = nf_curve_find(c, policy, near_share, NF_OVERLAP_FULL, false, 1);
    *none = nf_curve_find(c, policy, near_share, NF_OVERLAP_NONE, false, 1);
    if (*full && !(*full)->slowdown.n)
        *full = NULL;
    if (*none && !(*none)->slowdown.n)
        *none = NULL;
    return *full || *none;
}

size_t nf_curve_shares(const struct nf_curve *c, double *shares, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];
        size_t at = 0;

        if (!nf_point_is_headline(p) || c->policies.v[p->policy].all_near || c->policies.v[p->policy].all_far)
            continue;
        while (at < n && shares[at] < p->near_share)
            at++;
        if ((at < n && shares[at] == p->near_share) || n == max)
            continue;
        memmove(&shares[at + 1], &shares[at], (n - at) * sizeof *shares);
        shares[at] = p->near_share;
        n++;
    }
    return n;
}
