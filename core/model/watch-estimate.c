#include "core/model/watch-estimate.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/model/stats.h"

enum { STRETCHES_MAX = 32, ROUNDS = 400 };
#define LEVEL 0.95
/* Upper bound of a Poisson mean, at 95 %, when none was seen: -ln 0.05. */
#define NONE_SEEN 2.996

/* What one watch says of each stretch. */
struct tally {
    double lives[STRETCHES_MAX]; /* watched, in lives of the tensor */
    double reads[STRETCHES_MAX], writes[STRETCHES_MAX];
};

struct gap {
    double ns;
    bool open;
};

static unsigned stretch_at(double since_birth_ns, double life_ns, unsigned stretches)
{
    double at = since_birth_ns / life_ns * stretches;

    return at < 0 ? 0 : at < stretches ? (unsigned)at : stretches - 1;
}

/* What a hit took from the job: its cost, or all of the time to the next one when that is hardly more. */
static double held_up(const struct nf_watch_access *a, size_t i, size_t n, double hit_ns)
{
    double gap = i + 1 < n ? (double)(a[i + 1].time_ns - a[i].time_ns) : 0.0;

    return i + 1 < n && gap < 2 * hit_ns ? gap : hit_ns;
}

/* a: the n accesses of the part. Times are those of a clock that stands still while a hit holds the job up. */
static void tally_part(struct tally *t, const struct nf_watch_part *p, const struct nf_watch_access *a, size_t n,
                         double hit_ns, unsigned stretches)
{
    double held = 0, life, to, from = (double)p->from_ns - (double)p->life_from_ns;

    for (size_t i = 0; i < n; i++)
        held += held_up(a, i, n, hit_ns);
    life = fmax((double)(p->life_to_ns - p->life_from_ns) - held, 1.0);
    to = fmax((double)p->to_ns - (double)p->life_from_ns - held, from);
    held = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned at = stretch_at((double)a[i].time_ns - (double)p->life_from_ns - held, life, stretches);

        held += held_up(a, i, n, hit_ns);
        if (a[i].write)
            t->writes[at]++;
        else
            t->reads[at]++;
    }
    for (unsigned i = 0; i < stretches; i++) {
        double lives = fmin(life * (i + 1) / stretches, to) - fmax(life * i / stretches, from);

        t->lives[i] += fmax(lives, 0.0) / life;
    }
}

static double rate(const struct tally *tallies, const uint32_t *chosen, size_t n, unsigned stretches, bool writes,
                   double *covered)
{
    double sum = 0;
    unsigned known = 0;

    for (unsigned s = 0; s < stretches; s++) {
        double lives = 0, hits = 0;

        for (size_t i = 0; i < n; i++) {
            const struct tally *t = &tallies[chosen ? chosen[i] : i];

            lives += t->lives[s];
            hits += writes ? t->writes[s] : t->reads[s];
        }
        if (lives <= 0)
            continue;
        known++;
        sum += hits / lives / stretches;
    }
    if (covered)
        *covered = (double)known / stretches;
    return known ? sum * stretches / known : NAN;
}

static int count(const struct tally *tallies, size_t n, unsigned stretches, bool writes, uint64_t seed,
                 struct nf_watch_count *out)
{
    double rates[ROUNDS], lives = 0, hits = 0;
    struct nf_rng rng = {seed};
    uint32_t *chosen;
    size_t rounds = 0;

    out->per_step = rate(tallies, NULL, n, stretches, writes, NULL);
    out->low = out->high = NAN;
    for (size_t i = 0; i < n; i++) {
        for (unsigned s = 0; s < stretches; s++) {
            lives += tallies[i].lives[s];
            hits += writes ? tallies[i].writes[s] : tallies[i].reads[s];
        }
    }
    if (hits == 0 && lives > 0) {
        out->low = 0;
        out->high = NONE_SEEN / lives;
        return 0;
    }
    if (n < 2)
        return 0;
    chosen = malloc(n * sizeof *chosen);
    if (!chosen)
        return -ENOMEM;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < n; i++)
            chosen[i] = (uint32_t)nf_rng_below(&rng, n);
        rates[rounds] = rate(tallies, chosen, n, stretches, writes, NULL);
        rounds += !isnan(rates[rounds]);
    }
    free(chosen);
    if (rounds) {
        out->low = nf_quantile(rates, rounds, (1 - LEVEL) / 2);
        out->high = nf_quantile(rates, rounds, (1 + LEVEL) / 2);
    }
    return 0;
}

static int by_gap(const void *a, const void *b)
{
    const struct gap *x = a, *y = b;

    /* At equal times the whole ones come first: what is cut short there lasted at least as long. */
    return x->ns != y->ns ? (x->ns > y->ns) * 2 - 1 : x->open - y->open;
}

static void survival(struct gap *gaps, size_t n, struct nf_watch_estimate *out)
{
    double alive = 1.0;

    qsort(gaps, n, sizeof *gaps, by_gap);
    for (size_t i = 0; i < n; i++) {
        double share = alive / (double)(n - i);
        int bin = gaps[i].ns >= 1.0 ? ilogb(gaps[i].ns) : 0;

        if (gaps[i].open)
            continue;
        out->reuse[bin < NF_WATCH_REUSE_BINS ? bin : NF_WATCH_REUSE_BINS - 1] += share;
        alive -= share;
        if (isnan(out->reuse_median_ns) && alive <= 0.5 + 1e-12)
            out->reuse_median_ns = gaps[i].ns;
    }
    out->reuse_beyond = alive > 1e-12 ? alive : 0.0;
}

static int reuse(const struct nf_watch_part *parts, size_t n_parts, const struct nf_watch_access *a, size_t n, double hit_ns,
                 struct nf_watch_estimate *out)
{
    struct gap *gaps = malloc((n ? n : 1) * sizeof *gaps);
    size_t n_gaps = 0, part = 0;

    if (!gaps)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n || a[i + 1].watch != a[i].watch;
        uint64_t end_ns;

        while (part < n_parts && parts[part].watch < a[i].watch)
            part++;
        if (part == n_parts)
            break;
        if (parts[part].watch != a[i].watch)
            continue;
        end_ns = last ? parts[part].watch_to_ns : a[i + 1].time_ns;
        if (end_ns < a[i].time_ns)
            continue;
        gaps[n_gaps++] = (struct gap){(double)(end_ns - a[i].time_ns) - (last ? 0.0 : held_up(a, i, n, hit_ns)), last};
        out->gaps += !last;
        out->open_gaps += last;
    }
    if (n_gaps)
        survival(gaps, n_gaps, out);
    free(gaps);
    return 0;
}

static int by_address(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static int distinct_words(const struct nf_watch_part *parts, size_t n, uint32_t *out)
{
    uint64_t *addresses = malloc((n ? n : 1) * sizeof *addresses);

    *out = 0;
    if (!addresses)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        addresses[i] = parts[i].address;
    qsort(addresses, n, sizeof *addresses, by_address);
    for (size_t i = 0; i < n; i++)
        *out += !i || addresses[i] != addresses[i - 1];
    free(addresses);
    return 0;
}

/* Walks the parts and the accesses in step; one tally a watch. */
static size_t tally_all(struct tally *tallies, const struct nf_watch_part *parts, size_t n_parts,
                        const struct nf_watch_access *a, size_t n, double hit_ns, unsigned stretches,
                        struct nf_watch_estimate *out)
{
    size_t watches = 0, at = 0;

    for (size_t i = 0; i < n_parts; i++) {
        const struct nf_watch_part *p = &parts[i];
        bool first = !i || p->watch != parts[i - 1].watch, ended = i + 1 == n_parts || parts[i + 1].watch != p->watch;
        size_t last;

        watches += first;
        while (at < n && (a[at].watch < p->watch || (a[at].watch == p->watch && a[at].time_ns < p->from_ns)))
            at++;
        for (last = at; last < n && a[last].watch == p->watch && a[last].time_ns <= p->to_ns; last++) {
            out->read.hits += !a[last].write;
            out->write.hits += a[last].write;
        }
        out->armed_ns += p->to_ns - p->from_ns;
        out->cut += p->cut && ended && first;
        if (p->life_to_ns > p->life_from_ns && !(p->cut && ended && !first))
            tally_part(&tallies[watches - 1], p, a + at, last - at, hit_ns, stretches);
        at = last;
    }
    return watches;
}

int nf_watch_estimate(const struct nf_watch_part *parts, size_t n_parts, const struct nf_watch_access *accesses,
                      size_t n_accesses, double hit_ns, uint64_t seed, struct nf_watch_estimate *out)
{
    unsigned stretches = n_parts < STRETCHES_MAX ? (unsigned)n_parts : STRETCHES_MAX;
    struct tally *tallies;
    size_t watches;
    int rc;

    *out = (struct nf_watch_estimate){.reuse_median_ns = NAN};
    out->read = out->write = (struct nf_watch_count){.per_step = NAN, .low = NAN, .high = NAN};
    if (!n_parts)
        return 0;
    tallies = calloc(n_parts, sizeof *tallies);
    if (!tallies)
        return -ENOMEM;
    watches = tally_all(tallies, parts, n_parts, accesses, n_accesses, hit_ns, stretches, out);
    out->watches = (uint32_t)watches;
    rate(tallies, NULL, watches, stretches, false, &out->covered);
    rc = distinct_words(parts, n_parts, &out->words);
    if (!rc)
        rc = count(tallies, watches, stretches, false, seed, &out->read);
    if (!rc)
        rc = count(tallies, watches, stretches, true, seed, &out->write);
    if (out->cut)
        out->read.high = out->write.high = NAN;
    if (!rc)
        rc = reuse(parts, n_parts, accesses, n_accesses, hit_ns, out);
    free(tallies);
    return rc;
}
