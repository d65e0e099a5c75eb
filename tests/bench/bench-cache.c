/* The simulator of replacement rules: unit-size requests, drawn so that each octave of ids is as popular as the next (Zipf's
 * exponent 1), near at a tenth of the objects. Beside it a list, the textbook's LRU, and the floor under every rule: one look at
 * each object's record. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/big.h"
#include "core/base/rng.h"
#include "core/model/cache-rule.h"
#include "tests/bench/bench.h"

#define NONE UINT32_MAX

struct state {
    enum nf_cache_rule rule;
    uint32_t *ids, n_ids, n;
    struct node {
        uint32_t newer, older;
        uint32_t held;
    } *nodes;
    uint64_t hits[2];
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
    } else {
        s->hits[1] = list(s);
    }
    return (double)s->n * 1e3 / (double)(cpu_ns() - begun);
}

static int measure(struct bench *b, uint32_t n_ids, uint32_t n, const double *targets)
{
    static const char *const names[] = {"LRU", "CLOCK", "GDSF", "S3-FIFO"};
    struct nf_rng rng = {.state = 3};
    struct state s = {.n_ids = n_ids, .n = n, .ids = malloc(n * sizeof *s.ids),
                      .nodes = nf_big_alloc(n_ids * sizeof *s.nodes)};
    int rc = s.ids && s.nodes ? 0 : -1;

    for (uint32_t i = 0; !rc && i < n; i++) {
        double u = (double)(nf_rng_next(&rng) >> 11) * 0x1p-53;
        uint64_t rank = (uint64_t)exp(u * log(n_ids)) - 1;

        s.ids[i] = (uint32_t)(rank * 2654435761u % n_ids); /* the popular ones do not lie together */
    }
    for (enum nf_cache_rule rule = 0; rule < NF_CACHE_RULES && !rc; rule++) {
        char name[64];
        struct bench_row row = {.name = name, .unit = "M/s", .target = targets[rule], .run = run,
                                .contender = {"ours", "one look per request (limit)", rule == NF_CACHE_LRU ? "list" : NULL}};

        snprintf(name, sizeof name, "%s, %g objects", names[rule], (double)n_ids);
        s.rule = rule;
        rc = bench_row(b, &row, &s);
        if (!rc && rule == NF_CACHE_LRU && s.hits[0] != s.hits[1]) {
            printf("%s: ours and the list disagree: %llu, %llu\n", name, (unsigned long long)s.hits[0],
                   (unsigned long long)s.hits[1]);
            rc = -1;
        }
    }
    free(s.ids);
    nf_big_free(s.nodes, n_ids * sizeof *s.nodes);
    return rc;
}

int bench_cache(struct bench *b)
{
    static const double few[NF_CACHE_RULES] = {[NF_CACHE_LRU] = 40, [NF_CACHE_S3_FIFO] = 80};
    static const double many[NF_CACHE_RULES] = {[NF_CACHE_LRU] = 15, [NF_CACHE_S3_FIFO] = 30};
    int rc = measure(b, b->smoke ? 1000 : 100000, b->smoke ? 10000 : 5000000, few);

    return rc ? rc : measure(b, b->smoke ? 10000 : 10000000, b->smoke ? 20000 : 10000000, many);
}
