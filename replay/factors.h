#pragma once
/* The factors of `nearfar replay --sensitivity`: what a trial is made again with, one changed at a time, everything that decides
 * placements as it was. */
#include "core/model/stream.h"
#include "replay/batches.h"
#include "replay/engine.h"
#include "replay/script.h"
#include "replay/testbed.h"
#include "replay/trials.h"

struct nf_factors {
    struct nf_script *unfiltered; /* one per class; NULL: not asked for */
    uint32_t n_classes;
    struct nf_batches batches;    /* of them */
    struct nf_tier paged[NF_TIER_MAX]; /* the testbed's, with pages of the other size where the provider has a choice */
    bool own[NF_TIER_MAX];        /* opened here; false: the testbed's as it is */
    uint32_t n_tiers;
};

/* "k/2", "2k", "unfiltered"; for stores and pages what is used instead: "non-temporal", "thp", and
 * "other-pages" where some tiers have huge pages and others not; "" for none. */
const char *nf_factor_name(enum nf_factor v, enum nf_store asked, const struct nf_testbed *t);
/* Scripts that charge every visited byte, and the tiers again. cache_bytes: bursts stay those of the real cache; window_bytes:
 * nf_batches_init. 0 or -errno (cause set). Caller deinits in every case, while the testbed is open. */
int nf_factors_init(struct nf_factors *v, const struct nf_stream *stream, uint64_t cache_bytes, uint64_t seed,
                     const struct nf_testbed *t, uint64_t window_bytes);
void nf_factors_deinit(struct nf_factors *v);
/* Whether pages of the other size can be had here, on this kernel and these tiers; else why not, in words. */
bool nf_factors_pages_probe(const char *root, const char *const *specs, size_t n_specs, char *why, size_t size);
/* Changes the config of the plain trial into the variant's. */
void nf_factors_apply(const struct nf_factors *v, enum nf_factor which, struct nf_engine_config *c);
