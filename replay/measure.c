#include "replay/measure.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/base/units.h"
#include "core/model/stats.h"
#include "core/model/stream.h"
#include "replay/kernel.h"
#include "replay/pace.h"
#include "replay/pin.h"
#include "replay/working-set.h"

enum {
    /* A run is so many pieces of 50 to 300 us, timed one by one, and their median is its value: where others run too, a
     * preemption falls into one of them. A run that was timed as a whole would hold one every time on a busy machine,
     * and then no median over runs helps. */
    PIECES = 8,
    /* A chase is charged in stretches of this many accesses per chain, a piece each: shorter ones cost bandwidth (16
     * lines: -40 %), and the deadline's error is spread over the stretch. */
    STRETCH_STEPS = 512,
    CHUNK_BYTES = 65536, /* as the engine's chunks */
    BAND_BYTES = PIECES << 20,
    GATHER_STRETCH = 1024,
    GATHER_LINES = PIECES * 2 * GATHER_STRETCH, /* their numbers, 64 KiB, stay in the second-level cache */
    KNEE_SIZES_MAX = 40,
};
_Static_assert(PIECES * STRETCH_STEPS == NF_CHASE_RUN_ACCESSES, "the header says how many");
/* Reaching the steady state of a large working set is bounded: after this the cache holds what it will. */
static const uint64_t WARM_UP_NS = 150000000;
static const double KNEE_RATIO_LEAST = 1.5;

struct bench {
    struct nf_tier *tier;
    struct nf_pace pace;
    const struct nf_kernels *kernels;
    const struct nf_measure_options *options;
    uint32_t number;
    char *memory;
    uint64_t bytes; /* mapped */
    bool injects;
    uint64_t carried_ns; /* as in the engine: deadlines do not drift */
    uint32_t gather[GATHER_LINES]; /* line numbers of the run: computing them takes longer than fetching */
    struct nf_samples *samples; /* NULL: kept by the caller */
};

static void charge(struct bench *b, uint64_t read, uint64_t write, uint64_t lines, double k)
{
    struct nf_tier_charge c = {.read_bytes = read, .write_bytes = write, .lines = (uint32_t)lines, .parallelism = k};
    uint64_t deadline, end;

    if (!b->injects)
        return;
    deadline = b->tier->ops->charge(b->tier->state, &c, b->carried_ns);
    end = nf_pace_until(&b->pace, deadline);
    b->carried_ns = end < deadline + NF_PACE_GAP_NS ? deadline : end;
}

static uint64_t begin(struct bench *b)
{
    return b->carried_ns = nf_pace_now(&b->pace);
}

static int keep(struct bench *b, const char *what, const char *unit, uint64_t set, unsigned k, unsigned run,
                double value)
{
    struct nf_tier_sample s = {b->number, what, unit, set, k, run, value};

    if (!b->samples)
        return 0;
    return nf_array_push(&b->samples->list, s) ? nf_fail(-ENOMEM, "out of memory for samples") : 0;
}

/* --- pointer chase --- */

/* A random order of all lines. local: in blocks of NF_CHASE_LOCAL_BYTES, both levels in random order. */
struct order {
    struct nf_rows outer, inner;
    uint64_t lines;
    bool local;
};

static void order_init(struct order *o, uint64_t bytes, bool local)
{
    *o = (struct order){.lines = bytes / NF_LINE_BYTES, .local = local};
    nf_rows_init(&o->outer, local ? bytes / NF_CHASE_LOCAL_BYTES : o->lines, bytes);
    nf_rows_init(&o->inner, NF_CHASE_LOCAL_BYTES / NF_LINE_BYTES, bytes + 1);
}

/* Number of the i-th line. */
static inline uint64_t order_line(const struct order *o, uint64_t i)
{
    const uint64_t block = NF_CHASE_LOCAL_BYTES / NF_LINE_BYTES;

    return o->local ? nf_rows_at(&o->outer, i / block) * block + nf_rows_at(&o->inner, i % block)
                    : nf_rows_at(&o->outer, i);
}

enum { CHAINS_MAX = 1 << (NF_MEASURE_CHAINS - 1) };

/* Links all lines of the first `bytes` (a multiple of NF_CHASE_LOCAL_BYTES) into one cycle. starts: entry points of CHAINS_MAX
 * chains, spread evenly. */
static void link_lines(struct bench *b, uint64_t bytes, bool local, char **starts)
{
    struct order order;
    char *line, *next;

    order_init(&order, bytes, local);
    line = b->memory + order_line(&order, 0) * NF_LINE_BYTES;
    for (uint64_t i = 0; i < order.lines; i++) {
        if (i % (order.lines / CHAINS_MAX) == 0)
            starts[i / (order.lines / CHAINS_MAX) % CHAINS_MAX] = line;
        next = b->memory + order_line(&order, i + 1 < order.lines ? i + 1 : 0) * NF_LINE_BYTES;
        memcpy(line, &next, sizeof next);
        line = next;
    }
}

static inline char *follow(char *p)
{
    return *(char *volatile *)p;
}

/* One stretch of all chains; they stay in registers. */
static void chase_stretch(char **at, unsigned k, unsigned steps)
{
    char *a = at[0], *b = at[1], *c = at[2], *d = at[3], *e = at[4], *f = at[5], *g = at[6], *h = at[7];

    switch (k) {
    case 1:
        for (unsigned i = 0; i < steps; i++)
            a = follow(a);
        break;
    case 2:
        for (unsigned i = 0; i < steps; i++)
            a = follow(a), b = follow(b);
        break;
    case 4:
        for (unsigned i = 0; i < steps; i++)
            a = follow(a), b = follow(b), c = follow(c), d = follow(d);
        break;
    default:
        for (unsigned i = 0; i < steps; i++) {
            a = follow(a), b = follow(b), c = follow(c), d = follow(d);
            e = follow(e), f = follow(f), g = follow(g), h = follow(h);
        }
    }
    at[0] = a, at[1] = b, at[2] = c, at[3] = d, at[4] = e, at[5] = f, at[6] = g, at[7] = h;
}

/* Nanoseconds per access. */
static double chase(struct bench *b, char **at, unsigned k)
{
    uint64_t start = begin(b), end;
    double ns[PIECES];

    for (unsigned i = 0; i < PIECES; i++, start = end) {
        chase_stretch(at, k, STRETCH_STEPS);
        charge(b, (uint64_t)k * STRETCH_STEPS * NF_LINE_BYTES, 0, (uint64_t)k * STRETCH_STEPS, k);
        end = nf_pace_now(&b->pace);
        ns[i] = (double)(end - start) / ((double)k * STRETCH_STEPS);
    }
    return nf_quantile(ns, PIECES, 0.5);
}

/* at: where the chains stand; moved on, so that a run never meets what the one before left in the caches. */
static int measure_chase(struct bench *b, const char *what, char **at, unsigned k, double *median)
{
    double ns[NF_MEASURE_RUNS];
    int rc = 0;

    for (unsigned run = 0; run < NF_MEASURE_RUNS && !rc; run++) {
        ns[run] = chase(b, at, k);
        rc = keep(b, what, "ns", b->bytes, k, run, ns[run]);
    }
    *median = rc ? 0 : nf_median(ns, NF_MEASURE_RUNS);
    return rc;
}

/* --- bandwidth --- */

enum band { BAND_READ, BAND_WRITE, BAND_COPY, BAND_GATHER };

/* As a replay charges an access of the kind that does not know its k. */
static double assumed(const struct bench *b, enum nf_pattern pattern, enum nf_rw rw)
{
    bool by_class;

    return nf_parallelism_of(&b->options->assumed, pattern, rw, &by_class);
}

static uint64_t gather_piece(struct bench *b, const uint32_t *lines)
{
    double k = assumed(b, NF_PATTERN_GATHER, NF_RW_READ);

    for (unsigned i = 0; i < GATHER_LINES / PIECES; i += GATHER_STRETCH) {
        for (unsigned j = i; j < i + GATHER_STRETCH; j++)
            follow(b->memory + (uint64_t)lines[j] * NF_LINE_BYTES);
        charge(b, (uint64_t)GATHER_STRETCH * NF_LINE_BYTES, 0, GATHER_STRETCH, k);
    }
    return (uint64_t)GATHER_LINES / PIECES * NF_LINE_BYTES;
}

/* Reads in the first half of the memory and writes in the second, at the same place. */
static uint64_t stream_piece(struct bench *b, enum band kind, uint64_t at)
{
    double k_read = assumed(b, NF_PATTERN_STREAM, NF_RW_READ), k_write = assumed(b, NF_PATTERN_STREAM, NF_RW_WRITE);
    uint64_t bytes = 0;

    for (uint64_t i = at; i < at + BAND_BYTES / PIECES; i += CHUNK_BYTES) {
        if (kind != BAND_WRITE) {
            b->kernels->touch[NF_RW_READ](b->memory + i, CHUNK_BYTES, CHUNK_BYTES, 1);
            charge(b, CHUNK_BYTES, 0, CHUNK_BYTES / NF_LINE_BYTES, k_read);
            bytes += CHUNK_BYTES;
        }
        if (kind != BAND_READ) {
            b->kernels->touch[NF_RW_WRITE](b->memory + b->bytes / 2 + i, CHUNK_BYTES, CHUNK_BYTES, 1);
            charge(b, CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES / NF_LINE_BYTES, k_write);
            bytes += CHUNK_BYTES;
        }
    }
    return bytes;
}

/* One run over a part of the working set that the run before did not touch. Payload bytes per second. */
static double band_run(struct bench *b, enum band kind, unsigned run, const struct order *order)
{
    uint64_t at = (uint64_t)run * BAND_BYTES % (b->bytes / 2 - BAND_BYTES + 1), start, end, bytes;
    double bps[PIECES];

    at -= at % CHUNK_BYTES;
    for (uint64_t i = 0; kind == BAND_GATHER && i < GATHER_LINES; i++)
        b->gather[i] = (uint32_t)order_line(order, (run * (uint64_t)GATHER_LINES + i) % order->lines);
    start = begin(b);
    for (unsigned i = 0; i < PIECES; i++, start = end) {
        bytes = kind == BAND_GATHER ? gather_piece(b, b->gather + i * (GATHER_LINES / PIECES))
                                    : stream_piece(b, kind, at + i * (BAND_BYTES / PIECES));
        end = nf_pace_now(&b->pace);
        bps[i] = (double)bytes / (double)(end - start) * 1e9;
    }
    return nf_quantile(bps, PIECES, 0.5);
}

static int measure_band(struct bench *b, enum band kind, const char *what, double *median)
{
    double bps[NF_MEASURE_RUNS];
    struct order order;
    int rc = 0;

    order_init(&order, b->bytes, true);
    for (unsigned run = 0; run < NF_MEASURE_RUNS && !rc; run++) {
        bps[run] = band_run(b, kind, run, &order);
        rc = keep(b, what, "B/s", b->bytes, 0, run, bps[run]);
    }
    *median = rc ? 0 : nf_median(bps, NF_MEASURE_RUNS);
    return rc;
}

/* --- tiers --- */

static uint64_t reported_cache(int name, uint64_t otherwise)
{
    long bytes = sysconf(name);

    return bytes > 0 ? (uint64_t)bytes : otherwise;
}

static uint64_t working_set(const struct nf_measure_options *o, const struct nf_tier *tier, int cpu)
{
    uint64_t bytes = o->working_set_bytes ? o->working_set_bytes : nf_working_set_of(tier, cpu).bytes;

    /* Line numbers are 32 bits wide in a gather. */
    if (bytes > (uint64_t)UINT32_MAX * NF_LINE_BYTES)
        bytes = (uint64_t)UINT32_MAX * NF_LINE_BYTES;
    if (bytes < 2 * BAND_BYTES)
        bytes = 2 * BAND_BYTES;
    return bytes / NF_CHASE_LOCAL_BYTES * NF_CHASE_LOCAL_BYTES;
}

/* Every page is where the tier says. Before and after whatever is measured: a number of memory somewhere else is none. */
static int prove(const struct bench *b)
{
    int rc = nf_tier_verify(b->tier, b->memory, b->bytes);

    return rc ? nf_fail_in(rc, "measuring tier '%s'", b->tier->name) : 0;
}

static int bench_init(struct bench *b, struct nf_tier *tier, uint32_t number, const struct nf_measure_options *options,
                      struct nf_samples *samples, struct nf_pin *pin)
{
    void *memory;
    int rc = nf_pin_init(pin, options->cpu);

    *b = (struct bench){.tier = tier, .number = number, .options = options, .samples = samples,
                        .kernels = nf_kernels_best(), .bytes = working_set(options, tier, pin->cpu)};
    if (rc)
        return rc;
    b->injects = tier->facts.target_latency_ns > 0 || tier->facts.target_bps > 0;
    nf_pace_init(&b->pace);
    rc = tier->ops->map(tier->state, b->bytes, &memory);
    if (rc)
        return nf_fail_in(rc, "measuring tier '%s'", tier->name);
    b->memory = memory;
    return prove(b);
}

static void bench_deinit(struct bench *b, struct nf_pin *pin)
{
    if (b->memory)
        b->tier->ops->unmap(b->tier->state, b->memory, b->bytes);
    nf_pin_deinit(pin);
    nf_progress_end();
}

static void progress(const struct bench *b, const char *what)
{
    if (!b->options->quiet)
        nf_progress("measuring tier %s: %s", b->tier->name, what);
}

static int measure_all(struct bench *b, struct nf_measured *out)
{
    char *at[CHAINS_MAX];
    int rc = 0;

    progress(b, "latency");
    link_lines(b, b->bytes, true, at);
    for (unsigned i = 0; i < NF_MEASURE_CHAINS && !rc; i++)
        rc = measure_chase(b, "chase", at, 1u << i, &out->chain_ns[i]);
    link_lines(b, b->bytes, false, at);
    if (!rc)
        rc = measure_chase(b, "chase-random", at, 1, &out->latency_random_ns);
    progress(b, "bandwidth");
    if (!rc)
        rc = measure_band(b, BAND_READ, "read", &out->read_bps);
    if (!rc)
        rc = measure_band(b, BAND_WRITE, "write", &out->write_bps);
    if (!rc)
        rc = measure_band(b, BAND_COPY, "copy", &out->copy_bps);
    if (!rc)
        rc = measure_band(b, BAND_GATHER, "gather", &out->gather_bps);
    return rc;
}

int nf_measure_tier(struct nf_tier *tier, uint32_t number, const struct nf_measure_options *options,
                    struct nf_measured *out, struct nf_samples *samples)
{
    struct nf_measured m = {0};
    struct nf_pin pin = {.cpu = -1};
    size_t begun = samples->list.n;
    struct bench b;
    int rc = bench_init(&b, tier, number, options, samples, &pin);

    *out = (struct nf_measured){.working_set_bytes = b.bytes};
    if (!rc)
        rc = measure_all(&b, &m);
    if (!rc)
        rc = prove(&b);
    if (rc) {
        samples->list.n = begun;
    } else {
        m.working_set_bytes = b.bytes;
        m.latency_ns = m.chain_ns[0];
        m.parallelism.stream = m.read_bps * m.latency_ns * 1e-9 / NF_LINE_BYTES;
        m.parallelism.gather = m.gather_bps * m.latency_ns * 1e-9 / NF_LINE_BYTES;
        *out = m;
    }
    bench_deinit(&b, &pin);
    return rc;
}

/* --- knee --- */

/* Least squares under "never falls": neighbours that fall are pooled into their mean. */
static void make_monotone(double *v, uint32_t n)
{
    double mean[KNEE_SIZES_MAX];
    uint32_t count[KNEE_SIZES_MAX], blocks = 0;

    for (uint32_t i = 0; i < n; i++) {
        mean[blocks] = v[i];
        count[blocks++] = 1;
        while (blocks > 1 && mean[blocks - 2] > mean[blocks - 1]) {
            uint32_t a = count[blocks - 2], c = count[blocks - 1];

            mean[blocks - 2] = (mean[blocks - 2] * a + mean[blocks - 1] * c) / (a + c);
            count[blocks - 2] += c;
            blocks--;
        }
    }
    for (uint32_t i = 0, at = 0; i < blocks; i++) {
        for (uint32_t j = 0; j < count[i]; j++)
            v[at++] = mean[i];
    }
}

uint64_t nf_measure_knee(const uint64_t *sizes, double *latency_ns, uint32_t n, uint64_t floor_bytes)
{
    double half, share, low, high;

    make_monotone(latency_ns, n);
    if (!(latency_ns[n - 1] >= KNEE_RATIO_LEAST * latency_ns[0]))
        return floor_bytes;
    half = (latency_ns[0] + latency_ns[n - 1]) / 2;
    for (uint32_t i = 1; i < n; i++) {
        if (latency_ns[i] < half)
            continue;
        share = (half - latency_ns[i - 1]) / (latency_ns[i] - latency_ns[i - 1]);
        low = log2((double)sizes[i - 1]);
        high = log2((double)sizes[i]);
        return nf_page_bytes((uint64_t)exp2(low + share * (high - low)));
    }
    return floor_bytes;
}

static void warm_up(struct bench *b, uint64_t bytes, char **at)
{
    uint64_t until = nf_pace_now(&b->pace) + WARM_UP_NS;

    for (uint64_t i = 0; i < bytes / NF_LINE_BYTES && nf_pace_now(&b->pace) < until; i += STRETCH_STEPS)
        chase_stretch(at, 1, STRETCH_STEPS);
}

/* ns: of each run. */
static int knee_point(struct bench *b, uint64_t bytes, double ns[NF_MEASURE_RUNS])
{
    char *at[CHAINS_MAX];
    int rc = 0;

    link_lines(b, bytes, true, at);
    warm_up(b, bytes, at);
    for (unsigned run = 0; run < NF_MEASURE_RUNS && !rc; run++) {
        ns[run] = chase(b, at, 1);
        rc = keep(b, "knee", "ns", bytes, 1, run, ns[run]);
    }
    return rc;
}

/* knees: of each run's own curve; NULL: not wanted. */
static int measure_knee(struct bench *b, uint64_t *llc_bytes, double *knees)
{
    uint64_t second_level = reported_cache(_SC_LEVEL2_CACHE_SIZE, 1 << 20), sizes[KNEE_SIZES_MAX];
    double ns[KNEE_SIZES_MAX][NF_MEASURE_RUNS], curve[KNEE_SIZES_MAX];
    char text[NF_UNITS_TEXT];
    uint32_t n = 0;
    int rc = 0;

    if (b->injects)
        return nf_fail(-EINVAL, "tier '%s' injects delay: its latency curve says nothing about the caches", b->tier->name);
    for (double bytes = (double)second_level / 2; !rc && n < KNEE_SIZES_MAX && bytes <= (double)b->bytes; bytes *= M_SQRT2) {
        sizes[n] = (uint64_t)bytes / NF_CHASE_LOCAL_BYTES * NF_CHASE_LOCAL_BYTES;
        if (!b->options->quiet)
            nf_progress("measuring the last-level cache: working set %s", nf_format_bytes(text, (double)sizes[n]));
        rc = knee_point(b, sizes[n], ns[n]);
        n++;
    }
    if (rc)
        return rc;
    for (uint32_t i = 0; i < n; i++)
        curve[i] = nf_median(ns[i], NF_MEASURE_RUNS);
    *llc_bytes = n ? nf_measure_knee(sizes, curve, n, second_level) : second_level;
    for (unsigned run = 0; knees && run < NF_MEASURE_RUNS; run++) {
        for (uint32_t i = 0; i < n; i++)
            curve[i] = ns[i][run];
        knees[run] = (double)(n ? nf_measure_knee(sizes, curve, n, second_level) : second_level);
    }
    return 0;
}

int nf_measure_llc(struct nf_tier *near, const struct nf_measure_options *options, uint64_t *llc_bytes,
                   struct nf_samples *samples)
{
    struct nf_pin pin = {.cpu = -1};
    size_t begun = samples->list.n;
    uint64_t knee = 0;
    struct bench b;
    int rc = bench_init(&b, near, 0, options, samples, &pin);

    if (!rc)
        rc = measure_knee(&b, &knee, NULL);
    if (!rc)
        rc = prove(&b);
    if (rc)
        samples->list.n = begun;
    else
        *llc_bytes = knee;
    bench_deinit(&b, &pin);
    return rc;
}

/* --- a chase of the caller's --- */

struct nf_chase {
    struct nf_measure_options options;
    struct nf_pin pin;
    struct bench b;
    char *at[CHAINS_MAX];
};

int nf_chase_new(struct nf_tier *tier, int cpu, uint64_t bytes, struct nf_chase **out)
{
    struct nf_chase *c = calloc(1, sizeof *c);
    int rc;

    if (!c)
        return nf_fail(-ENOMEM, "out of memory");
    c->options = (struct nf_measure_options){.cpu = cpu, .working_set_bytes = bytes, .quiet = true};
    c->pin.cpu = -1;
    rc = bench_init(&c->b, tier, 0, &c->options, NULL, &c->pin);
    if (rc)
        nf_chase_free(c);
    else
        *out = c;
    return rc;
}

struct nf_chase *nf_chase_free(struct nf_chase *c)
{
    if (c)
        bench_deinit(&c->b, &c->pin);
    free(c);
    return NULL;
}

void *nf_chase_memory(const struct nf_chase *c, uint64_t *bytes)
{
    *bytes = c->b.bytes;
    return c->b.memory;
}

void nf_chase_link(struct nf_chase *c, uint64_t bytes, bool local)
{
    link_lines(&c->b, bytes / NF_CHASE_LOCAL_BYTES * NF_CHASE_LOCAL_BYTES, local, c->at);
    warm_up(&c->b, bytes, c->at);
}

double nf_chase_run(struct nf_chase *c)
{
    return chase(&c->b, c->at, 1);
}

int nf_chase_knee(struct nf_chase *c, uint64_t *llc_bytes, double knees[NF_MEASURE_RUNS])
{
    return measure_knee(&c->b, llc_bytes, knees);
}

int nf_chase_prove(struct nf_chase *c)
{
    return prove(&c->b);
}
