#pragma once
/* A trial without its memory: the policy is opened, told everything a trial tells it and asked for every decision, on tiers that nobody
 * reads. Whether it keeps the rules is known then; how fast it is, is not. */
#include "replay/engine.h"

enum { NF_REHEARSAL_CYCLES_MAX = 8 };

/* Plays the least warm-up and as many cycles as the trial measures, at most NF_REHEARSAL_CYCLES_MAX in all: a policy that keeps the rules
 * for so long and breaks them later fails its trial like a built-in one. 0 or -errno (cause set): what would have failed the trial, or
 * -ENOMEM. */
int nf_rehearse(const struct nf_engine_config *config);
