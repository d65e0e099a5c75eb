/* What `nearfar tiers --measure` says of this machine beside programs that others wrote for the same: idle latency beside
 * multichase, bandwidth beside multiload, in one run, turn by turn, with the same pages, threads and working set, and by the same
 * statistic, which is the peers': averages over half a second each, whatever came between. Both are found on PATH or where
 * NEARFAR_MULTICHASE and NEARFAR_MULTILOAD say; rows of an absent one are left out, with the reason. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "pool/tier.h"
#include "replay/background.h"
#include "replay/measure.h"
#include "replay/pin.h"
#include "tests/bench/bench.h"
#include "tests/bench/peer.h"

enum { LINE = 64, PEER_ROUNDS = 9, SAMPLES = 3 /* of which multichase prints the best */, RUNS_MAX = 4096 };

struct state {
    const char *program; /* NULL: only ours runs */
    struct nf_tier tier;
    bool huge, local;
    unsigned threads;
    int best[2]; /* mix of traffic, by contender; -1: not yet known */
    uint64_t bytes; /* of a chase, or of each thread */
    uint64_t sample_ns;
    double median[1 + PEER_ROUNDS]; /* of the runs of a chase, as a figure has it: of each round, the first of which does not count */
    unsigned n_medians;
    int cpu;
};

static double failed(int rc)
{
    printf("%s\n", nf_error_text(rc));
    return -1;
}

/* Time over accesses of one sample. The runs' own values, medians of their pieces, are appended to ns. */
static double average_ns(struct nf_chase *c, uint64_t sample_ns, double ns[RUNS_MAX], unsigned *n)
{
    uint64_t begun = nf_now_ns(), took, accesses = 0;

    do {
        double run = nf_chase_run(c);

        if (*n < RUNS_MAX)
            ns[(*n)++] = run;
        accesses += NF_CHASE_RUN_ACCESSES;
        took = nf_now_ns() - begun;
    } while (took < sample_ns);
    return (double)took / (double)accesses;
}

/* As a figure of a tier is made: memory mapped anew and proved, one chain. The value is the peer's statistic; the figure's own, the
 * median of the runs, is kept beside it. */
static double latency_here(struct state *s)
{
    double ns[RUNS_MAX], best = INFINITY;
    struct nf_chase *c = NULL;
    unsigned n = 0;
    int rc = nf_chase_new(&s->tier, s->cpu, s->bytes, &c);

    if (rc)
        return failed(rc);
    nf_chase_link(c, s->bytes, s->local);
    for (int i = 0; i < SAMPLES; i++)
        best = fmin(best, average_ns(c, s->sample_ns, ns, &n));
    nf_chase_free(c);
    if (s->n_medians < 1 + PEER_ROUNDS)
        s->median[s->n_medians++] = bench_median(ns, n);
    return best;
}

/* The best of three averages over half a second, which is what it prints unasked: -T is how far a chain goes before it leaves its pages. */
static double latency_multichase(const struct state *s)
{
    char command[4608];

    snprintf(command, sizeof command, "taskset -c %d %s -X -s %d -m %llu -T %llu -n %d%s 2>/dev/null", s->cpu, s->program, LINE,
             (unsigned long long)s->bytes, (unsigned long long)(s->local ? NF_CHASE_LOCAL_BYTES : s->bytes), SAMPLES, s->huge ? " -H" : "");
    return bench_peer_field("tiers", command, " \t\n", 0);
}

static double latency(void *state, unsigned contender)
{
    return contender ? latency_multichase(state) : latency_here(state);
}

/* Bytes of loads and stores over the time of one sample, as multiload counts them: what a store fetches is not in it. */
static double bandwidth_of(struct state *s, enum nf_background_kind kind)
{
    const struct timespec sample = {.tv_nsec = (long)s->sample_ns};
    struct nf_background_spec specs[NF_BACKGROUND_MAX] = {{0}};
    struct nf_background_where where = {.tiers = &s->tier, .n_tiers = 1, .llc_bytes = s->bytes / 4, .cpu = s->cpu};
    struct nf_background *b = NULL;
    double bps = 0, share = nf_background_read_share(kind);
    int rc;

    for (unsigned i = 0; i < s->threads; i++) {
        specs[i].kind = kind;
        snprintf(specs[i].tier, sizeof specs[i].tier, "%s", s->tier.name);
    }
    rc = nf_background_start(specs, s->threads, &where, &b);
    if (rc)
        return failed(rc);
    nanosleep(&sample, NULL);
    rc = nf_background_stop(b, &bps);
    if (rc)
        return failed(rc);
    /* Of the traffic of plain stores the fetches, as many as there are writes, are not payload. */
    return bps / 1e9 * (kind == NF_BACKGROUND_READ || kind == NF_BACKGROUND_STREAM_OUT ? 1 : share);
}

/* The average over one half second, after another that it drops. */
static double bandwidth_multiload(const struct state *s, const char *load)
{
    char command[4608];

    snprintf(command, sizeof command, "%s -l %s -t %u -n 1 -m %llu%s 2>/dev/null", s->program, load, s->threads,
             (unsigned long long)s->bytes, s->huge ? " -H" : "");
    return bench_peer_field("tiers", command, " \t,", 7) * 1048576 / 1e9;
}

static double reading(void *state, unsigned contender)
{
    return contender ? bandwidth_multiload(state, "stream-sum") : bandwidth_of(state, NF_BACKGROUND_READ);
}

static const char *const loads[] = {"memcpy-libc", "memset-libc", "memsetz-libc", "stream-copy", "stream-sum", "stream-triad"};

static double load(struct state *s, unsigned contender, unsigned i)
{
    return contender ? bandwidth_multiload(s, loads[i]) : bandwidth_of(s, i);
}

/* The round that warms up tries every mix of traffic; those that count run the best of it. */
static double best(void *state, unsigned contender)
{
    struct state *s = state;
    unsigned n = contender ? sizeof loads / sizeof *loads : NF_BACKGROUND_KINDS;
    double most = 0;

    if (s->best[contender] >= 0)
        return load(s, contender, (unsigned)s->best[contender]);
    for (unsigned i = 0; i < n; i++) {
        double v = load(s, contender, i);

        if (v < 0)
            return v;
        if (v > most) {
            most = v;
            s->best[contender] = (int)i;
        }
    }
    return most;
}

static int latency_rows(struct bench *b, struct state *s, const char *page)
{
    char name[64];
    int rc = 0;

    for (int local = 1; local >= 0 && !rc; local--) {
        const struct bench_row row = {.name = name, .unit = "ns", .run = latency, .contender = {"ours", s->program ? "multichase" : NULL},
                                      .lower_is_better = true, .ratio_least = 0.95, .ratio_most = 1.05};

        s->local = local;
        s->n_medians = 0;
        snprintf(name, sizeof name, "idle latency, %s, %s", page, local ? "TLB-local" : "random");
        rc = bench_row(b, &row, s);
        snprintf(name, sizeof name, "  the same, median of its runs");
        if (!rc)
            bench_values(b, name, "ns", s->median + 1, s->n_medians - 1);
    }
    return rc;
}

static int bandwidth_rows(struct bench *b, struct state *s, const char *page, unsigned cpus)
{
    char name[64];
    int rc = 0;

    for (s->threads = 1; s->threads <= cpus && s->threads <= NF_BACKGROUND_MAX && !rc; s->threads *= 2) {
        const char *peer = s->program ? "multiload stream-sum" : NULL;
        const struct bench_row reads = {.name = name, .unit = "GB/s", .contender = {"ours", peer}, .run = reading, .ratio_least = 0.95};
        const struct bench_row bests = {.name = name, .unit = "GB/s", .contender = {"ours, best mix", peer ? "multiload's best load" : NULL},
                                        .run = best, .ratio_least = 0.95};

        snprintf(name, sizeof name, "read bandwidth, %s, %u threads", page, s->threads);
        rc = bench_row(b, &reads, s);
        snprintf(name, sizeof name, "best bandwidth, %s, %u threads", page, s->threads);
        s->best[0] = s->best[1] = -1;
        if (!rc)
            rc = bench_row(b, &bests, s);
        if (!rc && peer)
            printf("  %-8s %s beside %s\n", "", nf_background_kind_name(s->best[0]), loads[s->best[1]]);
    }
    return rc;
}

int bench_tiers(struct bench *b)
{
    static const char *const pages[][2] = {{"4k", "4 KiB"}, {"thp", "2 MiB"}};
    char chase_path[4096], load_path[4096], spec[64];
    const char *chase = b->smoke ? NULL : bench_peer_find("tiers", "multichase", "NEARFAR_MULTICHASE", chase_path, sizeof chase_path);
    const char *load = b->smoke ? NULL : bench_peer_find("tiers", "multiload", "NEARFAR_MULTILOAD", load_path, sizeof load_path);
    struct state s = {.cpu = nf_pin_other(-1), .bytes = b->smoke ? 16 << 20 : 256 << 20, .sample_ns = b->smoke ? 20000000 : 500000000};
    unsigned rounds = b->rounds, cpus = b->smoke ? 1 : (unsigned)nf_pin_cpus();
    int rc = 0;

    b->rounds = b->rounds < PEER_ROUNDS ? b->rounds : PEER_ROUNDS;
    for (int i = 0; i < 2 && !rc; i++) {
        snprintf(spec, sizeof spec, "numa:page=%s", pages[i][0]);
        if (nf_tier_open("near", spec, NULL, &s.tier)) {
            printf("tiers: rows of %s pages left out: %s\n", pages[i][1], nf_error_text(0));
            continue;
        }
        s.huge = i;
        s.program = chase;
        rc = latency_rows(b, &s, pages[i][1]);
        s.program = load;
        if (!rc)
            rc = bandwidth_rows(b, &s, pages[i][1], cpus);
        nf_tier_close(&s.tier);
    }
    b->rounds = rounds;
    return rc;
}
