#pragma once
/* Whether seeing the profile pays: each policy that does, against LRU and against the best interleave of its near share and mode, over
 * the blocks both have; and where the time goes in which they differ. */
#include <stddef.h>
#include <stdint.h>

#include "analyze/curve.h"
#include "core/base/table.h"

/* Below, not even blocks that all agree make a 95 % interval of a median: its coverage is 1 - 2 / 2^n. */
enum { NF_RIVALS_BLOCKS_MIN = 6 };

enum nf_rivals_verdict { NF_RIVALS_FASTER, NF_RIVALS_SLOWER, NF_RIVALS_NOT_TOLD_APART, NF_RIVALS_TOO_FEW };

struct nf_rivalry {
    const struct nf_point *point, *rival; /* of the curve */
    struct nf_estimate ratio; /* of step times, the policy's over the rival's */
    enum nf_rivals_verdict verdict;
    char why[320];            /* where its time goes beside the rival's, and in which part they differ most */
};

struct nf_rivals {
    NF_ARRAY(struct nf_rivalry) v; /* by near share, mode, policy; LRU before the interleave */
    struct nf_table *rows;         /* the same; NULL: no policy that sees the profile has a rival in its blocks */
};

/* 0 or -ENOMEM (cause set). c must outlive it. Deinit in every case. */
int nf_rivals_init(struct nf_rivals *r, const struct nf_curve *c);
void nf_rivals_deinit(struct nf_rivals *r);
/* "faster", "slower", "not told apart", "too few blocks" */
const char *nf_rivals_word(enum nf_rivals_verdict verdict);
