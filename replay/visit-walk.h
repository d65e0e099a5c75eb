#pragma once
/* The walk of a visit: which bytes of a storage it touches, in which order, by which access kernel. */
#include <stdbool.h>
#include <stdint.h>

#include "pool/pool.h"
#include "replay/kernel.h"
#include "replay/script.h"

/* Walks [from, to) of one pass of a visit, on one tier. Returns the bytes touched there. whole: the tier holds the
 * storage alone; otherwise only what lies on `tier` is touched. */
/* A gather whose parallelism k is known is issued as k chains: the address of each row waits for the first word of the row
 * k rows before it, so that the CPU cannot have more rows under way than the job had. Of a storage that is split the chains of each tier
 * go on their own, one tier after the other. */
uint64_t nf_visit_walk(const struct nf_kernels *kernels, const struct nf_script_visit *v, const struct nf_pool_storage *s,
                       uint32_t tier, bool whole, uint64_t from, uint64_t to);
