#pragma once
/* A policy played over the captured steady step, through a pool on no particular memory: the tier of every page when its storage is
 * born or the step begins, and what moves before each op. */
#include <stdint.h>

#include "core/base/array.h"
#include "core/base/buf.h"
#include "live/plan-file.h"
#include "live/plan.h"

struct nf_live_play {
    uint64_t *pages_at; /* by number of the steady step: the first of a storage's pages in page_tiers; UINT64_MAX: not placed */
    NF_ARRAY(uint8_t) page_tiers;
    struct nf_plan_op *ops; /* of the step, and one for its end: first_move and n_moves alone */
    NF_ARRAY(struct nf_plan_move) moves;
};

/* Pages of a storage in a plan. */
static inline uint64_t nf_live_pages(const struct nf_tensor *t)
{
    return nf_page_bytes(t->bytes) / NF_PAGE_BYTES;
}

/* near_bytes: what near holds; peak_bytes: of the step. A policy from outside is played in a child (pool/guard.h) alone, and what comes
 * back is looked through: whatever it holds, every number in it is within its range. 0, -EPROTO (the policy broke a rule, crashed, ended
 * its process or answered with nonsense), -ETIMEDOUT, -ENOSPC, -ENOMEM, -errno of the policy, with the cause set. Caller deinits in every
 * case. */
int nf_live_play_init(struct nf_live_play *p, const struct nf_live_plan_wish *wish, uint64_t near_bytes, uint64_t peak_bytes);
void nf_live_play_deinit(struct nf_live_play *p);

/* As a child hands it over. */
void nf_live_play_add(const struct nf_live_play *p, const struct nf_step_class *c, struct nf_buf *answer);
/* The other way round, whoever wrote it: 0, -EPROTO, -ENOMEM, without a cause. Caller deinits in every case. */
int nf_live_play_take(struct nf_live_play *p, const struct nf_step_class *c, uint32_t n_tiers, const struct nf_buf *answer);
