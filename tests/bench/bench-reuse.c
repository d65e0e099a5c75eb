/* Exact stack distances, of random single blocks and of extents, against a plain Fenwick tree and against the floor
 * under every exact method: looking up a block's last access and noting the new one. SHARDS against the exact method.
 * All see the same accesses.
 *
 * Programs of others take part where they are named: NEARFAR_REUSE_PEERS="name=command;..." for exact distances,
 * NEARFAR_SHARDS_PEERS for a spatial sample of 1 %. A command gets the path of a trace (64-bit block numbers of this
 * machine's byte order), times its own work without reading the trace, and prints one line: accesses, CPU seconds, and
 * the sum of all distances but those of first accesses, which must be ours. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/rng.h"
#include "core/model/reuse.h"
#include "core/model/shards-filter.h"
#include "core/model/shards.h"
#include "tests/bench/bench.h"

enum { EXTENT_MAX = 1024 };

struct extent {
    uint32_t first, n;
};

struct state {
    struct extent *extents;
    uint32_t n_extents, n_accesses, n_blocks;
    uint32_t *last; /* block -> its last access + 1 */
    uint32_t *tree;
    uint64_t check[3]; /* sum of distances by contender; the first two must agree */
};

/* Of this thread: all of this is computation on one core, and on a machine that others use too, wall time measures
 * them. */
static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double rate(uint32_t n, uint64_t begun)
{
    return (double)n * 1e3 / (double)(cpu_ns() - begun); /* millions a second */
}

static uint64_t ours(struct state *s)
{
    struct nf_reuse *r = nf_reuse_new(s->n_blocks);
    uint32_t distances[EXTENT_MAX];
    uint64_t sum = 0;

    if (!r)
        return UINT64_MAX;
    if (s->extents[0].n == 1) {
        for (uint32_t i = 0, n; i < s->n_extents; i += n) {
            uint64_t blocks[EXTENT_MAX];

            for (n = 0; n < EXTENT_MAX && i + n < s->n_extents; n++)
                blocks[n] = s->extents[i + n].first;
            if (nf_reuse_run(r, blocks, n, distances))
                return UINT64_MAX;
            for (uint32_t j = 0; j < n; j++)
                sum += distances[j] == NF_REUSE_COLD ? 0 : distances[j];
        }
        nf_reuse_free(r);
        return sum;
    }
    for (uint32_t i = 0; i < s->n_extents; i++) {
        if (nf_reuse_extent(r, s->extents[i].first, s->extents[i].n, distances))
            return UINT64_MAX;
        for (uint32_t j = 0; j < s->extents[i].n; j++)
            sum += distances[j] == NF_REUSE_COLD ? 0 : distances[j];
    }
    nf_reuse_free(r);
    return sum;
}

/* The textbook: one tree position per access, a 1 where a block was accessed last. */
static uint64_t fenwick(struct state *s)
{
    uint32_t n = s->n_accesses, now = 0, live = 0;
    uint64_t sum = 0;

    memset(s->last, 0, s->n_blocks * sizeof *s->last);
    memset(s->tree, 0, (n + 1) * sizeof *s->tree);
    for (uint32_t i = 0; i < s->n_extents; i++) {
        for (uint32_t j = 0; j < s->extents[i].n; j++) {
            uint32_t *last = &s->last[s->extents[i].first + j], before = 0;

            now++;
            if (*last) {
                for (uint32_t k = *last; k; k &= k - 1)
                    before += s->tree[k];
                sum += live - before;
                for (uint32_t k = *last; k <= n; k += k & -k)
                    s->tree[k]--;
            } else {
                live++;
            }
            for (uint32_t k = now; k <= n; k += k & -k)
                s->tree[k]++;
            *last = now;
        }
    }
    return sum;
}

static uint64_t lookup(struct state *s)
{
    uint32_t now = 0;
    uint64_t sum = 0;

    memset(s->last, 0, s->n_blocks * sizeof *s->last);
    for (uint32_t i = 0; i < s->n_extents; i++) {
        for (uint32_t j = 0; j < s->extents[i].n; j++) {
            uint32_t *last = &s->last[s->extents[i].first + j];

            sum += *last;
            *last = ++now;
        }
    }
    return sum;
}

static double run(void *state, unsigned contender)
{
    static uint64_t (*const run_one[])(struct state *) = {ours, fenwick, lookup};
    struct state *s = state;
    uint64_t begun = cpu_ns();

    s->check[contender] = run_one[contender](s);
    bench_keep(s->check[contender]);
    return rate(s->n_accesses, begun);
}

/* extent_blocks blocks at once; two thirds of the extents return to one of the recent ones. */
static int measure(struct bench *b, const char *name, uint32_t n_blocks, uint32_t n_accesses, uint32_t extent_blocks)
{
    struct nf_rng rng = {.state = 7};
    struct state s = {.n_blocks = n_blocks, .n_extents = n_accesses / extent_blocks, .n_accesses = n_accesses};
    const struct bench_row row = {
        .name = name,
        .unit = "M/s",
        .contender = {"ours", "Fenwick tree", "last-access lookup (limit)"},
        .run = run,
    };
    int rc = -1;

    s.n_accesses = s.n_extents * extent_blocks;
    s.extents = malloc(s.n_extents * sizeof *s.extents);
    s.last = malloc(n_blocks * sizeof *s.last);
    s.tree = malloc((s.n_accesses + 1) * sizeof *s.tree);
    if (s.extents && s.last && s.tree) {
        for (uint32_t i = 0; i < s.n_extents; i++) {
            uint64_t window = i < 256 ? i : 256;
            uint32_t first = (uint32_t)nf_rng_below(&rng, n_blocks / extent_blocks) * extent_blocks;

            if (window && nf_rng_below(&rng, 3))
                first = s.extents[i - 1 - nf_rng_below(&rng, window)].first;
            s.extents[i] = (struct extent){first, extent_blocks};
        }
        rc = bench_row(b, &row, &s);
        if (!rc && s.check[0] != s.check[1]) {
            printf("%s: ours and the Fenwick tree disagree: %llu, %llu\n", name, (unsigned long long)s.check[0],
                   (unsigned long long)s.check[1]);
            rc = -1;
        }
    }
    free(s.extents);
    free(s.last);
    free(s.tree);
    return rc;
}

/* --- random single blocks --- */

enum { BATCH = 1024, PEER_ROUNDS = 3, SPARSE_SHIFT = 20 };

struct random_state {
    uint64_t *blocks;
    uint32_t n, n_blocks, *distances;
    struct nf_reuse *reuse; /* warm: every block was accessed */
    char trace[4096];
    const char *command; /* of the peer */
    uint64_t sum, peer_sum;
    bool sampled; /* the peer's sum is of a sample */
};

static uint64_t sum_of(const uint32_t *distances, uint32_t n)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += distances[i] == NF_REUSE_COLD ? 0 : distances[i];
    return sum;
}

static int run_batches(struct nf_reuse *r, const struct random_state *s)
{
    for (uint32_t i = 0; i < s->n; i += BATCH) {
        if (nf_reuse_run(r, s->blocks + i, s->n - i < BATCH ? s->n - i : BATCH, s->distances + i))
            return -1;
    }
    return 0;
}

static double run_random(void *state, unsigned contender)
{
    struct random_state *s = state;
    uint64_t begun = cpu_ns(), sum = 0;

    if (contender == 0)
        return run_batches(s->reuse, s) ? -1 : rate(s->n, begun);
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t *last = &s->distances[s->blocks[i] % s->n_blocks];

        sum += *last;
        *last = i;
    }
    bench_keep(sum);
    return rate(s->n, begun);
}

static int random_init(struct random_state *s, uint32_t n_blocks, uint32_t n, uint64_t spread)
{
    struct nf_rng rng = {.state = 3};

    *s = (struct random_state){.n = n, .n_blocks = n_blocks};
    s->blocks = malloc(n * sizeof *s->blocks);
    s->distances = calloc(n > n_blocks ? n : n_blocks, sizeof *s->distances);
    s->reuse = nf_reuse_new(n_blocks);
    if (!s->blocks || !s->distances || !s->reuse)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        s->blocks[i] = nf_rng_below(&rng, n_blocks) * spread;
    return 0;
}

static void random_deinit(struct random_state *s)
{
    free(s->blocks);
    free(s->distances);
    nf_reuse_free(s->reuse);
}

/* Steady: every block is known before the clock starts, so that each access has a distance. */
static int measure_random(struct bench *b, const char *name, uint32_t n_blocks, uint32_t n, uint64_t spread,
                          double target)
{
    const struct bench_row row = {
        .name = name,
        .unit = "M/s",
        .contender = {"ours", "last-access array (limit)"},
        .target = target,
        .run = run_random,
    };
    struct random_state s;
    int rc = random_init(&s, n_blocks, n, spread);

    for (uint64_t i = 0; i < n_blocks && !rc; i += BATCH) {
        uint64_t names[BATCH];
        uint32_t distances[BATCH], m = n_blocks - i < BATCH ? (uint32_t)(n_blocks - i) : BATCH;

        for (uint32_t k = 0; k < m; k++)
            names[k] = (i + k) * spread;
        rc = nf_reuse_run(s.reuse, names, m, distances);
    }
    if (!rc)
        rc = bench_row(b, &row, &s);
    random_deinit(&s);
    return rc;
}

/* --- SHARDS --- */

static double run_shards(void *state, unsigned contender)
{
    struct random_state *s = state;
    uint64_t begun = cpu_ns(), sum = 0;

    if (contender == 0) {
        struct nf_shards *shards = nf_shards_new(0.01, 0);

        for (uint32_t i = 0; i < s->n && shards; i += 4 * BATCH) {
            const struct nf_shards_hit *hits;
            uint32_t n;

            if (nf_shards_run(shards, s->blocks + i, s->n - i < 4 * BATCH ? s->n - i : 4 * BATCH, &hits, &n))
                return -1;
            for (uint32_t k = 0; k < n; k++)
                sum += hits[k].distance;
        }
        if (!nf_shards_free(shards))
            bench_keep(sum);
    } else if (contender == 1) {
        for (uint32_t i = 0; i < s->n; i += 4 * BATCH) {
            const struct nf_shards_filter *f = nf_shards_filters;

            while (f[1].name)
                f++;
            sum += f->run(s->blocks + i, s->n - i < 4 * BATCH ? s->n - i : 4 * BATCH, (uint64_t)(0.01 * 0x1p32),
                          s->distances);
        }
        bench_keep(sum);
    } else {
        struct nf_reuse *r = nf_reuse_new(s->n_blocks);

        if (!r || run_batches(r, s))
            return -1;
        nf_reuse_free(r);
    }
    return rate(s->n, begun);
}

static int measure_shards(struct bench *b, uint32_t n_blocks, uint32_t n)
{
    const char *variant = nf_shards_filter_best()->name;
    char name[64];
    struct bench_row row = {
        .name = name,
        .unit = "M/s",
        .contender = {"ours", "its filter alone, portable", "exact"},
        .run = run_shards,
        .target = strcmp(variant, "AVX-512") ? 100 : 400,
    };
    struct random_state s;
    int rc = random_init(&s, n_blocks, n, 1);

    snprintf(name, sizeof name, "SHARDS 0.01, filter in %s", variant);
    if (!rc)
        rc = bench_row(b, &row, &s);
    random_deinit(&s);
    return rc;
}

/* --- peers --- */

static double run_peer(void *state, unsigned contender)
{
    struct random_state *s = state;
    unsigned long long n = 0, sum = 0;
    double seconds = 0;
    char command[8192];
    FILE *f;

    if (contender == 0) {
        uint64_t begun = cpu_ns();
        struct nf_reuse *r = s->sampled ? NULL : nf_reuse_new(0);

        if (s->sampled)
            return run_shards(s, 0);
        if (!r || run_batches(r, s))
            return -1;
        nf_reuse_free(r);
        seconds = rate(s->n, begun);
        s->sum = sum_of(s->distances, s->n);
        return seconds;
    }
    snprintf(command, sizeof command, "%s '%s'", s->command, s->trace);
    f = popen(command, "re");
    if (!f)
        return -1;
    if (fscanf(f, "%llu %lf %llu", &n, &seconds, &sum) != 3 || n != s->n || !(seconds > 0)) {
        printf("%s: did not print accesses, seconds and sum of the %u accesses\n", s->command, s->n);
        n = 0;
    }
    s->peer_sum = sum;
    if (pclose(f) || !n)
        return -1;
    return (double)n / seconds / 1e6;
}

static int measure_peer(struct bench *b, const char *peer, const char *command, uint32_t n_blocks, uint32_t n,
                        bool sampled)
{
    char name[80];
    const struct bench_row row = {.name = name, .unit = "M/s", .contender = {"ours", peer}, .run = run_peer};
    struct random_state s;
    unsigned rounds = b->rounds;
    int rc = random_init(&s, n_blocks, n, 1);
    FILE *f;

    s.command = command;
    s.sampled = sampled;
    snprintf(s.trace, sizeof s.trace, "%s/reuse-%u.trace", b->folder, n_blocks);
    snprintf(name, sizeof name, "%s, %u Ki blocks, %u Ki accesses", sampled ? "SHARDS 0.01" : "reuse distance",
             n_blocks >> 10, n >> 10);
    f = rc ? NULL : fopen(s.trace, "we");
    if (f && (fwrite(s.blocks, sizeof *s.blocks, n, f) != n || fflush(f)))
        rc = -1;
    if (!f || fclose(f))
        rc = -1;
    b->rounds = b->rounds < PEER_ROUNDS ? b->rounds : PEER_ROUNDS;
    if (!rc)
        rc = bench_row(b, &row, &s);
    b->rounds = rounds;
    if (!rc && !sampled && s.sum != s.peer_sum) {
        printf("ours and %s disagree: the distances add up to %llu and %llu\n", peer, (unsigned long long)s.sum,
               (unsigned long long)s.peer_sum);
        rc = -1;
    }
    unlink(s.trace);
    random_deinit(&s);
    return rc;
}

static int peers(struct bench *b, const char *variable, bool sampled)
{
    const char *list = getenv(variable);
    char *copy = list ? strdup(list) : NULL, *rest = copy;
    int rc = 0;

    if (!copy || !*copy)
        printf("%s: skipped: no program of others is named in %s\n", sampled ? "SHARDS peers" : "reuse peers",
               variable);
    for (char *peer = strsep(&rest, ";"); peer && *peer && !rc; peer = strsep(&rest, ";")) {
        char *command = strchr(peer, '=');

        if (!command) {
            printf("%s: '%s' is not name=command\n", variable, peer);
            rc = -1;
            break;
        }
        *command++ = '\0';
        rc = measure_peer(b, peer, command,
                          1 << (b->smoke  ? 8
                                : sampled ? 20
                                          : 16),
                          1 << (b->smoke  ? 10
                                : sampled ? 22
                                          : 18),
                          sampled);
    }
    free(copy);
    return rc;
}

int bench_reuse(struct bench *b)
{
    uint32_t million = b->smoke ? 1 << 12 : 1000000, n = b->smoke ? 1 << 14 : 1 << 22;

    if (measure(b, "reuse distance, single blocks", b->smoke ? 1 << 12 : 1 << 20, n, 1) ||
        measure(b, "reuse distance, 256 KiB extents", b->smoke ? 1 << 12 : 1 << 20, n, 64))
        return -1;
    if (measure_random(b, "random blocks, 1 M", million, n, 1, 12) ||
        measure_random(b, "random blocks, 10 M", 10 * million, 2 * n, 1, 12) ||
        measure_random(b, "random blocks, 10 M sparse names", 10 * million, 2 * n, 1 << SPARSE_SHIFT, 0) ||
        measure_shards(b, million, n))
        return -1;
    return peers(b, "NEARFAR_REUSE_PEERS", false) || peers(b, "NEARFAR_SHARDS_PEERS", true) ? -1 : 0;
}
