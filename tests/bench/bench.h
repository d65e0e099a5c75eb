#pragma once
/* Benchmarks print ratios, not only speeds: a subject and its named peers run alternately, in an order drawn anew each
 * round, and each round's ratio is taken within the round, so that a machine that is slow for a while is slow for all.
 * Medians with the quartiles; every raw value goes to a CSV file. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { BENCH_CONTENDERS_MAX = 4 };

struct bench {
    FILE *raw;         /* the open CSV file */
    const char *folder; /* where scratch files go */
    unsigned rounds;
    bool smoke; /* only show that it runs: tiny inputs, one round */
    unsigned missed; /* targets that were not met */
};

/* The first contender is ours; the others are peers to beat or limits to come near. */
struct bench_row {
    const char *name, *unit;
    const char *contender[BENCH_CONTENDERS_MAX]; /* names; the first NULL ends them */
    double target;                               /* of ours, in the unit; 0: none */
    bool lower_is_better;                        /* of the unit; and of the target, which is then an upper bound */
    double ratio_least, ratio_most;              /* of the median paired ratio to the first peer; 0: none */
    bool up_to_peer;                             /* the target holds as far as the first peer, a limit, reaches it */
    /* One short run of a contender; the value in the row's unit, or negative when it failed (and has said why). */
    double (*run)(void *state, unsigned contender);
    /* Optional: the run just made by another measure, printed below the value and named by `also_as`. */
    double (*also)(void *state);
    const char *also_as;
};

/* 0, or -1 when a contender failed. */
int bench_row(struct bench *b, const struct bench_row *row, void *state);
/* A figure that does not vary from run to run. */
void bench_fact(struct bench *b, const char *name, double value, const char *unit, double limit, const char *peer,
                double peer_value);
/* Runs that were made elsewhere; n > 0, as below. */
void bench_values(struct bench *b, const char *name, const char *unit, const double *values, unsigned n);
/* ... whose median is to be no more than a limit. */
void bench_at_most(struct bench *b, const char *name, const char *unit, const double *values, unsigned n, double limit);
/* ... whose median is to lie within a share of a target. */
void bench_within(struct bench *b, const char *name, const char *unit, const double *values, unsigned n, double target,
                  double tolerance);
/* Of n <= 4096 values, left as they are. */
double bench_median(const double *values, unsigned n);
/* Keeps a value from being optimised away. */
static inline void bench_keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value) : "memory");
}

/* The groups. Each returns 0, -1 when it failed, 77 when it cannot run here (and has said why). */
int bench_codec(struct bench *b);
int bench_samples(struct bench *b);
int bench_flood(struct bench *b);
int bench_reuse(struct bench *b);
int bench_mrc(struct bench *b);
int bench_cache(struct bench *b);
int bench_kernel(struct bench *b);
int bench_copy(struct bench *b);
int bench_peers(struct bench *b);
int bench_pool(struct bench *b);
int bench_plan(struct bench *b);
int bench_tiers(struct bench *b);
int bench_delay(struct bench *b);
int bench_replay(struct bench *b);
