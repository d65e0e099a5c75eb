/* Policy `first-touch`: the kernel's default rule (MPOL_LOCAL with fallback to the next node of the zonelist), emulated page by
 * page on the pool's ledger: each page near while near has a free page, then on the next tier; nothing ever moves. So a storage
 * may lie on both sides of the line, where `near-first` keeps it whole.
 * Semantics: in place, insert near, no moves. Sees nothing of the job.
 * What is not the kernel's: pages are placed when the storage is born, in address order, not when each is first touched; they
 * are free again when the storage dies, as with an allocator that returns its memory, while a caching allocator's pages stay
 * where they were first touched. Watermarks and the kernel's own reclaim are left out.
 * Fails where what is born first is cold: parameters and optimizer state fill near before the first activation. */
#include <errno.h>

#include "core/base/error.h"
#include "pool/placement.h"
#include "pool/policies.h"

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    *policy = (void *)env; /* stateless: the environment is all it needs */
    return 0;
}

static void close_policy(void *policy)
{
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                 struct nf_placement *out)
{
    const struct nf_policy_env *env = policy;
    uint64_t left = t->bytes;

    for (uint32_t i = 0; i < env->n_tiers && left; i++) {
        uint64_t room = nf_placement_room(env, i) / NF_PAGE_BYTES * NF_PAGE_BYTES;

        out->bytes[i] = left < room ? left : room;
        left -= out->bytes[i];
    }
    return left ? nf_fail(-ENOSPC, "%llu bytes find no room on any tier", (unsigned long long)left) : 0;
}

const struct nf_policy_ops nf_policy_first_touch = {
    NF_POLICY_INTERFACE(0),
    .name = "first-touch",
    .about = "the kernel's default, emulated page by page: near until full, then the next tier; never moves",
    .source = "Linux, MPOL_LOCAL with fallback by zonelist",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER,
                  .mover = NF_MOVER_NONE},
    .init = open_policy,
    .deinit = close_policy,
    .on_alloc = place,
};
