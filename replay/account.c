#include "replay/account.h"

void nf_account_op(struct nf_account *a, uint64_t bytes, uint64_t ns)
{
    if (bytes >= NF_ACCOUNT_LARGE) {
        a->large_ns += ns;
        return;
    }
    a->small_ns += ns;
    a->timed_small_bytes += bytes;
}

uint64_t nf_account_memory_ns(const struct nf_account *a, uint64_t wall_ns, uint64_t known_ns)
{
    uint64_t left = wall_ns > known_ns ? wall_ns - known_ns : 0, estimate;
    double small = a->timed_small_bytes ? (double)a->small_ns * (double)a->small_bytes / (double)a->timed_small_bytes : 0;

    estimate = a->large_ns + (uint64_t)small;
    return estimate < left ? estimate : left;
}
