#include "analyze/fidelity.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/stats.h"

static const struct nf_point *all_near(const struct nf_curve *c, unsigned overlap, bool hog)
{
    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];

        if (c->policies.v[p->policy].all_near && p->overlap == overlap && p->hog == hog && p->parallelism_scale == 1)
            return p;
    }
    return NULL;
}

/* On the machine that replayed: what a hog takes from a job is that machine's. */
static bool usable(const struct nf_dataset *d, const struct nf_live_row *l, const char *kind)
{
    return !l->exit_status && !isnan(l->step_ns) && !strcmp(l->kind, kind) && l->machine_id == d->replay.testbed_machine_id;
}

/* Step times of good runs of a kind, and how many. */
static size_t runs(const struct nf_dataset *d, const char *kind, double *room)
{
    size_t n = 0;

    for (size_t i = 0; i < d->live_runs.n; i++) {
        if (usable(d, &d->live_runs.v[i], kind))
            room[n++] = d->live_runs.v[i].step_ns;
    }
    return n;
}

static int real_slowdown(struct nf_fidelity *f, const struct nf_dataset *d, double *room)
{
    size_t n = 0;
    int rc;

    f->alone_runs = runs(d, "alone", room);
    f->alone_ns = nf_median(room, f->alone_runs);
    f->hog_runs = runs(d, "hog", room);
    f->hog_ns = nf_median(room, f->hog_runs);
    for (size_t i = 0; i < d->live_runs.n; i++) {
        const struct nf_live_row *l = &d->live_runs.v[i];

        f->failed_runs += l->exit_status != 0 || isnan(l->step_ns);
        f->elsewhere_runs += l->machine_id != d->replay.testbed_machine_id;
        for (size_t j = 0; j < d->live_runs.n && usable(d, l, "hog"); j++) {
            const struct nf_live_row *a = &d->live_runs.v[j];

            if (usable(d, a, "alone") && a->repetition == l->repetition && a->invocation_id == l->invocation_id) {
                room[n++] = l->step_ns / a->step_ns;
                break;
            }
        }
    }
    rc = nf_estimate(room, n, 1, &f->real);
    /* The statement is about the medians; the pairs give its interval. */
    f->real.median = f->hog_ns / f->alone_ns;
    return rc;
}

int nf_fidelity_compute(struct nf_fidelity *f, const struct nf_dataset *d, const struct nf_curve *c)
{
    double *room = malloc((d->trials.n + d->live_runs.n + 1) * sizeof *room);
    int rc;

    *f = (struct nf_fidelity){0};
    if (!room)
        return nf_fail(-ENOMEM, "out of memory for %zu trials", d->trials.n);
    rc = real_slowdown(f, d, room);
    for (unsigned o = 0; o < NF_OVERLAP_COUNT && !rc; o++) {
        const struct nf_point *quiet = all_near(c, o, false), *hog = all_near(c, o, true);
        size_t n = 0;

        for (size_t b = 0; quiet && b < c->n_blocks; b++) {
            if (!isnan(quiet->step_ns[b]) && !isnan(d->capture.bare_step_ns))
                room[n++] = quiet->step_ns[b] / d->capture.bare_step_ns;
        }
        rc = nf_estimate(room, n, 2 + o, &f->consistency[o]);
        n = 0;
        for (size_t b = 0; quiet && hog && b < c->n_blocks; b++) {
            if (!isnan(quiet->step_ns[b]) && !isnan(hog->step_ns[b]))
                room[n++] = hog->step_ns[b] / quiet->step_ns[b];
        }
        if (!rc)
            rc = nf_estimate(room, n, 8 + o, &f->predicted[o]);
        f->error[o] = f->predicted[o].median / f->real.median - 1;
    }
    free(room);
    return rc ? nf_fail(rc, "out of memory for %zu trials", d->trials.n) : 0;
}
