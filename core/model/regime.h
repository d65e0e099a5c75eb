#pragma once
/* A regime is a recurring class of work: job × phase × layer group × step class × microbatch class, as one
 * 64-bit id. Layout, high to low: version 4 | job 16 | phase 8 | layer group 12 | step class 8 |
 * microbatch class 8 | user 8. 0 is "untagged". A step number is never part of it. */
#include <stdint.h>

typedef uint64_t nf_regime;

struct nf_regime_parts {
    uint16_t job;
    uint8_t phase;        /* enum nf_phase */
    uint16_t layer_group; /* 12 bits; 0 = none */
    uint8_t step_class, microbatch_class, user;
};

enum { NF_REGIME_VERSION = 1, NF_REGIME_LEVELS = 7, NF_REGIME_LAYER_GROUP_MAX = 4095 };

nf_regime nf_regime_pack(const struct nf_regime_parts *parts);
struct nf_regime_parts nf_regime_unpack(nf_regime id);

/* The id with everything right of a level cleared. Level 6 keeps all, 5 drops user, 4 also the microbatch class,
 * 3 the step class, 2 the layer group, 1 the phase, 0 everything (untagged). */
nf_regime nf_regime_prefix(nf_regime id, unsigned level);
