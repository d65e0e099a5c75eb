#pragma once
/* Where the time of the measured steps goes, on the thread that drives the replay: accesses, waits that tiers inject, compute
 * time that is waited out, and the rest. Waits are known to the nanosecond, since each reads the clock anyhow. An op's
 * accesses would need two reads more, which cost as much as a small op: large ops are timed each, and of the others one in
 * NF_ACCOUNT_ONE_IN, drawn by a hash, which stands for all of them in proportion to their bytes. */
#include <stdbool.h>
#include <stdint.h>

enum {
    NF_ACCOUNT_LARGE = 256 << 10, /* bytes walked: some 5 us from a cache, of which two reads are 1 % */
    NF_ACCOUNT_ONE_IN = 16,
};

struct nf_account {
    uint64_t compute_ns;            /* residuals waited out */
    uint64_t large_ns, small_ns;    /* of timed ops, without those waits */
    uint64_t small_bytes, timed_small_bytes; /* walked by small ops; by those of them that were timed */
    uint64_t ops;                   /* so far */
};

/* Whether the next op, which walks that many bytes, is timed; counts it. */
static inline bool nf_account_next(struct nf_account *a, uint64_t bytes)
{
    uint64_t at = a->ops++;

    if (bytes >= NF_ACCOUNT_LARGE)
        return true;
    a->small_bytes += bytes;
    /* The top four bits of a Fibonacci hash: no period of the step can hide from it. */
    return !(at * 0x9e3779b97f4a7c15ull >> 60);
}
/* The op that nf_account_next counted last took so long, waits not counted. */
void nf_account_op(struct nf_account *a, uint64_t bytes, uint64_t ns);
/* Estimate for all ops, 0 when nothing was timed. At most what is left of wall_ns beside known_ns: where a timed op was preempted
 * it would stand for many. */
uint64_t nf_account_memory_ns(const struct nf_account *a, uint64_t wall_ns, uint64_t known_ns);
