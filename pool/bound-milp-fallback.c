#include <errno.h>
#include <stdio.h>

#include "core/base/error.h"
#include "pool/bound.h"

int nf_bound_milp_probe(char *why, size_t size)
{
    snprintf(why, size, "built without COIN-OR CBC (coinor-libcbc-dev)");
    return -ENOSYS;
}

int nf_bound_milp(const struct nf_stays *s, uint64_t capacity_pages, double seconds, double *saved, bool *proved)
{
    (void)s;
    (void)capacity_pages;
    (void)seconds;
    *saved = 0;
    *proved = false;
    return nf_fail(-ENOSYS, "built without COIN-OR CBC (coinor-libcbc-dev): there is no bound for whole tensors");
}
