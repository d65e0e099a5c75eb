#pragma once
/* What a tier's memory does, measured the way it will be replayed: the same code for real tiers and for emulated
 * ones, whose injection counts. Every number is a median of kept runs. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/array.h"
#include "pool/tier.h"
#include "replay/access-class.h"

/* One run: the median of its pieces of 50 to 300 us. what: 'chase' (TLB-local pointer chase), 'chase-random' (every line on another page), 'read', 'write',
 * 'copy' (bytes read + bytes written), 'gather' (independent random lines, TLB-local), 'knee' (chase over a working set). */
struct nf_tier_sample {
    uint32_t tier;
    const char *what, *unit; /* unit: "ns" per access, or "B/s" of payload */
    uint64_t working_set_bytes;
    unsigned parallelism; /* chains of a chase; 0: as the CPU does */
    unsigned run;
    double value;
};
struct nf_samples {
    NF_ARRAY(struct nf_tier_sample) list;
};

enum { NF_MEASURE_CHAINS = 4 /* 1, 2, 4, 8 */ };
struct nf_measured {
    double latency_ns;        /* one TLB-local chain */
    double latency_random_ns; /* one chain, page-random: TLB misses included */
    double chain_ns[NF_MEASURE_CHAINS]; /* per access with 1, 2, 4, 8 chains, TLB-local */
    double read_bps, write_bps; /* payload of plain loads and stores */
    double copy_bps, gather_bps;
    struct nf_parallelism parallelism; /* of_class: not measured here but among the figures */
    uint64_t working_set_bytes;
};

struct nf_measure_options {
    int cpu;                       /* to run on; -1: wherever the thread is now */
    uint64_t working_set_bytes;    /* 0: nf_working_set_of; pass four times the effective LLC where that is more */
    struct nf_parallelism assumed; /* k charged by a tier that injects: what local memory had; at least 1 */
    bool quiet;                    /* no progress line */
};

/* Runs of every figure: medians over fewer are not trusted here (a guest loses 6-9 % of its time in bursts). */
enum { NF_MEASURE_RUNS = 9 };

/* number: of the tier, for the samples, which are appended. Where its memory is is proved before and after. 0, -EXDEV (it is elsewhere) or
 * -errno, with the cause set: then there is no number and no sample. Takes one to two seconds. */
int nf_measure_tier(struct nf_tier *tier, uint32_t number, const struct nf_measure_options *options,
                    struct nf_measured *out, struct nf_samples *samples);

/* The effective LLC: the working set at which half of the accesses of a random chase still hit. Working sets grow by
 * √2 from half the second-level cache; of each the median of nine runs counts; the medians are made monotone
 * (isotonic regression), and the half-way point between the lowest and the highest is interpolated over the logarithm
 * of the size. Where the lowest is a second-level hit, half-way lies above what a last-level hit costs. When the
 * highest is less than 1.5 times the lowest there is no knee, and the effective LLC is the second-level cache. Local
 * memory only (nothing may be injected: -EINVAL); proved as above. About two seconds. */
int nf_measure_llc(struct nf_tier *near, const struct nf_measure_options *options, uint64_t *llc_bytes,
                   struct nf_samples *samples);

/* The rule itself: n >= 1 sizes ascending with their latencies (made monotone in place). floor_bytes: when there is
 * no knee. */
uint64_t nf_measure_knee(const uint64_t *sizes, double *latency_ns, uint32_t n, uint64_t floor_bytes);

/* A TLB-local chase stays in so much before it goes elsewhere: 16 pages fit any first-level TLB. */
enum { NF_CHASE_LOCAL_BYTES = 65536 };
/* A pointer chase that is measured again and again, under conditions that are the caller's to change. */
struct nf_chase;
/* Pins the calling thread, maps `bytes` on the tier (0: as above) and proves where they are.
 * 0 or -errno (cause set). */
int nf_chase_new(struct nf_tier *tier, int cpu, uint64_t bytes, struct nf_chase **out);
/* NULL is fine. Returns NULL. */
struct nf_chase *nf_chase_free(struct nf_chase *c);
/* The caller may write to it, and links it anew before the next run. */
void *nf_chase_memory(const struct nf_chase *c, uint64_t *bytes);
/* The effective LLC seen through this memory's pages, as nf_measure_llc has it; knees: of each run's curve alone. 0, -EINVAL (it
 * injects), -errno (cause set). Links are gone afterwards. */
int nf_chase_knee(struct nf_chase *c, uint64_t *llc_bytes, double knees[NF_MEASURE_RUNS]);
/* One cycle through all lines of the first `bytes`, then as many steps as fill the caches with it (150 ms at most). local:
 * TLB-local, else every line on another page. */
void nf_chase_link(struct nf_chase *c, uint64_t bytes, bool local);
/* Nanoseconds per access of one run of so many along one chain, injected delay included: the median of its pieces. */
enum { NF_CHASE_RUN_ACCESSES = 4096 };
double nf_chase_run(struct nf_chase *c);
/* All of it is still where it was mapped. 0, -EXDEV, -errno (cause set). */
int nf_chase_prove(struct nf_chase *c);
