#pragma once
/* Near as a cache of whole storages under a rule of core/model/cache-rule.h, whose order this follows; the policies `clock`,
 * `gdsf`, `lru` and `s3-fifo` are this with one rule each. A storage is put near when it is born and before an op uses it; what the
 * rule lets go of is copied to the first far tier with room. Operands of the running op are not let go of. A storage larger than
 * near stays far, and so does one for which no room can be made: near is full of operands, or the far tiers are full. */
#include "core/model/cache-rule.h"
#include "pool/policy.h"

int nf_policy_cache_open(const struct nf_policy_env *env, enum nf_cache_rule rule, void **policy);
/* The same where what was not written since it came near is dropped: its copy on the far tier it came from stays until then, and is
 * charged there. With NF_DEMOTE_DROP_CLEAN declared. */
int nf_policy_cache_open_drop(const struct nf_policy_env *env, enum nf_cache_rule rule, void **policy);
/* The verbs of struct nf_policy_ops. */
void nf_policy_cache_close(void *policy);
int nf_policy_cache_place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                          struct nf_placement *out);
int nf_policy_cache_access(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                           struct nf_policy_moves *moves);
int nf_policy_cache_after(void *policy, uint32_t op, struct nf_policy_moves *moves);
void nf_policy_cache_freed(void *policy, uint32_t handle);

/* All of an ops struct but its name, about and init. */
#define NF_POLICY_CACHE_VERBS NF_POLICY_CACHE_VERBS_DEMOTE(NF_DEMOTE_WRITE_BACK)
#define NF_POLICY_CACHE_VERBS_DEMOTE(how)                                                                      \
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE),                \
    .semantics = {.access = NF_ACCESS_FETCH_BEFORE_USE, .insert = NF_INSERT_NEAR, .demote = how,               \
                  .mover = NF_MOVER_COPY, .sync = NF_SYNC_INLINE},                                             \
    .deinit = nf_policy_cache_close, .on_alloc = nf_policy_cache_place, .on_op = nf_policy_cache_access,       \
    .on_op_end = nf_policy_cache_after, .on_free = nf_policy_cache_freed
