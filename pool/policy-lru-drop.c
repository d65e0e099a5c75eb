/* Policy `lru-drop`: as `lru`, and what was not written while it was near is dropped instead of copied back.
 * Rule: least recently used, as policy-lru.c. A storage fetched from a far tier leaves its copy there; the first op that writes it makes
 * the copy worthless, and it is given up; a victim that has one costs no copy. Write-back caches with clean and dirty lines: Smith,
 * Cache Memories, ACM Computing Surveys 14(3), 1982, section 2.
 * Semantics: fetch before use, insert near, drop clean, copied inline; see policy-cache.h. Sees nothing of the job.
 * Costs far capacity: what is near and clean is charged on both tiers. Where far has no room for that, it refuses victims, and storages
 * are used far. Gains nothing on what is born near and read once: its first demotion is a copy. */
#include "pool/policies.h"
#include "pool/policy-cache.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_policy_cache_open_drop(env, NF_CACHE_LRU, policy);
}

const struct nf_policy_ops nf_policy_lru_drop = {
    .name = "lru-drop",
    .about = "lru whose victims are dropped, not copied, while what they came from is still right",
    .source = "lru; clean and dirty blocks: Smith, ACM Computing Surveys 14(3), 1982",
    .init = open_policy,
    NF_POLICY_CACHE_VERBS_DEMOTE(NF_DEMOTE_DROP_CLEAN),
};
