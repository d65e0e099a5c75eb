#pragma once
/* A trial without its memory: the policy is opened, told everything a trial tells it and asked for every decision, on tiers that nobody
 * reads. Whether it keeps the rules is known then; how fast it is, is not. */
#include "replay/engine.h"

/* Plays the least warm-up and as many cycles as the trial measures, once. 0 or -errno (cause set): what would have failed the trial, or
 * -ENOMEM. */
int nf_rehearse(const struct nf_engine_config *config);
