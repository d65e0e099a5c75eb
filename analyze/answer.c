#include "analyze/answer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analyze/print.h"
#include "core/model/stats.h"

/* The share reviewers ask about first. */
#define ANSWER_NEAR_SHARE 0.2
enum { SHARES_MAX = 64, LLC_MULTIPLE = 4 };

struct band {
    const struct nf_point *full, *none;
    double low, high, middle;
};

static bool band_of(const struct nf_curve *c, uint32_t policy, double share, struct band *b)
{
    if (!nf_curve_band(c, policy, share, &b->full, &b->none))
        return false;
    b->low = fmin(b->full ? b->full->slowdown.median : INFINITY, b->none ? b->none->slowdown.median : INFINITY);
    b->high = fmax(b->full ? b->full->slowdown.median : 0, b->none ? b->none->slowdown.median : 0);
    b->middle = (b->low + b->high) / 2;
    return true;
}

static void print_band(struct nf_buf *b, const struct band *band)
{
    if (band->full && band->none)
        nf_buf_printf(b, "%.2f× (overlap=full) to %.2f× (overlap=none)", band->full->slowdown.median,
                      band->none->slowdown.median);
    else
        nf_buf_printf(b, "%.2f× (%s only)", band->low, nf_overlap_name(band->full ? NF_OVERLAP_FULL : NF_OVERLAP_NONE));
}

/* Policies that compete: no reference lines, nothing that sees the future, and none of the settings that a best was chosen from. */
static bool competes(const struct nf_policy_line *p)
{
    return !p->all_near && !p->all_far && !p->oracle && !p->swept;
}

/* Lowest middle of its band among policies that compete; informed_only: that see the profile. */
static int best_policy(const struct nf_curve *c, double share, bool informed_only)
{
    double least = INFINITY;
    struct band b;
    int best = -1;

    for (size_t i = 0; i < c->policies.n; i++) {
        if (competes(&c->policies.v[i]) && (c->policies.v[i].informed || !informed_only) &&
            band_of(c, (uint32_t)i, share, &b) && b.middle < least) {
            least = b.middle;
            best = (int)i;
        }
    }
    return best;
}

/* How one policy's step time compares with another's, over the blocks both have. */
static void print_difference(struct nf_buf *b, const struct nf_curve *c, double share, uint32_t policy, uint32_t than)
{
    bool any = false;

    for (unsigned o = NF_OVERLAP_FULL; o <= NF_OVERLAP_NONE; o++) {
        const struct nf_point *x = nf_curve_find(c, policy, share, o, false, 1);
        const struct nf_point *y = nf_curve_find(c, than, share, o, false, 1);
        double *ratio = x && y ? malloc((c->n_blocks + 1) * sizeof *ratio) : NULL, p, median;
        size_t n = ratio ? nf_curve_ratios(c, x, y, ratio) : 0;

        if (n) {
            median = nf_median(ratio, n);
            p = nf_signed_rank_p(ratio, n);
            nf_buf_printf(b, "%s%+.1f %%%s (%s, p = %.2g, %ssignificant)", any ? ", " : "", (median - 1) * 100,
                          any ? "" : " step time", nf_overlap_name(o), p, p < NF_CURVE_SIGNIFICANT_P ? "" : "not ");
            any = true;
        }
        free(ratio);
    }
    if (!any)
        nf_buf_puts(b, "no common block to compare in");
}

static void say_best(struct nf_answer *a, const struct nf_curve *c, struct nf_buf *b)
{
    size_t rivals = 0;
    struct band band;

    for (size_t i = 0; i < c->policies.n; i++)
        rivals += competes(&c->policies.v[i]) && band_of(c, (uint32_t)i, a->near_share, &band);
    if (a->best < 0 || !band_of(c, (uint32_t)a->best, a->near_share, &band)) {
        nf_buf_puts(b, "No policy has both its own and an all-near trial in one block: there is no slowdown to state.");
        return;
    }
    nf_buf_printf(b, "With %.4g %% of peak live bytes near, %s is the %s: ", a->near_share * 100,
                  c->policies.v[a->best].label,
                  rivals > 1 ? "fastest policy that does not see the future" : "only policy");
    print_band(b, &band);
    nf_buf_puts(b, " the time of all-near");
    for (unsigned o = NF_OVERLAP_FULL; o <= NF_OVERLAP_NONE; o++) {
        const struct nf_point *p = o == NF_OVERLAP_FULL ? band.full : band.none;

        if (p)
            nf_buf_printf(b, "%s%.3f to %.3f", o == NF_OVERLAP_FULL || !band.full ? ", 95 % intervals " : " and ",
                          p->slowdown.low, p->slowdown.high);
    }
    nf_buf_puts(b, ".");
}

static void say_others(const struct nf_answer *a, const struct nf_curve *c, struct nf_buf *b)
{
    int informed = best_policy(c, a->near_share, true);
    static const char *const known[] = {"lru", "interleave", "weighted", "best-interleave"};
    struct band band;
    bool any = false;

    if (a->best < 0) {
        nf_buf_puts(b, "Nothing can be said about the other policies either.");
        return;
    }
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        uint32_t i = 0;

        while (i < c->policies.n &&
               (strcmp(c->policies.v[i].name, known[k]) != 0 || c->policies.v[i].swept || !band_of(c, i, a->near_share, &band)))
            i++;
        if (i == c->policies.n || (int)i == a->best)
            continue;
        nf_buf_printf(b, "%s%s reaches ", any ? "; " : "", c->policies.v[i].label);
        print_band(b, &band);
        nf_buf_printf(b, ", %s against it: ", c->policies.v[a->best].label);
        print_difference(b, c, a->near_share, (uint32_t)a->best, i);
        any = true;
    }
    if (!any)
        nf_buf_puts(b, "Neither LRU nor interleave can be set against it at this share");
    if (informed < 0) {
        nf_buf_puts(b, "; no policy that sees the profile was replayed");
    } else if (informed != a->best) {
        nf_buf_printf(b, "; seeing the profile did not win: the best policy that does, %s, against %s: ",
                      c->policies.v[informed].label, c->policies.v[a->best].label);
        print_difference(b, c, a->near_share, (uint32_t)informed, (uint32_t)a->best);
    }
    nf_buf_puts(b, ".");
}

/* Largest share of injected far bytes whose parallelism was assumed, over the headline points; by_class: by class of access. */
static double assumed_share(const struct nf_curve *c, bool by_class)
{
    double most = 0;

    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];

        if (nf_point_is_headline(p) && p->evidence >> NF_EVIDENCE_INJECTED_DELAY & 1)
            most = fmax(most, by_class ? p->class_k_share : p->assumed_k_share);
    }
    return most;
}

static void say_worth(const struct nf_answer *a, const struct nf_dataset *d, const struct nf_curve *c,
                      const struct nf_fidelity *f, struct nf_buf *b)
{
    size_t left_out = 0;

    for (size_t i = 0; i < d->trials.n; i++)
        left_out += d->trials.v[i].left_out != NULL;
    nf_buf_printf(b, "Evidence: %s", a->evidence);
    if (assumed_share(c, true) > 0)
        nf_buf_printf(b, " (up to %.3g %% by the k measured of their class of access)", assumed_share(c, true) * 100);
    if (*a->repeated)
        nf_buf_printf(b, ", %s", a->repeated);
    if (*a->worth)
        nf_buf_printf(b, "; %s", a->worth);
    else
        nf_buf_printf(b, "; %zu blocks", c->headline_blocks);
    if (*a->resident)
        nf_buf_printf(b, "; %s", a->resident);
    nf_buf_printf(b, "; one captured job, so nothing is claimed beyond it; %zu of %zu trials left out", left_out,
                  d->trials.n);
    nf_buf_puts(b, "; prediction error beside a bandwidth hog: ");
    if (isfinite(f->error[NF_OVERLAP_FULL]) || isfinite(f->error[NF_OVERLAP_NONE])) {
        bool any = false;

        for (unsigned o = NF_OVERLAP_FULL; o <= NF_OVERLAP_NONE; o++) {
            if (isfinite(f->error[o])) {
                nf_buf_printf(b, "%s%+.1f %% (%s)", any ? ", " : "", f->error[o] * 100, nf_overlap_name(o));
                any = true;
            }
        }
    } else {
        nf_buf_puts(b, "unknown");
    }
    nf_buf_puts(b, ".");
}

/* What hangs on an assumed parallelism is made again with half and with twice of it. */
static void describe_repeated(struct nf_answer *a, const struct nf_curve *c)
{
    size_t assumed = 0, repeated = 0;

    for (size_t i = 0; i < c->points.n; i++) {
        const struct nf_point *p = &c->points.v[i];

        if (nf_point_is_headline(p) && p->evidence >> NF_EVIDENCE_INJECTED_DELAY & 1 && p->assumed_k_share > 0) {
            assumed++;
            repeated += p->k_repeated;
        }
    }
    if (assumed && repeated && repeated < assumed)
        snprintf(a->repeated, sizeof a->repeated, "k repeated at k/2 and 2k for %zu of %zu points", repeated, assumed);
    else if (assumed)
        snprintf(a->repeated, sizeof a->repeated, "k %srepeated at k/2 and 2k", repeated ? "" : "not ");
}

static void describe_evidence(struct nf_answer *a, const struct nf_dataset *d, const struct nf_curve *c)
{
    const struct nf_tier_row *near = d->tiers.n > 0 ? &d->tiers.v[0] : NULL;
    const struct nf_tier_row *far = d->tiers.n > 1 ? &d->tiers.v[1] : NULL;
    struct nf_buf b = {0};

    nf_print_evidence(&b, c->evidence);
    if (near && far) {
        bool injected = far->target_latency_ns > 0;
        double latency = (injected ? far->target_latency_ns : far->latency_ns) / near->latency_ns;
        double bps = (far->target_read_bps > 0 ? far->target_read_bps : far->read_bps) / near->read_bps;

        nf_buf_puts(&b, " (far = ");
        nf_print_fixed(&b, latency, 1);
        nf_buf_puts(&b, "× local latency, ");
        nf_print_fixed(&b, bps, 1);
        nf_buf_puts(&b, injected ? "× local read bandwidth)" : "× local read bandwidth, measured)");
        if (d->tiers.n > 2)
            nf_buf_printf(&b, ", %zu more far tiers", d->tiers.n - 2);
    }
    if (c->evidence >> NF_EVIDENCE_INJECTED_DELAY & 1)
        nf_buf_printf(&b, ", k assumed for up to %.3g %% of far bytes", assumed_share(c, false) * 100);
    nf_print_keep(a->evidence, sizeof a->evidence, &b);
    nf_buf_deinit(&b);
}

static void describe_worth(struct nf_answer *a, const struct nf_dataset *d, const struct nf_curve *c)
{
    double peak = d->replay.peak_live_bytes, llc = d->replay.llc_effective_bytes;
    struct nf_buf b = {0};

    if (c->headline_blocks < NF_CURVE_BLOCKS_MIN)
        snprintf(a->worth, sizeof a->worth, "demo, not publishable (%zu block%s)", c->headline_blocks,
                 c->headline_blocks == 1 ? "" : "s");
    if (isnan(llc) || isnan(peak)) {
        snprintf(a->resident, sizeof a->resident, "effective LLC unknown");
    } else if (peak < LLC_MULTIPLE * llc) {
        nf_buf_puts(&b, "LLC-resident (peak live ");
        nf_print_bytes(&b, peak);
        nf_buf_printf(&b, " < %d × ", LLC_MULTIPLE);
        nf_print_bytes(&b, llc);
        nf_buf_puts(&b, " effective LLC)");
        nf_print_keep(a->resident, sizeof a->resident, &b);
    }
    nf_buf_deinit(&b);
}

static void describe_accesses(struct nf_answer *a, const struct nf_usage *u)
{
    struct nf_buf b = {0};

    for (unsigned e = 0; u && u->visited_bytes && e < NF_ACCESS_COUNT; e++) {
        if (u->evidence_bytes[e])
            nf_buf_printf(&b, "%s%s %.3g %%", b.n ? ", " : "", nf_access_evidence_name(e),
                          100 * (double)u->evidence_bytes[e] / (double)u->visited_bytes);
    }
    if (!b.n)
        nf_buf_puts(&b, "unknown");
    nf_print_keep(a->accesses, sizeof a->accesses, &b);
    nf_buf_deinit(&b);
}

void nf_answer_compute(struct nf_answer *a, const struct nf_dataset *d, const struct nf_curve *c,
                       const struct nf_fidelity *f, const struct nf_usage *usage)
{
    double shares[SHARES_MAX];
    size_t n = nf_curve_shares(c, shares, SHARES_MAX);
    struct nf_buf b[3] = {{0}};

    *a = (struct nf_answer){.near_share = NAN, .best = -1};
    for (size_t i = 0; i < n; i++) {
        if (isnan(a->near_share) || fabs(shares[i] - ANSWER_NEAR_SHARE) < fabs(a->near_share - ANSWER_NEAR_SHARE))
            a->near_share = shares[i];
    }
    a->best = n ? best_policy(c, a->near_share, false) : -1;
    describe_evidence(a, d, c);
    describe_repeated(a, c);
    describe_worth(a, d, c);
    describe_accesses(a, usage);
    if (!d->capture.has_durations) {
        /* Also where trials of a paced mode are there: they paced by times that are not the job's. */
        a->best = -1;
        nf_buf_puts(&b[0], "The capture holds no durations of its operators: no slowdown of the job is stated, and what was "
                           "replayed is its memory accesses alone.");
    } else {
        say_best(a, c, &b[0]);
    }
    say_others(a, c, &b[1]);
    say_worth(a, d, c, f, &b[2]);
    for (int i = 0; i < 3; i++) {
        nf_print_keep(a->sentence[i], sizeof a->sentence[i], &b[i]);
        nf_buf_deinit(&b[i]);
    }
}
