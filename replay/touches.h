#pragma once
/* What an op touched, for policies that sample accesses: its visits as the script has them, and how long tiers took lately. */
#include <stdint.h>

#include "core/base/array.h"
#include "pool/pool.h"
#include "replay/script.h"
#include "replay/worker.h"

struct nf_touches {
    NF_ARRAY(struct nf_policy_touch) v;
    struct {
        double k_ns;
        uint64_t lines;
    } before[NF_TIER_MAX]; /* of the workers' counts, when last looked at */
    double latency_ns[NF_TIER_MAX]; /* by Little's law over what was charged since; 0: nothing was, ever */
};

/* Tells the pool's policy of one op whose visits were made; handles: of its operands. 0 or -errno (cause set). */
int nf_touches_tell(struct nf_touches *t, struct nf_pool *pool, const struct nf_script *s, const struct nf_script_op *op,
                    const uint32_t *handles, const struct nf_worker *workers, unsigned n_workers, uint64_t now_ns);
void nf_touches_deinit(struct nf_touches *t);
