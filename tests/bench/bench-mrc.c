/* How far each estimator's miss-ratio curve is from the exact one, on captured jobs: studies in the folder jobs of the
 * folder given, as ./bench makes them of the example jobs. Steady step class, fully associative LRU, byte-weighted, 64-byte
 * lines and 4 KiB pages; the error is nf_mrc_compare's mean over cache sizes from 64 KiB to the step's reach, 16 an octave. */
#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/fuse.h"
#include "core/model/locality.h"
#include "core/model/stats.h"
#include "core/model/thin.h"
#include "core/store/records.h"
#include "tests/bench/bench.h"

enum { SEEDS = 15, S_MAX = 8192, RUNS = 3 };

struct job {
    char name[64];
    struct nf_study *study;
    struct nf_stream *stream;
    const struct nf_step_class *c;
};

/* What one line of the table is made of. */
struct estimator {
    double rate;         /* SHARDS; 0: not */
    uint32_t blocks_max; /* SHARDS of fixed size */
    uint64_t period;     /* samples fused with visits */
    double target;       /* of the mean error; 0: none */
};

static const struct estimator estimators[] = {
    {.rate = 0.1, .target = 0.01},
    {.rate = 0.01},
    {.rate = 1, .blocks_max = S_MAX},
    {0}, /* AET */
    {.period = 1009},
    {.period = 10007, .target = 0.005},
    {.period = 100003},
};

static int fused(const struct nf_locality *l, uint64_t period, uint64_t seed)
{
    struct nf_thin_options o = {.period = period, .jitter = period / 8, .seed = seed, .steps = 1};
    const struct nf_step_class *c = l->of;
    struct nf_visit_samples *visits = calloc(c->n_visits + (size_t)1, sizeof *visits);
    uint8_t *seen = malloc(c->n_visits + (size_t)1);
    struct nf_sample *samples = NULL;
    size_t n;
    int rc = visits && seen ? nf_thin(c, &o, &samples, &n) : -1;

    if (!rc) {
        nf_fuse(c, samples, n, visits);
        nf_fuse_seen(c, visits, seen);
        rc = nf_locality_fused(l, seen, period);
    }
    free(samples);
    free(visits);
    free(seen);
    return rc;
}

static int estimate(const struct nf_locality *l, const struct estimator *e, uint64_t seed)
{
    if (e->period)
        return fused(l, e->period, seed);
    return e->rate > 0 ? nf_locality_shards(l, e->rate, e->blocks_max) : nf_locality_aet(l);
}

/* One line: the error of one run, or the median and worst of several where chance has a part. */
static int line(struct bench *b, const struct job *j, const struct nf_mrc *truth, double exact_ns,
                const struct estimator *e)
{
    struct nf_mrc curve;
    struct nf_locality l = {j->c, truth->block_bytes, {0}, &curve};
    struct nf_mrc_error error = {0};
    double means[SEEDS], times[SEEDS], most = 0, median, worst = 0;
    unsigned runs = e->period ? SEEDS : RUNS;
    bool met;

    for (unsigned i = 0; i < runs; i++) {
        uint64_t begun = nf_now_ns();

        if (estimate(&l, e, i + 1))
            return -1;
        times[i] = (double)(nf_now_ns() - begun);
        /* Nothing sampled is no curve at all: as wrong as it can be. */
        if (!(curve.distances.total > 0))
            error.mean = error.most = 1;
        else if (nf_mrc_compare(truth, &curve, &error))
            return -1;
        means[i] = error.mean;
        worst = fmax(worst, error.mean);
        most = fmax(most, error.most);
        fprintf(b->raw, "\"%s, %u B\",\"%s\",%u,%.6g,mean absolute error\n", j->name, truth->block_bytes,
                curve.estimator, i + 1, error.mean);
    }
    median = nf_median(means, runs);
    met = median <= e->target;
    printf("  %-22s %10.5f %10.5f %10.4f %9.2f ms %8.2f x", curve.estimator, median, worst, most,
           nf_median(times, runs) / 1e6, exact_ns / nf_median(times, runs));
    if (e->target > 0 && truth->block_bytes == NF_LINE_BYTES) {
        printf("  target <= %g: %s", e->target, met ? "met" : "MISSED");
        b->missed += !met;
    }
    printf("\n");
    return 0;
}

static int table(struct bench *b, const struct job *j, uint32_t block_bytes)
{
    struct nf_mrc truth;
    struct nf_locality l = {j->c, block_bytes, {0}, &truth};
    double times[RUNS];

    for (unsigned i = 0; i < RUNS; i++) {
        uint64_t begun = nf_now_ns();

        if (nf_locality_exact(&l))
            return -1;
        times[i] = (double)(nf_now_ns() - begun);
    }
    printf("MRC error, %s: %u visits, %.1f MiB a step, %u-byte blocks, caches %u KiB to %.1f MiB\n", j->name,
           j->c->n_visits, truth.distances.total / (1 << 20), block_bytes, NF_MRC_FROM_BYTES >> 10,
           (double)nf_mrc_reach(&truth) / (1 << 20));
    printf("  %-22s %10s %10s %10s %12s %10s\n  %-22s %10.5f %10.5f %10.4f %9.2f ms %8.2f x\n", "estimator", "mean",
           "worst run", "largest", "time", "speed", "exact", 0.0, 0.0, 0.0, nf_median(times, RUNS) / 1e6, 1.0);
    for (size_t i = 0; i < sizeof estimators / sizeof *estimators; i++) {
        if (line(b, j, &truth, nf_median(times, RUNS), &estimators[i]))
            return -1;
    }
    return 0;
}

static int job_open(struct job *j, const char *path)
{
    const char *base = strrchr(path, '/');
    int64_t capture;
    int rc = nf_study_open(path, NF_STUDY_READ, &j->study);

    snprintf(j->name, sizeof j->name, "%s", base ? base + 1 : path);
    j->name[strcspn(j->name, ".")] = '\0';
    if (rc)
        return rc;
    capture = nf_record_capture_find(j->study, 0);
    if (capture < 0)
        return (int)capture;
    rc = nf_record_stream_load(j->study, capture, &j->stream);
    if (!rc)
        j->c = &j->stream->classes[nf_stream_steady_class(j->stream)];
    return rc;
}

int bench_mrc(struct bench *b)
{
    char pattern[4096];
    glob_t found = {0};
    int rc = 77;

    snprintf(pattern, sizeof pattern, "%s/jobs/*.nf", b->folder);
    if (glob(pattern, 0, NULL, &found) || !found.gl_pathc)
        printf("mrc: skipped: no studies in %s/jobs; ./bench mrc captures the example jobs\n", b->folder);
    for (size_t i = 0; i < found.gl_pathc && (i == 0 || !rc); i++) {
        struct job j = {0};

        rc = job_open(&j, found.gl_pathv[i]);
        if (!rc)
            rc = table(b, &j, NF_LINE_BYTES);
        if (!rc && !b->smoke)
            rc = table(b, &j, NF_PAGE_BYTES);
        if (rc)
            printf("mrc: %s: %s\n", found.gl_pathv[i], nf_error_text(rc));
        nf_stream_free(j.stream);
        if (j.study)
            nf_study_close(j.study);
    }
    globfree(&found);
    return rc;
}
