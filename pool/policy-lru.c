/* Policy `lru`: near as a cache of whole tensors; the least recently used one is let go of.
 * Rule: what an op uses becomes the most recent; the victim is the least recent that is no operand of the running op. A rule of
 * folklore; Mattson et al., IBM Systems Journal 9(2), 1970, for its properties.
 * Semantics: fetch before use, insert near, write back (every victim is copied far, changed or not), copied inline; see
 * policy-cache.h. Sees nothing of the job.
 * Fails on loops larger than near, where each tensor leaves just before it is used again. Training is kinder than that: backward
 * uses what forward saved in reverse order. */
#include "pool/policies.h"
#include "pool/policy-cache.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_policy_cache_open(env, NF_CACHE_LRU, policy);
}

const struct nf_policy_ops nf_policy_lru = {
    .name = "lru",
    .about = "near as a cache of whole tensors: promoted before use, least recently used copied back far",
    .source = "folklore; properties: Mattson et al., IBM Systems Journal 9(2), 1970",
    .init = open_policy,
    NF_POLICY_CACHE_VERBS,
};
