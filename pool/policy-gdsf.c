/* Policy `gdsf`: near as a cache of whole tensors under Greedy-Dual-Size-Frequency with equal cost.
 * Rule (Cherkasova, HP Labs HPL-98-69R1, 1998): H = L + uses / bytes, set anew at each use; the victim has the lowest H, and L
 * becomes its H. Equal H: first come, first to go.
 * Semantics: fetch before use, insert near, write back, copied inline; see policy-cache.h. Sees nothing of the job.
 * Fails where bytes that hit count, not hits: it keeps many small tensors and lets the large ones go, whose traffic is what far
 * memory costs; and a tensor that was hot in forward keeps its uses long after its last one. */
#include "pool/policies.h"
#include "pool/policy-cache.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    return nf_policy_cache_open(env, NF_CACHE_GDSF, policy);
}

const struct nf_policy_ops nf_policy_gdsf = {
    .name = "gdsf",
    .about = "near as a cache of whole tensors, victims by lowest uses per byte, aged; copied back far",
    .source = "Cherkasova, HP Labs HPL-98-69R1, 1998",
    .init = open_policy,
    NF_POLICY_CACHE_VERBS,
};
