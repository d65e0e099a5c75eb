#include "replay/stop-rule.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/stats.h"

enum { ROUNDS = 1000 /* of the bootstrap: the ends of a 95 % interval settle within a few percent of its width */ };
static const double LEVEL = 0.95;

int nf_stop_rule_init(struct nf_stop_rule *r, const struct nf_trials *trials, uint32_t blocks)
{
    *r = (struct nf_stop_rule){.trials = trials, .blocks = blocks};
    r->step_ns = calloc((size_t)blocks * trials->n + 1, sizeof *r->step_ns);
    return r->step_ns ? 0 : nf_fail(-ENOMEM, "out of memory for %u blocks", blocks);
}

void nf_stop_rule_deinit(struct nf_stop_rule *r)
{
    free(r->step_ns);
    r->step_ns = NULL;
}

void nf_stop_rule_add(struct nf_stop_rule *r, uint32_t block, uint32_t trial, double step_ns)
{
    if (block < r->blocks && trial < r->trials->n)
        r->step_ns[(size_t)block * r->trials->n + trial] = step_ns;
}

/* The all-near trial of the same overlap, beside the same hog, as warm. */
static uint32_t reference_of(const struct nf_trials *t, uint32_t trial)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (nf_trials_is_all_near(t->policies[t->v[i].policy].ops) && t->v[i].overlap == t->v[trial].overlap &&
            t->v[i].hog == t->v[trial].hog && t->v[i].cold == t->v[trial].cold && !t->v[i].variant)
            return i;
    }
    return UINT32_MAX;
}

double nf_stop_rule_width(const struct nf_stop_rule *r, uint32_t n_blocks, uint64_t seed)
{
    const struct nf_trials *t = r->trials;
    double *ratio = malloc((n_blocks + (size_t)1) * sizeof *ratio), widest = 0;

    for (uint32_t i = 0; ratio && i < t->n && !isnan(widest); i++) {
        uint32_t reference = reference_of(t, i);
        double low, high;
        size_t n = 0;

        /* What hangs on an assumption is no slowdown to be known. */
        if (reference == i || reference == UINT32_MAX || t->v[i].variant)
            continue;
        for (uint32_t block = 0; block < n_blocks; block++) {
            double mine = r->step_ns[(size_t)block * t->n + i], near = r->step_ns[(size_t)block * t->n + reference];

            if (mine > 0 && near > 0)
                ratio[n++] = mine / near;
        }
        if (n < 2 || nf_median_interval(ratio, n, LEVEL, ROUNDS, seed, &low, &high))
            widest = NAN;
        else
            widest = fmax(widest, (high - low) / nf_median(ratio, n));
    }
    if (!ratio)
        widest = NAN;
    free(ratio);
    return widest;
}
