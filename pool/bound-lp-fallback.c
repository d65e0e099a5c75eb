#include <errno.h>
#include <stdio.h>

#include "core/base/error.h"
#include "pool/bound.h"

int nf_bound_lp_probe(char *why, size_t size)
{
    snprintf(why, size, "built without COIN-OR CLP (coinor-libclp-dev)");
    return -ENOSYS;
}

int nf_bound_lp(const struct nf_stays *s, uint64_t capacity_pages, double *saved, double *share)
{
    (void)s;
    (void)capacity_pages;
    (void)share;
    *saved = 0;
    return nf_fail(-ENOSYS, "built without COIN-OR CLP (coinor-libclp-dev): there is no bound by linear program");
}
