/* Policy `clock`: near as a cache of whole tensors under the second-chance rule.
 * Rule (Corbato, "A paging experiment with the Multics system", 1968): tensors stand in the order in which they came; a use
 * sets a bit; the hand takes the oldest, and where its bit is set clears it and lets it stand once more at the end.
 * Semantics: fetch before use, insert near, write back, copied inline; see policy-cache.h. Sees nothing of the job.
 * Fails as LRU does on loops larger than near; and where everything is used between two turns of the hand it is FIFO. */
#include "pool/policies.h"
#include "pool/policy-cache.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_policy_cache_open(env, NF_CACHE_CLOCK, policy);
}

const struct nf_policy_ops nf_policy_clock = {
    .name = "clock",
    .about = "near as a cache of whole tensors, victims by second chance; copied back far",
    .source = "Corbato, A paging experiment with the Multics system, 1968",
    .init = open_policy,
    NF_POLICY_CACHE_VERBS,
};
