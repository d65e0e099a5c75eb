#pragma once
/* A step class made ready for the replay loop: what happens before, in and after each op, without any looking up.
 * Depends on the stream and the cache filter only, so all trials share it. */
#include <stdint.h>

#include "core/model/profile.h"
#include "pool/player.h"
#include "replay/kernel.h"

enum {
    /* Operands of one op advance together in chunks of this much of the largest: larger ones would hide the
     * interleaving, smaller ones cost (64 KiB +3 %, 16 KiB +6-8 %, 4 KiB +17 % on the prototype). */
    NF_SCRIPT_CHUNK_BYTES = 65536,
};

struct nf_script_visit {
    uint64_t offset, bytes, run, stride;
    uint64_t total;       /* bytes × touches: the visit is a walk over them, one pass after the other */
    uint64_t grain;       /* chunks end at multiples of it, counted within a pass */
    double miss_first;    /* demand lines past the cache per byte walked: first pass */
    double miss_again;    /* and each later one */
    struct nf_rows rows;  /* n == 0: ascending */
    uint32_t operand;     /* which of the op's */
    uint8_t rw, pattern;
    uint8_t parallelism;  /* 0: assumed */
};

struct nf_script_range {
    uint32_t first, n;
};

struct nf_script_op {
    struct nf_script_range births, deaths; /* in nf_script.births, .deaths: tensors */
    struct nf_script_range operands;       /* in nf_script.operands, .operand_rw */
    struct nf_script_range visits;
    uint32_t chunks; /* at least 1 */
    uint64_t bytes;  /* walked by all its visits, every pass counted */
    double captured_ns; /* duration and the gap before it */
};

struct nf_script {
    const struct nf_step_class *of; /* borrowed */
    struct nf_script_op *ops;       /* of->n_ops */
    struct nf_script_visit *visits; /* of->n_visits */
    uint32_t *births, *deaths;      /* tensors in order of op, then number */
    uint32_t *operands;             /* tensors, each once per op */
    uint8_t *operand_rw;            /* enum nf_rw: read and write make an update */
    uint32_t operands_max;          /* of any op */
    double captured_ns;             /* of all ops */
};

/* profile: of the same class; its cache filter decides what is charged. 0 or -ENOMEM (cause set). */
int nf_script_init(struct nf_script *s, const struct nf_profile *profile, uint64_t seed);
void nf_script_deinit(struct nf_script *s);

/* An op as a player of policies wants it; borrowed from the script. */
void nf_script_play_op(const struct nf_script *s, uint32_t number, struct nf_play_op *out);

/* Where chunk j of n begins in the walk of v; n itself is its end. */
uint64_t nf_script_bound(const struct nf_script_visit *v, uint32_t j, uint32_t n);
