#pragma once
/* Samples of several CPUs put into the order of their time, with what the recorder says about rounds: nothing that comes
 * after a round is older than the newest sample of the round before. Memory is bounded; where the bound is met before a
 * round ends, the older half goes on, and what comes too late for it is counted. */
#include <stddef.h>
#include <stdint.h>

#include "core/model/sample.h"

struct nf_sample_order;

typedef int nf_sample_order_emit(void *context, const struct nf_sample *s); /* 0 or an error, forwarded */

/* most: samples held at a time, 2 to 2^32 - 1. NULL: no memory. */
struct nf_sample_order *nf_sample_order_new(size_t most, nf_sample_order_emit *emit, void *context);
struct nf_sample_order *nf_sample_order_free(struct nf_sample_order *o); /* drops what it holds; returns NULL */
int nf_sample_order_add(struct nf_sample_order *o, const struct nf_sample *s);
int nf_sample_order_round(struct nf_sample_order *o);
int nf_sample_order_end(struct nf_sample_order *o); /* all that is left */
uint64_t nf_sample_order_late(const struct nf_sample_order *o);
