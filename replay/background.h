#pragma once
/* Contention: threads on other CPUs that read and write the memory of a tier at a set rate, as the other hosts of a
 * memory pool or a stranger's job would. The bandwidth hog is the one that asks for all it can get. */
#include <sched.h>
#include <stddef.h>
#include <stdint.h>

#include "core/model/words.h"
#include "pool/tier.h"
#include "replay/kernel.h"

/* What is issued, and what the memory sees of it: a plain store fetches its line before it is written back. */
enum nf_background_kind {
    NF_BACKGROUND_READ,
    NF_BACKGROUND_WRITE,       /* plain stores: a read for each write */
    NF_BACKGROUND_MIXED,       /* a read, a plain store, in turn: two reads for each write */
    NF_BACKGROUND_MOSTLY_READ, /* two reads, a plain store: three reads for each write */
    NF_BACKGROUND_STREAM_OUT,  /* non-temporal stores: writes only */
    NF_BACKGROUND_KINDS
};
/* "read", "write", "mixed", "mostly-read", "stream-out". */
const char *nf_background_kind_name(enum nf_background_kind kind);
/* Reads as a share of the traffic, 0 to 1. */
double nf_background_read_share(enum nf_background_kind kind);

/* Rates are of traffic, the bytes that move between the caches and the memory: a byte read counts once, a byte
 * stored twice (it is fetched before and written back after), a byte streamed out once. */
struct nf_background_spec {
    enum nf_background_kind kind;
    double share;  /* of the tier's measured read bandwidth, (0, 1]; 0: bps says */
    uint64_t bps;  /* 0, and share 0: unpaced */
    char tier[32]; /* name */
};
enum { NF_BACKGROUND_MAX = 256 }; /* a thread on each CPU of a large socket */

/* "read:50%@far,mixed:2G@near,write:max@far": kind, rate, tier. A rate is a share of the tier's bandwidth, bytes per
 * second ("2GB", "2GB/s"), or max: as fast as it goes. At most max of them. 0 or -EINVAL (cause set). */
int nf_background_parse(const char *text, struct nf_background_spec *out, size_t max, size_t *n);

/* --- the schedule of one thread; times are the caller's, so that it can be followed without a clock --- */

struct nf_background_flow {
    const struct nf_tier *tier;
    double bps;            /* 0: unpaced */
    uint64_t begun_ns;     /* where the schedule begins; moves on by what is forgiven */
    uint64_t bytes;        /* traffic so far, forgiven_ns ago as well */
    uint64_t scheduled;    /* bytes since begun_ns */
    uint64_t forgiven_ns;  /* behind the schedule by more than can be caught up without becoming a burst */
};
void nf_background_flow_init(struct nf_background_flow *f, const struct nf_tier *tier, double bps, uint64_t now_ns);
/* Charges `payload` bytes whose access began at start_ns to the tier. Returns when the next piece may begin: not before
 * the tier lets this one end, nor ahead of the rate. */
uint64_t nf_background_charge(struct nf_background_flow *f, enum nf_rw rw, enum nf_store store, uint64_t payload,
                              uint64_t start_ns);

/* --- threads --- */

struct nf_background;

struct nf_background_where {
    const struct nf_tier *tiers; /* opened; they must outlive the threads */
    const double *read_bps;      /* measured, per tier; NULL where no spec gives a share */
    uint32_t n_tiers;
    const int *taken;            /* CPUs that the threads must keep off */
    uint32_t n_taken;
    uint64_t llc_bytes;          /* each buffer is four times that, at least 64 MiB; more than four share four's, at least 16 MiB each */
    int cpu;                     /* beside which they run, the first on it, where nobody took one; else beside taken[0] */
    const cpu_set_t *allowed;    /* where they may run; NULL: where the caller may */
};

/* 0, or -ENODEV (cause set) when n threads find no CPU each beside n_taken busy ones. */
int nf_background_probe(size_t n, size_t n_taken);
/* 0, or -EINVAL (cause set, lists the names) when a spec names no tier there. */
int nf_background_check(const struct nf_background_spec *specs, size_t n, const struct nf_tier *tiers, uint32_t n_tiers);
/* Bytes that n specs map. */
uint64_t nf_background_bytes(size_t n, uint64_t llc_bytes);
/* One thread per spec, each on a CPU of its own (on the node of the one beside which they run first, its core's sibling last), memory faulted, all running when this returns.
 * 0, -EINVAL (no such tier), -ENODEV (no CPU left), -errno, with the cause set. */
int nf_background_start(const struct nf_background_spec *specs, size_t n, const struct nf_background_where *where,
                        struct nf_background **out);
/* The bandwidth hog: reads and writes memory that belongs to no tier, unpaced, off the taken CPUs. The same for a replay
 * and for the real job, so that the two can be held against each other. Errors as above. */
int nf_background_start_hog(const int *taken, uint32_t n_taken, uint64_t llc_bytes, struct nf_background **out);
/* Where they run, in the order of the specs: how many. cpus: room for as many as were started. */
unsigned nf_background_cpus(const struct nf_background *b, int *cpus);
/* Traffic of all threads since they began; while they run. */
uint64_t nf_background_moved(const struct nf_background *b);
/* Ends the threads, proves once more where their memory is, and frees all of it whatever comes. *bps: traffic per second, start to
 * stop, all threads; may be NULL. A NULL background is fine. 0, -EXDEV, -errno (cause set). */
int nf_background_stop(struct nf_background *b, double *bps);
