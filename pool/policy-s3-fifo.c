/* Policy `s3-fifo`: near as a cache of whole tensors under three FIFO queues.
 * Rule (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): what is new stands in a small queue of 10 % of
 * near; at its end it goes to the main queue if it was used twice since, else far, and its name stands in a ghost queue as large
 * as main; a name found there when the tensor is fetched sends it to main at once. At main's end, uses (up to 3) are counted down
 * and the tensor stands once more, else it is let go of. The small queue gives way first unless main is over its 90 %.
 * Here, other than published, a tensor larger than the small queue is not refused: it passes through it.
 * Semantics: fetch before use, insert near, write back, copied inline; see policy-cache.h. Sees nothing of the job.
 * Fails where each tensor is used twice with a long gap between, as saved activations are: they look like one-hit wonders and
 * leave through the small queue. */
#include "pool/policies.h"
#include "pool/policy-cache.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_policy_cache_open(env, NF_CACHE_S3_FIFO, policy);
}

const struct nf_policy_ops nf_policy_s3_fifo = {
    .name = "s3-fifo",
    .about = "near as a cache of whole tensors, victims by three FIFO queues, new tensors in a small one; copied back far",
    .source = "Yang et al., FIFO queues are all you need for cache eviction, SOSP 2023",
    .init = open_policy,
    NF_POLICY_CACHE_VERBS,
};
