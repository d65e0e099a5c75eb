#pragma once
/* What the hardware counted of a trial's memory traffic, held against the replay's own bytes. One source per kind of
 * counter; each says why it cannot work here. Opening (perf_event_open, a child process) and decoding (sysfs, CSV) are kept
 * apart, so that the second is tested for machines that are not here. Not validated on hardware. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/tier.h"
#include "replay/engine.h"

enum { NF_COUNTER_PLACES = 64, NF_COUNTER_SOURCES_MAX = 8 };

/* Traffic since some moment, of memory that is counted together. */
struct nf_counter_traffic {
    uint64_t nodes; /* bit per NUMA node whose memory this is; 0: unknown which */
    bool has_read, has_write;
    uint64_t read_bytes, write_bytes;
};

struct nf_counter_ops {
    const char *name, *about;
    uint64_t resolution_ns; /* readings are that old at most; 0: of now */
    /* root: "" for this machine, as below. 0, or -errno with why in words. */
    int (*probe)(const char *root, char *why, size_t size);
    /* 0 or -errno (cause set). */
    int (*open)(const char *root, void **state);
    /* What was counted since it was opened. Returns how many of out's NF_COUNTER_PLACES places were filled, or -errno (cause
     * set). The places are the same, in the same order, in every reading. */
    int (*read)(void *state, struct nf_counter_traffic *out);
    void (*close)(void *state);
};

extern const struct nf_counter_ops nf_counter_imc, nf_counter_cxl, nf_counter_umc, nf_counter_pcm;
extern const struct nf_counter_ops *const nf_counter_sources[]; /* NULL-terminated, in order of preference */

/* Opened counters: all that the kernel has, else PCM, which would take the hardware away from the kernel's. That none works here is
 * no failure. */
struct nf_counters;
/* sources: as nf_counter_sources, which is what a replay is given; of more than NF_COUNTER_SOURCES_MAX that work the first ones.
 * 0 or -ENOMEM (cause set). */
int nf_counters_open(const struct nf_counter_ops *const *sources, const char *root, struct nf_counters **out);
struct nf_counters *nf_counters_close(struct nf_counters *c);
/* What each source said: "imc: usable; pcm: pcm-memory is not on PATH (package pcm)". */
const char *nf_counters_said(const struct nf_counters *c);
/* nf_engine_config.measuring: ctx is the nf_counters. Takes the readings that a trial is judged by. */
void nf_counters_measuring(void *ctx, bool begin);
/* From the trial's two readings: the counter columns of each tier that has its memory to itself, of the others why not, and a mark
 * where they are off (below). */
void nf_counters_judge(const struct nf_counters *c, const struct nf_tier *tiers, uint32_t n_tiers, struct nf_trial *trial);

/* Nothing was counted of any of the trial's tiers, for this reason. */
void nf_counters_leave_out(uint32_t n_tiers, const char *why, struct nf_trial *trial);

/* What a trial's tiers say about one place, whose traffic is `counted`; without I/O. Counted and issued bytes may differ by
 * a tenth. Reads are between those of the visits that miss the cache filter and all of them with a fetch for each byte that a regular
 * store writes, writes between those that miss and all; what the policy moved counts. Sets columns and marks as nf_counters_judge. */
void nf_counters_compare(const struct nf_counter_traffic *counted, const struct nf_tier *tiers, uint32_t n_tiers,
                         struct nf_trial *trial);
