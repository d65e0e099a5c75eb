#include "core/model/visit-estimate.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/estimate.h"
#include "core/model/memory-level.h"
#include "core/model/stream.h"

enum nf_visit_count nf_visit_count_of(uint32_t type, uint64_t config)
{
    static const struct {
        uint16_t code;
        uint8_t counts;
    } intel[] = {
        {0x81d0, NF_COUNTS_ACCESS}, {0x82d0, NF_COUNTS_ACCESS}, {0x10d1, NF_COUNTS_BEYOND_L2},
        {0x20d1, NF_COUNTS_BEYOND_LLC}, {0x1cd, NF_COUNTS_LATENCY}, {0x2cd, NF_COUNTS_LATENCY},
    };

    if (type != PERF_TYPE_RAW)
        return type < PERF_TYPE_MAX ? NF_COUNTS_NOTHING : NF_COUNTS_BY_LEVEL;
    for (size_t i = 0; i < sizeof intel / sizeof *intel; i++)
        if (intel[i].code == (config & 0xffff))
            return (enum nf_visit_count)intel[i].counts;
    return NF_COUNTS_NOTHING;
}

enum { LEAST_LATENCIES = 4 };

/* Samples of one kind. */
struct tally {
    struct nf_count count;
    uint64_t period; /* the largest: what may lie behind no sample at all */
    bool known;      /* some event of the source counts this */
};

struct tallies {
    struct tally access, beyond_l2, beyond_llc;
    double latency_sum, latency_squares; /* of loads beyond the LLC */
    uint64_t latencies;
};

static void may_count(struct tally *t, uint64_t period)
{
    t->known = true;
    t->period = period > t->period ? period : t->period;
}

static void count(struct tally *t, const struct nf_sample *s, const struct nf_visit_event *e)
{
    nf_count_add(&t->count, s->period ? s->period : e->period);
}

static void add_sample(struct tallies *t, const struct nf_visit_event *e, const struct nf_sample *s)
{
    enum nf_visit_count counts = nf_visit_count_of(e->type, e->config);
    enum nf_memory_level level = nf_memory_level_of_sample(e->type, e->config, s->data_src);

    if (counts == NF_COUNTS_ACCESS || counts == NF_COUNTS_BY_LEVEL)
        count(&t->access, s, e);
    if (counts == NF_COUNTS_BEYOND_L2 || (counts == NF_COUNTS_BY_LEVEL && nf_level_beyond_l2(level)))
        count(&t->beyond_l2, s, e);
    if (counts == NF_COUNTS_BEYOND_LLC || (counts == NF_COUNTS_BY_LEVEL && nf_level_beyond_llc(level)))
        count(&t->beyond_llc, s, e);
    if ((counts == NF_COUNTS_LATENCY || counts == NF_COUNTS_BY_LEVEL) && nf_level_beyond_llc(level) && s->weight &&
        s->rw != NF_RW_WRITE) {
        t->latencies++;
        t->latency_sum += s->weight;
        t->latency_squares += (double)s->weight * s->weight;
    }
}

/* Events per visit. `scale` turns events into the unit wanted. */
static struct nf_interval interval_of(const struct tally *t, const struct nf_visit_sampling *how, double scale)
{
    uint64_t n = t->count.samples;
    struct nf_count_estimate e;

    if (!t->known)
        return (struct nf_interval){0};
    nf_count_estimate(&t->count, t->period, how->correction, how->level, &e);
    return (struct nf_interval){.value = t->count.periods * how->correction * scale, .low = e.low * scale,
                                .high = e.high * scale, .samples = (uint32_t)(n > UINT32_MAX ? UINT32_MAX : n),
                                .known = true};
}

/* Standard errors of a mean of n values that enclose a share of `level`: Student's t by its expansion around the normal
 * quantile (Abramowitz and Stegun 26.7.5), within 3 % from 4 values on. */
static double deviations(double level, double n)
{
    double low = 0, high = 40, v = n - 1, z;

    while (high - low > 1e-9) {
        double middle = (low + high) / 2;

        if (erf(middle / sqrt(2)) < level)
            low = middle;
        else
            high = middle;
    }
    z = low;
    return z + (pow(z, 3) + z) / (4 * v) + (5 * pow(z, 5) + 16 * pow(z, 3) + 3 * z) / (96 * v * v) +
           (3 * pow(z, 7) + 19 * pow(z, 5) + 17 * pow(z, 3) - 15 * z) / (384 * v * v * v);
}

/* k = fetches x mean latency / time. The errors of the count and of the mean are independent: their squares add. */
static struct nf_interval parallelism_of(const struct tallies *t, const struct nf_interval *fetches,
                                         const struct nf_visit_sampling *how, const struct nf_visit_facts *v)
{
    double cycles = v->dur_ns * how->cycles_per_ns, n = (double)t->latencies, mean, spread, low, high, k;

    if (!fetches->known || !fetches->samples || t->latencies < LEAST_LATENCIES || cycles <= 0)
        return (struct nf_interval){0};
    mean = t->latency_sum / n;
    spread = (t->latency_squares / n - mean * mean) * n / (n - 1);
    spread = deviations(how->level, n) * sqrt((spread > 0 ? spread : 0) / n) / mean;
    k = nf_parallelism(fetches->value * mean, cycles);
    low = 1 - fetches->low / fetches->value;
    high = fetches->high / fetches->value - 1;
    low = 1 - sqrt(low * low + spread * spread);
    high = 1 + sqrt(high * high + spread * spread);
    return (struct nf_interval){.value = k, .low = low > 0 ? k * low : 0, .high = k * high, .known = true,
                                .samples = n < fetches->samples ? (uint32_t)t->latencies : fetches->samples};
}

/* --- the pattern --- */

enum { LEAST_PAIRS = 5 };
/* From here on a sequence counts as going one way: two threads of one group or a late sample turn a few pairs around. */
static const double one_way = 0.9;
/* The extent is gone through so often before it counts as read in blocks. */
static const double several_passes = 1.5;

static int by_run(const void *a, const void *b)
{
    const struct nf_sample *x = *(const struct nf_sample *const *)a, *y = *(const struct nf_sample *const *)b;

    if (x->step != y->step)
        return x->step < y->step ? -1 : 1;
    if (x->tid != y->tid)
        return x->tid < y->tid ? -1 : 1;
    return (x->time_ns > y->time_ns) - (x->time_ns < y->time_ns);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t r = a % b;

        a = b;
        b = r;
    }
    return a;
}

struct course {
    size_t pairs, up, down;
    double travel, span; /* bytes gone upwards, and from the lowest to the highest, over all runs */
    uint64_t stride;
    size_t differences;
};

/* One thread in one step: samples in order of time. */
static void follow_run(const struct nf_sample *const *s, size_t n, struct course *c)
{
    uint64_t low = s[0]->offset, high = low;

    for (size_t i = 1; i < n; i++) {
        uint64_t a = s[i - 1]->offset, b = s[i]->offset;

        c->pairs += a != b;
        c->up += b > a;
        c->down += b < a;
        c->travel += b > a ? (double)(b - a) : 0;
        low = b < low ? b : low;
        high = b > high ? b : high;
    }
    c->span += (double)(high - low);
}

static void follow(const struct nf_sample *const *s, size_t n, struct course *c)
{
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && s[end]->step == s[i]->step && s[end]->tid == s[i]->tid; end++)
            ;
        follow_run(s + i, end - i, c);
    }
    for (size_t i = 1; i < n; i++) {
        uint64_t d = s[i]->offset > s[0]->offset ? s[i]->offset - s[0]->offset : s[0]->offset - s[i]->offset;

        c->differences += d != 0;
        c->stride = gcd(c->stride, d);
    }
}

static void pattern_of(const struct course *c, const struct nf_interval *touches, struct nf_visit_estimate *out)
{
    double pairs = (double)c->pairs, way = (double)(c->up > c->down ? c->up : c->down) / (pairs ? pairs : 1), passes;
    double margin;

    if (c->pairs < LEAST_PAIRS)
        return;
    out->stride = c->stride;
    passes = c->span > 0 ? c->travel / c->span : 0;
    if (way >= one_way && (c->down > c->up || passes < several_passes)) {
        out->pattern = c->stride >= 2 * NF_LINE_BYTES ? NF_PATTERN_STRIDED : NF_PATTERN_STREAM;
        out->pattern_confidence = nf_stride_confidence(c->differences < UINT32_MAX ? (uint32_t)c->differences : UINT32_MAX);
        return;
    }
    /* Again and again over the extent in order, or in no order at all and each line more than once: an operand of a matrix
     * product. In no order, each line about once: rows by an index. */
    out->pattern = way >= one_way || (touches->known && touches->low > several_passes) ? NF_PATTERN_BLOCKED
                                                                                      : NF_PATTERN_GATHER;
    margin = way >= one_way ? passes - several_passes : one_way - way;
    margin = margin < 1 ? margin : 1;
    out->pattern_confidence = 1 - exp(-2 * pairs * margin * margin); /* Hoeffding 1963 */
}

int nf_visit_estimate(const struct nf_visit_sampling *how, const struct nf_visit_facts *visit,
                      const struct nf_sample *samples, size_t n, struct nf_visit_estimate *out)
{
    const struct nf_sample **run = malloc((n ? n : 1) * sizeof *run);
    double lines = (double)visit->bytes / NF_LINE_BYTES, per_visit = 1.0 / visit->occurrences;
    uint64_t finest = 0;
    struct tallies t = {0};
    struct course course = {0};
    struct nf_interval fetches;
    size_t runs = 0;

    if (!run)
        return -ENOMEM;
    *out = (struct nf_visit_estimate){0};
    for (unsigned i = 0; i < how->n_events; i++) {
        const struct nf_visit_event *e = &how->events[i];
        enum nf_visit_count counts = nf_visit_count_of(e->type, e->config);
        uint64_t period = e->period;

        if (counts == NF_COUNTS_ACCESS || counts == NF_COUNTS_BY_LEVEL)
            may_count(&t.access, period);
        if (counts == NF_COUNTS_BEYOND_L2 || counts == NF_COUNTS_BY_LEVEL)
            may_count(&t.beyond_l2, period);
        if (counts == NF_COUNTS_BEYOND_LLC || counts == NF_COUNTS_BY_LEVEL)
            may_count(&t.beyond_llc, period);
        if (counts != NF_COUNTS_NOTHING && counts != NF_COUNTS_LATENCY && period && (!finest || period < finest))
            finest = period;
    }
    for (size_t i = 0; i < n; i++) {
        if (samples[i].event >= how->n_events)
            continue;
        add_sample(&t, &how->events[samples[i].event], &samples[i]);
        run[runs++] = &samples[i];
    }
    out->accesses = interval_of(&t.access, how, per_visit);
    fetches = interval_of(&t.beyond_llc, how, per_visit);
    out->missed_bytes = interval_of(&t.beyond_llc, how, per_visit * NF_LINE_BYTES);
    if (lines > 0)
        out->touches = interval_of(&t.beyond_l2, how, per_visit / lines);
    out->parallelism = parallelism_of(&t, &fetches, how, visit);
    if (finest)
        out->detection = nf_detection((double)visit->bytes * visit->occurrences / how->correction, (double)finest);
    out->detectable = out->detection >= 0.95;
    qsort(run, runs, sizeof *run, by_run);
    follow(run, runs, &course);
    pattern_of(&course, &out->touches, out);
    free(run);
    return 0;
}
