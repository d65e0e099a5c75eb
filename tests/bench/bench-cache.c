/* The simulator of replacement rules: unit-size requests, drawn so that each octave of ids is as popular as the next (Zipf's
 * exponent 1), near at a tenth of the objects. Beside it a list, the textbook's LRU, and the floor under every rule: one look at
 * each object's record. libCacheSim's cachesim, found on PATH or where NEARFAR_CACHESIM says, plays the same requests from a
 * file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/base/big.h"
#include "core/base/rng.h"
#include "core/model/cache-rule.h"
#include "tests/bench/bench.h"
#include "tests/bench/peer.h"

#define NONE UINT32_MAX

struct state {
    enum nf_cache_rule rule;
    uint32_t *ids, n_ids, n;
    struct node {
        uint32_t newer, older;
        uint32_t held;
    } *nodes;
    uint64_t hits[2];
    const char *program; /* cachesim; NULL: absent */
    char trace[4096];    /* the requests as it reads them; empty: not written */
};

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t list(struct state *s)
{
    struct node *v = s->nodes;
    uint32_t newest = NONE, oldest = NONE, held = 0;
    uint64_t hits = 0;

    for (uint32_t i = 0; i < s->n_ids; i++)
        v[i].held = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t id = s->ids[i];

        if (v[id].held) {
            hits++;
            *(v[id].newer == NONE ? &newest : &v[v[id].newer].older) = v[id].older;
            *(v[id].older == NONE ? &oldest : &v[v[id].older].newer) = v[id].newer;
        } else if (held == s->n_ids / 10) {
            uint32_t victim = oldest;

            oldest = v[victim].newer;
            *(oldest == NONE ? &newest : &v[oldest].older) = NONE;
            v[victim].held = 0;
        } else {
            held++;
        }
        v[id] = (struct node){NONE, newest, 1};
        *(newest == NONE ? &oldest : &v[newest].newer) = id;
        newest = id;
    }
    return hits;
}

static uint64_t lookup(struct state *s)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < s->n; i++)
        sum += s->nodes[s->ids[i]].held++;
    return sum;
}

/* The requests in cachesim's format oracleGeneral: time, object, bytes, next request (-2: unknown), packed. */
static int write_trace(struct state *s, const char *folder)
{
    FILE *f;
    int rc = 0;

    snprintf(s->trace, sizeof s->trace, "%s/cache-%u.trace", folder, s->n_ids);
    f = fopen(s->trace, "wbe");
    for (uint32_t i = 0; f && i < s->n && !rc; i++) {
        struct __attribute__((packed)) {
            uint32_t time;
            uint64_t id;
            uint32_t bytes;
            int64_t next;
        } request = {i / 1000, s->ids[i] + 1ull, 1, -2};

        rc = fwrite(&request, sizeof request, 1, f) == 1 ? 0 : -1;
    }
    if (!f || fclose(f) || rc) {
        perror(s->trace);
        return -1;
    }
    return 0;
}

/* Millions of requests a second, as it says: wall time on one thread, its reading of the file included. */
static double peer(const struct state *s)
{
    static const char *const names[] = {[NF_CACHE_LRU] = "lru", [NF_CACHE_CLOCK] = "clock", [NF_CACHE_GDSF] = "gdsf",
                                        [NF_CACHE_S3_FIFO] = "s3fifo"};
    char command[9216];

    snprintf(command, sizeof command, "'%s' '%s' oracleGeneral %s %u --ignore-obj-size 1 --num-thread 1 -o /dev/null 2>&1",
             s->program, s->trace, names[s->rule], s->n_ids / 10);
    return bench_peer_after("cache", command, "throughput");
}

static double run(void *state, unsigned contender)
{
    struct state *s = state;
    struct nf_cache_result r = {0};
    uint64_t begun = cpu_ns();

    if (contender == 0) {
        if (nf_cache_sim(s->rule, s->n_ids / 10, s->ids, s->n, s->n_ids, NULL, NULL, &r))
            return -1;
        s->hits[0] = r.hits;
    } else if (contender == 1) {
        bench_keep(lookup(s));
    } else if (contender == 2 && s->rule == NF_CACHE_LRU) {
        s->hits[1] = list(s);
    } else {
        return peer(s);
    }
    return (double)s->n * 1e3 / (double)(cpu_ns() - begun);
}

static int measure(struct bench *b, uint32_t n_ids, uint32_t n, const double *targets,
                   const char *program)
{
    static const char *const names[] = {"LRU", "CLOCK", "GDSF", "S3-FIFO"};
    struct nf_rng rng = {.state = 3};
    struct state s = {.n_ids = n_ids, .n = n, .ids = malloc(n * sizeof *s.ids), .program = program,
                      .nodes = nf_big_alloc(n_ids * sizeof *s.nodes)};
    int rc = s.ids && s.nodes ? 0 : -1;

    for (uint32_t i = 0; !rc && i < n; i++) {
        double u = (double)(nf_rng_next(&rng) >> 11) * 0x1p-53;
        uint64_t rank = (uint64_t)exp(u * log(n_ids)) - 1;

        s.ids[i] = (uint32_t)(rank * 2654435761u % n_ids); /* the popular ones do not lie together */
    }
    if (!rc && program)
        rc = write_trace(&s, b->folder);
    for (enum nf_cache_rule rule = 0; rule < NF_CACHE_RULES && !rc; rule++) {
        char name[64];
        struct bench_row row = {.name = name, .unit = "M/s", .target = targets[rule], .run = run,
                                .contender = {"ours", "one look per request (limit)"}};
        unsigned peers = 2;

        if (rule == NF_CACHE_LRU)
            row.contender[peers++] = "list";
        if (program)
            row.contender[peers] = "libCacheSim (asked: 3)";
        snprintf(name, sizeof name, "%s, %g objects", names[rule], (double)n_ids);
        s.rule = rule;
        rc = bench_row(b, &row, &s);
        if (!rc && rule == NF_CACHE_LRU && s.hits[0] != s.hits[1]) {
            printf("%s: ours and the list disagree: %llu, %llu\n", name, (unsigned long long)s.hits[0],
                   (unsigned long long)s.hits[1]);
            rc = -1;
        }
    }
    if (*s.trace)
        unlink(s.trace);
    free(s.ids);
    nf_big_free(s.nodes, n_ids * sizeof *s.nodes);
    return rc;
}

int bench_cache(struct bench *b)
{
    static const double few[NF_CACHE_RULES] = {[NF_CACHE_LRU] = 40, [NF_CACHE_S3_FIFO] = 80};
    static const double many[NF_CACHE_RULES] = {[NF_CACHE_LRU] = 15, [NF_CACHE_S3_FIFO] = 30};
    char path[4096];
    const char *program = b->smoke ? NULL : bench_peer_find("cache", "cachesim", "NEARFAR_CACHESIM", path, sizeof path);
    int rc = measure(b, b->smoke ? 1000 : 100000, b->smoke ? 10000 : 5000000, few, program);

    return rc ? rc : measure(b, b->smoke ? 10000 : 10000000, b->smoke ? 20000 : 10000000, many, program);
}
